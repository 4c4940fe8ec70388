//! What the person asked for.

use crate::fault::Fault;
use crate::way::Way;
use clap::Parser;
use clap::builder::{PossibleValue, PossibleValuesParser};
use kevy_elect_harness::cli::{count, named, seconds};
use kevy_elect_harness::server::Server;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const EXIT_CODES: &str = "\
Exit codes:
  0    no confirmed write lost, never two nodes at once, every register linearizable, no needless failover, and
       after every round all nodes hold the same keys, types, values and expiries
  1    one of these did not hold, a server crashed, or the cluster did not become whole again
  2    it could not be carried out (the message says why)
  130  Ctrl-C";

/// More shards than this per node, and the replication ports of a node would run into the next one's.
const SHARDS_MAX: u64 = 64;
const ROUNDS_MAX: u64 = 1000;
/// Histories of a day still fit into memory; nobody means more.
const SECONDS_MAX: u64 = 86_400;
/// Besides the ways' own names.
const ALL: &str = "all";
const NONE: &str = "none";

/// Starts kevy-servers, each in a network namespace of its own, writes to all of them without pause, and
/// breaks processes, links and disks in every way. Needs root: namespaces, mounts and firewall rules cannot be
/// made without. Everything happens in namespaces of its own, which the kernel removes with the last process.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "chaos", args_override_self = true, bin_name = "cargo chaos", verbatim_doc_comment, after_help = EXIT_CODES)]
pub(crate) struct Options {
    /// 3, 5 or 3,5
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "3", value_parser = three_or_five)]
    pub(crate) nodes: Vec<usize>,
    /// kevy shards per node; with several numbers every combination has its turn
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1", value_parser = count(1, SHARDS_MAX))]
    pub(crate) shards: Vec<usize>,
    /// Only this fault (may be given several times; default: each one)
    #[arg(long = "fault", value_name = "NAME", value_parser = named(Fault::ALL, Fault::name, Fault::spelled))]
    pub(crate) faults: Vec<Fault>,
    /// In which ways clients write beside the plain load: all, none, or some
    #[arg(long = "ways", value_name = "NAME,...", value_delimiter = ',', default_value = ALL, value_parser = ways())]
    names: Vec<String>,
    #[arg(skip)]
    pub(crate) ways: Vec<Way>,
    /// Rounds of each fault
    #[arg(long, value_name = "N", default_value = "1", value_parser = count(0, ROUNDS_MAX))]
    pub(crate) rounds: usize,
    /// Afterwards, random faults for so many seconds, all clusters together
    #[arg(long = "seconds", value_name = "N", default_value = "60", value_parser = seconds(0, SECONDS_MAX))]
    pub(crate) random: Duration,
    /// What the random faults and times are drawn from (default: another one every time)
    #[arg(long, value_name = "N", default_value_t = fastrand::u64(..1_000_000), hide_default_value = true)]
    pub(crate) seed: u64,
    /// Draw who was writable when
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Write the report there too; brought up to date all the time, so that a long run can be watched
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Links and streams prove who speaks, by keys that are made for the run
    #[arg(long)]
    pub(crate) secure: bool,
    /// Take what is acknowledged for confirmed in the linearizability check: must end with 1 under the faults
    /// isolate, mute and deaf, and so shows that the check can fail
    #[arg(long)]
    pub(crate) without_wait: bool,
    /// Show the timeline of every round, not only of those that failed
    #[arg(long)]
    pub(crate) timelines: bool,
    /// The kevy-server to run (default: the one beside this program)
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// Whether this process lives in its own namespaces already.
    #[arg(long, hide = true)]
    pub(crate) inside: bool,
}

impl Options {
    /// Reads the arguments, which begin with the program's name.
    pub(crate) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut options = Self::try_parse_from(args)?;
        if options.faults.is_empty() {
            options.faults = Fault::ALL.to_vec();
        }
        for name in &options.names {
            options.ways.extend(Way::ALL.iter().filter(|way| name == ALL || name == way.name()));
        }
        Ok(options)
    }

    /// Which server is run.
    pub(crate) fn server(&self) -> Server {
        self.server.clone().map_or(Server::Beside, Server::At)
    }
}

fn three_or_five(text: &str) -> Result<usize, &'static str> {
    let count = text.parse().ok().filter(|count| matches!(count, 3 | 5));
    count.ok_or("takes 3 or 5: a fourth node would add no safety")
}

fn ways() -> PossibleValuesParser {
    let own = [(ALL, "each one"), (NONE, "only the plain load")];
    let all = own.into_iter().chain(Way::ALL.iter().map(|way| (way.name(), way.spelled())));
    PossibleValuesParser::new(all.map(|(name, means)| PossibleValue::new(name).help(means)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Result<Options, String> {
        let args = ["chaos"].iter().chain(args).map(OsString::from);
        Options::read(args).map_err(|error| error.to_string())
    }

    #[test]
    fn without_arguments_every_fault_has_its_turn() {
        let options = options(&[]).unwrap();
        assert_eq!(
            (options.nodes, options.shards, options.faults.len(), options.ways),
            (vec![3], vec![1], Fault::ALL.len(), Way::ALL.to_vec())
        );
        assert!(!options.inside);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        assert!(options(&["--nodes", "4"]).unwrap_err().contains("3 or 5"));
        assert!(options(&["--nodes", "3,4"]).unwrap_err().contains("3 or 5"));
        assert!(options(&["--nodes", "3,"]).unwrap_err().contains("''"));
        assert!(options(&["--shards", "65"]).unwrap_err().contains("1..=64"));
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
