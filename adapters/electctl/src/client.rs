//! Asks the nodes, all at once.

use kevy_elect_ops::http::client::{FetchError, fetch};
use serde_json::Value;
use std::time::Duration;

/// Longest time for one answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest answer: far above what a hundred decisions of a hundred members need.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

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
            .map(|node| (node, scope.spawn(|| fetch(node, path, PATIENCE, ANSWER_BYTES_MAX))))
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
