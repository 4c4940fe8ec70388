//! What nodes sent each other beside the stream, as they count it themselves.

use crate::client::{Client, Reply};
use crate::cluster::{Cluster, System};
use crate::verdict::Node;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a node may take to say it; a shard may be busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// Counters of one node, since its process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Copies of a shard's whole data: taken by this node from others, or, by Redis, given to others.
    pub snapshots: u64,
    /// Times that a stream went on without one.
    pub continued: u64,
    /// Frames that were fetched for that.
    pub frames: u64,
}

impl Count {
    fn since(self, before: Self) -> Self {
        Self {
            snapshots: self.snapshots.saturating_sub(before.snapshots),
            continued: self.continued.saturating_sub(before.continued),
            frames: self.frames.saturating_sub(before.frames),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            snapshots: self.snapshots + other.snapshots,
            continued: self.continued + other.continued,
            frames: self.frames + other.frames,
        }
    }
}

/// What was copied in a failover, and for the old primary's return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// By those that stayed.
    pub survivors: Count,
    /// By the one that came back.
    pub returned: Count,
}

/// What each node says at one moment; `None` of one that does not run, and of servers that count nothing.
#[derive(Debug, Clone)]
pub struct Counts {
    by_receiver: bool,
    nodes: Vec<Option<Count>>,
}

impl Counts {
    /// Asks all nodes.
    pub fn read(cluster: &Cluster) -> Self {
        let by_receiver = *cluster.system() == System::Plugin;
        let nodes = cluster.members.iter().enumerate().map(|(node, member)| {
            cluster.pid(node)?;
            match cluster.system() {
                System::Plugin => plugin(SocketAddr::new(member.address().ip(), member.ports.http)),
                System::Redis { .. } => redis(member.address()),
                System::Stock => None,
            }
        });
        Self { by_receiver, nodes: nodes.collect() }
    }

    /// What was copied in a round that began with this: `old` was started again or let go on right after `return_at`, and `end`
    /// was read when all was whole. `restarted`: as a new process.
    pub fn copied(&self, return_at: &Self, end: &Self, old: Node, restarted: bool) -> Option<Copied> {
        let others = (0..self.nodes.len()).filter(|node| *node != old);
        let mut copied = Copied::default();
        for node in others {
            let (begin, mid, end) = (self.nodes[node]?, return_at.nodes[node]?, end.nodes[node]?);
            let until = if self.by_receiver { end } else { mid };
            copied.survivors = copied.survivors.plus(until.since(begin));
            copied.returned = copied.returned.plus(end.since(until));
        }
        if self.by_receiver {
            let before = if restarted { Count::default() } else { self.nodes[old]? };
            copied.returned = end.nodes[old]?.since(before);
        }
        Some(copied)
    }
}

/// Bytes of frames that a node of the plugin keeps for others.
pub fn kept_bytes(cluster: &Cluster, node: Node) -> Option<u64> {
    let member = cluster.members.get(node).filter(|_| *cluster.system() == System::Plugin)?;
    series(&metrics(SocketAddr::new(member.address().ip(), member.ports.http))?, "kevy_server_kept_bytes")
}

fn metrics(pages: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&pages, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// As `/metrics` says it.
fn plugin(pages: SocketAddr) -> Option<Count> {
    let text = metrics(pages)?;
    let sum = |name: &str| series(&text, name);
    Some(Count {
        snapshots: sum("kevy_server_copies_total")?,
        continued: sum("kevy_server_continuations_total")?,
        frames: sum("kevy_server_continue_fetched_total")?,
    })
}

/// The sum over all series of a metric.
fn series(text: &str, name: &str) -> Option<u64> {
    let values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(['{', ' ']));
    values
        .map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .try_fold(None, |sum: Option<u64>, value| Some(Some(sum.unwrap_or(0) + value? as u64)))?
}

/// As `INFO stats` says it.
fn redis(server: SocketAddr) -> Option<Count> {
    let mut client = Client::connect(server).ok()?;
    let Reply::Bulk(info) = client.call_within(&[b"INFO", b"stats"], PATIENCE).ok()? else { return None };
    let info = String::from_utf8_lossy(&info).into_owned();
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some(Count { snapshots: field("sync_full:")?, continued: field("sync_partial_ok:")?, frames: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(snapshots: u64) -> Option<Count> {
        Some(Count { snapshots, ..Count::default() })
    }

    fn counts(by_receiver: bool, nodes: [u64; 3]) -> Counts {
        Counts { by_receiver, nodes: nodes.map(count).to_vec() }
    }

    #[test]
    fn series_are_added_up_and_other_names_are_not_theirs() {
        let text = "# TYPE a_total counter\na_total{reason=\"x\",node=\"n1\"} 2\na_total{reason=\"y\"} 3\na_total_bytes 9\nb_total 1\n";
        assert_eq!((series(text, "a_total"), series(text, "b_total")), (Some(5), Some(1)));
        assert_eq!(series(text, "c_total"), None);
    }

    #[test]
    fn a_copy_is_told_of_whoever_took_it() {
        // Whoever takes a copy counts it, whenever it is done.
        let [begin, mid, end] = [[4, 1, 0], [0, 1, 0], [1, 1, 2]].map(|nodes| counts(true, nodes));
        let copied = begin.copied(&mid, &end, 0, true).unwrap();
        assert_eq!((copied.survivors.snapshots, copied.returned.snapshots), (2, 1));
        // Whoever gives one counts it, when it begins.
        let [begin, mid, end] = [[4, 1, 0], [0, 2, 0], [0, 3, 0]].map(|nodes| counts(false, nodes));
        let copied = begin.copied(&mid, &end, 0, true).unwrap();
        assert_eq!((copied.survivors.snapshots, copied.returned.snapshots), (1, 1));
        let silent = Counts { by_receiver: false, nodes: vec![None; 3] };
        assert_eq!(silent.copied(&silent, &silent, 0, true), None);
    }
}
