//! A sweep that takes hours, in parts. Each part is in the table as soon as it has run, so an interruption costs one part: the same command leaves
//! out what the table has.

use super::{Options, clear_bar, explain, many, marks, tenths};
use std::io;
use std::path::Path;
use std::process::ExitCode;

const HEAD: &str = "\
| profile | nodes | seeds | runs | violations | settled p50 / p99 / max (timeouts) |
|---|--:|---|--:|--:|---|
";

/// Runs what the table in `file` does not have yet. The first part with a violation ends it, and is in no table.
pub(crate) fn sweep(options: &Options, size: u64, file: &Path, args: &str) -> ExitCode {
    match all(options, size, file, args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cannot write the table: {error}");
            ExitCode::from(2)
        }
    }
}

fn all(options: &Options, size: u64, file: &Path, args: &str) -> io::Result<ExitCode> {
    let old = marks::section(file, options.marks());
    let mut rows: Vec<String> = old.lines().filter(|line| runs(line).is_some()).map(str::to_owned).collect();
    for profile in options.profiles() {
        for &nodes in &options.nodes {
            for start in options.seeds.clone().step_by(usize::try_from(size).unwrap_or(usize::MAX)) {
                let seeds = start..options.seeds.end.min(start.saturating_add(size));
                let key = format!("| {} | {nodes} | {}..{} |", profile.name, seeds.start, seeds.end);
                if rows.iter().any(|row| row.starts_with(&key)) {
                    continue;
                }
                let part = Options { seeds, ..options.clone() };
                let (stats, mut found, _) = many(&part, profile, nodes);
                clear_bar();
                found.sort_by_key(|found| found.seed);
                if let Some(first) = found.first() {
                    explain(&part, profile, nodes, first);
                    return Ok(ExitCode::FAILURE);
                }
                rows.push(format!(
                    "{key} {} | 0 | {} / {} / {} |",
                    stats.runs,
                    tenths(stats.settled_percentile(50.0)),
                    tenths(stats.settled_percentile(99.0)),
                    tenths(stats.settled.keys().next_back().copied().unwrap_or_default()),
                ));
                marks::publish(file, options.marks(), &table(args, &rows))?;
            }
        }
    }
    // Where nothing was left to run, it may be told by another command than before.
    marks::publish(file, options.marks(), &table(args, &rows))?;
    println!("{}", table(args, &rows));
    Ok(ExitCode::SUCCESS)
}

fn table(args: &str, rows: &[String]) -> String {
    let total: u64 = rows.iter().filter_map(|row| runs(row)).sum();
    format!("Written by `cargo sim {args}`: {total} runs, 0 violations.\n\n{HEAD}{}", rows.join("\n"))
}

/// How many runs a row tells of; nothing where it is no row.
fn runs(line: &str) -> Option<u64> {
    line.strip_prefix("| ")?.split(" | ").nth(3)?.parse().ok()
}
