//! The command line.

#![allow(rustdoc::broken_intra_doc_links, reason = "people read these texts as they stand, brackets too")]

use crate::targets::Targets;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::ffi::OsString;
use std::path::PathBuf;

/// Where a node has its pages if nobody says so.
const NODE_DEFAULT: &str = "127.0.0.1:9121";
const PORT_DEFAULT: u16 = 9121;
/// Says the same as `--at`.
const AT_VARIABLE: &str = "KEVY_ELECT_AT";

const EXIT_CODES: &str = "\
EXIT CODES
  0  done; for compare: equal; for doctor and watch --once: nothing is wrong; for bench: nothing was lost
  1  it could not be done: no node answers, none takes the order, the configuration is wrong
  2  the command line makes no sense
  3  compare: keys differ
  4  compare: not everything could be decided, because the nodes move
  5  doctor: something should be done
  6  doctor: something has to be done now: no primary, two of them, lists of members that differ
  7  bench: an acknowledged write is not there any more

Where --at names one address, or none, the other nodes are found through it. Every command that tells something takes --json.";

/// What the nodes of a kevy-elect cluster believe, what they decided and why.
#[derive(Debug, PartialEq, Eq, Parser)]
#[command(name = "kevy-electctl", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Addresses of [elect] http: of one node, which names the others, or of all (else: $KEVY_ELECT_AT, else 127.0.0.1:9121); without
    /// a port it is 9121
    #[arg(long, global = true, value_name = "HOST:PORT,...")]
    at: Option<String>,
    #[arg(skip)]
    pub(crate) nodes: Vec<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Roles, epochs, positions, lag, lease and links of all nodes
    Status {
        /// For programs
        #[arg(long)]
        json: bool,
        /// Every second anew
        #[arg(long)]
        watch: bool,
    },
    /// The last decisions of all nodes: who, when, why
    History {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// One epoch: why this node, who voted, who refused and why, how long each part took
    Explain {
        /// Which; `history` lists them
        epoch: u64,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Reads everything that the nodes tell, and says what is wrong and what to do about it
    ///
    /// Reach, primary, quorum, lists of members, times, clusters, elections left paused, fitness, replicas, links, versions, clocks,
    /// descriptors, disks, keys of links. What has to be done now is looked at twice.
    Doctor {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Waits until every member answers, one takes writes, and all others follow it
    ///
    /// Between two steps of a rolling restart. Ends with 1, and with what is missing, when the time is over.
    Wait {
        /// How many seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
        timeout: u64,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// A live screen: nodes, links, the last decisions, and what `doctor` finds
    Watch {
        /// One look, without a screen
        #[arg(long)]
        once: bool,
        /// For programs: a line for each look
        #[arg(long)]
        json: bool,
        /// Milliseconds between two looks
        #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
        interval: u64,
    },
    /// Measures this cluster. IT CHANGES WHO IS PRIMARY
    Bench {
        /// What
        #[command(subcommand)]
        what: Bench,
    },
    /// Checks a configuration and tells what follows from it, or compares those of several members
    ///
    /// With more than one file: whether they agree in all that members have to have alike. If not, the entries are named, and the exit code is 3.
    Check {
        /// The file
        #[arg(long, value_name = "kevy.toml", required_unless_present = "files", conflicts_with = "files")]
        config: Option<PathBuf>,
        /// The files of several members
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Whether all nodes hold the same keys, types, values and expiries, and which keys differ
    ///
    /// Reads only; the cluster may be written to meanwhile. Holds a shard for a millisecond at a time; asks 24 bytes per key.
    Compare(Compared),
    /// Admits a node that lost its vote record, where so many disks are lost that nobody can be elected any more
    ///
    /// On that node's machine. WRITES THAT ONLY THE LOST DISKS HAD CONFIRMED ARE GONE, and nobody can know which. See "Disks of a
    /// majority lost" in docs/runbooks.md. The order is carried out once the node hears all other voters.
    Admit(Node),
    /// Takes the data of a stopped node out of its data directory, so that it copies that of the others
    ///
    /// On that node's machine, with its server stopped. WHAT ONLY THIS NODE HOLDS IS LOST TO THE CLUSTER. Nothing is removed: the
    /// files go to a directory beside them. See "Two clusters" in docs/runbooks.md.
    GiveUp(Node),
    /// Makes the last survivor of a lost quorum the only voter
    ///
    /// On that node's machine, with its server stopped, when the machines of the others are gone for good. WHAT ONLY THEY HELD IS LOST, and if
    /// one of them runs on where this node does not see it, two nodes write. Refused while a quorum answers. See "Lost quorum" in docs/operations.md.
    Force {
        /// The node, by its id in full
        #[arg(value_name = "NODE")]
        node: String,
        /// Its file
        #[arg(long, value_name = "PATH")]
        config: PathBuf,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// The primary hands its office over to another node, without losing a write
    ///
    /// Writes go on until that node is near; they are refused for some milliseconds, until it has everything and is elected. Refused,
    /// with the reason, where no node can take over. Ends when the other node takes writes.
    #[command(visible_alias = "step-down")]
    Transfer(Transferred),
    /// Who votes, and changes of that in the running cluster
    ///
    /// One voter at a time, without an outage. What the nodes' files say forms a cluster and changes nothing later.
    Members {
        /// What
        #[command(subcommand)]
        what: Voters,
    },
    /// Pauses automatic elections in the whole cluster, for maintenance: IF THE PRIMARY FAILS THEN, NOBODY TAKES OVER
    ///
    /// Holds over restarts of all nodes, until `resume`. Fencing and `transfer` go on, and who ends in order hands over. Ends when a quorum
    /// has the order.
    Pause(Ordered),
    /// Lets automatic elections go on
    ///
    /// Ends when a quorum has the order.
    Resume(Ordered),
    /// Prints completions of this command line for a shell
    Completions {
        /// Which
        shell: Shell,
    },
    /// Writes the manual pages of this command line and of its commands into a directory
    Man {
        /// Where to
        directory: PathBuf,
    },
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Voters {
    /// Who votes, by which list each node counts, and what a change waits for
    List(Ordered),
    /// Has every node read its file anew and take up the members that are new in it, and where the others are, without a restart
    ///
    /// New ones have no vote until `members add`. What else differs in a file is named, with what to do, and changes nothing; then this ends with 3.
    /// A witness has no port for clients: send it SIGHUP, which does the same.
    Reload(Ordered),
    /// Gives a node a vote
    ///
    /// It runs already, as an observer that holds what the primary holds, or as a witness, and stands in the files of all nodes.
    Add(Changed),
    /// Takes a node's vote. It goes on as an observer until it is ended
    ///
    /// Not the primary's: transfer the office first.
    Remove(Changed),
    /// Gives one node a vote and then takes the other one's
    Replace {
        /// Who has a vote afterwards
        #[arg(long, value_name = "NODE")]
        by: String,
        #[command(flatten)]
        what: Changed,
    },
}

/// Whose vote is changed.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Changed {
    /// The node
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    /// How many seconds a change may wait for what it needs; until then nothing has changed
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) targets: Targets,
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Bench {
    /// How long no write is answered when the primary changes, and whether an answered one is lost
    ///
    /// Writes about a thousand small fields a second to one key, which it removes in the end. By planned transfers, unless --harsh says
    /// otherwise.
    Failover(Benched),
}

/// A node, by all that keeps an order from the wrong one.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct Node {
    /// Its id, in full
    #[arg(long, value_name = "ID")]
    pub(crate) node: String,
    /// The id of the cluster that it belongs to, or belonged to; `status` and the logs name it
    #[arg(long, value_name = "32 DIGITS")]
    pub(crate) cluster: String,
    /// [server] data_dir of its configuration
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is compared, and where the result goes.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Compared {
    #[command(flatten)]
    pub(crate) targets: Targets,
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,
    /// Every minute anew
    #[arg(long)]
    pub(crate) watch: bool,
    /// The result as metrics too, for the textfile collector of Prometheus' node exporter
    #[arg(long, value_name = "FILE")]
    pub(crate) textfile: Option<PathBuf>,
}

/// How a failover is measured.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct Benched {
    /// How often the primary changes
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// The key that is written; whatever is there is removed
    #[arg(long, value_name = "KEY", default_value = "kevy-electctl:probe")]
    pub(crate) key: String,
    /// How many seconds a transfer may take to begin
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,
    /// Seconds between two rounds: time for the old primary to come back
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub(crate) pause: u64,
    /// Instead of a transfer, run this with the shell: $NODE and $ADDRESS are the primary's. WHAT WAS NOT CONFIRMED BY A QUORUM CAN BE LOST.
    /// As in --harsh 'ssh $NODE systemctl kill -s KILL kevy-server'
    #[arg(long, value_name = "COMMAND")]
    pub(crate) harsh: Option<String>,
    #[command(flatten)]
    pub(crate) targets: Targets,
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Who is to take over.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Transferred {
    /// To this node (else: to the one that is best)
    #[arg(long, value_name = "NODE")]
    pub(crate) to: Option<String>,
    /// How many seconds it may take to come near; writes go on meanwhile
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) targets: Targets,
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whom an order about automatic elections is given to. The members are named by a configuration or by addresses.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Ordered {
    #[command(flatten)]
    pub(crate) targets: Targets,
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,
}

impl Cli {
    /// Reads the arguments, which begin with the program's name.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut cli = Self::try_parse_from(arguments)?;
        let refused = |kind, text| Err(Self::command().error(kind, text));
        if cli.at.is_some() && cli.command.knows_where() {
            let text = "--at means nothing here: check takes --config, and --clients or --config name the members already";
            return refused(ErrorKind::ArgumentConflict, text);
        }
        let at = cli.at.take().or_else(|| std::env::var(AT_VARIABLE).ok());
        let at = at.as_deref().unwrap_or(NODE_DEFAULT).split(',').map(str::trim);
        cli.nodes = at.filter(|node| !node.is_empty()).map(address).collect();
        if cli.nodes.is_empty() {
            return refused(ErrorKind::InvalidValue, "--at names no node");
        }
        Ok(cli)
    }
}

impl Command {
    /// Whether it is said already whom or what this is about.
    fn knows_where(&self) -> bool {
        let targets = match self {
            Self::Compare(what) => &what.targets,
            Self::Transfer(what) => &what.targets,
            Self::Pause(what) | Self::Resume(what) => &what.targets,
            Self::Bench { what: Bench::Failover(what) } => &what.targets,
            Self::Members { what: Voters::List(what) | Voters::Reload(what) } => &what.targets,
            Self::Members {
                what: Voters::Add(what) | Voters::Remove(what) | Voters::Replace { what, .. },
            } => &what.targets,
            Self::Check { .. } => return true,
            _ => return false,
        };
        targets.config.is_some() || !targets.clients.is_empty()
    }
}

/// What people paste: also the address of the status page, also without the port.
fn address(node: &str) -> String {
    let bare = node.strip_prefix("http://").unwrap_or(node);
    let bare = bare.split('/').next().unwrap_or(bare);
    match bare.contains(':') {
        true => bare.to_owned(),
        false => format!("{bare}:{PORT_DEFAULT}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    fn said(line: &str) -> Result<Cli, String> {
        let words = ["kevy-electctl"].into_iter().chain(line.split_whitespace()).map(OsString::from);
        Cli::read(words).map_err(|error| error.to_string())
    }

    fn targets() -> Targets {
        Targets { clients: vec!["a:1".into(), "b:2".into()], ..Targets::default() }
    }

    #[test]
    fn every_command_is_understood() {
        for line in ["--at a:1,b:2 status --json", "status --json --at a:1,b:2"] {
            let cli = said(line).unwrap();
            assert_eq!(cli.command, Command::Status { json: true, watch: false });
            assert_eq!(cli.nodes, ["a:1", "b:2"]);
        }
        assert_eq!(
            said("--at http://n1:80/,n2,[::1]:7 history").unwrap().nodes,
            ["n1:80", "n2:9121", "[::1]:7"]
        );
        assert_eq!(said("explain 7").unwrap().command, Command::Explain { epoch: 7, json: false });
        assert!(said("check --config k.toml").is_ok() && said("check k.toml l.toml --json").is_ok());
        let compared = Compared {
            targets: targets(),
            json: true,
            textfile: Some("f.prom".into()),
            ..Compared::default()
        };
        let cli = said("compare --clients a:1,b:2 --json --textfile f.prom").unwrap();
        assert_eq!(cli.command, Command::Compare(compared));
        assert!(said("compare --config k.toml --watch").is_ok());
        let transferred =
            Transferred { to: Some("n2".into()), timeout: 5, targets: targets(), ..Transferred::default() };
        let cli = said("transfer --to n2 --timeout 5 --clients a:1,b:2").unwrap();
        assert_eq!(cli.command, Command::Transfer(transferred));
        assert!(matches!(said("step-down --config k.toml").unwrap().command, Command::Transfer(_)));
        let ordered = Ordered { targets: targets(), ..Ordered::default() };
        assert_eq!(said("pause --clients a:1,b:2").unwrap().command, Command::Pause(ordered));
        assert!(matches!(said("resume --json --config k.toml").unwrap().command, Command::Resume(_)));
        assert_eq!(said("--at n1 transfer --to n2").unwrap().nodes, ["n1:9121"]);
        let changed = Changed { node: "n4".into(), timeout: 30, targets: targets(), ..Changed::default() };
        let what = Voters::Replace { by: "n5".into(), what: changed };
        assert_eq!(
            said("members replace n4 --by n5 --clients a:1,b:2").unwrap().command,
            Command::Members { what }
        );
        assert_eq!(said("doctor --json").unwrap().command, Command::Doctor { json: true });
        assert!(matches!(
            said("watch --once").unwrap().command,
            Command::Watch { once: true, interval: 1000, .. }
        ));
        assert!(matches!(said("--at n1 bench failover --rounds 3").unwrap().command, Command::Bench { .. }));
    }

    #[test]
    fn every_slip_is_named() {
        for (line, word) in [
            ("", "Commands:"),
            ("stats", "similar subcommand exists: 'status'"),
            ("explain", "<EPOCH>"),
            ("explain x", "'x' for '<EPOCH>'"),
            ("check", "--config"),
            ("check k.toml --config l.toml", "cannot be used with"),
            ("history --watch", "--watch"),
            ("status --config x", "--config"),
            ("status --bogus", "bogus"),
            ("--at , status", "no node"),
            ("compare --clients a:1,b:2 --config k.toml", "cannot be used with"),
            ("compare a:1", "a:1"),
            ("bench failover --rounds 0", "1..=100"),
            ("watch --interval 1", "100..=3600000"),
            ("bench", "failover"),
            ("transfer n2 --config k.toml", "n2"),
            ("transfer --config k.toml --timeout 0", "1..=3600"),
            ("--at a compare --clients a:1,b:2", "--at"),
            ("--at a check --config k.toml", "--at"),
            ("status --clients a:1", "--clients"),
            ("status --textfile f", "--textfile"),
        ] {
            let error = said(line).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
