//! `compare`: whether all nodes hold the same, and which keys differ.

use crate::cli::Compared;
use crate::paint::{bad, bold, good, plain, table, warn};
use kevy_elect_compare::{Comparison, Options, Outcome, Record, compare};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Keys that are shown to people; programs get all.
const SHOWN_MAX: usize = 20;
/// Longest part of a key that is shown to people.
const KEY_BYTES_SHOWN: usize = 60;

/// What came of one comparison.
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) outcome: Outcome,
}

pub(crate) fn run(what: &Compared, pages: &[String]) -> Result<Said, String> {
    let clients = what.targets.addresses(pages)?;
    let begun = SystemTime::now();
    let seen = compare(&clients, &Options::default()).map_err(|error| {
        format!(
            "{error}. Compared are client ports, as in --clients n1:6004,n2:6004 or in --config kevy.toml"
        )
    })?;
    if let Some(file) = &what.textfile {
        write(file, &metrics(&seen, begun))?;
    }
    let text = if what.json { format!("{:#}\n", as_json(&seen)) } else { as_text(&seen) };
    Ok(Said { text, outcome: seen.outcome() })
}

fn as_text(seen: &Comparison) -> String {
    let mut rows = vec![["node", "at", "role", "position", "keys"].map(bold).to_vec()];
    for node in &seen.nodes {
        let [before, after] = [node.before, node.after].map(|p| format!("{}:{}", p.stream_epoch, p.offset));
        let role = if node.primary { "primary" } else { "replica" };
        rows.push(vec![
            bold(&plain(&node.name)),
            plain(&node.address),
            role.to_owned(),
            if before == after { before } else { format!("{before} to {after}") },
            node.keys.to_string(),
        ]);
    }
    let mut text = table(&rows) + "\n";
    let reference = &seen.nodes[seen.reference];
    let at = match seen.at_one_position() {
        true => "at one position",
        false => "while they moved",
    };
    text += &match seen.outcome() {
        Outcome::Equal => good(&format!("Equal, compared {at}.")),
        Outcome::Moving => {
            warn(&format!("No difference proved, compared {at}, but not everything could be decided."))
        }
        Outcome::Different => bad(&format!(
            "DIFFERENT from {}, compared {at}: {}{} keys.",
            plain(&reference.name),
            if seen.more { "more than " } else { "" },
            seen.differences.len()
        )),
    };
    text += "\n";
    if !seen.differences.is_empty() {
        text += "\n";
        text += &table(&differences(seen));
        if seen.differences.len() > SHOWN_MAX {
            text += &format!("and {} more; --json names them\n", seen.differences.len() - SHOWN_MAX);
        }
    }
    for (key, why) in seen.undecided.iter().take(SHOWN_MAX) {
        text += &format!("undecided: {}: {why}\n", shown(key));
    }
    if seen.undecided.len() > SHOWN_MAX {
        text += &format!("and {} more\n", seen.undecided.len() - SHOWN_MAX);
    }
    if seen.more && seen.differences.is_empty() {
        text += "More keys changed during the comparison than can be looked at: compare with less load.\n";
    }
    text
}

fn differences(seen: &Comparison) -> Vec<Vec<String>> {
    let reference = plain(&seen.nodes[seen.reference].name);
    let mut rows = vec![["key", "node", "differs in", "there", &reference].map(bold).to_vec()];
    for difference in seen.differences.iter().take(SHOWN_MAX) {
        rows.push(vec![
            shown(&difference.key),
            plain(&seen.nodes[difference.node].name),
            bad(match difference.how {
                kevy_elect_compare::Disagreement::Missing => "being there",
                how => how.as_str(),
            }),
            said(difference.here),
            said(difference.there),
        ]);
    }
    rows
}

/// Without the value: what is in it is nobody's business here.
fn said(record: Option<Record>) -> String {
    match record {
        None => "not there".to_owned(),
        Some(record) if record.deadline_ms == 0 => {
            format!("{} {:016x}", record.type_name(), record.digest)
        }
        Some(record) => {
            format!("{} {:016x} until {} ms", record.type_name(), record.digest, record.deadline_ms)
        }
    }
}

/// In quotes, with what is not printable escaped as in a string of C.
fn shown(key: &[u8]) -> String {
    let (start, rest) = key.split_at(key.len().min(KEY_BYTES_SHOWN));
    format!("\"{}\"{}", start.escape_ascii(), if rest.is_empty() { "" } else { "..." })
}

fn as_json(seen: &Comparison) -> Value {
    let nodes: Vec<Value> = seen
        .nodes
        .iter()
        .map(|node| {
            json!({
                "node": plain(&node.name),
                "client": node.address,
                "primary": node.primary,
                "before": { "stream_epoch": node.before.stream_epoch, "offset": node.before.offset },
                "after": { "stream_epoch": node.after.stream_epoch, "offset": node.after.offset },
                "keys": node.keys,
            })
        })
        .collect();
    let record = |record: Option<Record>| {
        record.map(|record| {
            json!({
                "type": record.type_name(),
                "digest": format!("{:016x}", record.digest),
                "deadline_ms": (record.deadline_ms != 0).then_some(record.deadline_ms),
            })
        })
    };
    let differences: Vec<Value> = seen
        .differences
        .iter()
        .map(|difference| {
            json!({
                "key": difference.key.escape_ascii().to_string(),
                "node": plain(&seen.nodes[difference.node].name),
                "differs_in": difference.how.as_str(),
                "there": record(difference.here),
                "reference": record(difference.there),
            })
        })
        .collect();
    let undecided: Vec<Value> = seen
        .undecided
        .iter()
        .map(|(key, why)| json!({ "key": key.escape_ascii().to_string(), "why": why }))
        .collect();
    json!({
        "outcome": seen.outcome().as_str(),
        "at_one_position": seen.at_one_position(),
        "reference": plain(&seen.nodes[seen.reference].name),
        "nodes": nodes,
        "differences": differences,
        "more": seen.more,
        "undecided": undecided,
    })
}

/// For the textfile collector of Prometheus' node exporter.
fn metrics(seen: &Comparison, begun: SystemTime) -> String {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let took = begun.elapsed().unwrap_or(Duration::ZERO).as_secs_f64();
    let gauges = [
        (
            "kevy_compare_differing_keys",
            "Keys that differ between the nodes; at most a thousand are counted.",
            seen.differences.len() as f64,
        ),
        (
            "kevy_compare_undecided_keys",
            "Keys that changed too often to be compared, or whose node was behind.",
            seen.undecided.len() as f64,
        ),
        (
            "kevy_compare_last_run_timestamp_seconds",
            "When the contents were last compared, in Unix time.",
            seconds(SystemTime::now()),
        ),
        ("kevy_compare_duration_seconds", "How long that took.", took),
    ];
    gauges
        .iter()
        .map(|(name, help, value)| format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"))
        .collect()
}

/// In one step: whoever reads it sees the old one or the new one.
fn write(file: &Path, text: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot write {}: {error}", file.display());
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    std::fs::write(&new, text).map_err(failed)?;
    std::fs::rename(&new, file).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_so_that_they_cannot_steer_the_terminal() {
        assert_eq!(shown(b"a\x1b[2J\"\xff"), r#""a\x1b[2J\"\xff""#);
        assert!(shown(&[b'x'; 100]).ends_with("\"..."));
    }
}
