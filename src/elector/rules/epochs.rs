//! Epochs far ahead: what one node alone claims moves this one by bounded steps, what a quorum claims moves it at once.
//! Sentences in `docs/protocol.md`, E10 to E13.

use crate::bounds::RANK_STEPS_PER_HEARTBEAT;
use crate::elector::machine::Elector;
use crate::elector::record::Unsaved;
use crate::event::{EventKind, Reason};
use crate::fence::FenceReason;
use crate::ids::{EPOCH_MAX, EPOCH_NEAR, Epoch};
use crate::message::Message;

/// A member that claims an epoch out of reach is told of once in so many election timeouts.
const TOLD_EVERY_TIMEOUTS: u32 = 60;

impl Elector {
    /// Whether this node acts on a message: its epoch is near, or this node has come near it.
    #[inline]
    pub(super) fn reaches(&mut self, from: usize, message: &Message) -> bool {
        let epoch = match message {
            Message::Heartbeat(m) => m.epoch,
            Message::Echo(m) => m.epoch,
            Message::PreOffer(m) | Message::Offer(m) => m.epoch,
            Message::PreAccept(m) | Message::Accept(m) => m.epoch,
            Message::Reject(m) => m.epoch,
            Message::Announce(m) => m.epoch,
            Message::Resign(m) => m.epoch,
            Message::Rank(_) => return true,
            Message::Members(m) => m.generation.epoch,
            Message::Held(generation) => generation.epoch,
        };
        self.is_near(epoch) || self.approaches(from, message, epoch)
    }

    fn is_near(&self, epoch: Epoch) -> bool {
        epoch <= EPOCH_MAX && epoch.0 <= self.record.epoch().0 + EPOCH_NEAR
    }

    /// Goes as far as may be towards the epoch of a message; says whether that was far enough.
    #[cold]
    #[inline(never)]
    fn approaches(&mut self, from: usize, message: &Message, epoch: Epoch) -> bool {
        if epoch > EPOCH_MAX {
            let peer = self.id(from);
            self.event(EventKind::Implausible { peer, what: "epoch" });
            return false;
        }
        let claimed = match message {
            // An answer to what this node never asked.
            Message::PreAccept(_) | Message::Accept(_) | Message::Rank(_) => return false,
            // A candidate asks for the epoch after its own. It is in the one before, and the vote in this one is still open.
            Message::PreOffer(_) | Message::Offer(_) => Epoch(epoch.0 - 1),
            Message::Heartbeat(_) | Message::Echo(_) | Message::Reject(_) => epoch,
            Message::Announce(_) | Message::Resign(_) => epoch,
            Message::Members(_) | Message::Held(_) => epoch,
        };
        self.peers.get_mut(from).claims(claimed);
        self.join_quorum();
        self.step_towards(from, claimed);
        let near = self.is_near(epoch);
        if !near {
            self.tell_of_epoch_ahead(from, claimed);
            match message {
                Message::Heartbeat(heartbeat) => self.on_heartbeat_ahead(from, heartbeat),
                Message::Echo(echo) if !self.admitted_within_reach() => self.note_admission_echo(from, echo),
                // Nothing of these counts before this node is near.
                Message::Echo(_) | Message::Reject(_) | Message::Announce(_) | Message::Resign(_) => {}
                Message::PreOffer(_) | Message::Offer(_) | Message::Members(_) | Message::Held(_) => {}
                Message::PreAccept(_) | Message::Accept(_) | Message::Rank(_) => {}
            }
        }
        near
    }

    /// E11: what a quorum of voters claims is no single node's invention.
    fn join_quorum(&mut self) {
        let claimed = self.peers.claimed_by(self.peers.quorum(), |peer| self.claim_counts(peer));
        if claimed.0 > self.record.epoch().0 + EPOCH_NEAR {
            if self.jump_spends() {
                self.approach.spend(self.now());
            }
            self.move_to(claimed);
        }
    }

    /// E10: the others are asked for nothing, so no more than the budget is believed.
    fn step_towards(&mut self, from: usize, claimed: Epoch) {
        let own = self.record.epoch().0;
        if claimed.0 <= own + EPOCH_NEAR {
            return;
        }
        let (wanted, now, timeout) = (claimed.0 - own, self.now(), self.config.election_timeout);
        let budget = self.budget(from).take(wanted, now, timeout);
        let step = if self.is_bounded() { budget } else { wanted };
        if step > 0 {
            self.move_to(Epoch(own + step));
        }
    }

    /// E14: data of an epoch is knowledge of an election that this node's record does not have: it was lost, or is older than the data.
    #[cold]
    pub(super) fn enter_epoch_of_data(&mut self, epoch: Epoch) {
        if epoch > EPOCH_MAX || !self.heeds_epoch_of_data() {
            return;
        }
        let unsaved = self.enter_without_vote(epoch);
        self.persist_before_speaking(unsaved);
    }

    /// Enters an epoch in which this node may have voted: its vote there is its own, so nobody gets it.
    pub(super) fn enter_without_vote(&mut self, epoch: Epoch) -> Unsaved {
        self.adopt_epoch(epoch, Reason::HigherEpoch);
        self.record.enter(epoch, Some(self.config.node))
    }

    /// Enters an epoch in which nobody is known to have asked for votes.
    fn move_to(&mut self, epoch: Epoch) {
        let reigned = self.state.reign().is_some() && !self.defies();
        if reigned {
            // Nobody else reigns, so those who promised should be free at once.
            self.primary.gives_up_for(Reason::HigherEpoch);
            self.resign(FenceReason::Deposed, None);
        }
        self.adopt_epoch(epoch, Reason::HigherEpoch);
        if reigned {
            // No more than a moment: the others have to read that they are free, and the host to count its writes.
            let moment = self.config.heartbeat_interval / RANK_STEPS_PER_HEARTBEAT;
            self.schedule_campaign(self.now() + moment);
        }
    }

    fn tell_of_epoch_ahead(&mut self, from: usize, claimed: Epoch) {
        let (now, pause) = (self.now(), self.config.election_timeout * TOLD_EVERY_TIMEOUTS);
        if self.peers.get_mut(from).tells_of_claim(now, pause) {
            let peer = self.id(from);
            self.event(EventKind::EpochAhead { peer, claimed });
        }
    }
}
