//! Time in ticks: real time moves by whole ticks, and every node reads it on a clock of its own rate.
//!
//! The three clocks run as far apart as the configuration allows: one slow, one fast, one true. A node is woken
//! at or after its deadline, as late as the interleaving has it, so a stopped process needs no action of its own.

use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::time::{Duration, Instant};

/// The number of nodes.
pub const NODES: usize = 3;

/// What a tick of real time is on each node's clock. The first node, whom ties prefer and who is primary at first,
/// has the slow one: its lease lasts longest, while the second one's promises end earliest.
pub const TICK_MILLIS: [u64; NODES] = [1000 - DRIFT, 1000 + DRIFT, 1000];

/// A tenth: as much as the configuration says that clocks may drift.
const DRIFT: u64 = 100;

/// Heartbeats go every tick, a promise holds for four, a lease for three: the fewest that are a fair configuration.
const HEARTBEAT: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(4);
const LEASE: Duration = Duration::from_secs(3);

/// Ticks after which a wait of an election timeout is over on every clock.
pub(crate) const TIMEOUT_TICKS: u64 = 5;

/// The node of this number.
pub(crate) fn id(node: usize) -> NodeId {
    NodeId::new(["n0", "n1", "n2"][node]).unwrap_or_else(|_| unreachable!("three fair names"))
}

/// The number of this node.
pub(crate) fn number(id: NodeId) -> Option<usize> {
    (0..NODES).find(|node| self::id(*node) == id)
}

/// What the node's clock shows after so many ticks. Far from zero, so that nothing saturates.
pub(crate) fn local(node: usize, tick: u64) -> Instant {
    Instant::from_nanos(1_000_000_000_000 + tick * TICK_MILLIS[node] * 1_000_000)
}

/// The configuration of a node.
pub(crate) fn config(node: usize) -> Config {
    Config::builder(id(node), (0..NODES).map(|node| Member::voter(id(node))))
        .heartbeat_interval(HEARTBEAT)
        .election_timeout(TIMEOUT)
        .lease(LEASE)
        .drift_percent(DRIFT as f64 / 10.0)
        .build()
        .unwrap_or_else(|error| unreachable!("{error}"))
}
