//! Many runs, and their counts.

use crate::cli::Options;
use kevy_elect_peers::{Plan, System, Verdict, run};
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The runs of one system with one number of nodes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) system: &'static str,
    #[serde(skip)]
    pub(crate) spelled: &'static str,
    pub(crate) nodes: usize,
    pub(crate) counts: Counts,
}

/// What a number of runs came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) runs: u64,
    pub(crate) two_in_one_epoch: Found,
    pub(crate) two_see_a_quorum: Found,
    /// The longest time that they did, all told in one run, in nanoseconds.
    pub(crate) two_see_a_quorum_longest_ns: u64,
    pub(crate) none_after_heal: Found,
    pub(crate) several_after_heal: Found,
    /// Runs that were given up.
    pub(crate) endless: Found,
    pub(crate) promotions: u64,
    pub(crate) writable_ns: u64,
    pub(crate) virtual_ns: u64,
}

/// In how many runs something was seen, and the lowest of their seeds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Found {
    pub(crate) runs: u64,
    pub(crate) first_seed: Option<u64>,
}

impl Found {
    fn note(&mut self, seed: u64, seen: bool) {
        self.add(Self { runs: u64::from(seen), first_seed: seen.then_some(seed) });
    }

    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.first_seed = [self.first_seed, other.first_seed].into_iter().flatten().min();
    }
}

impl Counts {
    fn note(&mut self, seed: u64, verdict: &Verdict) {
        self.runs += 1;
        self.two_in_one_epoch.note(seed, verdict.two_in_one_epoch.is_some());
        self.two_see_a_quorum.note(seed, verdict.two_writers.is_some());
        self.two_see_a_quorum_longest_ns = self.two_see_a_quorum_longest_ns.max(verdict.two_writers_for);
        self.none_after_heal.note(seed, verdict.none_after_heal);
        self.several_after_heal.note(seed, verdict.several_after_heal);
        self.endless.note(seed, verdict.endless);
        self.promotions += verdict.promotions;
        self.writable_ns += verdict.writable_for;
        self.virtual_ns += verdict.lasted;
    }

    /// Adds the counts of other runs.
    pub(crate) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.two_in_one_epoch.add(other.two_in_one_epoch);
        self.two_see_a_quorum.add(other.two_see_a_quorum);
        self.two_see_a_quorum_longest_ns =
            self.two_see_a_quorum_longest_ns.max(other.two_see_a_quorum_longest_ns);
        self.none_after_heal.add(other.none_after_heal);
        self.several_after_heal.add(other.several_after_heal);
        self.endless.add(other.endless);
        self.promotions += other.promotions;
        self.writable_ns += other.writable_ns;
        self.virtual_ns += other.virtual_ns;
    }
}

/// All runs that were asked for.
pub(crate) fn run_all(options: &Options) -> Vec<Row> {
    let bar = Bar::new(options);
    let mut rows = Vec::new();
    for &system in &options.systems {
        for &nodes in &options.nodes {
            let counts = many(options, system, nodes, &bar);
            rows.push(Row { system: system.name(), spelled: system.spelled(), nodes, counts });
        }
    }
    bar.clear();
    rows
}

fn many(options: &Options, system: System, nodes: usize, bar: &Bar) -> Counts {
    let (next, ended) = (AtomicU64::new(options.seeds.start), AtomicBool::new(false));
    let total = Mutex::new(Counts::default());
    std::thread::scope(|scope| {
        let work = || {
            let mut counts = Counts::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= options.seeds.end {
                    break;
                }
                counts.note(seed, &run(&Plan::draw(seed, nodes), system, false));
                bar.ran.fetch_add(1, Ordering::Relaxed);
            }
            total.lock().unwrap_or_else(PoisonError::into_inner).add(&counts);
        };
        let workers: Vec<_> = (0..options.jobs).map(|_| scope.spawn(work)).collect();
        let shown = scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                bar.show(system, nodes);
                std::thread::park_timeout(Duration::from_millis(250));
            }
        });
        let panics: Vec<_> = workers.into_iter().filter_map(|worker| worker.join().err()).collect();
        ended.store(true, Ordering::Relaxed);
        shown.thread().unpark();
        // A panic in a run is a finding: it is passed on.
        if let Some(panic) = panics.into_iter().next() {
            std::panic::resume_unwind(panic);
        }
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// A line that tells how far it is, on a terminal.
struct Bar {
    terminal: bool,
    begun: Instant,
    ran: AtomicU64,
    of: u64,
}

impl Bar {
    fn new(options: &Options) -> Self {
        let seeds = options.seeds.end - options.seeds.start;
        let of = seeds.saturating_mul((options.nodes.len() * options.systems.len()) as u64);
        Self { terminal: std::io::stderr().is_terminal(), begun: Instant::now(), ran: AtomicU64::new(0), of }
    }

    fn show(&self, system: System, nodes: usize) {
        const WIDTH: u64 = 30;
        if !self.terminal {
            return;
        }
        let ran = self.ran.load(Ordering::Relaxed);
        let full = (ran.saturating_mul(WIDTH)).checked_div(self.of).unwrap_or(WIDTH);
        let bar: String = (0..WIDTH).map(|n| if n < full { '=' } else { ' ' }).collect();
        let rate = ran as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        let left = (self.of - ran.min(self.of)) as f64 / rate.max(0.001);
        let mut out = std::io::stderr();
        let _ = write!(
            out,
            "\r\x1b[K[{bar}] {ran}/{} {}, {nodes} nodes, {rate:.0} runs/s, {left:.0} s left",
            self.of,
            system.name(),
        );
        let _ = out.flush();
    }

    fn clear(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_seed_is_kept_whatever_the_order() {
        let bad = Verdict { none_after_heal: true, ..Verdict::default() };
        let (mut one, mut other) = (Counts::default(), Counts::default());
        one.note(9, &bad);
        one.note(12, &bad);
        other.note(3, &Verdict::default());
        other.note(5, &bad);
        one.add(&other);
        assert_eq!(one.none_after_heal, Found { runs: 3, first_seed: Some(5) });
        assert_eq!((one.runs, one.two_in_one_epoch), (4, Found::default()));
    }
}
