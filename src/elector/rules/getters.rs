//! What an elector knows, for those who only look.

use crate::change::{Hindrance, MembersChange};
use crate::config::{Config, Member};
use crate::elector::machine::Elector;
use crate::elector::peer::Peer;
use crate::elector::reign::Reign;
use crate::elector::status::{PeerStatus, Signs, Status};
use crate::fence::{Denied, FenceReason, GateState};
use crate::identity::Identity;
use crate::ids::{ClusterId, Epoch, NodeId};
use crate::membership::{Generation, Membership};
use crate::message::Role;
use crate::time::{Duration, Instant};

/// Getters.
impl Elector {
    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// This node, as it counts itself.
    pub fn member(&self) -> Member {
        *self.peers.my_member()
    }

    /// This node's role.
    pub fn role(&self) -> Role {
        self.state.role()
    }

    /// Whether this node holds the office, promoted or not.
    pub fn is_reigning(&self) -> bool {
        self.state.reign().is_some()
    }

    /// This node's epoch.
    pub fn epoch(&self) -> Epoch {
        self.record.epoch()
    }

    /// The cluster that this node belongs to for good.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.record.identity().filter(Identity::is_settled).map(|identity| identity.cluster)
    }

    /// The primary that this node follows, or itself.
    pub fn primary(&self) -> Option<NodeId> {
        self.primary.index().map(|index| self.id(index))
    }

    /// Which of [`Elector::members`] that is.
    pub(crate) fn primary_index(&self) -> Option<usize> {
        self.primary.index()
    }

    /// All members, this node included, in the order in which they are counted.
    pub(crate) fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.all().iter().map(Peer::id)
    }

    /// Whether it is one of them.
    pub(crate) fn knows(&self, node: NodeId) -> bool {
        self.peers.index(node).is_some()
    }

    /// Who votes, and by which list that is. By its record; that of its file counts only where there is no record.
    pub fn membership(&self) -> Membership {
        self.record.members().cloned().unwrap_or_else(|| Membership::of_file(&self.config))
    }

    /// What a change of who votes waits for, if one is under way.
    pub fn change(&self) -> Option<(MembersChange, Option<Hindrance>)> {
        self.state.reign().and_then(Reign::change).map(|change| (change.change, change.waits_for))
    }

    /// Who is counted as a voter now, of those whom this node's file names. It lags behind [`Elector::membership`] while that is being saved.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.all().iter().filter(|peer| peer.voter().is_some()).map(Peer::id)
    }

    /// Which list a member is known to have in its record.
    pub fn has_members(&self, node: NodeId) -> Option<Generation> {
        match self.peers.index(node)? {
            me if me == self.peers.me() => Some(self.peers.generation()),
            peer => self.peers[peer].has(),
        }
    }

    /// The strict majority of those who vote.
    pub fn quorum(&self) -> usize {
        self.peers.quorum()
    }

    /// Whether writes may pass, and until when.
    pub fn gate(&self) -> GateState {
        let Some(reign) = self.state.reign().filter(|reign| reign.promoted()) else {
            return GateState::Shut(Denied::Replica);
        };
        match (reign.fenced(), self.lease.until()) {
            (None, Some(until)) => GateState::Open(until),
            // Links or the clock took the lease away in the middle of a handover: what had begun must not go on (F23).
            (Some(FenceReason::StepDown), None) => GateState::Shut(Denied::Fenced(FenceReason::LeaseExpired)),
            (fenced, _) => GateState::Shut(Denied::Fenced(fenced.unwrap_or(FenceReason::LeaseExpired))),
        }
    }

    /// What this node believes.
    pub fn status(&self) -> Status {
        Status {
            role: self.role(),
            epoch: self.record.epoch(),
            voted_for: self.record.voted_for(),
            primary: self.primary(),
            incarnation: self.record.incarnation(),
            standing: self.record.standing(),
            progress: self.data.progress(),
            lease_until: self.state.reign().and_then(|_| self.lease.until()),
            gate: self.gate(),
            promise: self.live_promise().map(|promise| (self.id(promise.to()), promise.until())),
            booting_until: self.promises.booting_until().filter(|until| *until > self.now()),
            voters_reachable: self.peers.voters_reachable(self.now()),
            paused: self.record.pause().is_some_and(|pause| pause.paused),
            pause: self.record.pause(),
            leaving: self.leaving,
            health: self.health(),
            identity: self.record.identity(),
            admit: self.admission.wish(),
        }
    }

    /// What this node believes about its peers, in the order of their ids.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> + '_ {
        self.peers.status(self.now())
    }

    /// The signs of those with whom this node speaks, or of `everybody`, each under its number among [`Elector::members`]. Of the others nothing
    /// changes but with a link or the list.
    pub(crate) fn signs(&self, everybody: bool) -> impl Iterator<Item = (usize, Signs)> + '_ {
        self.peers.signs(self.now(), everybody)
    }

    /// How long the lease still runs.
    pub fn lease_left(&self, now: Instant) -> Duration {
        match self.gate() {
            GateState::Open(until) => until.saturating_since(now),
            GateState::Shut(_) => Duration::ZERO,
        }
    }
}
