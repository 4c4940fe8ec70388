//! `cargo model`: explores, shows how far it is, and prints the table of `docs/evidence/exhaustive.md`.

mod cli;

use cli::Options;
use kevy_elect_model::{Broken, Cluster};
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
            "| {} | {} | {} | {} | {} | {} | {} | {} | {:.0} s |",
            cluster.start.as_str(),
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
    println!("| start | depth | crashes | in flight | states | unique | violations | elected after | took |");
    println!("|---|---|---|---|---|---|---|---|---|");
    rows.iter().for_each(|row| println!("{row}"));
    traces.iter().for_each(|trace| print!("\n{trace}"));
    if traces.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
