//! What an elector knows, for those who only look.

use super::{Elector, State};
use crate::config::{Config, Member};
use crate::fence::{Denied, FenceReason, GateState, Health};
use crate::ids::{Epoch, Incarnation, NodeId};
use crate::message::{Role, Standing};
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
    /// Whether this node has handed over and does not want the office back.
    pub leaving: bool,
    /// Whether it can serve as primary, and what is wrong if not.
    pub health: Health,
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
}

/// Getters.
impl Elector {
    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// This node's role.
    pub fn role(&self) -> Role {
        match &self.state {
            State::Replica => Role::Replica,
            State::Campaigning(_) => Role::Candidate,
            State::Reigning(reign) if reign.promoted => Role::Primary,
            State::Reigning(_) => Role::Promoting,
        }
    }

    /// Whether this node holds the office, promoted or not.
    pub fn is_reigning(&self) -> bool {
        matches!(self.state, State::Reigning(_))
    }

    /// This node's epoch.
    pub fn epoch(&self) -> Epoch {
        self.hard.epoch
    }

    /// The primary that this node follows, or itself.
    pub fn primary(&self) -> Option<NodeId> {
        self.primary.map(|index| self.peers[index].member.id)
    }

    /// Which of [`Elector::members`] that is.
    pub(crate) fn primary_index(&self) -> Option<usize> {
        self.primary
    }

    /// All members, this node included, in the order in which they are counted.
    pub(crate) fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.iter().map(|peer| peer.member.id)
    }

    /// Whether writes may pass, and until when.
    pub fn gate(&self) -> GateState {
        match &self.state {
            State::Reigning(reign) if reign.promoted => match (reign.fenced, self.lease.until()) {
                (None, Some(until)) => GateState::Open(until),
                (fenced, _) => GateState::Shut(Denied::Fenced(fenced.unwrap_or(FenceReason::LeaseExpired))),
            },
            _ => GateState::Shut(Denied::Replica),
        }
    }

    /// What this node believes.
    pub fn status(&self) -> Status {
        Status {
            role: self.role(),
            epoch: self.hard.epoch,
            voted_for: self.hard.voted_for,
            primary: self.primary(),
            incarnation: self.hard.incarnation,
            standing: self.hard.standing,
            progress: self.position.progress(),
            lease_until: self.reign().and_then(|_| self.lease.until()),
            gate: self.gate(),
            promise: self.live_promise().map(|promise| (self.id(promise.to), promise.until)),
            booting_until: self.booting_until.filter(|until| *until > self.now),
            voters_reachable: self.voters_reachable(),
            paused: self.paused,
            leaving: self.leaving,
            health: self.fitness(),
        }
    }

    /// What this node believes about its peers, in the order of their ids.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> + '_ {
        let timeout = self.config.election_timeout;
        self.others().map(move |index| {
            let peer = &self.peers[index];
            PeerStatus {
                member: peer.member,
                up: peer.reachable(self.now, timeout),
                linked: peer.linked,
                heard: peer.heard,
                role: peer.role,
                epoch: peer.epoch,
                progress: peer.progress,
                primary: peer.primary,
                health: peer.health,
            }
        })
    }
}
