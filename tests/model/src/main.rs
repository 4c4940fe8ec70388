//! `cargo model`: explores, shows how far it is, and prints the table of `docs/evidence/exhaustive.md`.

mod cli;
#[path = "../../../examples/support/marks.rs"]
mod marks;

use cli::Options;
use kevy_elect_model::{Beats, Broken, Cluster};
use stateright::report::{ReportData, ReportDiscovery, Reporter};
use stateright::{Checker, Model};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    explore(&Options::read(std::env::args_os()).unwrap_or_else(|error| error.exit()))
}

fn explore(options: &Options) -> ExitCode {
    let mut rows = Vec::new();
    let mut traces = Vec::new();
    for cluster in &options.clusters() {
        let begun = Instant::now();
        let checker = cluster.checker().threads(options.threads).spawn_bfs();
        let checker = checker.join_and_report(&mut Progress { name: cluster.start.as_str() });
        let discoveries = checker.discoveries();
        let broken = Broken::ALL.iter().copied().filter(|broken| discoveries.contains_key(broken.as_str()));
        let broken: Vec<_> = broken.collect();
        let paths = broken.iter().filter_map(|broken| cluster.shortest(*broken));
        traces.extend(paths.map(|path| cluster.trace(&path)));
        let broken: Vec<_> = broken.into_iter().map(Broken::as_str).collect();
        let elected = discoveries.get(cluster.elected()).map(|path| path.clone().into_actions().len());
        if elected.is_none() && broken.is_empty() {
            traces.push(format!(
                "{}: never in {} actions: {}\n",
                cluster.start.as_str(),
                cluster.depth,
                cluster.elected()
            ));
        }
        rows.push(format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.0} s |",
            cluster.start.as_str(),
            if cluster.beats == Beats::All { "all" } else { "primaries" },
            cluster.depth,
            cluster.crashes,
            cluster.in_flight_max,
            checker.state_count(),
            checker.unique_state_count(),
            if broken.is_empty() { "none".to_owned() } else { broken.join(", ") },
            elected.map_or("never".to_owned(), |actions| format!("{actions} actions")),
            begun.elapsed().as_secs_f64(),
        ));
    }
    println!("{HEAD}{}", rows.join("\n"));
    if let Some(path) = &options.markdown {
        let old = marks::section(path, "model");
        let published = marks::publish(path, "model", &table(&old, &rows));
        if let Err(error) = published {
            eprintln!("cannot write the table: {error}");
            return ExitCode::from(2);
        }
    }
    traces.iter().for_each(|trace| print!("\n{trace}"));
    if traces.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

const HEAD: &str = "| start | beats | depth | crashes | in flight | states | unique | violations | elected after | took |\n\
                    |---|---|---|---|---|---|---|---|---|---|\n";
/// How many columns say what was explored. The others say what was found.
const WHAT: usize = 5;

/// The lines of before with these among them: a line takes the place of the one that explored the same.
fn table(old: &str, rows: &[String]) -> String {
    fn what(line: &str) -> Vec<&str> {
        line.split(" | ").take(WHAT).collect()
    }
    let mut lines: Vec<&str> = old.lines().skip(HEAD.lines().count()).collect();
    for row in rows {
        match lines.iter_mut().find(|line| what(line) == what(row)) {
            Some(line) => *line = row,
            None => lines.push(row),
        }
    }
    format!("{HEAD}{}", lines.join("\n"))
}

/// A line that tells how far it is, on a terminal.
struct Progress {
    name: &'static str,
}

impl Reporter<Cluster> for Progress {
    fn report_checking(&mut self, data: ReportData) {
        let mut out = std::io::stderr();
        if !out.is_terminal() {
            return;
        }
        // The first state has depth 1.
        let depth = data.max_depth.saturating_sub(1);
        let rate = data.total_states as f64 / data.duration.as_secs_f64().max(0.001);
        let _ = write!(
            out,
            "\r\x1b[K{}: depth {depth}, {} states, {} unique, {rate:.0} states/s{}",
            self.name,
            data.total_states,
            data.unique_states,
            if data.done { "\n" } else { "" }
        );
    }

    fn report_discoveries(&mut self, _: &Cluster, _: BTreeMap<&'static str, ReportDiscovery<Cluster>>)
    where
        <Cluster as Model>::Action: Debug + PartialEq,
        <Cluster as Model>::State: Debug + Hash + PartialEq,
    {
    }

    fn delay(&self) -> Duration {
        Duration::from_millis(500)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_the_place_of_the_one_that_explored_the_same() {
        let row = |start: &str, states: u32| {
            format!("| {start} | all | 8 | 1 | 2 | {states} | 1 | none | never | 1 s |")
        };
        let one = table("", &[row("cold", 1), row("settled", 2)]);
        assert_eq!(
            table(&one, &[row("cold", 3)]),
            format!("{HEAD}{}\n{}", row("cold", 3), row("settled", 2))
        );
    }
}
