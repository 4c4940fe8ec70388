//! Asks the nodes, all at once.

use crate::paint::plain;
use kevy_elect_ops::http::client::{FetchError, fetch, fetch_bytes};
use serde_json::Value;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

/// All that one node tells of itself.
pub(crate) struct Look {
    /// Where its pages are.
    pub(crate) at: String,
    pub(crate) status: Result<Value, String>,
    pub(crate) facts: Option<Value>,
    /// Here, in Unix time, when the answer with its own clock came; and how long that took.
    pub(crate) now_ms: u64,
    pub(crate) took_ms: f64,
    metrics: Vec<(String, f64)>,
}

impl Look {
    /// Of a node that says this and nothing else.
    #[cfg(test)]
    pub(crate) fn saying(status: Value) -> Self {
        Self {
            at: String::new(),
            status: Ok(status),
            facts: None,
            now_ms: 0,
            took_ms: 0.0,
            metrics: Vec::new(),
        }
    }

    /// The sum of a metric over its labels.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let of = |(series, value): &(String, f64)| (series.split('{').next() == Some(name)).then_some(*value);
        let values: Vec<f64> = self.metrics.iter().filter_map(of).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// A bucket of a histogram.
    pub(crate) fn bucket(&self, name: &str, bound: &str) -> Option<f64> {
        let bound = format!("le=\"{bound}\"");
        let of =
            |(series, _): &&(String, f64)| series.split('{').next() == Some(name) && series.contains(&bound);
        self.metrics.iter().find(of).map(|(_, value)| *value)
    }
}

/// Asks all `nodes` for all of it, at once. An error if none of them answers.
pub(crate) fn look(nodes: &[String]) -> Result<Vec<Look>, String> {
    let looks: Vec<Look> = std::thread::scope(|scope| {
        let asked: Vec<_> = nodes.iter().map(|node| scope.spawn(|| look_at(node))).collect();
        asked.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    match looks.iter().any(|look| look.status.is_ok()) {
        true => Ok(looks),
        false => Err(nobody(
            looks.iter().filter_map(|look| Some((look.at.as_str(), look.status.as_ref().err()?.clone()))),
        )),
    }
}

fn look_at(node: &str) -> Look {
    let json = |path| fetch(node, path, PATIENCE, ANSWER_BYTES_MAX).map(tame);
    let status = json("/status");
    // Who does not answer is not asked for more.
    let more = status.is_ok();
    let begun = Instant::now();
    let facts = more.then(|| json("/facts").ok()).flatten();
    let took = begun.elapsed();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(took / 2);
    let metrics = more.then(|| fetch_bytes(node, "/metrics", PATIENCE, ANSWER_BYTES_MAX).ok()).flatten();
    Look {
        at: node.to_owned(),
        status: status.map_err(|error| plain(&error.to_string())),
        facts: facts.filter(|facts| facts["node"].is_string() && facts["members"].is_array()),
        now_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        took_ms: took.as_secs_f64() * 1e3,
        metrics: metrics.map(|text| series(&String::from_utf8_lossy(&text))).unwrap_or_default(),
    }
}

/// What is told to Prometheus, as far as anybody here asks for it.
fn series(text: &str) -> Vec<(String, f64)> {
    const WANTED: [&str; 5] = [
        "kevy_elect_vote_save_",
        "kevy_server_log_sync_",
        "kevy_server_stream_stalled_",
        "kevy_elect_fences",
        "kevy_server_companion",
    ];
    let of = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        WANTED.iter().any(|wanted| series.starts_with(wanted)).then_some(())?;
        Some((series.to_owned(), value.parse().ok()?))
    };
    text.lines().filter_map(of).take(ENTRIES_MAX).collect()
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
    Err(nobody(
        answers
            .iter()
            .filter_map(|answer| Some((answer.node.as_str(), answer.said.as_ref().err()?.to_string()))),
    ))
}

fn nobody<'a>(whys: impl Iterator<Item = (&'a str, String)>) -> String {
    let reasons: Vec<String> = whys.map(|(node, why)| format!("  {node}: {why}")).collect();
    format!(
        "no node answers:\n{}\nName the addresses of [elect] http with --at HOST:PORT,HOST:PORT or in KEVY_ELECT_AT. Is \
         http set there, and http_public for other machines? Does kevy-server run?",
        reasons.join("\n")
    )
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
