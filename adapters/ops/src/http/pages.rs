//! Which page is asked for, and what status a load balancer gets to see.

use super::connection::{Answer, Bad, Request};
use super::history::History;
use super::views::Views;
use super::{page, status};
use kevy_elect_plugin::message::Role;
use kevy_elect_plugin::plugin::{ElectPlugin, ElectSnapshot};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

const OK: &str = "200 OK";
const UNAVAILABLE: &str = "503 Service Unavailable";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// What `/` and unknown paths list.
pub(super) const PATHS: &str = "/ /status /history /health /primary /replica?lag=N /metrics";

/// Everything the pages tell of.
pub struct Pages {
    /// The process's metrics.
    pub metrics: PrometheusHandle,
    /// The election.
    pub plugin: Arc<dyn ElectPlugin>,
    /// Why a replica that is behind receives nothing, where that is so.
    pub stall: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// What it decided.
    pub history: History,
    /// The cluster's name.
    pub cluster: String,
    /// What the others say of their links.
    pub views: Views,
}

impl Pages {
    pub(super) fn upkeep(&self) {
        self.metrics.run_upkeep();
    }

    /// `None`: other nodes are asked first. `late`: answers with what is known.
    pub(super) fn answer(&self, now: Instant, request: &Result<Request, Bad>, late: bool) -> Option<Answer> {
        // Only for eyes: no check and no scrape makes anybody ask anybody.
        let looks = matches!(request, Ok(request) if request.path == "/" && request.method == "GET");
        if looks && !self.views.refresh(now) && !late {
            return None;
        }
        Some(self.now(request))
    }

    fn now(&self, request: &Result<Request, Bad>) -> Answer {
        let request = match request {
            Ok(request) => request,
            Err(Bad::Garbage) => return text("400 Bad Request", "this is not HTTP"),
            Err(Bad::TooLarge) => {
                return text("431 Request Header Fields Too Large", "use a shorter path and fewer headers");
            }
            Err(Bad::TooSlow) => return text("408 Request Timeout", "the request did not come in time"),
        };
        let answer = match request.method.as_str() {
            // Load balancers check with any of these; HAProxy's default is OPTIONS.
            "GET" | "HEAD" | "OPTIONS" => self.page(request),
            _ => text("405 Method Not Allowed", "use GET, HEAD or OPTIONS"),
        };
        Answer { head_only: request.method != "GET", ..answer }
    }

    fn page(&self, request: &Request) -> Answer {
        let snapshot = || self.plugin.snapshot();
        match request.path.as_str() {
            "/" => {
                let views = self.views.all();
                answer(OK, HTML, page::page(&snapshot(), &self.cluster, &self.history, &views))
            }
            "/metrics" => answer(OK, "text/plain; version=0.0.4; charset=utf-8", self.metrics.render()),
            "/status" => {
                let status = status::status(&snapshot(), &self.cluster, &self.history);
                answer(OK, JSON, format!("{status:#}\n"))
            }
            "/history" => {
                let history = json!({ "cluster": self.cluster, "decisions": self.history.decisions() });
                answer(OK, JSON, format!("{history:#}\n"))
            }
            "/health" => judged(health(&snapshot()).and_then(|why| self.moves(why))),
            "/primary" => judged(primary(&snapshot())),
            "/replica" => match lag(&request.query) {
                Ok(lag) => judged(replica(&snapshot(), lag).and_then(|why| self.moves(why))),
                Err(reason) => text("400 Bad Request", &reason),
            },
            _ => text("404 Not Found", &format!("here are {PATHS}")),
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
        Ok(why) => text(OK, &why),
        Err(why) => text(UNAVAILABLE, &why),
    }
}

fn text(status: &'static str, body: &str) -> Answer {
    answer(status, TEXT, format!("{body}\n"))
}

fn answer(status: &'static str, kind: &'static str, body: String) -> Answer {
    Answer { status, kind, body, head_only: false }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
pub(super) mod tests {
    use super::*;
    use kevy_elect_plugin::host::Health;
    use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId};
    use kevy_elect_plugin::message::Standing;
    use kevy_elect_plugin::plugin::PeerSnapshot;
    use kevy_elect_plugin::position::Progress;
    use std::time::Duration;

    fn at(stream_epoch: u64, offset: u64) -> Progress {
        Progress { stream_epoch: Epoch(stream_epoch), offset }
    }

    /// A replica of `a` in epoch 3, ten writes behind.
    pub(crate) fn behind() -> ElectSnapshot {
        let id = |name| NodeId::new(name).unwrap();
        let peer = PeerSnapshot {
            id: id("a"),
            up: true,
            silence: Some(Duration::from_millis(5)),
            role: Some(Role::Primary),
            epoch: Epoch(3),
            progress: at(3, 110),
            primary: Some(id("a")),
            health: Health::Good,
            linked: true,
            links: None,
        };
        ElectSnapshot {
            node: id("b"),
            incarnation: Incarnation(1),
            role: Role::Replica,
            epoch: Epoch(3),
            primary: Some(id("a")),
            standing: Standing::Member,
            progress: at(3, 100),
            writable: false,
            paused: false,
            lease: Duration::from_millis(960),
            lease_left: Duration::ZERO,
            fenced: None,
            peers: vec![peer],
            voters_reachable: 2,
            quorum: 2,
            why: "follows a".to_owned(),
            health: Health::Good,
            ailment: None,
        }
    }

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
