//! What the person asked for.

use kevy_elect_harness::fault::{Fault, Restart};
use kevy_elect_harness::server::Server;
use std::ffi::OsString;
use std::path::PathBuf;

/// More shards than this per node, and the replication ports of a node would run into the ephemeral range.
const THREADS_MAX: usize = 64;
/// Histories are kept in memory for the final audit; this many rounds fit comfortably.
const ROUNDS_MAX: u32 = 10_000;

/// What `--help` says.
pub(crate) const HELP: &str = "\
Starts three kevy-server processes on free loopback ports in a temporary directory, writes to all of
them without pause, breaks the primary, and shows what happened when.

USAGE
    cargo demo [OPTIONS]

OPTIONS
    --rounds N           how often the primary is broken (default 1)
    --fault kill|stop|term
                         kill   kill -9                                   (default)
                         stop   SIGSTOP, and SIGCONT once another node has taken over
                         term   SIGTERM: the primary hands over and must exit with 0
    --restart now|later  when a killed primary is started again: at once, or once another
                         node has taken over (default later)
    --threads N          kevy shards per node, 1 to 64 (default 1)
    --keep               leave the cluster running afterwards, to play with, until Ctrl-C
    --json               one JSON object per round on standard output, nothing else
    --server PATH        the kevy-server to run (default: the one beside this program)
    --stock PATH         measure an unmodified kevy 7 and its built-in elector instead
    -h, --help           this text

EXAMPLES
    cargo demo                                    one kill -9, as a timeline
    cargo demo --rounds 10                        a table and the median
    cargo demo --rounds 20 --fault stop           does the old primary stay quiet when it wakes up?
    cargo demo --rounds 50 --restart now          the killed primary is back within milliseconds
    cargo demo --rounds 0 --keep                  just three nodes to play with
    cargo demo --rounds 5 --json | jq .failover_ms
    cargo demo --stock ~/.cargo/bin/kevy          the same measurement without the plugin

WHAT IS MEASURED
    Per node, one connection writes and asks WAIT 1 after every write, a second one only writes. A
    node counts as taking over when it acknowledges a write; failover_ms runs from the instant before
    the signal is sent to the arrival of that acknowledgement. detect_ms, elect_ms and promote_ms are
    the phases before it, each from the end of the one before, as the servers logged them.
    lost_waited   writes acknowledged with +OK, confirmed by WAIT, and gone or changed afterwards
    dual_ack_ms   how long a node went on acknowledging writes that were sent to it after another
                  node had already acknowledged one; after SIGCONT: any acknowledgement at all

EXIT CODE
    0    nothing lost, never two nodes at once
    1    a waited write was lost, or two nodes acknowledged at once
    2    the demonstration could not be carried out (the message says why)
    130  Ctrl-C
";

/// The command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) rounds: u32,
    pub(crate) fault: Fault,
    pub(crate) restart: Restart,
    pub(crate) threads: usize,
    pub(crate) keep: bool,
    pub(crate) json: bool,
    pub(crate) server: Server,
}

/// What the command line amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// Print [`HELP`].
    Help,
    /// Run.
    Run(Options),
}

/// Reads the arguments (without the program's name).
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Request, String> {
    use lexopt::prelude::{Long, Short};

    let mut options = Options {
        rounds: 1,
        fault: Fault::Kill,
        restart: Restart::Later,
        threads: 1,
        keep: false,
        json: false,
        server: Server::Beside,
    };
    let mut restart = None;
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        match arg {
            Short('h') | Long("help") => return Ok(Request::Help),
            Long("rounds") => {
                options.rounds = number(&mut parser, "--rounds", 0, u64::from(ROUNDS_MAX))? as u32
            }
            Long("threads") => {
                options.threads = number(&mut parser, "--threads", 1, THREADS_MAX as u64)? as usize
            }
            Long("fault") => {
                options.fault = match value(&mut parser, "--fault")?.as_str() {
                    "kill" => Fault::Kill,
                    "stop" => Fault::Stop,
                    "term" => Fault::Term,
                    other => return Err(format!("--fault takes kill, stop or term, not '{other}'")),
                }
            }
            Long("restart") => {
                restart = Some(match value(&mut parser, "--restart")?.as_str() {
                    "now" => Restart::Now,
                    "later" => Restart::Later,
                    other => return Err(format!("--restart takes now or later, not '{other}'")),
                })
            }
            Long("keep") => options.keep = true,
            Long("json") => options.json = true,
            Long("server") => options.server = Server::At(path(&mut parser, "--server")?),
            Long("stock") => options.server = Server::Stock(path(&mut parser, "--stock")?),
            other => return Err(other.unexpected().to_string()),
        }
    }
    if restart.is_some() && options.fault == Fault::Stop {
        return Err(
            "--restart does not go with --fault stop: a stopped process is resumed, not restarted".into()
        );
    }
    if options.rounds == 0 && !options.keep {
        return Err("--rounds 0 shows nothing; add --keep to get a cluster to play with".into());
    }
    options.restart = restart.unwrap_or(options.restart);
    Ok(Request::Run(options))
}

fn value(parser: &mut lexopt::Parser, flag: &str) -> Result<String, String> {
    let value = parser.value().map_err(|_| format!("{flag} needs a value"))?;
    value.into_string().map_err(|v| format!("{flag}: '{}' is not text", v.to_string_lossy()))
}

fn path(parser: &mut lexopt::Parser, flag: &str) -> Result<PathBuf, String> {
    parser.value().map(PathBuf::from).map_err(|_| format!("{flag} needs a path"))
}

fn number(parser: &mut lexopt::Parser, flag: &str, min: u64, max: u64) -> Result<u64, String> {
    let text = value(parser, flag)?;
    match text.parse() {
        Ok(n) if (min..=max).contains(&n) => Ok(n),
        _ => Err(format!("{flag} takes a number from {min} to {max}, not '{text}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Request, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn run(line: &str) -> Options {
        match parsed(line) {
            Ok(Request::Run(options)) => options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_example_of_the_help_text_is_understood() {
        let mut examples = 0;
        for line in HELP.lines().filter_map(|l| l.trim().strip_prefix("cargo demo")) {
            let line = line.split("  ").next().unwrap().split('|').next().unwrap();
            if !line.contains("[OPTIONS]") {
                run(line);
                examples += 1;
            }
        }
        assert!(examples >= 7, "{examples}");
    }

    #[test]
    fn without_arguments_it_is_one_kill() {
        let options = run("");
        assert_eq!((options.rounds, options.fault, options.restart), (1, Fault::Kill, Restart::Later));
        assert_eq!((options.threads, options.keep, options.json), (1, false, false));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (line, message) in [
            ("--rounds x", "--rounds takes a number from 0 to 10000, not 'x'"),
            ("--threads 0", "--threads takes a number from 1 to 64, not '0'"),
            ("--fault cut", "--fault takes kill, stop or term, not 'cut'"),
            ("--restart soon", "--restart takes now or later, not 'soon'"),
            ("--fault", "--fault needs a value"),
            ("--rounds 0", "--rounds 0 shows nothing; add --keep to get a cluster to play with"),
            ("--loud", "invalid option '--loud'"),
        ] {
            assert_eq!(parsed(line), Err(message.to_owned()), "{line}");
        }
        assert!(parsed("--fault stop --restart now").unwrap_err().contains("resumed, not restarted"));
    }
}
