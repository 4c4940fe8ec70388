//! What can come next.

use crate::sim::data::Data;
use crate::sim::impairments::Life;
use crate::sim::server::Payload;

/// What comes next, outside the processes.
#[derive(Debug)]
pub(super) enum Event {
    /// A process starts.
    Start {
        node: usize,
    },
    /// The server's own work: clients, stream, position.
    Tick {
        node: usize,
        life: Life,
    },
    /// Replication: part of a history, on its way from one server to another.
    Data {
        from: usize,
        to: usize,
        life: Life,
        payload: Payload,
    },
    /// A snapshot is loaded.
    Loaded {
        node: usize,
        life: Life,
        turn: u64,
        data: Box<Data>,
    },
    /// A save is over.
    Written {
        node: usize,
        number: u64,
        failed: bool,
    },
    /// The links between two nodes break; `seen`: at both ends, otherwise only the first one notices.
    Reset {
        node: usize,
        peer: usize,
        seen: bool,
    },
    /// A member that lies says something.
    Lie(usize),
    /// A fault of the plan comes, and goes.
    Fault(usize),
    Heal(usize),
    /// All is healed.
    HealAll,
    /// Looks whether the cluster has settled.
    Probe,
}
