//! What the person asked for.

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use kevy_elect_peers::System;
use std::ffi::OsString;
use std::ops::Range;
use std::path::PathBuf;

const MORE: &str = "\
Counted are runs in which
  two in an epoch    two nodes were primary in one epoch, at one instant or one after the other
  both see a quorum  two nodes were primary at one instant, and each would have let a write pass: for the plugin, its
                     gate was open; for kevy-elect, it could see a quorum, which is what kevy asks
  none after         no node could write a minute after everything had healed
  several after      more than one node was primary then

Examples:
  cargo peers --seeds 0..500                         a minute's worth
  cargo peers --nodes 3 --only kevy --trace 3        see for yourself

Exit codes:
  0    the plugin shows none of it
  1    it does (the table says where), or its nodes talked without end
  2    it could not be carried out (the message says why)";

/// What 16 000 runs are with two numbers of nodes.
const SEEDS: &str = "0..8000";
const JOBS_MAX: u64 = 256;

/// Puts this project's elector and the real kevy-elect 7.0.0 into the same simulated cluster, one after the other,
/// under the same faults: links cut in one direction or both, partitions, crashes with restart, storms in which
/// messages are lost, late and out of order. Then everything is healed, and a minute later it is looked whether
/// there is a primary. One seed draws all faults of a run; the same seed gives the same run on every machine.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "peers", bin_name = "cargo peers", verbatim_doc_comment, after_help = MORE)]
pub(crate) struct Options {
    /// Seeds to run, with each number of nodes
    #[arg(long, value_name = "A..B", default_value = SEEDS, value_parser = seeds)]
    pub(crate) seeds: Range<u64>,
    /// Numbers of nodes
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "3,5", value_parser = count(2, 9))]
    pub(crate) nodes: Vec<usize>,
    /// Only this one: kevy as kevy 7 sets kevy-elect up, kevy-forgets without its vote file, as the crate does it by
    /// default (may be given several times)
    #[arg(long = "only", value_name = "NAME", value_parser = system())]
    pub(crate) systems: Vec<System>,
    /// Threads (default: one per processor)
    #[arg(long, value_name = "N", default_value_t = jobs(), hide_default_value = true, value_parser = count(1, JOBS_MAX))]
    pub(crate) jobs: usize,
    /// The counts as one JSON document instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write the table into FILE, between `<!-- peers:begin -->` and `<!-- peers:end -->`
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Instead: what happened in this run, line by line, for each system
    #[arg(long, value_name = "SEED")]
    pub(crate) trace: Option<u64>,
    /// With --trace: leave nothing out
    #[arg(long)]
    pub(crate) full: bool,
}

impl Options {
    /// Reads the arguments, which begin with the program's name.
    pub(crate) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut options = Self::try_parse_from(args)?;
        if options.systems.is_empty() {
            options.systems = System::ALL.to_vec();
        }
        Ok(options)
    }
}

fn seeds(text: &str) -> Result<Range<u64>, &'static str> {
    let range = text.split_once("..").and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
    range.filter(|range| !range.is_empty()).ok_or("takes a range such as 0..8000")
}

fn count(min: u64, max: u64) -> impl TypedValueParser<Value = usize> {
    clap::value_parser!(u64).range(min..=max).map(|count| count as usize)
}

fn system() -> impl TypedValueParser<Value = System> {
    let find =
        |name: String| System::ALL.iter().copied().find(|one| one.name() == name).ok_or("there is none");
    PossibleValuesParser::new(System::ALL.iter().map(|one| one.name())).try_map(find)
}

fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Result<Options, String> {
        let args = ["peers"].iter().chain(args).map(OsString::from);
        Options::read(args).map_err(|error| error.to_string())
    }

    #[test]
    fn sixteen_thousand_runs_of_every_system_unless_told_otherwise() {
        let all = options(&[]).unwrap();
        assert_eq!((all.seeds.end - all.seeds.start) * all.nodes.len() as u64, 16_000);
        assert_eq!(all.systems, System::ALL);
        let some = options(&["--only", "kevy", "--seeds", "5..7", "--nodes", "3"]).unwrap();
        assert_eq!((some.seeds, some.nodes, some.systems), (5..7, vec![3], vec![System::Kevy]));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        assert!(options(&["--seeds", "7..7"]).unwrap_err().contains("'7..7'"));
        assert!(options(&["--nodes", "3,1"]).unwrap_err().contains("2..=9"));
        assert!(options(&["--only", "etcd"]).unwrap_err().contains("'etcd'"));
        assert!(options(&["--jobs", "0"]).unwrap_err().contains("1..=256"));
        assert!(options(&["--trace", "x"]).unwrap_err().contains("'x'"));
    }
}
