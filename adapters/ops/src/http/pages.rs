//! Which page is asked for, and what status a load balancer gets to see.

use super::copying::Copying;
use super::facts::Facts;
use super::views::Views;
use super::{page, status};
use crate::history::History;
use crate::members::Addresses;
use hyper::{Method, StatusCode};
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::message::Role;
use kevy_elect_plugin::plugin::{ElectPlugin, ElectSnapshot};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use std::sync::Arc;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// What `/` and unknown paths list.
pub(super) const PATHS: &str = "/ /status /facts /history /health /primary /replica?lag=N /metrics";

/// Says where a member is.
pub type Place = dyn Fn(NodeId) -> Addresses + Send + Sync;

/// Everything the pages tell of.
pub struct Pages {
    /// The process's metrics.
    pub metrics: PrometheusHandle,
    /// The election.
    pub plugin: Arc<dyn ElectPlugin>,
    /// Why a replica that is behind receives nothing, where that is so.
    pub stall: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// The copy that it takes just now, if it takes one.
    pub copying: Box<dyn Fn() -> Option<Copying> + Send + Sync>,
    /// What it decided.
    pub history: History,
    /// The cluster's name.
    pub cluster: String,
    /// What links prove: `secure`, `local` or `insecure`.
    pub links: &'static str,
    /// What it was told, and what its machine gives it.
    pub facts: Facts,
    /// Where the members are.
    pub place: Box<Place>,
    /// What the others say of their links.
    pub views: Views,
}

/// What a client gets.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Its media type.
    pub(super) kind: &'static str,
    pub(super) body: String,
}

impl Pages {
    pub(super) fn upkeep(&self) {
        self.metrics.run_upkeep();
    }

    /// Asks the other nodes first where the page shows what they say.
    pub(super) async fn answer(&self, method: &Method, path: &str, query: &str) -> Answer {
        match (method, path) {
            // Only for people: no check and no scrape makes anybody ask anybody.
            (&Method::GET, "/") => self.views.settle().await,
            // Load balancers check with any of these; HAProxy's default is OPTIONS.
            (&Method::GET | &Method::HEAD | &Method::OPTIONS, _) => {}
            _ => return text(StatusCode::METHOD_NOT_ALLOWED, "use GET, HEAD or OPTIONS"),
        }
        let snapshot = || self.plugin.snapshot();
        match path {
            "/" => {
                let (copying, views) = ((self.copying)(), self.views.all());
                let page = page::page(&snapshot(), self, copying, &views);
                ok(HTML, page)
            }
            "/metrics" => ok("text/plain; version=0.0.4; charset=utf-8", self.metrics.render()),
            "/status" => {
                let copying = (self.copying)();
                let status = status::status(&snapshot(), self, copying);
                ok(JSON, format!("{status:#}\n"))
            }
            "/facts" => ok(JSON, format!("{:#}\n", self.facts.now())),
            "/history" => {
                let history = json!({ "cluster": self.cluster, "decisions": self.history.decisions() });
                ok(JSON, format!("{history:#}\n"))
            }
            "/health" => judged(health(&snapshot()).and_then(|why| self.moves(why))),
            "/primary" => judged(primary(&snapshot())),
            "/replica" => match lag(query) {
                Ok(lag) => judged(replica(&snapshot(), lag).and_then(|why| self.moves(why))),
                Err(reason) => text(StatusCode::BAD_REQUEST, &reason),
            },
            _ => text(StatusCode::NOT_FOUND, &format!("here are {PATHS}")),
        }
    }

    /// `why`, unless this node is a replica that is behind and receives nothing.
    fn moves(&self, why: String) -> Result<String, String> {
        match (self.stall)() {
            Some(trouble) => Err(format!("{why}; {trouble}")),
            None => Ok(why),
        }
    }
}

/// Whether this node does its work: a primary that may write, or a replica whose primary it hears.
fn health(snapshot: &ElectSnapshot) -> Result<String, String> {
    if !snapshot.health.is_good() {
        return Err(snapshot.why.clone());
    }
    if snapshot.role == Role::Primary { primary(snapshot) } else { replica(snapshot, None) }
}

fn primary(snapshot: &ElectSnapshot) -> Result<String, String> {
    // A primary that serves badly and keeps its office, because nobody else is fit, is still where writes go.
    match snapshot.role == Role::Primary && snapshot.writable && snapshot.health.serves() {
        true => Ok(snapshot.why.clone()),
        false => Err(snapshot.why.clone()),
    }
}

/// Whether reads may go here: it holds the history of a primary that it hears, and lags by at most `max`.
fn replica(snapshot: &ElectSnapshot, max: Option<u64>) -> Result<String, String> {
    let primary = snapshot.primary.and_then(|id| snapshot.peers.iter().find(|peer| peer.id == id));
    let (Role::Replica, Some(primary)) = (snapshot.role, primary) else { return Err(snapshot.why.clone()) };
    if !snapshot.health.serves() {
        return Err(snapshot.why.clone());
    }
    if !primary.up {
        return Err(format!("{}, which is silent", snapshot.why));
    }
    match (status::lag(snapshot), max) {
        (None, _) => Err(format!("{}, and has not joined its history yet", snapshot.why)),
        (Some(lag), Some(max)) if lag > max => {
            Err(format!("{}, {lag} writes behind; {max} allowed", snapshot.why))
        }
        (Some(lag), _) => Ok(format!("{}, {lag} writes behind", snapshot.why)),
    }
}

/// The bound in `lag=N`, where there is one.
fn lag(query: &str) -> Result<Option<u64>, String> {
    let mut bound = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let value = pair.strip_prefix("lag=").and_then(|value| value.parse().ok());
        // A misspelt bound must not let a stale replica through.
        bound = Some(
            value.ok_or_else(|| "use lag=N with a whole number of writes, and nothing else".to_owned())?,
        );
    }
    Ok(bound)
}

fn judged(result: Result<String, String>) -> Answer {
    match result {
        Ok(why) => text(StatusCode::OK, &why),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

fn text(status: StatusCode, body: &str) -> Answer {
    Answer { status, kind: TEXT, body: format!("{body}\n") }
}

fn ok(kind: &'static str, body: String) -> Answer {
    Answer { status: StatusCode::OK, kind, body }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::http::fixture::{at, behind};
    use kevy_elect_plugin::host::Health;

    #[test]
    fn reads_go_only_to_a_replica_within_the_bound_and_in_the_same_history() {
        let mut node = behind();
        assert!(replica(&node, None).is_ok() && replica(&node, Some(10)).is_ok());
        assert!(replica(&node, Some(9)).unwrap_err().contains("10 writes behind"));
        node.progress = at(2, 1_000_000);
        assert!(replica(&node, None).is_err(), "an old history, however long, is no replica's");
        node = behind();
        node.peers[0].up = false;
        assert!(replica(&node, None).is_err());
        node = behind();
        node.primary = None;
        assert!(replica(&node, None).is_err());
    }

    #[test]
    fn writes_go_only_to_a_primary_whose_lease_runs() {
        let mut node = behind();
        assert!(primary(&node).is_err());
        node.role = Role::Primary;
        node.primary = Some(node.node);
        assert!(primary(&node).is_err() && replica(&node, None).is_err(), "fenced");
        node.writable = true;
        assert!(primary(&node).is_ok() && health(&node).is_ok());
    }

    #[test]
    fn nothing_goes_to_a_server_that_does_not_answer_and_writes_go_to_one_that_answers_badly() {
        let mut node = behind();
        node.health = Health::Stuck;
        assert!(replica(&node, None).is_err());
        (node.role, node.primary, node.writable) = (Role::Primary, Some(node.node), true);
        assert!(primary(&node).is_err() && health(&node).is_err());
        node.health = Health::Disk;
        assert!(primary(&node).is_ok() && health(&node).is_err());
    }

    #[test]
    fn a_bound_that_makes_no_sense_is_refused() {
        assert_eq!(lag(""), Ok(None));
        assert_eq!(lag("lag=7"), Ok(Some(7)));
        for wrong in ["lag=", "lag=-1", "lag=1MB", "lg=7", "lag=7&x=1"] {
            assert!(lag(wrong).is_err(), "{wrong}");
        }
    }
}
