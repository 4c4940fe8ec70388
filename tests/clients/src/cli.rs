//! What to run.

use crate::fault::Fault;
use crate::part::Part;
use crate::plan::Plan;
use crate::programs::{Client, Way, Work};
use clap::Parser;
use kevy_elect_harness::cli::named;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const ROUNDS_MAX: i64 = 1000;

const MORE: &str = "\
EXAMPLES
    cargo clients                                      the short form: writes through Sentinel, kill -9 and SIGTERM
    cargo clients --all --rounds 10 --beside 1 --markdown docs/evidence/clients.md
    cargo clients --part works --rounds 3 --markdown docs/evidence/clients.md
    cargo clients --client ioredis --fault isolate --rounds 5
    cargo clients --way proxy --fault kill --fault term
    cargo clients --greetings --markdown docs/evidence/greetings.md

The libraries are installed below target/clients from PyPI and npm, in the versions that tests/clients/programs names. hiredis and
go-redis are those of Debian, and are left out where they are not installed.
Isolation needs root: every node then has a network namespace of its own.";

/// What applications see of a failover, through the client libraries that they use.
///
/// Starts three real servers and an application that works through one library, breaks the primary, and takes the longest time between
/// two successes that the application saw.
#[derive(Debug, Clone, Parser)]
#[command(name = "clients", bin_name = "cargo clients", verbatim_doc_comment, after_help = MORE)]
pub(crate) struct Options {
    /// Only this library (may be given several times; default: all)
    #[arg(long = "client", value_name = "NAME", value_parser = named(Client::ALL, Client::name, Client::spelled))]
    pub(crate) clients: Vec<Client>,
    /// How the primary is broken (may be given several times; default: kill and term)
    #[arg(long = "fault", value_name = "NAME", value_parser = named(Fault::ALL, Fault::name, Fault::spelled))]
    pub(crate) faults: Vec<Fault>,
    /// What the application does (may be given several times; default: write)
    #[arg(long = "work", value_name = "NAME", value_parser = named(Work::ALL, Work::name, Work::spelled))]
    pub(crate) works: Vec<Work>,
    /// How it finds the primary (may be given several times; default: sentinel, and nodes where a library has no Sentinels)
    #[arg(long = "way", value_name = "NAME", value_parser = named(Way::ALL, Way::name, Way::spelled))]
    pub(crate) ways: Vec<Way>,
    /// Everything: all faults with writes, the broken node first and last in the list; every other work, and the proxy, with the
    /// faults that matter to them. `--markdown` then writes a whole document
    #[arg(long, conflicts_with_all = ["faults", "works", "ways", "dead_first"])]
    pub(crate) all: bool,
    /// Only this part of everything (may be given several times); `--markdown` leaves the other parts of its document as they are
    #[arg(long = "part", value_name = "NAME", value_parser = named(Part::ALL, Part::name, Part::spelled))]
    #[arg(conflicts_with_all = ["all", "faults", "works", "ways", "dead_first"])]
    pub(crate) parts: Vec<Part>,
    /// For each line of the table
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..=ROUNDS_MAX))]
    pub(crate) rounds: u32,
    /// As many rounds with Redis and real Sentinels (down-after 1 s), where the application writes through Sentinels
    #[arg(long, value_name = "N", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=ROUNDS_MAX))]
    pub(crate) beside: u32,
    /// Clients as they come, instead of with the few settings that docs/clients.md gives
    #[arg(long)]
    pub(crate) defaults: bool,
    /// Nothing is broken: takes down what libraries send when they connect, and fails where it is answered with an error
    #[arg(long, conflicts_with_all = ["all", "parts", "faults", "works", "ways", "dead_first"])]
    pub(crate) greetings: bool,
    /// The node that is broken is the first in the client's list
    #[arg(long)]
    pub(crate) dead_first: bool,
    /// A kevy-server (default: the one of this workspace, built first)
    #[arg(long, value_name = "PATH")]
    pub(crate) server: Option<PathBuf>,
    /// Fails where the median of the longest gaps is above this
    #[arg(long, value_name = "MS")]
    gap_max: Option<u32>,
    /// Fails where the median of what a client adds to the cluster's own gap, in the same round, is above this, and is so once more
    /// when that line is played again: the cluster's gap grows with what else the machine does, this hardly
    #[arg(long, value_name = "MS")]
    over_max: Option<u32>,
    /// Writes the table there
    #[arg(long, value_name = "PATH")]
    pub(crate) markdown: Option<PathBuf>,
    #[arg(long, hide = true)]
    pub(crate) inside: bool,
}

impl Options {
    /// `--inside` comes first where it is given, as another program of this workspace puts it.
    pub(crate) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut options = Self::try_parse_from(args)?;
        fn or_else<T>(given: &mut Vec<T>, default: impl IntoIterator<Item = T>) {
            if given.is_empty() {
                given.extend(default);
            }
        }
        if options.clients.is_empty() {
            let (available, missing) = Client::available();
            missing.iter().for_each(|line| eprintln!("{line}"));
            options.clients = available;
        }
        if options.all {
            options.parts = Part::ALL.to_vec();
        }
        or_else(&mut options.faults, [Fault::Kill, Fault::Term]);
        or_else(&mut options.works, [Work::Write]);
        or_else(&mut options.ways, [Way::Sentinel, Way::Nodes]);
        Ok(options)
    }

    pub(crate) fn gap_max(&self) -> Option<Duration> {
        self.gap_max.map(|ms| Duration::from_millis(ms.into()))
    }

    pub(crate) fn over_max(&self) -> Option<Duration> {
        self.over_max.map(|ms| Duration::from_millis(ms.into()))
    }

    /// The lines of the table, without what a library cannot do.
    pub(crate) fn plans(&self) -> Vec<Plan> {
        let mut plans = Vec::new();
        let mut add =
            |ways: &[Way], works: &[Work], faults: &[Fault], dead_first: bool, part: Option<Part>| {
                for client in &self.clients {
                    for (way, work) in ways.iter().flat_map(|way| works.iter().map(move |work| (*way, *work)))
                    {
                        if client.can(way, work) {
                            let plan = |fault: &Fault| Plan {
                                client: *client,
                                way,
                                work,
                                fault: *fault,
                                dead_first,
                                part,
                            };
                            plans.extend(faults.iter().map(plan));
                        }
                    }
                }
            };
        for part in &self.parts {
            for (ways, works, faults, dead_first) in part.lines() {
                add(ways, works, faults, *dead_first, Some(*part));
            }
        }
        if self.parts.is_empty() {
            add(&self.ways, &self.works, &self.faults, self.dead_first, None);
        }
        plans
    }

    /// How often a line is played.
    pub(crate) fn rounds(&self, plan: &Plan) -> u32 {
        plan.part.map_or(self.rounds, |part| part.rounds(self.rounds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Options {
        let words = ["clients"].into_iter().chain(line.split_whitespace());
        Options::read(words.map(OsString::from)).unwrap()
    }

    #[test]
    fn every_example_of_the_help_text_is_understood() {
        for line in MORE.lines().filter_map(|line| line.trim().strip_prefix("cargo clients")) {
            assert!(!read(line.split("   ").next().unwrap()).plans().is_empty(), "{line}");
        }
    }

    #[test]
    fn the_short_form_writes_through_every_library() {
        let plans = read("").plans();
        assert_eq!(plans.len(), 2 * Client::available().0.len());
        assert!(plans.iter().all(|plan| plan.work == Work::Write && plan.way != Way::Proxy));
    }
}
