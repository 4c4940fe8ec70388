//! The command line.

#![allow(rustdoc::broken_intra_doc_links, reason = "people read these texts as they stand, brackets too")]

use crate::members::Members;
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
Ends with 0; 1 if no node answers or the configuration is wrong; 2 for a command line that makes no sense.
compare ends with 0 if all is equal, 3 if keys differ, 4 if not everything could be decided because the nodes move, 1 if a
node does not answer.";

/// What the nodes of a kevy-elect cluster believe, what they decided and why.
#[derive(Debug, PartialEq, Eq, Parser)]
#[command(name = "kevy-electctl", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// For status, history and explain: addresses of [elect] http of all nodes (else: $KEVY_ELECT_AT, else 127.0.0.1:9121);
    /// without a port it is 9121
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
    },
    /// Checks a configuration and tells what follows from it
    Check {
        /// The file
        #[arg(long, value_name = "kevy.toml")]
        config: PathBuf,
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
    /// The primary hands its office over to another node, without losing a write
    ///
    /// Writes go on until that node is near; they are refused for some milliseconds, until it has everything and is elected. Refused,
    /// with the reason, where no node can take over. Ends when the other node takes writes.
    #[command(visible_alias = "step-down")]
    Transfer(Transferred),
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
}

/// What is compared, and where the result goes.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Compared {
    #[command(flatten)]
    pub(crate) members: Members,
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
    pub(crate) members: Members,
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whom an order about automatic elections is given to. The members are named by a configuration or by addresses.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Ordered {
    #[command(flatten)]
    pub(crate) members: Members,
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,
}

impl Cli {
    /// Reads the arguments, which begin with the program's name.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut cli = Self::try_parse_from(arguments)?;
        let refused = |kind, text| Err(Self::command().error(kind, text));
        if cli.at.is_some()
            && matches!(
                cli.command,
                Command::Compare(_)
                    | Command::Transfer(_)
                    | Command::Pause(_)
                    | Command::Resume(_)
                    | Command::Check { .. }
            )
        {
            let text = "--at means nothing here: compare, transfer, pause and resume take --clients or --config, and check --config";
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

    fn members() -> Members {
        Members { clients: vec!["a:1".into(), "b:2".into()], ..Members::default() }
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
        assert_eq!(said("explain 7").unwrap().command, Command::Explain { epoch: 7 });
        assert!(said("check --config k.toml").is_ok());
        let compared = Compared {
            members: members(),
            json: true,
            textfile: Some("f.prom".into()),
            ..Compared::default()
        };
        let cli = said("compare --clients a:1,b:2 --json --textfile f.prom").unwrap();
        assert_eq!(cli.command, Command::Compare(compared));
        assert!(said("compare --config k.toml --watch").is_ok());
        let transferred =
            Transferred { to: Some("n2".into()), timeout: 5, members: members(), ..Transferred::default() };
        let cli = said("transfer --to n2 --timeout 5 --clients a:1,b:2").unwrap();
        assert_eq!(cli.command, Command::Transfer(transferred));
        assert!(matches!(said("step-down --config k.toml").unwrap().command, Command::Transfer(_)));
        let ordered = Ordered { members: members(), ..Ordered::default() };
        assert_eq!(said("pause --clients a:1,b:2").unwrap().command, Command::Pause(ordered));
        assert!(matches!(said("resume --json --config k.toml").unwrap().command, Command::Resume(_)));
    }

    #[test]
    fn every_slip_is_named() {
        for (line, word) in [
            ("", "Commands:"),
            ("stats", "similar subcommand exists: 'status'"),
            ("explain", "<EPOCH>"),
            ("explain x", "'x' for '<EPOCH>'"),
            ("check", "--config"),
            ("check kevy.toml", "kevy.toml"),
            ("history --watch", "--watch"),
            ("status --config x", "--config"),
            ("status --bogus", "bogus"),
            ("--at , status", "no node"),
            ("compare", "--clients"),
            ("compare --clients a:1,b:2 --config k.toml", "cannot be used with"),
            ("compare a:1", "a:1"),
            ("transfer --to n2", "--clients"),
            ("transfer n2 --config k.toml", "n2"),
            ("transfer --config k.toml --timeout 0", "1..=3600"),
            ("--at a compare --clients a:1,b:2", "--at"),
            ("status --clients a:1", "--clients"),
            ("status --textfile f", "--textfile"),
        ] {
            let error = said(line).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
