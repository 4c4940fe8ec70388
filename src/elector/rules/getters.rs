//! What an elector knows, for those who only look.

use crate::config::Config;
use crate::elector::machine::Elector;
use crate::elector::peers::Peer;
use crate::elector::status::{PeerStatus, Status};
use crate::fence::{Denied, FenceReason, GateState};
use crate::identity::Identity;
use crate::ids::{ClusterId, Epoch, NodeId};
use crate::message::Role;
use crate::time::{Duration, Instant};

/// Getters.
impl Elector {
    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
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

    /// Whether writes may pass, and until when.
    pub fn gate(&self) -> GateState {
        let Some(reign) = self.state.reign().filter(|reign| reign.promoted()) else {
            return GateState::Shut(Denied::Replica);
        };
        match (reign.fenced(), self.lease.until()) {
            (None, Some(until)) => GateState::Open(until),
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

    /// How long the lease still runs.
    pub fn lease_left(&self, now: Instant) -> Duration {
        match self.gate() {
            GateState::Open(until) => until.saturating_since(now),
            GateState::Shut(_) => Duration::ZERO,
        }
    }
}
