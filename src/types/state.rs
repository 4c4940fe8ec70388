//! What a node must not forget.

use crate::identity::Identity;
use crate::ids::{Epoch, Incarnation, NodeId};
use crate::membership::Membership;
use crate::message::Standing;
use crate::pause::Pause;
use crate::position::{Position, Progress};

/// What survives a restart. One record, replaced as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HardState {
    /// The highest epoch this node has seen.
    pub epoch: Epoch,
    /// Whom it voted for in that epoch.
    pub voted_for: Option<NodeId>,
    /// Whether this record holds every vote the node ever cast.
    pub standing: Standing,
    /// Which start of the process wrote it.
    pub incarnation: Incarnation,
    /// The cluster that it belongs to, if it was told.
    pub identity: Option<Identity>,
    /// Lower than this nobody gets its vote: it was admitted by an operator's order, for the sake of data that is there.
    pub floor: Progress,
    /// What an operator last said about automatic elections, if anything.
    pub pause: Option<Pause>,
    /// Who votes, as far as it knows: what its file says does not count where there is one. None in records of releases before.
    pub members: Option<Membership>,
    /// How far its data went when it was written: a lower bound for a host that lost nothing.
    pub position: Position,
}
