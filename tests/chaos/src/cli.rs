//! What the person asked for.

use crate::fault::Fault;
use crate::way::Way;
use kevy_elect_harness::server::Server;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// What `--help` says, before the list of faults.
pub(crate) const HELP: &str = "\
Starts kevy-servers, each in a network namespace of its own, writes to all of them without pause, and
breaks processes, links and disks in every way. Needs root: namespaces, mounts and firewall rules cannot be
made without. Everything happens in namespaces of its own, which the kernel removes with the last process.

USAGE
    cargo chaos [OPTIONS]

OPTIONS
    --nodes N,...     3, 5 or 3,5 (default 3)
    --shards N,...    kevy shards per node, 1 to 64 (default 1); with several numbers every combination has its turn
    --fault NAME      only this fault (may be given several times; default: each one)
    --ways NAME,...   in which ways clients write beside the plain load: all, none, or some of the names below
                      (default all)
    --rounds N        rounds of each fault (default 1)
    --seconds N       afterwards, random faults for so long, all clusters together (default 60)
    --seed N          what the random faults and times are drawn from (default: another one every time)
    --svg FILE        draw who was writable when
    --markdown FILE   write the report there too; brought up to date all the time, so that a long run can be watched
    --without-wait    take what is acknowledged for confirmed in the linearizability check: must end with 1 under
                      the faults isolate, mute and deaf, and so shows that the check can fail
    --timelines       show the timeline of every round, not only of those that failed
    --server PATH     the kevy-server to run (default: the one beside this program)
    -h, --help        this text

EXIT CODE
    0    no confirmed write lost, never two nodes at once, every register linearizable, no needless failover, and
         after every round all nodes hold the same keys, types, values and expiries
    1    one of these did not hold, a server crashed, or the cluster did not become whole again
    2    it could not be carried out (the message says why)
    130  Ctrl-C

FAULTS
";

/// In which ways clients write if nobody says so.
const WAYS_DEFAULT: &[Way] = &Way::ALL;
/// More shards than this per node, and the replication ports of a node would run into the next one's.
const SHARDS_MAX: u64 = 64;
const ROUNDS_MAX: u64 = 1000;
/// Histories of a day still fit into memory; nobody means more.
const SECONDS_MAX: u64 = 86_400;

/// The command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) nodes: Vec<usize>,
    pub(crate) shards: Vec<usize>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) ways: Vec<Way>,
    pub(crate) rounds: usize,
    pub(crate) random: Duration,
    pub(crate) seed: u64,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) markdown: Option<PathBuf>,
    pub(crate) timelines: bool,
    pub(crate) without_wait: bool,
    pub(crate) server: Server,
    /// Whether this process lives in its own namespaces already.
    pub(crate) inside: bool,
}

/// What the command line amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// Print [`HELP`].
    Help,
    /// Run.
    Run(Box<Options>),
}

/// Reads the arguments (without the program's name).
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Request, String> {
    use lexopt::prelude::{Long, Short};

    let mut options = Options {
        nodes: vec![3],
        shards: vec![1],
        faults: Vec::new(),
        ways: WAYS_DEFAULT.to_vec(),
        rounds: 1,
        random: Duration::from_secs(60),
        seed: fastrand::u64(..1_000_000),
        svg: None,
        markdown: None,
        timelines: false,
        without_wait: false,
        server: Server::Beside,
        inside: false,
    };
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        match arg {
            Short('h') | Long("help") => return Ok(Request::Help),
            Long("nodes") => {
                options.nodes = numbers(&mut parser, "--nodes", 3, 5)?;
                if options.nodes.contains(&4) {
                    return Err("--nodes takes 3 or 5: a fourth node would add no safety".into());
                }
            }
            Long("shards") => options.shards = numbers(&mut parser, "--shards", 1, SHARDS_MAX)?,
            Long("rounds") => options.rounds = number(&mut parser, "--rounds", 0, ROUNDS_MAX)? as usize,
            Long("seconds") => {
                options.random = Duration::from_secs(number(&mut parser, "--seconds", 0, SECONDS_MAX)?)
            }
            Long("seed") => options.seed = number(&mut parser, "--seed", 0, u64::MAX)?,
            Long("fault") => {
                let name = text(&mut parser)?;
                let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
                options.faults.push(fault.ok_or_else(|| format!("there is no fault '{name}'"))?);
            }
            Long("ways") => options.ways = ways(&text(&mut parser)?)?,
            Long("svg") => options.svg = Some(path(&mut parser)?),
            Long("markdown") => options.markdown = Some(path(&mut parser)?),
            Long("timelines") => options.timelines = true,
            Long("without-wait") => options.without_wait = true,
            Long("server") => options.server = Server::At(path(&mut parser)?),
            Long("inside") => options.inside = true,
            other => return Err(other.unexpected().to_string()),
        }
    }
    if options.faults.is_empty() {
        options.faults = Fault::ALL.to_vec();
    }
    Ok(Request::Run(Box::new(options)))
}

fn ways(names: &str) -> Result<Vec<Way>, String> {
    match names {
        "all" => return Ok(Way::ALL.to_vec()),
        "none" => return Ok(Vec::new()),
        _ => {}
    }
    let way = |name: &str| {
        let way = Way::ALL.into_iter().find(|way| way.name() == name);
        way.ok_or_else(|| format!("there is no way '{name}'"))
    };
    names.split(',').map(way).collect()
}

fn path(parser: &mut lexopt::Parser) -> Result<PathBuf, String> {
    parser.value().map(PathBuf::from).map_err(|e| e.to_string())
}

fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    let value = parser.value().map_err(|e| e.to_string())?;
    value.into_string().map_err(|value| format!("{} is not text", value.to_string_lossy()))
}

/// Separated by commas.
fn numbers(parser: &mut lexopt::Parser, option: &str, min: u64, max: u64) -> Result<Vec<usize>, String> {
    text(parser)?.split(',').map(|text| Ok(in_range(text, option, min, max)? as usize)).collect()
}

fn number(parser: &mut lexopt::Parser, option: &str, min: u64, max: u64) -> Result<u64, String> {
    in_range(&text(parser)?, option, min, max)
}

fn in_range(text: &str, option: &str, min: u64, max: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("{option} takes a number from {min} to {max}, not '{text}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Result<Options, String> {
        match parse(args.iter().map(OsString::from))? {
            Request::Run(options) => Ok(*options),
            Request::Help => Err("help".into()),
        }
    }

    #[test]
    fn without_arguments_every_fault_has_its_turn() {
        let options = options(&[]).unwrap();
        assert_eq!(
            (options.nodes, options.shards, options.faults.len()),
            (vec![3], vec![1], Fault::ALL.len())
        );
        assert!(!options.inside);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        assert!(options(&["--nodes", "4"]).unwrap_err().contains("3 or 5"));
        assert!(options(&["--nodes", "3,4"]).unwrap_err().contains("3 or 5"));
        assert!(options(&["--nodes", "3,"]).unwrap_err().contains("''"));
        assert!(options(&["--shards", "65"]).unwrap_err().contains("from 1 to 64"));
        assert!(options(&["--fault", "rain"]).unwrap_err().contains("'rain'"));
        assert!(options(&["--ways", "plain,shout"]).unwrap_err().contains("'shout'"));
        assert!(options(&["--what"]).is_err());
    }

    #[test]
    fn several_clusters_are_separated_by_commas() {
        let options = options(&["--nodes", "3,5", "--shards", "1,4"]).unwrap();
        assert_eq!((options.nodes, options.shards), (vec![3, 5], vec![1, 4]));
    }

    #[test]
    fn ways_are_taken_by_name_or_all_at_once() {
        assert_eq!(options(&["--ways", "all"]).unwrap().ways, Way::ALL);
        assert_eq!(options(&["--ways", "none"]).unwrap().ways, []);
        assert_eq!(options(&["--ways", "mset,eval"]).unwrap().ways, [Way::Mset, Way::Eval]);
    }

    #[test]
    fn a_seed_and_faults_are_taken_as_given() {
        let options =
            options(&["--seed", "7", "--fault", "deaf", "--fault", "mute", "--seconds", "0"]).unwrap();
        assert_eq!(
            (options.seed, options.faults, options.random),
            (7, vec![Fault::Deaf, Fault::Mute], Duration::ZERO)
        );
    }
}
