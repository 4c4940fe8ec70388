//! The counts as a table for the terminal, as Markdown for the documentation, as JSON for programs.

use crate::cli::Options;
use crate::sweep::{Counts, Found, Row};
use kevy_elect_peers::{HEARTBEAT_MS, System, TICK_MS, TIMEOUT_MS};
use std::fmt::Write as _;

/// What is counted, by name.
const FINDINGS: [(&str, Pick); 5] = [
    ("two in an epoch", |counts| counts.two_in_one_epoch),
    ("both see a quorum", |counts| counts.two_see_a_quorum),
    ("none after", |counts| counts.none_after_heal),
    ("several after", |counts| counts.several_after_heal),
    ("no end", |counts| counts.endless),
];

type Pick = fn(&Counts) -> Found;

/// Whether the plugin shows any of it.
pub(crate) fn fails(row: &Row) -> bool {
    let bad = FINDINGS.iter().any(|(_, pick)| pick(&row.counts).runs > 0);
    row.system == System::Plugin.name() && bad
}

const HEAD: [&str; 9] = [
    "elector",
    "nodes",
    "runs",
    "two in an epoch",
    "both see a quorum",
    "none after",
    "several after",
    "promotions per run",
    "writable",
];

/// Cells; the first row is the head. Systems that ran with several numbers of nodes get a line for all.
fn cells(rows: &[Row]) -> Vec<Vec<String>> {
    let mut cells = vec![HEAD.map(str::to_owned).to_vec()];
    for &system in System::ALL {
        let of: Vec<_> = rows.iter().filter(|row| row.system == system.name()).collect();
        let mut total = Counts::default();
        for row in &of {
            cells.push(line(row.spelled, &row.nodes.to_string(), &row.counts));
            total.add(&row.counts);
        }
        if of.len() > 1 {
            cells.push(line(system.spelled(), "all", &total));
        }
    }
    cells
}

fn line(system: &str, nodes: &str, counts: &Counts) -> Vec<String> {
    vec![
        system.to_owned(),
        nodes.to_owned(),
        counts.runs.to_string(),
        counts.two_in_one_epoch.runs.to_string(),
        counts.two_see_a_quorum.runs.to_string(),
        counts.none_after_heal.runs.to_string(),
        counts.several_after_heal.runs.to_string(),
        format!("{:.2}", counts.promotions as f64 / counts.runs.max(1) as f64),
        format!("{:.1} %", 100.0 * counts.writable_ns as f64 / counts.virtual_ns.max(1) as f64),
    ]
}

/// Aligned, for a terminal; then where to see each of it.
pub(crate) fn terminal(rows: &[Row], options: &Options) -> String {
    let cells = cells(rows);
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..HEAD.len()).map(width).collect();
    let mut text = String::new();
    for row in &cells {
        for (place, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ =
                if place == 0 { write!(text, "{cell:<width$}") } else { write!(text, "  {cell:>width$}") };
        }
        text.push('\n');
    }
    let examples = examples(rows);
    if !examples.is_empty() {
        text.push_str("\nFirst seen, and how to look at it:\n");
    }
    for (system, what, nodes, seed) in examples {
        let _ = writeln!(text, "  {what:<17}  cargo peers --only {system} --nodes {nodes} --trace {seed}");
    }
    text.push_str(&longest(rows));
    if rows.iter().any(fails) {
        let _ = writeln!(text, "\nTHE PLUGIN FAILED in seeds {}..{}", options.seeds.start, options.seeds.end);
    }
    text
}

/// For how long two primaries both saw a quorum, at worst.
fn longest(rows: &[Row]) -> String {
    let worst = rows.iter().max_by_key(|row| row.counts.two_see_a_quorum_longest_ns);
    let worst = worst.filter(|row| row.counts.two_see_a_quorum_longest_ns > 0);
    worst.map_or_else(String::new, |row| {
        let seconds = row.counts.two_see_a_quorum_longest_ns as f64 / 1e9;
        format!(
            "\nTwo primaries both saw a quorum for {seconds:.3} s in one run at worst ({}).\n",
            row.spelled
        )
    })
}

/// For each system and finding the lowest seed that shows it, with the fewest nodes.
fn examples(rows: &[Row]) -> Vec<(&'static str, &'static str, usize, u64)> {
    let mut examples = Vec::new();
    for &system in System::ALL {
        for (what, pick) in FINDINGS {
            let of = rows.iter().filter(|row| row.system == system.name());
            let seen = of.filter_map(|row| Some((pick(&row.counts).first_seed?, row.nodes)));
            examples.extend(seen.min().map(|(seed, nodes)| (system.name(), what, nodes, seed)));
        }
    }
    examples
}

/// For the documentation.
pub(crate) fn markdown(rows: &[Row], options: &Options) -> String {
    let nodes: Vec<_> = options.nodes.iter().map(usize::to_string).collect();
    let mut text = format!(
        "Written by `cargo peers --seeds {}..{} --nodes {}`{}. Heartbeats every {HEARTBEAT_MS} ms and a primary given up after \
         {TIMEOUT_MS} ms for all; kevy-elect is ticked after every message and at least every {TICK_MS} ms.\n\n",
        options.seeds.start,
        options.seeds.end,
        nodes.join(","),
        commit().map_or_else(String::new, |commit| format!(", commit `{commit}`")),
    );
    for (place, row) in cells(rows).iter().enumerate() {
        let _ = writeln!(text, "| {} |", row.join(" | "));
        if place == 0 {
            let _ = writeln!(text, "|---|{}", "--:|".repeat(HEAD.len() - 1));
        }
    }
    text.push_str("\n| first seen | replay |\n|---|---|\n");
    for (system, what, nodes, seed) in examples(rows) {
        let _ = writeln!(text, "| {what} | `cargo peers --only {system} --nodes {nodes} --trace {seed}` |");
    }
    text.push_str(&longest(rows));
    text
}

/// Of the sources that the program is run in. `None` where git does not know.
fn commit() -> Option<String> {
    let git = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output().ok()?;
    let text = String::from_utf8(git.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|commit| git.status.success() && !commit.is_empty())
}

/// All counts.
pub(crate) fn json(rows: &[Row]) -> String {
    // Plain numbers and strings: there is nothing in it that could fail to serialise.
    serde_json::to_string_pretty(rows).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(system: System, nodes: usize, first_seed: Option<u64>) -> Row {
        let none_after_heal = Found { runs: u64::from(first_seed.is_some()), first_seed };
        let counts = Counts { runs: 10, none_after_heal, ..Counts::default() };
        Row { system: system.name(), spelled: system.spelled(), nodes, counts }
    }

    #[test]
    fn only_the_plugin_can_fail() {
        let several_after_heal = Found { runs: 1, first_seed: Some(1) };
        let counts = Counts { runs: 1, several_after_heal, ..Counts::default() };
        assert!(fails(&Row { counts, ..row(System::Plugin, 3, None) }));
        assert!(!fails(&row(System::Kevy, 3, Some(1))));
        assert!(!fails(&row(System::Plugin, 3, None)));
        assert!(fails(&row(System::Plugin, 3, Some(1))));
    }

    #[test]
    fn totals_add_up_and_the_lowest_seed_is_the_example() {
        let rows = [row(System::Kevy, 3, Some(7)), row(System::Kevy, 5, Some(4))];
        let cells = cells(&rows);
        assert_eq!(cells.len(), 4);
        assert_eq!(cells[3][1..6], ["all", "20", "0", "0", "2"].map(str::to_owned));
        assert_eq!(examples(&rows), [("kevy", "none after", 5, 4)]);
    }
}
