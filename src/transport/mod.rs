//! Transports: how messages get from node to node.
//!
//! A transport proves who speaks, keeps links up, and says when they go down and how. It may lose,
//! delay, duplicate and reorder messages; it must not invent them.

pub mod handshake;
mod inbox;
mod links;
pub mod memory;
mod outbox;
mod retry;
pub mod tcp;
mod wakes;

pub use crate::link::LinkEvent;
pub use inbox::{INBOX_EVENTS_MAX, REFUSALS_PER_SECOND_MAX, REFUSALS_QUEUED_MAX};
pub use memory::{MemoryNetwork, MemoryTransport};
pub use outbox::OUTBOX_FRAMES_MAX;
pub use tcp::TcpTransport;

use crate::ids::NodeId;
use crate::message::{Hello, Message};
use async_trait::async_trait;

/// What a transport hands up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransportEvent {
    /// A message came in from `from`, as the link proved it.
    Message {
        /// Who sent it.
        from: NodeId,
        /// What it said.
        message: Message,
    },
    /// The link to `peer` changed.
    Link {
        /// The other end.
        peer: NodeId,
        /// How it changed.
        event: LinkEvent,
    },
    /// Something came in that was refused: a stranger, another cluster, garbage. Or a peer that we dialled
    /// refused us, for this reason.
    Refused {
        /// Who it says it is, where it got that far.
        claimed: Option<NodeId>,
        /// Why it was refused.
        reason: RefuseReason,
    },
}

/// Why a transport turned something away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefuseReason {
    /// Not a frame of this protocol, or a value out of range.
    Garbage,
    /// A frame over the size limit.
    TooLarge,
    /// The `HELLO` did not come in time.
    HelloTimeout,
    /// Another version of the protocol.
    Protocol,
    /// Another cluster's name.
    Cluster,
    /// A node id that is not in the member list, or our own.
    UnknownNode,
    /// An older process of a node whose newer one is linked.
    StaleIncarnation,
    /// More connections at once than the limit allows.
    TooMany,
}

impl RefuseReason {
    /// All reasons.
    pub const ALL: [Self; 8] = [
        Self::Garbage,
        Self::TooLarge,
        Self::HelloTimeout,
        Self::Protocol,
        Self::Cluster,
        Self::UnknownNode,
        Self::StaleIncarnation,
        Self::TooMany,
    ];

    /// The word for it on the wire, in metrics and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::TooLarge => "too-large",
            Self::HelloTimeout => "hello-timeout",
            Self::Protocol => "protocol",
            Self::Cluster => "cluster",
            Self::UnknownNode => "unknown-node",
            Self::StaleIncarnation => "stale-incarnation",
            Self::TooMany => "too-many",
        }
    }
}

/// The two links between two nodes, seen from one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Directions {
    /// This node can send.
    pub out: bool,
    /// The peer can send.
    pub back: bool,
}

/// What a transport counted since it was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransportStats {
    /// Connections and frames that were turned away, in the order of [`RefuseReason::ALL`].
    pub refused: [u64; RefuseReason::ALL.len()],
    /// Heartbeats and echoes that gave up their places in full queues.
    pub dropped: u64,
}

impl TransportStats {
    /// How many were turned away for this reason.
    pub fn refused_for(&self, reason: RefuseReason) -> u64 {
        RefuseReason::ALL.iter().zip(self.refused).find(|(r, _)| **r == reason).map_or(0, |(_, count)| count)
    }
}

/// Moves messages between the members of one cluster.
///
/// Nothing spawns: `run` is the one future that does the work, polled by the driver beside everything
/// else. Every implementation passes `tests/transport_conformance.rs`.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Opens the door and keeps links to all peers, until dropped or [`Transport::close`]d. `hello` is
    /// what this node says of itself. Returns an error only if the transport cannot work at all.
    async fn run(&self, hello: Hello) -> Result<(), TransportError>;

    /// Queues a message and returns at once. A full queue drops its oldest heartbeat or echo, never a
    /// vote or an answer to one; a peer without a link gets nothing.
    fn send(&self, to: NodeId, message: &Message) -> Result<(), SendError>;

    /// The next thing that came in. Cancelling the future loses nothing. One receiver at a time.
    async fn recv(&self) -> TransportEvent;

    /// Which links to `peer` there are now; `None` where the transport cannot tell them apart.
    fn directions(&self, peer: NodeId) -> Option<Directions> {
        let _ = peer;
        None
    }

    /// What it counted since it was built; `None` where it does not count. The events tell of refusals
    /// within limits only, so this is the true number.
    fn stats(&self) -> Option<TransportStats> {
        None
    }

    /// Writes out what is queued (bounded by a short time), then closes all links and the door.
    async fn close(&self);
}

/// Why a message was not queued. The message is gone; the sender's next heartbeat repeats what matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// No member of the cluster has this id.
    #[error("{0} is not a member of this cluster")]
    UnknownPeer(NodeId),
    /// There is no link to the peer now.
    #[error("no link to {0}")]
    NoLink(NodeId),
    /// The peer's queue is full of messages that must not be dropped.
    #[error("the queue to {0} is full")]
    QueueFull(NodeId),
    /// The transport was closed.
    #[error("the transport is closed")]
    Closed,
}

/// Why a transport cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The listening socket could not be opened.
    #[error("cannot listen on {address} for peers: {source}; free the port or choose another one")]
    Listen {
        /// What was tried.
        address: String,
        /// The system's answer.
        source: std::io::Error,
    },
}
