//! To which cluster this node belongs. Sentences in `docs/protocol.md`, "Identity".

use crate::elector::machine::Elector;
use crate::event::EventKind;
use crate::identity::Identity;
use crate::ids::ClusterId;
use crate::rng::Rng;

impl Elector {
    /// A winner whose cluster has no id proposes one, before anybody hears of its reign: who belongs to another cluster is never
    /// to follow it. What its voters have it goes on with: one of them has what was settled before.
    pub(super) fn propose(&mut self, told: Option<Identity>) {
        let known = self.inherited(told).filter(|told| told.outranks(self.record.identity()));
        match known.or(self.record.identity()) {
            Some(known) if known.is_settled() => self.settle_on(known.cluster),
            known => {
                let cluster = known.map_or_else(|| self.draw_id(), |known| known.cluster);
                self.belong(Identity { cluster, proposed: Some(self.record.epoch()) });
            }
        }
    }

    /// A primary counts who has the id that it proposed. Called every heartbeat.
    #[inline]
    pub(super) fn settle_if_held(&mut self) {
        if self.state.reign().is_some()
            && let Some(ours) = self.record.identity()
            && !ours.is_settled()
            && !self.record.pending()
        {
            self.count_holders(ours);
        }
    }

    #[cold]
    fn count_holders(&mut self, ours: Identity) {
        let has = |peer: &usize| {
            let theirs = self.peers[*peer].identity();
            theirs == Some(ours) || theirs == Some(Identity::settled(ours.cluster))
        };
        let holders = self.peers.other_voters().filter(has).count() + 1;
        if self.is_held_by(holders) {
            self.settle_on(ours.cluster);
        }
    }

    /// 128 bits that nobody else draws.
    fn draw_id(&self) -> ClusterId {
        // Of a generator beside the one that spreads retries, which stays where it is.
        let mut rng = Rng::new(self.rng.clone().next());
        ClusterId::from_bits(u128::from(rng.next()) << 64 | u128::from(rng.next()))
    }

    /// The data of this node says to which cluster it belongs (I6).
    pub(super) fn belong_by_data(&mut self, cluster: ClusterId) {
        if self.heeds_data() {
            self.settle_on(cluster);
        }
    }

    /// This node belongs to that cluster for good. What is settled stays: the driver has refused data of another one.
    pub(super) fn settle_on(&mut self, cluster: ClusterId) {
        let settled = Identity::settled(cluster);
        if settled.outranks(self.record.identity()) {
            self.belong(settled);
            self.event(EventKind::Belongs { cluster });
            self.look_for_foreigners();
        }
    }

    /// Takes over what others told, if it is worth more than what this node knows. Says whether it was, and the record is saved.
    pub(super) fn belong_with(&mut self, told: Option<Identity>) -> bool {
        let Some(told) = told.filter(|told| told.outranks(self.record.identity())) else { return false };
        match told.is_settled() {
            true => self.settle_on(told.cluster),
            false => self.belong(told),
        }
        true
    }

    fn belong(&mut self, identity: Identity) {
        debug_assert!(!self.keeps_id() || identity.outranks(self.record.identity()));
        let unsaved = self.record.belong(identity);
        self.persist_before_speaking(unsaved);
    }

    /// A primary of this epoch says another identity than ours. Whether this node goes on with it.
    #[cold]
    pub(super) fn goes_on_with(&mut self, from: usize, theirs: Option<Identity>) -> bool {
        // Of a release before, or nothing is proposed yet; or we are not a member of anything, and have no data that would say so.
        let Some(theirs) = theirs.filter(|_| self.belongs_somewhere()) else {
            return true;
        };
        match self.record.identity() {
            Some(ours) if ours.is_settled() => {
                if ours.cluster != theirs.cluster {
                    // Nobody proposes another one while a quorum has ours: records were lost.
                    self.estrange(from, theirs, ours);
                }
                !self.ignores(from)
            }
            _ if theirs.is_settled() => {
                self.settle_on(theirs.cluster);
                true
            }
            _ => {
                // Only the epoch in which it was proposed counts who has it.
                if theirs.proposed == Some(self.record.epoch()) {
                    self.belong(theirs);
                }
                true
            }
        }
    }

    /// A peer says to which cluster it belongs.
    #[cold]
    pub(super) fn on_identity(&mut self, from: usize, identity: Option<Identity>) {
        if self.peers.get_mut(from).belongs(identity) {
            self.look_at(from);
        }
    }

    /// Whether another cluster's history must not take the place of what this node has.
    fn belongs_somewhere(&self) -> bool {
        self.record.is_complete() || self.peers.my_vote().is_none() || self.cluster().is_some()
    }

    fn look_for_foreigners(&mut self) {
        self.peers.others().for_each(|peer| self.look_at(peer));
    }

    /// Two nodes of which each is settled on another cluster have nothing to say to each other.
    fn look_at(&mut self, peer: usize) {
        let settled = |identity: Option<Identity>| identity.filter(Identity::is_settled);
        let (ours, theirs) = (settled(self.record.identity()), settled(self.peers[peer].identity()));
        match (ours, theirs) {
            (Some(ours), Some(theirs)) if ours.cluster != theirs.cluster => match self.keeps_id() {
                true => self.estrange(peer, theirs, ours),
                false => self.belong(theirs),
            },
            _ => _ = self.peers.get_mut(peer).set_foreign(false),
        }
    }

    fn estrange(&mut self, from: usize, theirs: Identity, ours: Identity) {
        if self.peers.get_mut(from).set_foreign(true) {
            let peer = self.id(from);
            self.event(EventKind::Foreign { peer, theirs: theirs.cluster, ours: ours.cluster });
        }
    }

    /// Whether a peer may belong to another cluster: nothing was heard of it yet that would tell.
    pub(super) fn may_be_foreign(&self, from: usize) -> bool {
        self.cluster().is_some() && self.peers[from].heard().is_none()
    }

    /// Whether it is not known that a peer belongs to this node's cluster, if that is settled.
    pub(super) fn may_reign_elsewhere(&self, from: usize) -> bool {
        self.cluster()
            .is_some_and(|ours| self.peers[from].identity().is_none_or(|theirs| theirs.cluster != ours))
    }
}
