//! What happened, as data: for tests that show it to people.

use crate::elector::HostAction;
use crate::event::Event;
use crate::ids::NodeId;
use crate::link::LinkEvent;
use crate::message::Message;
use crate::position::Position;
use crate::state::HardState;

/// Something that happened at a node of a [`super::Cluster`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Note {
    /// When, in nanoseconds of real time.
    pub at: u64,
    /// The node at which it happened.
    pub node: NodeId,
    /// What happened.
    pub what: What,
}

/// What can happen at a node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// Its process started.
    Started,
    /// Its process is gone.
    Gone,
    /// It sent a message on an established link.
    Sent {
        /// The peer that it is meant for.
        to: NodeId,
        /// The message.
        message: Message,
        /// The way is cut: it comes late, or never.
        cut: bool,
    },
    /// A link to this peer changed.
    Link(NodeId, LinkEvent),
    /// The elector decided something.
    Decided(Event),
    /// The host was asked to do this.
    Asked(HostAction),
    /// The host let go of the primary it followed; its data ends here.
    Detached(Position),
    /// The host has joined the history of the primary it follows.
    Joined,
    /// The vote record is on disk.
    Saved(HardState),
}
