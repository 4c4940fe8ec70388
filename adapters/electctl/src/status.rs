//! `status`: all nodes beside each other.

use crate::client::{Answer, ask};
use crate::paint::{bad, bold, good, plain, table, warn};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

pub(crate) fn status(nodes: &[String], as_json: bool) -> Result<String, String> {
    let answers = ask(nodes, "/status")?;
    if as_json {
        let all: Map<String, Value> = answers
            .into_iter()
            .map(|answer| {
                (answer.node, answer.said.unwrap_or_else(|error| json!({ "error": error.to_string() })))
            })
            .collect();
        return Ok(format!("{:#}\n", Value::Object(all)));
    }
    let mut text = table(&rows(&answers));
    text += &links(&answers);
    text += &remarks(&answers);
    Ok(text)
}

/// Nodes whose links are shown to people, beside those that were asked; programs get all.
const LINKED_MAX: usize = 32;
/// The most remarks of one kind.
const REMARKS_MAX: usize = 32;

/// `voters`: in reach, and how many are needed.
const TITLES: [&str; 10] =
    ["node", "at", "role", "epoch", "primary", "position", "lag", "lease", "voters", "why"];

fn rows(answers: &[Answer]) -> Vec<Vec<String>> {
    let mut rows = vec![TITLES.iter().map(|title| bold(title)).collect()];
    for answer in answers {
        let at = plain(&answer.node);
        let said = match &answer.said {
            Ok(said) => said,
            Err(error) => {
                let mut row = vec![bad("?"), at, bad("?")];
                row.resize(TITLES.len() - 1, "?".to_owned());
                row.push(bad(&plain(&error.to_string())));
                rows.push(row);
                continue;
            }
        };
        let role = match (word(said, "role").as_str(), said["writable"] == true) {
            ("primary", true) => good("primary"),
            ("primary", false) => bad("primary, fenced"),
            ("replica", _) => "replica".to_owned(),
            (other, _) => warn(other),
        };
        let lease = match said["role"] == "primary" {
            true => format!("{}/{} ms", word(said, "lease_left_ms"), word(said, "lease_ms")),
            false => "-".to_owned(),
        };
        rows.push(vec![
            bold(&word(said, "node")),
            at,
            role,
            word(said, "epoch"),
            word(said, "primary"),
            format!("{}:{}", word(said, "stream_epoch"), word(said, "offset")),
            word(said, "lag"),
            lease,
            format!("{}, needs {}", word(said, "voters_reachable"), word(said, "quorum")),
            word(said, "why"),
        ]);
    }
    rows
}

/// From each node to each of its peers, as it sees its own links.
fn links(answers: &[Answer]) -> String {
    let said: Vec<&Value> = answers.iter().filter_map(|answer| answer.said.as_ref().ok()).collect();
    let mut ids: Vec<String> = said.iter().map(|said| word(said, "node")).collect();
    let asked = ids.len();
    ids.extend(said.iter().flat_map(|said| list(said, "peers")).map(|peer| word(peer, "id")));
    // By name, and those that were asked in any case.
    ids[asked..].sort();
    let mut seen = BTreeSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    let more = ids.len().saturating_sub(asked + LINKED_MAX);
    ids.truncate(asked + LINKED_MAX);
    ids.sort();
    let mut rows = vec![[bold("links")].into_iter().chain(ids.iter().map(|id| bold(id))).collect::<Vec<_>>()];
    for me in &ids {
        let node = said.iter().find(|said| word(said, "node") == *me);
        let cell = |id: &String| {
            let Some(node) = node else { return if id == me { "·" } else { "?" }.to_owned() };
            match list(node, "peers").find(|peer| word(peer, "id") == *id) {
                Some(peer) => {
                    let way = |key: &str, arrow: &str| match peer[key].as_bool().or(peer["linked"].as_bool())
                    {
                        Some(true) => good(arrow),
                        _ => bad("✗"),
                    };
                    format!("{}{}", way("link_back", "←"), way("link_out", "→"))
                }
                None if id == me => "·".to_owned(),
                None => warn("not a member there"),
            }
        };
        rows.push([bold(me)].into_iter().chain(ids.iter().map(cell)).collect());
    }
    let legend =
        "Each row is what that node says: ← link from the other, → link to the other, ✗ cut, ? no answer.";
    let more = if more > 0 { format!("and {more} nodes more; --json names them\n") } else { String::new() };
    format!("\n{}{more}{legend}\n", table(&rows))
}

/// What no single node can see.
fn remarks(answers: &[Answer]) -> String {
    let said: Vec<&Value> = answers.iter().filter_map(|answer| answer.said.as_ref().ok()).collect();
    let writers: Vec<String> =
        said.iter().filter(|said| said["writable"] == true).map(|said| word(said, "node")).collect();
    let mut clusters: Vec<String> = said.iter().map(|said| word(said, "cluster")).collect();
    clusters.sort();
    clusters.dedup();
    let mut text = String::from("\n");
    text += &match &writers[..] {
        [] => bad("None of these nodes takes writes."),
        [one] => good(&format!("{one} takes writes.")),
        many => bad(&format!(
            "{} say that they take writes: asked at different moments during a handover, or a case for the runbook KevyElectTwoPrimaries.",
            many.join(" and ")
        )),
    };
    for node in &said {
        for peer in list(node, "peers").filter(|peer| peer["foreign"] == true).take(REMARKS_MAX) {
            text += &bad(&format!(
                "\n{} ignores {}: it belongs to cluster {}, {} to {}. See \"Two clusters\" in docs/runbooks.md.",
                word(node, "node"),
                word(peer, "id"),
                word(peer, "cluster_id"),
                word(node, "node"),
                word(node, "cluster_id")
            ));
        }
    }
    for node in &said {
        for peer in list(node, "peers").filter(|peer| peer["differs"].is_string()) {
            text += &warn(&format!(
                "\n{} is configured otherwise than {}: {}.",
                word(peer, "id"),
                word(node, "node"),
                word(peer, "differs")
            ));
        }
    }
    let mut ids: Vec<&str> = said.iter().filter_map(|said| said["cluster_id"].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    if let [id] = ids[..] {
        text += &format!("\nThe cluster's id is {}.", plain(id));
    }
    if clusters.len() > 1 {
        text += &warn(&format!("\nThese nodes belong to different clusters: {}.", clusters.join(", ")));
    }
    for node in said.iter().filter(|said| said["paused"] == true) {
        text += &warn(&format!("\nAutomatic elections are paused on {}.", word(node, "node")));
    }
    for node in said.iter().filter(|said| said["health"].as_str().is_some_and(|health| health != "good")) {
        let what = if node["ailment"].is_null() { "health" } else { "ailment" };
        text += &warn(&format!("\n{} is unfit to be primary: {}.", word(node, "node"), word(node, what)));
    }
    for node in said.iter().filter(|said| said["stalled"].is_string()) {
        text += &bad(&format!("\n{} stands still: {}.", word(node, "node"), word(node, "stalled")));
    }
    for node in said.iter().filter(|said| said["copy"].is_object()) {
        let number = |name: &str| node["copy"][name].as_f64().unwrap_or_default();
        let rest = node["copy"]["rest_bytes"].as_f64().filter(|rest| *rest > 0.0);
        let rest = rest.map(|rest| format!(", about {:.1} MB to come", rest / 1e6)).unwrap_or_default();
        text += &warn(&format!(
            "\n{} copies the data of {}: {:.1} MB {} in {:.0} s, {:.1} MB/s{rest}.",
            word(node, "node"),
            word(node, "primary"),
            number("bytes") / 1e6,
            word(&node["copy"], "phase"),
            number("took_ms") / 1e3,
            number("bytes_per_second") / 1e6,
        ));
    }
    text + "\n"
}

/// A value as one would say it.
pub(crate) fn word(value: &Value, key: &str) -> String {
    match &value[key] {
        Value::Null => "-".to_owned(),
        Value::String(text) => plain(text),
        other => plain(&other.to_string()),
    }
}

pub(crate) fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[key].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kevy_elect_ops::http::client::FetchError;

    fn node(id: &str, role: &str, writable: bool, back: bool) -> Answer {
        let peers = json!([{ "id": if id == "a" { "b" } else { "a" }, "linked": true, "link_out": true, "link_back": back }]);
        let said = json!({ "cluster": "c", "node": id, "role": role, "writable": writable, "epoch": 7, "lease_ms": 960,
                           "lease_left_ms": 900, "primary": "a", "stream_epoch": 7, "offset": 5, "lag": 0, "quorum": 2,
                           "voters_reachable": 2, "why": "\u{1b}[2Jbecause", "peers": peers });
        Answer { node: format!("{id}:1"), said: Ok(said) }
    }

    #[test]
    fn the_table_shows_roles_links_both_ways_and_silent_nodes() {
        let down = Answer { node: "c:1".into(), said: Err(FetchError::Unreachable("no".to_owned())) };
        let answers = [node("a", "primary", true, true), node("b", "replica", false, false), down];
        let text = table(&rows(&answers)) + &links(&answers) + &remarks(&answers);
        assert!(text.contains("a     a:1  primary"), "{text}");
        assert!(text.contains("900/960 ms") && text.contains("7:5"), "{text}");
        assert!(
            text.contains(
                "?     c:1  ?        ?      ?        ?         ?    ?           ?           cannot be reached"
            ),
            "{text}"
        );
        assert!(text.contains("a      ·   ←→") && text.contains("b      ✗→  ·"), "{text}");
        assert!(text.ends_with("a takes writes.\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "what a node says must not steer the terminal");
        assert!(remarks(&answers[1..]).contains("None of these"));
    }

    #[test]
    fn a_replica_that_stands_still_is_told_of() {
        let mut still = node("b", "replica", false, true);
        if let Ok(said) = &mut still.said {
            said["stalled"] = json!("behind the primary and received nothing for 3 s");
        }
        let text = remarks(&[still]);
        assert!(text.contains("b stands still: behind the primary and received nothing for 3 s."), "{text}");
    }

    #[test]
    fn a_copy_is_told_with_its_rate() {
        let mut copies = node("b", "replica", false, true);
        if let Ok(said) = &mut copies.said {
            said["copy"] = json!({
                "phase": "received", "bytes": 50_000_000, "bytes_per_second": 20_000_000, "rest_bytes": 30_000_000, "took_ms": 2500
            });
        }
        let text = remarks(&[copies]);
        assert!(
            text.contains(
                "b copies the data of a: 50.0 MB received in 2 s, 20.0 MB/s, about 30.0 MB to come."
            ),
            "{text}"
        );
    }
}
