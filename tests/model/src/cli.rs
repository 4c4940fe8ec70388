//! What the person asked for.

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use kevy_elect_model::{Beats, Cluster, Start};
use kevy_elect_plugin::elector::Mutation;
use std::ffi::OsString;
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes:
  0    all sentences hold in all states, and a primary was elected in some
  1    one does not (the path is printed), or nobody was elected
  2    it could not be carried out (the message says why)";

const DEPTH_MAX: i64 = 64;
const CRASHES_MAX: i64 = 8;
const IN_FLIGHT_MAX: u64 = 16;
const THREADS_MAX: u64 = 256;

/// Tries every interleaving of deliveries, losses, timeouts, saves, crashes and restarts of three real electors, to a
/// depth, and checks election and lease safety in every state.
#[derive(Debug, Clone, Parser)]
#[command(name = "model", bin_name = "cargo model", verbatim_doc_comment, after_help = EXIT_CODES)]
pub(crate) struct Options {
    /// How many actions deep
    #[arg(long, value_name = "N", default_value = "12", value_parser = clap::value_parser!(u32).range(1..=DEPTH_MAX))]
    depth: u32,
    /// settled: from a primary that writes; crashed: the same, just killed; cold: from three started members
    /// (default: each)
    #[arg(long, value_name = "NAME", value_parser = start())]
    start: Option<Start>,
    /// How many processes may die
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u8).range(0..=CRASHES_MAX))]
    crashes: u8,
    /// Messages under way in each direction, at most
    #[arg(long, value_name = "N", default_value = "2", value_parser = count(1, IN_FLIGHT_MAX))]
    in_flight: usize,
    /// all, or primaries: then the network loses the heartbeats of all others
    #[arg(long, value_name = "NAME", default_value = "all", value_parser = beats())]
    beats: Beats,
    /// With more, a state may first be met on a detour, and what lies behind it near the depth's end be left out
    #[arg(long, value_name = "N", default_value = "1", value_parser = count(1, THREADS_MAX))]
    pub(crate) threads: usize,
    /// Also writes the table there, between `<!-- model:begin -->` and `<!-- model:end -->`; lines about other starts, depths, crashes and
    /// messages stay as they are
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Makes the electors wrong in one way, as in `cargo sim`
    #[arg(long, value_name = "NAME", value_parser = mutation)]
    mutation: Option<Mutation>,
}

impl Options {
    /// Reads the arguments, which begin with the program's name.
    pub(crate) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(args)
    }

    /// What is explored, one after the other.
    pub(crate) fn clusters(&self) -> Vec<Cluster> {
        let starts = self.start.map_or(Start::ALL.to_vec(), |start| vec![start]);
        let cluster = |start| {
            let mut cluster = Cluster::new(start, self.depth);
            cluster.crashes = self.crashes;
            cluster.in_flight_max = self.in_flight;
            cluster.beats = self.beats;
            cluster.mutation = self.mutation;
            cluster
        };
        starts.into_iter().map(cluster).collect()
    }
}

fn count(min: u64, max: u64) -> impl TypedValueParser<Value = usize> {
    clap::value_parser!(u64).range(min..=max).map(|count| count as usize)
}

fn start() -> impl TypedValueParser<Value = Start> {
    let words = Start::ALL.iter().map(|start| start.as_str());
    PossibleValuesParser::new(words).try_map(|word| Start::from_word(word).ok_or("there is none"))
}

fn beats() -> impl TypedValueParser<Value = Beats> {
    let primaries = |name: String| if name == "all" { Beats::All } else { Beats::Primaries };
    PossibleValuesParser::new(["all", "primaries"]).map(primaries)
}

fn mutation(name: &str) -> Result<Mutation, String> {
    Mutation::named(name).ok_or_else(|| format!("takes one of {:?}", Mutation::ALL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Result<Options, String> {
        let args = ["model"].iter().chain(args).map(OsString::from);
        Options::read(args).map_err(|error| error.to_string())
    }

    #[test]
    fn each_start_is_explored_unless_one_is_named() {
        assert_eq!(options(&["--depth", "9"]).unwrap().clusters().len(), 3);
        let one = options(&["--start", "cold", "--depth", "9"]).unwrap().clusters();
        assert_eq!((one.len(), one[0].start, one[0].depth), (1, Start::Cold, 9));
        assert_eq!((one[0].crashes, one[0].in_flight_max, one[0].beats), (1, 2, Beats::All));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        assert!(options(&["--start", "warm"]).unwrap_err().contains("'warm'"));
        assert!(options(&["--depth", "0"]).unwrap_err().contains("1..=64"));
        assert!(options(&["--mutation", "Evil"]).unwrap_err().contains("'Evil'"));
    }
}
