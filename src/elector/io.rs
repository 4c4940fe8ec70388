//! What goes into the elector and what comes out, beside messages.

use crate::change::MembersChange;
use crate::config::Member;
use crate::event::Event;
use crate::fence::{FenceReason, Health};
use crate::ids::{ClusterId, Epoch, NodeId};
use crate::message::Message;
use crate::pause::Pause;
use crate::position::Position;
use crate::state::HardState;
use crate::time::Duration;
use std::sync::Arc;

/// Numbers the states that are to be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PersistSeq(pub u64);

/// Numbers the questions to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DetachSeq(pub u64);

/// What the elector wants done. Carry outputs out in the order in which they come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Make this state durable, then call [`super::Elector::handle_persisted`]. A later state replaces an
    /// earlier one that is not being written yet; acknowledging the later one acknowledges both.
    Persist(PersistSeq, HardState),
    /// Send this to each of these peers. May be lost.
    Send(Receivers, Message),
    /// Tell the host to do this.
    Host(HostAction),
    /// Tell whoever listens.
    Event(Event),
}

/// Whom a message goes to. What all get is said once: most of what a node sends are heartbeats, to many at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receivers {
    /// One peer.
    One(NodeId),
    /// All of these, in this order: those first who vote.
    Many(Arc<[NodeId]>),
}

impl Receivers {
    /// Their ids, in the order in which they are to be told.
    pub fn ids(&self) -> &[NodeId] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }
}

/// What the host is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostAction {
    /// Writes are refused from now on; answer with [`HostReport::Fenced`] once the position covers all that
    /// passed before.
    Fence(Epoch, FenceReason),
    /// Writes pass again in the same reign.
    Resume(Epoch),
    /// Become primary; answer with [`HostReport::Promoted`] or [`HostReport::PromoteFailed`].
    Promote(Epoch),
    /// Follow this primary; answer with [`HostReport::Followed`] or [`HostReport::FollowFailed`].
    Follow(Epoch, NodeId),
    /// Acknowledge nothing more to the old primary, then answer with [`HostReport::Detached`] and this number: a vote
    /// waits for it. A host that can answer at once does so before any other input, and no time is lost.
    Detach(DetachSeq),
}

/// What the host says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostReport<'a> {
    /// How far the data goes.
    Position {
        /// The history.
        stream_epoch: Epoch,
        /// One offset per shard.
        offsets: &'a [u64],
    },
    /// The answer to [`HostAction::Detach`]: this far the data goes, and no acknowledgement leaves. Late and repeated
    /// answers do no harm.
    Detached(DetachSeq, &'a Position),
    /// The last write that passed is counted in the position.
    Fenced,
    /// The host is primary of this epoch.
    Promoted(Epoch),
    /// It could not be promoted.
    PromoteFailed(Epoch, &'a str),
    /// The host follows the primary of this epoch.
    Followed(Epoch),
    /// It could not be pointed at it.
    FollowFailed(Epoch, &'a str),
    /// Whether the host can serve.
    Health(Health),
    /// Whether the server answers at the moment; said beside [`HostReport::Health`].
    Answers(bool),
    /// Whether clients are in the middle of something that ends better before writes are refused: a transfer waits for it a little.
    /// Only that needs to know.
    Busy(bool),
    /// The data says of itself that it belongs to this cluster.
    Belongs(ClusterId),
    /// How much work the host has recorded; only where rank is by seniority does it count.
    Work(u64),
}

/// What an operator, or the machine, wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Hand over to `to`, or to the best replica. Writes go on until it has nearly everything; then they are refused until it has
    /// everything, and this node resigns in its favour. If it is not so far in time, writes pass as before.
    Transfer {
        /// The node that is to take over; `None`: the best replica.
        to: Option<NodeId>,
        /// How long it may take to come near. Once writes are refused, an election timeout is the limit.
        patience: Duration,
    },
    /// Hand over to the best replica as for [`Command::Transfer`], resign in any case, and ask for no votes any more: this process
    /// ends.
    Shutdown,
    /// Change who votes, by one voter. It is made once a quorum has the present list and the data, and the one that comes has caught up.
    Members {
        /// Who comes, or goes.
        change: MembersChange,
        /// How long it may take until it is made.
        patience: Duration,
    },
    /// One member more, which this node's file did not name when it started. It votes only if the list by which this node counts says so; one that
    /// is known already changes nothing.
    Meet(Member),
    /// Automatic elections are paused in the whole cluster, or are not any more: an order of [`super::Elector::next_pause`]. An earlier
    /// one than this node has changes nothing.
    Pause(Pause),
    /// The machine slept and the clock did not count: what was promised to this node may be over.
    ClockJumped,
    /// Admit this node, which has no vote record, to this cluster although it may have forgotten votes: too few of the
    /// others have theirs to tell it.
    Admit(ClusterId),
    /// Elect this node, the only one that votes, also while elections are paused. Where others vote it changes nothing.
    Force,
}
