//! kevy's command line.

use kevy_config::{CliOverrides, TierBudgetSpec};
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub enum Cli {
    /// Serve.
    Serve {
        /// The file named by `--config`.
        config: Option<PathBuf>,
        /// What the flags override.
        flags: CliOverrides,
    },
    /// Show the help.
    Help,
    /// Show the version.
    Version,
    /// Write a private key to this file.
    Keygen(PathBuf),
}

/// What `--help` shows.
pub const HELP: &str = "\
kevy-server: kevy 7 with an election built in.

USAGE:
    kevy-server [OPTIONS]
    kevy-server keygen <FILE>  Write a private key for encrypted links; prints its public key

OPTIONS:
    --config <PATH>        TOML file (else: $KEVY_DIR/kevy.toml, ./kevy.toml, /etc/kevy/kevy.toml)
    --bind <IPv4>          Address to listen on (default: 127.0.0.1)
    --port <PORT>          Port for clients (default: 6004)
    --threads <N>          Number of shards (default: 0, one per processor)
    --accept-shards <N>    Number of shards that accept connections (default: all)
    --dir <PATH>           Directory for snapshot and AOF (default: .)
    --no-aof               Keep nothing on disk but snapshots
    --tiering-budget <B>   Memory for hot data: \"auto\", \"70%\", or a size such as \"4gb\"
    --cluster              Single-node cluster mode: slots and one more port per shard
    -h, --help             Show this help and exit
    -V, --version          Show the version and exit

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
    watchdog = true                 # the kernel ends a primary that is stopped when its lease ends (Linux)
    shard_timeout_ms = 1000         # a shard that does not answer for so long makes its node unfit to be primary
    loss_policy = \"sum\"             # or \"dominate\": never elect a node that is behind on any shard
    cluster_name = \"kevy\"           # nodes of other clusters are refused
    http = \"127.0.0.1:9121\"         # pages for operators, Prometheus and load balancers; default: off
    http_public = false             # true: http may be an address that other machines reach
    http_peers = \"n2@n2:9122\"       # where others have their pages, if not at their host and our port
    sentinel = \"0.0.0.0:26379\"      # clients ask here for the primary, in Redis Sentinel's protocol; default: off
    sentinel_master = \"mymaster\"   # the name by which they ask
    sentinel_password = \"...\"      # what they have to say first; default: nothing
    sentinel_peers = \"n2@n2:26380\" # where others serve it, if not at their host and our port
    sentinel_announce = \"n2@n2:6379\" # where clients reach a node's data, if not as [cluster] peers says
";

/// Reads the arguments after the program's name.
pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Cli, String> {
    let mut args = args.into_iter().peekable();
    if args.peek().is_some_and(|first| first == "keygen") {
        args.next();
        return args.next().map(|file| Cli::Keygen(file.into())).ok_or("keygen needs a file".to_owned());
    }
    let mut config = None;
    let mut flags = CliOverrides::default();
    let mut seen: Vec<String> = Vec::new();
    while let Some(arg) = args.next() {
        let (flag, inline) = match arg.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag.to_owned(), Some(value.to_owned())),
            _ => (arg, None),
        };
        match flag.as_str() {
            "--help" | "-h" => return Ok(Cli::Help),
            "--version" | "-V" => return Ok(Cli::Version),
            _ if seen.contains(&flag) => return Err(format!("{flag} stands twice")),
            "--no-aof" | "--cluster" if inline.is_some() => return Err(format!("{flag} takes no value")),
            "--no-aof" => flags.aof = Some(false),
            "--cluster" => flags.cluster = Some(true),
            "--config" | "--dir" | "--bind" | "--port" | "--threads" | "--accept-shards"
            | "--tiering-budget" => {
                let value = inline.or_else(|| args.next()).ok_or_else(|| format!("{flag} needs a value"))?;
                set(&flag, &value, &mut config, &mut flags)?;
            }
            _ => return Err(format!("there is no flag {flag}")),
        }
        seen.push(flag);
    }
    Ok(Cli::Serve { config, flags })
}

fn set(
    flag: &str,
    value: &str,
    config: &mut Option<PathBuf>,
    flags: &mut CliOverrides,
) -> Result<(), String> {
    let wrong = |use_: &str| format!("{flag} {value}: use {use_}");
    match flag {
        "--config" => *config = Some(value.into()),
        "--dir" => flags.data_dir = Some(value.into()),
        "--bind" => {
            let address: Ipv4Addr = value.parse().map_err(|_| wrong("an IPv4 address"))?;
            flags.bind = Some(address.octets());
        }
        "--port" => flags.port = Some(value.parse().map_err(|_| wrong("a port from 0 to 65535"))?),
        "--threads" => flags.threads = Some(value.parse().map_err(|_| wrong("a number of shards"))?),
        "--accept-shards" => {
            flags.accept_shards = Some(value.parse().map_err(|_| wrong("a number of shards"))?)
        }
        _ => {
            let budget = TierBudgetSpec::parse(value).map_err(|error| wrong(&error.to_string()))?;
            flags.tiering_budget = Some(budget);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn every_flag_of_kevy_reaches_its_setting() {
        let line = "--config=k.toml --bind 0.0.0.0 --port 6380 --threads 2 --accept-shards 1 --dir /d --no-aof --cluster \
                    --tiering-budget 70%";
        let Cli::Serve { config, flags } = parsed(line).unwrap() else { panic!("must serve") };
        assert_eq!(config, Some("k.toml".into()));
        assert_eq!((flags.bind, flags.port, flags.threads), (Some([0; 4]), Some(6380), Some(2)));
        assert_eq!((flags.accept_shards, flags.data_dir), (Some(1), Some("/d".into())));
        assert_eq!((flags.aof, flags.cluster), (Some(false), Some(true)));
        assert!(flags.tiering_budget.is_some());
    }

    #[test]
    fn a_wrong_flag_is_refused_by_name() {
        for (line, said) in [
            ("--port abc", "--port abc: use a port from 0 to 65535"),
            ("--port", "--port needs a value"),
            ("--port 1 --port 2", "--port stands twice"),
            ("--no-aof=yes", "--no-aof takes no value"),
            ("--save 60", "there is no flag --save"),
            ("--bind localhost", "--bind localhost: use an IPv4 address"),
            ("keygen", "keygen needs a file"),
        ] {
            assert_eq!(parsed(line).unwrap_err(), said, "{line}");
        }
    }

    #[test]
    fn help_wins_over_wrong_flags_that_follow_it() {
        assert_eq!(parsed("--help --port abc"), Ok(Cli::Help));
        assert_eq!(parsed("-V"), Ok(Cli::Version));
        for key in crate::config::KEYS {
            assert!(HELP.contains(&format!("    {key} = ")), "--help must mention {key}");
        }
    }
}
