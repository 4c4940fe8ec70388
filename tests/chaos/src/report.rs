//! What came of it, for people: a line per round, timelines, and a table per fault.

use crate::cli::Options;
use crate::fault::Fault;
use crate::round::Round;
use crate::way::Way;
use crate::ways::Fate;
use kevy_elect_harness::style::{Style, count, ms};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// What one kind of cluster went through.
pub(crate) struct Results {
    pub(crate) nodes: usize,
    pub(crate) shards: usize,
    pub(crate) rounds: Vec<Round>,
    /// Confirmed writes that were there after their round and missing some rounds later.
    pub(crate) lost_later: usize,
    /// Why a cluster had to be given up.
    pub(crate) broken: Vec<String>,
}

impl Results {
    /// Nothing yet.
    pub(crate) const fn new(nodes: usize, shards: usize) -> Self {
        Self { nodes, shards, rounds: Vec::new(), lost_later: 0, broken: Vec::new() }
    }

    /// Whether everything that must hold did.
    pub(crate) fn innocent(&self) -> bool {
        self.lost_later == 0 && self.broken.is_empty() && self.rounds.iter().all(Round::innocent)
    }

    fn sum(&self, of: impl Fn(&Round) -> usize) -> usize {
        self.rounds.iter().map(of).sum()
    }
}

/// "3 nodes, each ...".
pub(crate) fn heading(nodes: usize, shards: usize, seed: u64) -> String {
    format!("{nodes} nodes, each in its own network namespace, {}, seed {seed}", plural(shards, "shard"))
}

/// The title of [`line()`].
pub(crate) fn head(style: Style) -> String {
    style.faint(&format!(
        "{:>7} {:>5}  {:<13} {:<9} {:>10} {:>9} {:>9} {:>4} {:>11} {:>9} {:>9}",
        "time",
        "round",
        "fault",
        "primary",
        "outage",
        "acked",
        "confirmed",
        "lost",
        "unconfirmed",
        "dual",
        "registers"
    ))
}

/// One round.
pub(crate) fn line(round: &Round, style: Style) -> String {
    let [old, new] = round.primaries;
    let primary = if old == new { format!("n{}", old + 1) } else { format!("n{} → n{}", old + 1, new + 1) };
    let dual = round.dual.map_or_else(|| "0 ms".to_owned(), |dual| ms(dual.lasted));
    let mut remarks = Vec::new();
    if round.needless() {
        remarks.push("needless failover".to_owned());
    }
    if !round.registers.wrong.is_empty() {
        remarks.push(format!("{} not linearizable", plural(round.registers.wrong.len(), "register")));
    }
    for (way, fate) in round.ways.iter().filter(|(_, fate)| !fate.innocent()) {
        remarks.push(match fate.lost {
            0 => format!("{} never acknowledged", way.name()),
            lost => format!("{lost} confirmed {} lost", way.name()),
        });
    }
    if round.contents.differing > 0 {
        remarks.push(format!("{} differ", plural(round.contents.differing, "key")));
    }
    if let Some(why) = &round.contents.undecided {
        remarks.push(format!("contents not compared: {why}"));
    }
    if round.watchdog_kills() > 0 {
        remarks.push(plural(round.watchdog_kills(), "watchdog kill"));
    }
    if round.restarts.len() > round.watchdog_kills() {
        remarks.push(plural(round.restarts.len() - round.watchdog_kills(), "server end"));
    }
    format!(
        "{:>7} {:>5}  {:<13} {primary:<9} {:>10} {:>9} {:>9} {:>4} {:>11} {dual:>9} {:>9}  {} {}",
        since_start(round.ended),
        round.number,
        round.fault.name(),
        ms(round.outage),
        count(round.acked),
        count(round.waited),
        round.lost.waited,
        round.lost.unwaited,
        format!("{}/{}", round.registers.confirmed, round.registers.registers),
        style.mark(round.innocent()),
        remarks.join(", "),
    )
}

/// What was done and what the servers decided.
pub(crate) fn timeline(round: &Round) -> String {
    let mut text = String::new();
    for (at, what) in &round.timeline {
        let since = at.as_secs_f64() - round.struck.as_secs_f64();
        let _ = writeln!(text, "{:>12.1} ms  {what}", since * 1e3);
    }
    if let Some(dual) = round.dual {
        let [a, b] = dual.nodes;
        let _ = writeln!(
            text,
            "two nodes at once for {}: n{} ({} acknowledgements, {} of them under way during a stop) and n{} ({})",
            ms(dual.lasted),
            a + 1,
            dual.acks[0],
            dual.in_flight,
            b + 1,
            dual.acks[1]
        );
    }
    for key in &round.contents.named {
        let _ = writeln!(text, "differs: {key}");
    }
    for register in &round.registers.wrong {
        let _ = writeln!(text, "not linearizable: register:{register}");
    }
    text
}

/// The whole report.
pub(crate) fn markdown(all: &[Results], options: &Options, lasted: Duration) -> String {
    let list = |numbers: &[usize]| numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let mut rest = String::new();
    if options.faults != Fault::ALL {
        options.faults.iter().for_each(|fault| rest.push_str(&format!(" --fault {}", fault.name())));
    }
    if !options.ways.is_empty() {
        let names: Vec<_> = options.ways.iter().map(|way| way.name()).collect();
        rest.push_str(&format!(" --ways {}", names.join(",")));
    }
    if options.without_wait {
        rest.push_str(" --without-wait");
    }
    let mut text = format!(
        "`cargo chaos --nodes {} --shards {} --rounds {} --seed {} --seconds {}{rest}`, {} in all\n",
        list(&options.nodes),
        list(&options.shards),
        options.rounds,
        options.seed,
        options.random.as_secs(),
        since_start(lasted),
    );
    for results in all {
        let reads = results.sum(|round| round.registers.reads);
        let _ = write!(
            text,
            "\n### {} nodes, {}\n\n{}; {} confirmed writes, {} lost, {} more missing some rounds later; \
             {} confirmed register operations in {} registers, {} not linearizable; {} plain reads on all nodes, {} stale; \
             the nodes' contents compared after every round, {} keys in all, {} differed\n\n{}{}",
            results.nodes,
            plural(results.shards, "shard"),
            plural(results.rounds.len(), "round"),
            results.sum(|round| round.waited),
            results.sum(|round| round.lost.waited),
            results.lost_later,
            results.sum(|round| round.registers.confirmed),
            results.sum(|round| round.registers.registers),
            results.sum(|round| round.registers.wrong.len()),
            reads,
            results.sum(|round| round.registers.stale),
            results.sum(|round| usize::try_from(round.contents.keys).unwrap_or(usize::MAX)),
            results.sum(|round| round.contents.differing),
            ways(&results.rounds),
            table(&results.rounds),
        );
        for broken in &results.broken {
            let _ = writeln!(text, "\nA cluster was given up and replaced: {broken}");
        }
        for round in results.rounds.iter().filter(|round| !round.innocent()) {
            let _ = write!(
                text,
                "\nRound {}, {}:\n\n```text\n{}```\n",
                round.number,
                round.fault.name(),
                timeline(round)
            );
        }
    }
    text
}

/// A Markdown table with one line per way in which clients wrote, if there are any.
fn ways(rounds: &[Round]) -> String {
    let mut all: BTreeMap<Way, Fate> = BTreeMap::new();
    for (way, fate) in rounds.iter().flat_map(|round| &round.ways) {
        let sum = all.entry(*way).or_default();
        sum.acked += fate.acked;
        sum.confirmed += fate.confirmed;
        sum.lost += fate.lost;
        sum.unconfirmed_lost += fate.unconfirmed_lost;
    }
    if all.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "| written by | acknowledged | confirmed | of them lost | unconfirmed lost |\n|---|---|---|---|---|\n",
    );
    for (way, fate) in all {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            way.spelled(),
            fate.acked,
            fate.confirmed,
            fate.lost,
            fate.unconfirmed_lost
        );
    }
    text + "\n"
}

/// A Markdown table with one line per fault.
fn table(rounds: &[Round]) -> String {
    let mut text = String::from(
        "| fault | rounds | elections | longest outage, min / median / max (ms) | confirmed | of them lost | unconfirmed lost | \
         two at once (ms) | needless failovers | register operations | not linearizable | keys that differ | killed by watchdog |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for &fault in Fault::ALL {
        let of: Vec<_> = rounds.iter().filter(|round| round.fault == fault).collect();
        let mut outages: Vec<_> = of.iter().map(|round| round.outage).collect();
        outages.sort_unstable();
        let (Some(min), Some(max)) = (outages.first(), outages.last()) else { continue };
        let millis = |time: &Duration| time.as_secs_f64() * 1e3;
        let dual = of.iter().filter_map(|round| round.dual).map(|dual| dual.lasted).max().unwrap_or_default();
        let needless = if fault.is_harmless() {
            of.iter().filter(|round| round.needless()).count().to_string()
        } else {
            "–".into()
        };
        let sum = |what: &dyn Fn(&Round) -> usize| of.iter().map(|round| what(round)).sum::<usize>();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.0} / {:.0} / {:.0} | {} | {} | {} | {:.1} | {needless} | {} | {} | {} | {} |",
            fault.spelled(),
            of.len(),
            sum(&|round| round.elections),
            millis(min),
            millis(&outages[outages.len() / 2]),
            millis(max),
            sum(&|round| round.waited),
            sum(&|round| round.lost.waited),
            sum(&|round| round.lost.unwaited),
            millis(&dual),
            sum(&|round| round.registers.confirmed),
            sum(&|round| round.registers.wrong.len()),
            sum(&|round| round.contents.differing),
            sum(&|round| round.watchdog_kills()),
        );
    }
    text
}

fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// "1:02:03".
fn since_start(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
