//! kevy's command line.

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use kevy_config::{CliOverrides, TierBudgetSpec};
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// kevy 7 with an election built in.
#[derive(Debug, Parser)]
#[command(
    name = "kevy-server",
    version = concat!(env!("CARGO_PKG_VERSION"), " (kevy 7.0.0)"),
    after_help = FILE,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub task: Option<Task>,
    /// How to serve.
    #[command(flatten)]
    pub serve: Serve,
}

/// What can be done instead of serving.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Write a private key for encrypted links; prints its public key
    Keygen {
        /// Where to
        file: PathBuf,
    },
    /// Print completions of this command line for a shell
    Completions {
        /// Which
        shell: Shell,
    },
    /// Write the manual pages of this command line into a directory
    Man {
        /// Where to
        directory: PathBuf,
    },
}

/// How to serve.
#[derive(Debug, Default, Args)]
pub struct Serve {
    /// TOML file (else: $KEVY_DIR/kevy.toml, ./kevy.toml, /etc/kevy/kevy.toml)
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Address to listen on (default: 127.0.0.1)
    #[arg(long, value_name = "IPv4", value_parser = ipv4)]
    bind: Option<Ipv4Addr>,
    /// Port for clients (default: 6004)
    #[arg(long, value_parser = clap::value_parser!(u16))]
    port: Option<u16>,
    /// Number of shards (default: 0, one per processor)
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Number of shards that accept connections (default: all)
    #[arg(long, value_name = "N")]
    accept_shards: Option<usize>,
    /// Directory for snapshot and AOF (default: .)
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
    /// Keep nothing on disk but snapshots
    #[arg(long)]
    no_aof: bool,
    /// Memory for hot data: "auto", "70%", or a size such as "4gb"
    #[arg(long, value_name = "B", value_parser = budget)]
    tiering_budget: Option<TierBudgetSpec>,
    /// Single-node cluster mode: slots and one more port per shard
    #[arg(long)]
    cluster: bool,
}

impl Serve {
    /// What the flags override.
    pub fn overrides(self) -> CliOverrides {
        let mut flags = CliOverrides::default();
        flags.bind = self.bind.map(|address| address.octets());
        flags.port = self.port;
        flags.threads = self.threads;
        flags.accept_shards = self.accept_shards;
        flags.data_dir = self.dir;
        flags.aof = self.no_aof.then_some(false);
        flags.tiering_budget = self.tiering_budget;
        flags.cluster = self.cluster.then_some(true);
        flags
    }
}

fn ipv4(text: &str) -> Result<Ipv4Addr, &'static str> {
    text.parse().map_err(|_| "use an IPv4 address")
}

fn budget(text: &str) -> Result<TierBudgetSpec, String> {
    TierBudgetSpec::parse(text).map_err(|error| error.to_string())
}

/// What `--help` shows of the file.
const FILE: &str = "\
Flags override the environment (KEVY_BIND, KEVY_PORT, KEVY_THREADS, KEVY_DIR, KEVY_AOF, KEVY_CLUSTER,
KEVY_TIER_BUDGET), which overrides the file.

ELECTION, in the file. The members and ports come from [cluster] node_id, peers and elect_port_base:
    [elect]
    enabled = true                  # default false: a plain kevy
    heartbeat_interval_ms = 100     # how often nodes speak to each other
    election_timeout_ms = 1000      # how long a primary may be silent
    lease_ms = 870                  # how long it may write after a quorum answered; default: the longest safe one
    max_clock_drift_percent = 1     # how much faster or slower than real time a clock may run
    crash_detection = \"refused\"     # a refused connection proves a process dead; \"off\" behind proxies
    auto_elect_on_peer_loss = true  # false: a primary that is seen to be dead is replaced when it was silent for so long, too
    settling_delay_ms = 100         # it is replaced so much later than it was seen to be dead; default: at once
    failback = false                # true: the node with the highest priority gets the office back by itself, once it has caught up
    failback_delay_ms = 30000       # and has been ready for so long; longer each time that it does not keep it
    watchdog = true                 # the kernel ends a primary that is stopped when its lease ends (Linux)
    companion = true                # a small process beside the server says at once when that is dead (Linux)
    realtime = true                 # the election's thread runs before all others (Linux, where the system allows it)
    shard_timeout_ms = 1000         # a shard that does not answer for so long makes its node unfit to be primary
    loss_policy = \"sum\"             # or \"dominate\": never elect a node that is behind on any shard
    cluster_name = \"kevy\"           # nodes of other clusters are refused
    http = \"127.0.0.1:9121\"         # pages for operators, Prometheus and load balancers; default: off
    http_public = false             # true: http may be an address that other machines reach
    rank = \"position\"               # who goes first: more data; \"seniority\" is for services without any, and refused here
    continue_buffer_mb = 64         # received frames that each shard keeps for those who lack some after a failover
    move_between_shards = true      # false: LMOVE, RENAME and their kin are refused between keys of two shards: no crash can halve them
    insecure = false                # true: other machines may reach elections without keys ([cluster] secure = false)
    witnesses = \"n3\"              # vote and hold no data: kevy-witness instead of a server; entries without client port
    observers = \"n4,n5\"           # hold data and do not vote: any number, no cost to an election
    priorities = \"n1=200,n2=0\"    # among nodes with equal data the highest is elected (default 100); 0: never
    http_peers = \"n2@n2:9122\"       # where others have their pages, if not at their host and our port
    sentinel = \"0.0.0.0:26379\"      # clients ask here for the primary, in Redis Sentinel's protocol; default: off
    sentinel_master = \"mymaster\"   # the name by which they ask
    sentinel_password = \"...\"      # what they have to say first; default: nothing
    sentinel_peers = \"n2@n2:26380\" # where others serve it, if not at their host and our port
    sentinel_announce = \"n2@n2:6379\" # where clients reach a node's data, if not as [cluster] peers says
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, String> {
        Cli::try_parse_from(["kevy-server"].into_iter().chain(line.split_whitespace()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_flag_of_kevy_reaches_its_setting() {
        let line = "--config=k.toml --bind 0.0.0.0 --port 6380 --threads 2 --accept-shards 1 --dir /d --no-aof --cluster \
                    --tiering-budget 70%";
        let serve = parsed(line).unwrap().serve;
        assert_eq!(serve.config, Some("k.toml".into()));
        let flags = serve.overrides();
        assert_eq!((flags.bind, flags.port, flags.threads), (Some([0; 4]), Some(6380), Some(2)));
        assert_eq!((flags.accept_shards, flags.data_dir), (Some(1), Some("/d".into())));
        assert_eq!((flags.aof, flags.cluster), (Some(false), Some(true)));
        assert!(flags.tiering_budget.is_some());
        assert_eq!(parsed("").unwrap().serve.overrides(), CliOverrides::default());
    }

    #[test]
    fn a_wrong_flag_is_refused_by_name() {
        for (line, said) in [
            ("--port abc", "'abc' for '--port <PORT>'"),
            ("--port 70000", "70000 is not in 0..=65535"),
            ("--port", "'--port <PORT>'"),
            ("--port 1 --port 2", "'--port <PORT>' cannot be used multiple times"),
            ("--no-aof=yes", "'--no-aof'"),
            ("--prot 60", "a similar argument exists: '--port'"),
            ("--bind localhost", "'localhost' for '--bind <IPv4>': use an IPv4 address"),
            ("keygen", "<FILE>"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(said), "{line}: {error}");
        }
        assert!(
            matches!(parsed("keygen f").unwrap().task, Some(Task::Keygen { file }) if file.ends_with("f"))
        );
    }

    #[test]
    fn help_wins_over_wrong_flags_that_follow_it() {
        let help = parsed("--help --port abc").unwrap_err();
        for key in kevy_elect_ops::config::KEYS {
            assert!(help.contains(&format!("    {key} = ")), "--help must mention {key}");
        }
        assert!(parsed("-V").unwrap_err().contains("(kevy 7.0.0)"));
    }
}
