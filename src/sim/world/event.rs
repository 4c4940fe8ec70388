//! What can come next.

use crate::elector::{DetachSeq, PersistSeq};
use crate::ids::{Epoch, Incarnation};
use crate::message::Message;
use crate::position::Position;
use crate::sim::data::Data;
use crate::sim::impairments::Life;
use crate::sim::server;

#[derive(Debug, Clone)]
pub(super) enum Event {
    /// The elector wants to be called.
    Wake {
        node: usize,
        life: Life,
    },
    /// The server's own work: clients, stream, position.
    Tick {
        node: usize,
        life: Life,
    },
    /// Something comes in from the network.
    Frame(Box<Frame>),
    /// A connection is up at one end.
    LinkUp {
        at: usize,
        peer: usize,
        life: Life,
        peer_life: Life,
        incarnation: Incarnation,
        conn: u64,
    },
    /// A connection is over at one end.
    LinkEnd {
        at: usize,
        peer: usize,
        life: Life,
        conn: u64,
        /// The peer's process that it led to.
        incarnation: Incarnation,
        closed: bool,
    },
    /// One end tries to connect.
    Retry {
        at: usize,
        peer: usize,
        life: Life,
    },
    /// A save is over.
    Saved {
        node: usize,
        life: Life,
        write: u64,
        failed: bool,
    },
    /// The process learns of it.
    SaveTold {
        node: usize,
        life: Life,
        seq: PersistSeq,
        failed: bool,
    },
    /// The server has done, or failed to do, what it was asked.
    HostDone {
        node: usize,
        life: Life,
        turn: u64,
        job: Job,
        failed: bool,
    },
    /// The server has counted its last write.
    Fenced {
        node: usize,
        life: Life,
        fence: u64,
    },
    /// The server lets go of its primary.
    Detach {
        node: usize,
        life: Life,
        seq: DetachSeq,
    },
    /// It says so.
    Detached {
        node: usize,
        life: Life,
        seq: DetachSeq,
        position: Position,
    },
    /// A snapshot is loaded.
    Loaded {
        node: usize,
        life: Life,
        turn: u64,
        data: Box<Data>,
    },
    /// A write that passed the gate is answered.
    Answer {
        node: usize,
        life: Life,
        epoch: Epoch,
    },
    /// The kernel ends a process that was stopped for too long.
    Alarm {
        node: usize,
        life: Life,
    },
    /// The server looked after its shards: one does not turn.
    Looked {
        node: usize,
        life: Life,
    },
    /// Looks whether somebody serves.
    Look,
    /// A fault of the plan comes, and goes.
    Fault(usize),
    Heal(usize),
    /// The member that this fault of the plan makes a liar says something.
    Lie(usize),
    /// A process starts.
    Start {
        node: usize,
    },
    /// All is healed.
    HealAll,
    /// Looks whether the cluster has settled.
    Probe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    Promote(Epoch),
    Follow(Epoch),
}

#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) from_life: Life,
    pub(super) to_life: Life,
    /// The connection between the electors that it came on.
    pub(super) conn: u64,
    pub(super) incarnation: Incarnation,
    pub(super) payload: Payload,
}

#[derive(Debug, Clone)]
pub(super) enum Payload {
    Elector(Message),
    Server(server::Payload),
}
