//! Asks the nodes, all at once.

use crate::paint::plain;
use kevy_elect_ops::http::client::{FetchError, fetch};
use serde_json::Value;
use std::time::Duration;

/// Longest time for one answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest answer: what a hundred decisions have with all entries that they may have.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The most entries of one list, and the longest text, that are looked at.
const ENTRIES_MAX: usize = 4096;
const TEXT_CHARS_MAX: usize = 1024;

/// What one node said, or why it said nothing.
pub(crate) struct Answer {
    pub(crate) node: String,
    pub(crate) said: Result<Value, FetchError>,
}

/// Asks all `nodes` for `path`. An error if none of them answers.
pub(crate) fn ask(nodes: &[String], path: &str) -> Result<Vec<Answer>, String> {
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let asked: Vec<_> = nodes
            .iter()
            .map(|node| (node, scope.spawn(|| fetch(node, path, PATIENCE, ANSWER_BYTES_MAX).map(tame))))
            .collect();
        let answer = |(node, thread): (&String, std::thread::ScopedJoinHandle<'_, _>)| {
            let said = thread.join().unwrap_or(Err(FetchError::Strange));
            Answer { node: node.clone(), said }
        };
        asked.into_iter().map(answer).collect()
    });
    if answers.iter().any(|answer| answer.said.is_ok()) {
        return Ok(answers);
    }
    let reason = |answer: &Answer| Some(format!("  {}: {}", answer.node, answer.said.as_ref().err()?));
    let reasons: Vec<String> = answers.iter().filter_map(reason).collect();
    Err(format!(
        "no node answers:\n{}\nName the addresses of [elect] http with --at HOST:PORT,HOST:PORT or in KEVY_ELECT_AT. Is \
         http set there, and http_public for other machines? Does kevy-server run?",
        reasons.join("\n")
    ))
}

/// What a node sent, without anything that could steer a terminal, and no longer than anybody needs. Whoever shows it need not think of that.
fn tame(said: Value) -> Value {
    match said {
        Value::String(text) => Value::String(tame_text(&text)),
        Value::Array(entries) => entries.into_iter().take(ENTRIES_MAX).map(tame).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .take(ENTRIES_MAX)
            .map(|(name, value)| (tame_text(&name), tame(value)))
            .collect(),
        other => other,
    }
}

fn tame_text(text: &str) -> String {
    let plain = plain(text);
    match plain.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &plain[..end]),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_node_sends_is_tamed_wherever_it_stands() {
        let bad = "a\u{1b}[2Jb\u{9b}1m\u{202e}c\r\n";
        let said = json!({ bad: [bad, { "x": bad }], "long": "x".repeat(5000), "many": vec![0; 5000] });
        let tame = tame(said);
        assert_eq!(tame["a[2Jb1mc"], json!(["a[2Jb1mc", { "x": "a[2Jb1mc" }]));
        assert_eq!(tame["long"].as_str().map(str::len), Some(TEXT_CHARS_MAX + 3));
        assert_eq!(tame["many"].as_array().map(Vec::len), Some(ENTRIES_MAX));
    }
}
