//! What the person asked for.

use kevy_elect_peers::System;
use std::ffi::OsString;
use std::ops::Range;
use std::path::PathBuf;

/// What `--help` says.
pub(crate) const HELP: &str = "\
Puts this project's elector and the real kevy-elect 7.0.0 into the same simulated cluster, one after the other,
under the same faults: links cut in one direction or both, partitions, crashes with restart, storms in which
messages are lost, late and out of order. Then everything is healed, and a minute later it is looked whether
there is a primary. One seed draws all faults of a run; the same seed gives the same run on every machine.

Counted are runs in which
    two in an epoch    two nodes were primary in one epoch, at one instant or one after the other
    both see a quorum  two nodes were primary at one instant, and each would have let a write pass: for the plugin, its
                       gate was open; for kevy-elect, it could see a quorum, which is what kevy asks
    none after         no node could write a minute after everything had healed
    several after      more than one node was primary then

USAGE
    cargo peers [OPTIONS]

OPTIONS
    --seeds A..B       seeds to run, with each number of nodes (default 0..8000: 16 000 runs with two numbers)
    --nodes LIST       numbers of nodes, 2 to 9 (default 3,5)
    --only NAME        only plugin, kevy (as kevy 7 sets kevy-elect up) or kevy-forgets (the same without its vote
                       file, as the crate does it by default); may be given several times
    --jobs N           threads (default: one per processor)
    --json             the counts as one JSON document instead of a table
    --markdown FILE    also write the table into FILE, between `<!-- peers:begin -->` and `<!-- peers:end -->`
    --trace SEED       instead: what happened in this run, line by line, for each system
    --full             with --trace: leave nothing out
    -h, --help         this text

EXAMPLES
    cargo peers --seeds 0..500                         a minute's worth
    cargo peers --nodes 3 --only kevy --trace 3        see for yourself

EXIT CODE
    0    the plugin shows none of it
    1    it does (the table says where), or its nodes talked without end
    2    it could not be carried out (the message says why)
";

/// What 16 000 runs are with two numbers of nodes.
const SEEDS: Range<u64> = 0..8000;
const JOBS_MAX: u64 = 256;

/// The command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) seeds: Range<u64>,
    pub(crate) nodes: Vec<usize>,
    pub(crate) systems: Vec<System>,
    pub(crate) jobs: usize,
    pub(crate) json: bool,
    pub(crate) markdown: Option<PathBuf>,
    pub(crate) trace: Option<u64>,
    pub(crate) full: bool,
}

/// Reads the arguments (without the program's name); `None`: print [`HELP`].
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, String> {
    use lexopt::prelude::{Long, Short};

    let mut options = Options {
        seeds: SEEDS,
        nodes: vec![3, 5],
        systems: Vec::new(),
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        json: false,
        markdown: None,
        trace: None,
        full: false,
    };
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Long("seeds") => options.seeds = seeds(&text(&mut parser)?)?,
            Long("nodes") => options.nodes = nodes(&text(&mut parser)?)?,
            Long("only") => {
                let name = text(&mut parser)?;
                let system = System::ALL.into_iter().find(|system| system.name() == name);
                let wrong = || format!("--only takes plugin, kevy or kevy-forgets, not '{name}'");
                options.systems.push(system.ok_or_else(wrong)?);
            }
            Long("jobs") => {
                let text = text(&mut parser)?;
                let jobs = text.parse().ok().filter(|jobs| (1..=JOBS_MAX).contains(jobs));
                let wrong = || format!("--jobs takes a number from 1 to {JOBS_MAX}, not '{text}'");
                options.jobs = jobs.ok_or_else(wrong)? as usize;
            }
            Long("json") => options.json = true,
            Long("markdown") => {
                options.markdown = Some(parser.value().map_err(|e| e.to_string())?.into());
            }
            Long("trace") => {
                let text = text(&mut parser)?;
                let seed = text.parse().map_err(|_| format!("--trace takes a seed, not '{text}'"))?;
                options.trace = Some(seed);
            }
            Long("full") => options.full = true,
            other => return Err(other.unexpected().to_string()),
        }
    }
    if options.systems.is_empty() {
        options.systems = System::ALL.to_vec();
    }
    Ok(Some(options))
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let range = text.split_once("..").and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
    let range = range.filter(|range| !range.is_empty());
    range.ok_or_else(|| format!("--seeds takes a range such as 0..8000, not '{text}'"))
}

fn nodes(text: &str) -> Result<Vec<usize>, String> {
    let number = |text: &str| text.parse().ok().filter(|number| (2..=9).contains(number));
    let numbers: Option<Vec<_>> = text.split(',').map(number).collect();
    numbers.ok_or_else(|| format!("--nodes takes numbers from 2 to 9 such as 3,5, not '{text}'"))
}

fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    let value = parser.value().map_err(|e| e.to_string())?;
    value.into_string().map_err(|value| format!("{} is not text", value.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Result<Options, String> {
        parse(args.iter().map(OsString::from))?.ok_or_else(|| "help".to_owned())
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
        assert!(options(&["--nodes", "3,1"]).unwrap_err().contains("from 2 to 9"));
        assert!(options(&["--only", "etcd"]).unwrap_err().contains("'etcd'"));
        assert!(options(&["--jobs", "0"]).unwrap_err().contains("from 1"));
        assert!(options(&["--trace", "x"]).unwrap_err().contains("'x'"));
    }
}
