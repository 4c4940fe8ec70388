//! What the person asked for.

use crate::application::Library;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use kevy_elect_harness::cli::{count, named};
use kevy_elect_harness::data::{Size, VALUE_BYTES, VALUE_BYTES_MAX};
use kevy_elect_harness::fault::{Fault, Restart};
use kevy_elect_harness::server::Server;
use std::ffi::OsString;
use std::path::PathBuf;

/// More shards than this per node, and the replication ports of a node would run into the ephemeral range.
const THREADS_MAX: u64 = 64;
/// Histories are kept in memory for the final audit; this many rounds fit comfortably.
const ROUNDS_MAX: i64 = 10_000;

/// What `--help` says behind the options.
const MORE: &str = "\
EXAMPLES
    cargo demo                                    one kill -9, as a timeline
    cargo demo --rounds 10                        a table and the median
    cargo demo --data 1gb --load --rounds 10      with five million keys, and clients that never stop writing
    cargo demo --rounds 20 --fault stop           does the old primary stay quiet when it wakes up?
    cargo demo --rounds 0 --members               who votes is changed while clients write
    cargo demo --rounds 50 --restart now          the killed primary is back within milliseconds
    cargo demo --client sentinel                  what an application sees of it, through redis-rs
    cargo demo --rounds 0 --keep                  just three nodes to play with
    cargo demo --rounds 5 --json | jq .failover_ms
    cargo demo --stock ~/.cargo/bin/kevy          the same measurement without the plugin

WHAT IS MEASURED
    Per node, one connection writes and asks WAIT 1 after every write, a second one only writes. A
    node counts as taking over when it acknowledges a write; failover_ms runs from the instant before
    the signal is sent to the arrival of that acknowledgement. detect_ms, elect_ms and promote_ms are
    the phases before it, each from the end of the one before, as the servers logged them.
    confirmed_ms  the same to the first write that WAIT 1 confirmed: nothing is safe before
    snapshots, frames   whole copies that the survivors took, and frames that they only fetched
    loading       reads that the survivors refused because data came in anew (-LOADING)
    gap_ms        the longest time without any acknowledged write until the new primary's first one
    stall_ms      the longest time without an acknowledged write while the old primary came back;
                  stall_queued_ms of it the new primary, or its client, was ready to run and had no processor,
                  and stall_away_ms of it the host of this machine ran nothing of it on at least one processor
    away_ms       the latter from the fault to the first confirmed write; null without real-time priorities
    lost_waited   writes acknowledged with +OK, confirmed by WAIT, and gone or changed afterwards
    dual_ack_ms   how long a node went on acknowledging writes that were sent to it after another
                  node had already acknowledged one; after SIGCONT: any acknowledgement at all

EXIT CODE
    0    nothing lost, never two nodes at once
    1    a waited write was lost, or two nodes acknowledged at once
    2    the demonstration could not be carried out (the message says why)
    130  Ctrl-C";

/// Starts three kevy-server processes on free loopback ports in a temporary directory, writes to all of
/// them without pause, breaks the primary, and shows what happened when.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "demo", args_override_self = true, bin_name = "cargo demo", verbatim_doc_comment, after_help = MORE)]
pub(crate) struct Options {
    /// How often the primary is broken
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(0..=ROUNDS_MAX))]
    pub(crate) rounds: u32,
    /// How it is broken
    #[arg(long, default_value = "kill", value_parser = named(&[Fault::Kill, Fault::Stop, Fault::Term, Fault::Transfer], Fault::name, broken))]
    pub(crate) fault: Fault,
    /// When a killed primary is started again (default: later)
    #[arg(long = "restart", value_name = "WHEN", value_parser = named(&[Restart::Now, Restart::Later], Restart::name, again))]
    when: Option<Restart>,
    #[arg(skip = Restart::Later)]
    pub(crate) restart: Restart,
    /// Before that, take the vote of each replica and give it back, under the same writes
    #[arg(long, conflicts_with = "stock")]
    pub(crate) members: bool,
    /// kevy shards per node
    #[arg(long, value_name = "N", default_value = "1", value_parser = count(1, THREADS_MAX))]
    pub(crate) threads: usize,
    /// Links and streams prove who speaks, by keys that are made for the run
    #[arg(long, conflicts_with = "stock")]
    pub(crate) secure: bool,
    /// What the cluster is filled with before: 0, 200mb, 1gb; keys and values together, on each node
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = str::parse::<Size>, hide_default_value = true)]
    pub(crate) data: Size,
    /// How long its values are
    #[arg(long = "value", value_name = "BYTES", default_value_t = VALUE_BYTES, value_parser = count(1, VALUE_BYTES_MAX as u64))]
    pub(crate) value_bytes: usize,
    /// Write as fast as the primary answers, in pipelines, beside the clients that measure
    #[arg(long)]
    pub(crate) load: bool,
    /// Let an application write beside, through a client library that everybody uses, and say what it saw. Fails where it does not
    /// come back within 10 s of the cluster
    #[arg(long, value_name = "LIBRARY", conflicts_with = "stock", value_parser = named(&[Library::Sentinel], Library::name, Library::means))]
    pub(crate) client: Option<Library>,
    /// Leave the cluster running afterwards, to play with, until Ctrl-C
    #[arg(long)]
    pub(crate) keep: bool,
    /// One JSON object per round on standard output, nothing else
    #[arg(long)]
    pub(crate) json: bool,
    /// The kevy-server to run (default: the one beside this program)
    #[arg(long, value_name = "PATH", conflicts_with = "stock")]
    server: Option<PathBuf>,
    /// Measure an unmodified kevy 7 and its built-in elector instead
    #[arg(long, value_name = "PATH")]
    stock: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments, which begin with the program's name.
    pub(crate) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut options = Self::try_parse_from(args)?;
        let contradiction = match () {
            () if options.when.is_some() && options.fault == Fault::Stop => {
                "--restart does not go with --fault stop: a stopped process is resumed, not restarted"
            }
            () if options.when.is_some() && options.fault == Fault::Transfer => {
                "--restart does not go with --fault transfer: nobody stops"
            }
            () if options.fault == Fault::Transfer && options.stock.is_some() => {
                "--fault transfer does not go with --stock: an unmodified kevy has no ELECT TRANSFER"
            }
            () if options.rounds == 0 && !options.keep && !options.members => {
                "--rounds 0 shows nothing; add --keep to get a cluster to play with, or --members"
            }
            () => {
                options.restart = options.when.unwrap_or(options.restart);
                return Ok(options);
            }
        };
        Err(Self::command().error(ErrorKind::ArgumentConflict, contradiction))
    }

    /// Which server is run.
    pub(crate) fn server(&self) -> Server {
        let stock = self.stock.clone().map(Server::Stock);
        stock.or(self.server.clone().map(Server::At)).unwrap_or(Server::Beside)
    }
}

fn broken(fault: Fault) -> &'static str {
    match fault {
        Fault::Stop => "SIGSTOP, and SIGCONT once another node has taken over",
        Fault::Term => "SIGTERM: the primary hands over and must exit with 0",
        Fault::Transfer => {
            "not at all: an operator has it hand over (ELECT TRANSFER); nothing acknowledged may be lost"
        }
        other => other.spelled(),
    }
}

fn again(restart: Restart) -> &'static str {
    match restart {
        Restart::Now => "at once",
        Restart::Later => "once another node has taken over",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        let words = ["demo"].into_iter().chain(line.split_whitespace());
        Options::read(words.map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_example_of_the_help_text_is_understood() {
        let lines: Vec<_> = MORE.lines().filter_map(|line| line.trim().strip_prefix("cargo demo")).collect();
        assert!(lines.len() >= 8, "{lines:?}");
        for line in lines {
            let line = line.split("  ").next().unwrap().split('|').next().unwrap();
            read(line).unwrap();
        }
    }

    #[test]
    fn without_arguments_it_is_one_kill() {
        let options = read("").unwrap();
        assert_eq!((options.rounds, options.fault, options.restart), (1, Fault::Kill, Restart::Later));
        assert_eq!((options.threads, options.keep, options.json, options.members), (1, false, false, false));
        assert_eq!((options.data, options.value_bytes, options.load), (Size(0), 200, false));
        assert_eq!(options.server(), Server::Beside);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (line, message) in [
            ("--rounds x", "'x' for '--rounds <N>'"),
            ("--rounds 10001", "10001 is not in 0..=10000"),
            ("--threads 0", "0 is not in 1..=64"),
            ("--fault cut", "[possible values: kill, stop, term, transfer]"),
            ("--restart soon", "[possible values: now, later]"),
            ("--fault", "'--fault <FAULT>'"),
            (
                "--rounds 0",
                "--rounds 0 shows nothing; add --keep to get a cluster to play with, or --members",
            ),
            ("--data much", "takes a size such as 0, 200mb or 1.5gb"),
            ("--value 100000", "100000 is not in 1..=32768"),
            ("--loud", "'--loud'"),
            ("--fault stop --restart now", "resumed, not restarted"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(message), "{line}: {error}");
        }
    }
}
