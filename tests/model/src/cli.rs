//! What the person asked for.

use kevy_elect_model::{Beats, Cluster, Start};
use kevy_elect_plugin::elector::Mutation;
use std::ffi::OsString;

/// What `--help` says.
pub(crate) const HELP: &str = "\
Tries every interleaving of deliveries, losses, timeouts, saves, crashes and restarts of three real electors, to a
depth, and checks election and lease safety in every state.

USAGE
    cargo model [OPTIONS]

OPTIONS
    --depth N          how many actions deep (default 12)
    --start NAME       settled: from a primary that writes; crashed: the same, just killed; cold: from three started
                       members (default: each)
    --crashes N        how many processes may die (default 1)
    --in-flight N      messages under way in each direction, at most (default 2)
    --beats NAME       all, or primaries: then the network loses the heartbeats of all others (default all)
    --threads N        (default 1) with more, a state may first be met on a detour, and what lies behind it near the
                       depth's end be left out
    --mutation NAME    makes the electors wrong in one way, as in `cargo sim`
    -h, --help         this text

EXIT CODE
    0    all sentences hold in all states, and a primary was elected in some
    1    one does not (the path is printed), or nobody was elected
    2    it could not be carried out (the message says why)
";

const DEPTH_MAX: u64 = 64;
const CRASHES_MAX: u64 = 8;
const IN_FLIGHT_MAX: u64 = 16;
const THREADS_MAX: u64 = 256;

/// The command line.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) threads: usize,
}

/// Reads the arguments (without the program's name); `None`: print [`HELP`].
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, String> {
    use lexopt::prelude::{Long, Short};

    let mut cluster = Cluster::new(Start::Settled, 12);
    let (mut starts, mut threads) = (Start::ALL.to_vec(), 1);
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Long("depth") => cluster.depth = number(&mut parser, "--depth", 1, DEPTH_MAX)? as u32,
            Long("crashes") => cluster.crashes = number(&mut parser, "--crashes", 0, CRASHES_MAX)? as u8,
            Long("in-flight") => {
                cluster.in_flight_max = number(&mut parser, "--in-flight", 1, IN_FLIGHT_MAX)? as usize;
            }
            Long("threads") => threads = number(&mut parser, "--threads", 1, THREADS_MAX)? as usize,
            Long("start") => {
                let name = text(&mut parser)?;
                let start = Start::ALL.into_iter().find(|start| start.name() == name);
                starts = vec![
                    start.ok_or_else(|| format!("--start takes settled, crashed or cold, not '{name}'"))?,
                ];
            }
            Long("beats") => {
                cluster.beats = match text(&mut parser)?.as_str() {
                    "all" => Beats::All,
                    "primaries" => Beats::Primaries,
                    other => return Err(format!("--beats takes all or primaries, not '{other}'")),
                };
            }
            Long("mutation") => {
                let name = text(&mut parser)?;
                let known = || format!("--mutation takes one of {:?}, not '{name}'", Mutation::ALL);
                cluster.mutation = Some(Mutation::named(&name).ok_or_else(known)?);
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    let clusters = starts.into_iter().map(|start| Cluster { start, ..cluster }).collect();
    Ok(Some(Options { clusters, threads }))
}

fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    let value = parser.value().map_err(|e| e.to_string())?;
    value.into_string().map_err(|value| format!("{} is not text", value.to_string_lossy()))
}

fn number(parser: &mut lexopt::Parser, option: &str, min: u64, max: u64) -> Result<u64, String> {
    let text = text(parser)?;
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("{option} takes a number from {min} to {max}, not '{text}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Result<Options, String> {
        parse(args.iter().map(OsString::from))?.ok_or_else(|| "help".to_owned())
    }

    #[test]
    fn each_start_is_explored_unless_one_is_named() {
        assert_eq!(options(&["--depth", "9"]).unwrap().clusters.len(), 3);
        let one = options(&["--start", "cold", "--depth", "9"]).unwrap().clusters;
        assert_eq!((one.len(), one[0].start, one[0].depth), (1, Start::Cold, 9));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        assert!(options(&["--start", "warm"]).unwrap_err().contains("'warm'"));
        assert!(options(&["--depth", "0"]).unwrap_err().contains("from 1"));
        assert!(options(&["--mutation", "Evil"]).unwrap_err().contains("'Evil'"));
    }
}
