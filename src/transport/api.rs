//! What a transport is to those who use it.

use crate::ids::NodeId;
use crate::link::LinkEvent;
use crate::message::{Hello, Message};
use crate::words::words;
use async_trait::async_trait;

/// What a transport hands up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
    /// A greeting of `peer` differs from this node's in what all members have to agree on, in another way than before, or not any more.
    Terms {
        /// Who greeted.
        peer: NodeId,
        /// What it said.
        terms: String,
    },
    /// Something came in that was refused: a stranger, another cluster, garbage. Or a peer that we dialled
    /// refused us, for this reason.
    Refused {
        /// Who it says it is, where it got that far.
        claimed: Option<NodeId>,
        /// Why it was refused.
        reason: RefuseReason,
        /// What more there is to say, for people: what the one who refused us wrote, or where both processes of one node are.
        detail: Option<String>,
    },
}

words! {
    /// Why a transport turned something away.
    #[non_exhaustive]
    pub enum RefuseReason {
        /// Not a frame of this protocol, or a value out of range.
        Garbage = "garbage",
        /// A frame over the size limit.
        TooLarge = "too-large",
        /// The `HELLO` did not come in time.
        HelloTimeout = "hello-timeout",
        /// Another version of the protocol.
        Protocol = "protocol",
        /// Another cluster's name.
        Cluster = "cluster",
        /// A node id that is not in the member list, or our own.
        UnknownNode = "unknown-node",
        /// An older process of a node whose newer one is linked.
        StaleIncarnation = "stale-incarnation",
        /// A later process of a node whose earlier one is linked from another address.
        Doubled = "doubled",
        /// A key that no member has, or that is not the one of the member that it says to be.
        Key = "key",
        /// More connections at once than the limit allows.
        TooMany = "too-many",
        /// A member says more than the others have to listen to: it is not read for a moment.
        Flood = "flood",
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransportStats {
    /// Heartbeats and echoes that gave up their places in full queues.
    pub dropped: u64,
    refused: [u64; RefuseReason::ALL.len()],
}

impl TransportStats {
    /// How many connections and frames were turned away for this reason.
    pub fn refused_for(&self, reason: RefuseReason) -> u64 {
        self.refused.get(reason as usize).copied().unwrap_or_default()
    }

    /// Counts one more.
    pub fn refuse(&mut self, reason: RefuseReason) {
        if let Some(count) = self.refused.get_mut(reason as usize) {
            *count += 1;
        }
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

    /// The same to each of these, in this order, and the errors of those to whom it was not queued. A transport that writes the frame once for
    /// all of them makes many receivers cheap.
    fn send_all(&self, to: &[NodeId], message: &Message) -> Vec<SendError> {
        to.iter().filter_map(|to| self.send(*to, message).err()).collect()
    }

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

    /// Whether whoever is linked has proven to be a member.
    fn proves(&self) -> bool {
        false
    }

    /// Whether it takes up peers while it runs.
    fn can_meet(&self) -> bool {
        false
    }

    /// From here on `peer`, which listens at `address`, is one of its peers, too (T43). One that it has already it keeps as it is. Its greetings
    /// say `terms` from here on, also to those that are linked. Nothing happens where it does not [take up peers](Transport::can_meet).
    fn meet(&self, peer: NodeId, address: &str, terms: &str) {
        let _ = (peer, address, terms);
    }

    /// From here on `peer` is looked for at `address` (T44). The link that there is stays until it ends; whoever is no peer stays none. Nothing
    /// happens where it does not [take up peers](Transport::can_meet), or knows no addresses.
    fn relocate(&self, peer: NodeId, address: &str) {
        let _ = (peer, address);
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
