//! What an elector knows, for those who only look.

use crate::config::Member;
use crate::fence::{GateState, Health};
use crate::identity::Identity;
use crate::ids::{ClusterId, Epoch, Incarnation, NodeId};
use crate::message::{Role, Standing};
use crate::pause::Pause;
use crate::position::Progress;
use crate::time::Instant;

/// What the elector believes. Cheap to take.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// This node's role.
    pub role: Role,
    /// Its epoch.
    pub epoch: Epoch,
    /// Whom it voted for in that epoch.
    pub voted_for: Option<NodeId>,
    /// The primary it follows, or itself.
    pub primary: Option<NodeId>,
    /// Which start of its process.
    pub incarnation: Incarnation,
    /// Whether its record is complete.
    pub standing: Standing,
    /// How far its data goes.
    pub progress: Progress,
    /// End of the lease, on a primary that ever held one.
    pub lease_until: Option<Instant>,
    /// Whether writes may pass.
    pub gate: GateState,
    /// To whom, and until when, this node promised not to vote for anybody else.
    pub promise: Option<(NodeId, Instant)>,
    /// No votes before this, because of promises of an earlier process.
    pub booting_until: Option<Instant>,
    /// Voters heard within an election timeout, this one included if it is one.
    pub voters_reachable: usize,
    /// Whether automatic elections are paused.
    pub paused: bool,
    /// What an operator last said about them, if anything.
    pub pause: Option<Pause>,
    /// Whether this node has handed over and does not want the office back.
    pub leaving: bool,
    /// Whether it can serve as primary, and what is wrong if not.
    pub health: Health,
    /// The cluster that it belongs to, if it knows.
    pub identity: Option<Identity>,
    /// The cluster for which an operator wants it admitted although it may have forgotten votes.
    pub admit: Option<ClusterId>,
}

/// What is shown of a peer by numbers: the part of [`PeerStatus`] that costs nothing to take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signs {
    pub(crate) up: bool,
    pub(crate) linked: bool,
    pub(crate) foreign: bool,
    pub(crate) epoch: Epoch,
    pub(crate) heard: Option<Instant>,
}

/// What this node believes about a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerStatus {
    /// Its id, kind and priority.
    pub member: Member,
    /// Heard within an election timeout, its process not known to be gone.
    pub up: bool,
    /// Linked now.
    pub linked: bool,
    /// When its last heartbeat came in.
    pub heard: Option<Instant>,
    /// The role it last said.
    pub role: Option<Role>,
    /// The highest epoch it said.
    pub epoch: Epoch,
    /// How far it last said its data goes.
    pub progress: Progress,
    /// The primary it last said it follows.
    pub primary: Option<NodeId>,
    /// Whether it last said that it can serve as primary.
    pub health: Health,
    /// The cluster that it said it belongs to.
    pub cluster: Option<ClusterId>,
    /// That is another one than this node's: nothing that it says counts.
    pub foreign: bool,
}
