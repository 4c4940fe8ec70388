//! Being primary: promotion, lease, fence, and leaving the office.

use super::HOST_TIMEOUTS;
use crate::change::Hindrance;
use crate::elector::io::HostAction;
use crate::elector::judging::Vote;
use crate::elector::machine::Elector;
use crate::elector::reign::Reign;
use crate::elector::state::State;
use crate::elector::timers::Timer;
use crate::event::{EventKind, Outcome, Reason};
use crate::fence::FenceReason;
use crate::ids::Epoch;
use crate::message::{Announce, Message, OfferKind, Resign};
use crate::transfer::TransferOutcome;

impl Elector {
    /// A quorum voted for this node.
    pub(super) fn win(&mut self) {
        let Some(campaign) = self.state.campaign() else { return };
        let (epoch, took) = (campaign.epoch(), campaign.took(self.now()));
        let told = campaign.identity();
        self.timers.clear(Timer::Round);
        self.event(EventKind::CampaignEnded { kind: OfferKind::Vote, epoch, outcome: Outcome::Won, took });
        self.lease.revoke();
        self.enter(State::Reigning(Reign::new(self.now())), Reason::Won);
        self.promises.drop_own();
        self.set_primary(Some(self.peers.me()));
        self.following.end();
        self.judging.close();
        self.timers.clear(Timer::Campaign);
        self.timers.clear(Timer::Follow);
        self.timers.set(Timer::Promotion, self.now() + self.config.election_timeout * HOST_TIMEOUTS);
        self.host(HostAction::Promote(epoch));
        self.propose(told);
        // The lease begins with the echoes of this, while the host works. Votes are promises too, but only an
        // echo says that the voter's promise is as long as our lease. Nobody follows before the host is done.
        self.send_heartbeats();
        self.renew_lease();
    }

    pub(super) fn on_promoted(&mut self, epoch: Epoch) {
        let Some(reign) = self.state.reign().filter(|reign| !reign.promoted()) else { return };
        if epoch != self.record.epoch() {
            return;
        }
        let (promoted, took) = (reign.promote(), reign.took(self.now()));
        self.timers.clear(Timer::Promotion);
        self.end_plan();
        self.enter(State::Reigning(promoted), Reason::Promoted);
        self.event(EventKind::Promoted { took });
        self.send_to(self.peers.to_voters(), Message::Announce(Announce { epoch }));
        self.send_heartbeats();
        self.renew_lease();
    }

    pub(super) fn on_promote_failed(&mut self, epoch: Epoch, error: &str) {
        if epoch == self.record.epoch() && self.state.reign().is_some_and(|reign| !reign.promoted()) {
            self.event(EventKind::PromoteFailed { error: error.to_owned() });
            self.primary.gives_up_for(Reason::HostFailed);
            self.resign(FenceReason::HostFailing, None);
        }
    }

    /// Whether this node's office keeps it from voting for others.
    pub(super) fn holds_office(&self) -> bool {
        self.state.reign().is_some_and(|reign| !reign.promoted() || reign.fenced().is_none())
            && self.lease.until().is_some_and(|until| until > self.now())
    }

    /// Recomputes the lease and what follows from it: fence or resume.
    pub(super) fn renew_lease(&mut self) {
        let (Some(me), true) = (self.peers.my_vote(), self.state.reign().is_some()) else { return };
        let held = self.lease.until().is_some();
        let until = self.lease.renew(me, self.now()).filter(|until| *until > self.now());
        match until {
            Some(until) => {
                self.timers.set(Timer::Lease, until);
                let Some(reign) = self.state.reign() else { return };
                if reign.fenced().is_some() && reign.handover().is_none() {
                    self.resume();
                }
                if self.state.reign().is_some_and(Reign::opens) {
                    self.tell_opened();
                }
            }
            None if held => self.fence(FenceReason::LeaseExpired),
            // Just elected: the gate has not been open yet.
            None => {}
        }
    }

    /// The gate opens for the first time, without a word: it follows from the lease. Who waits for it has to hear of it.
    // Cold, like `resume`: most renewals find the gate open, and pay nothing for what is not done then.
    #[cold]
    #[inline(never)]
    fn tell_opened(&mut self) {
        let now = self.now();
        let Some(reign) = self.state.reign_mut() else { return };
        reign.open();
        let took = reign.took(now);
        self.judging.close();
        self.event(EventKind::Writable { took });
        // However many there are, no write has waited for them, and no voter.
        if let Some(observers) = self.peers.to_observers() {
            self.send_round(observers);
        }
    }

    pub(super) fn on_lease_over(&mut self) {
        self.fence(FenceReason::LeaseExpired);
    }

    /// Refuses writes from here on.
    pub(super) fn fence(&mut self, reason: FenceReason) {
        let (now, epoch) = (self.now(), self.record.epoch());
        let Some(reign) = self.state.reign_mut() else { return };
        if reign.fence(reason, now) && reign.promoted() {
            self.event(EventKind::Fenced { reason });
            self.data.settle(epoch);
            self.host(HostAction::Fence(epoch, reason));
        }
    }

    /// The host has counted its last write.
    pub(super) fn on_fenced(&mut self) {
        self.data.settled();
        self.hand_over_if_caught_up();
        self.answer_waiting();
    }

    /// Lets writes pass again.
    #[cold]
    #[inline(never)]
    fn resume(&mut self) {
        let (now, epoch) = (self.now(), self.record.epoch());
        let Some(reign) = self.state.reign_mut() else { return };
        let (after, promoted) = (reign.unfence(now), reign.promoted());
        // From here on the host may take more writes than it has said.
        self.judging.close();
        if promoted {
            self.data.settled();
            self.event(EventKind::Unfenced { after });
            self.host(HostAction::Resume(epoch));
        }
    }

    /// Links to too many voters ended: whatever they were told, it is not to be relied on.
    pub(super) fn on_support_lost(&mut self, peer: usize) {
        let (Some(me), Some(voter), true) =
            (self.peers.my_vote(), self.peers[peer].voter(), self.state.reign().is_some())
        else {
            return;
        };
        self.lease.unsupported(voter);
        if self.lease.renew(me, self.now()).is_none() {
            self.fence(FenceReason::LinksLost);
        }
    }

    /// The machine slept: the voters' promises may have ended meanwhile. Only what is echoed from here on
    /// counts.
    pub(super) fn on_clock_jump(&mut self) {
        if !self.sleep_ends_support() {
            return;
        }
        // Votes that came in meanwhile would start a lease at a request that is older than it looks.
        self.abandon_campaign();
        if self.state.reign().is_some() {
            self.lease.revoke();
            self.fence(FenceReason::ClockJump);
            self.send_heartbeats();
        }
    }

    /// Somebody else reigns, or may: the office is lost at once.
    pub(super) fn depose(&mut self, reason: Reason) {
        self.leave_office(FenceReason::Deposed, reason);
    }

    fn leave_office(&mut self, fence: FenceReason, reason: Reason) {
        self.end_transfer(TransferOutcome::Overtaken, None);
        self.end_change(Some(Hindrance::Overtaken));
        let Some(reign) = self.state.reign() else { return };
        let served = reign.promoted();
        if served && reign.fenced().is_none() {
            self.event(EventKind::Fenced { reason: fence });
        }
        for timer in [Timer::Lease, Timer::Promotion, Timer::Handover] {
            self.timers.clear(timer);
        }
        self.lease.revoke();
        if self.settles(served) {
            self.data.settle(self.record.epoch());
        } else {
            self.data.settled();
        }
        self.host(HostAction::Fence(self.record.epoch(), fence));
        self.enter(State::Replica, reason);
        self.set_primary(None);
        self.schedule_campaign(self.now() + self.config.election_timeout);
        self.answer_waiting();
    }

    /// Gives the office up and frees everybody from their promises.
    pub(super) fn resign(&mut self, fence: FenceReason, successor: Option<usize>) {
        if self.state.reign().is_none() {
            return;
        }
        let epoch = self.record.epoch();
        let planned = successor.is_some();
        // Who resigns in favour of nobody has handed nothing over, whatever an operator wanted (H9).
        let outcome = if planned { TransferOutcome::HandedOver } else { TransferOutcome::Overtaken };
        self.end_transfer(outcome, successor);
        if self.stops_before_it_resigns() {
            self.leave_office(fence, self.primary.cause());
        }
        self.ranks.gave_up(self.peers.me(), successor);
        let successor = successor.map(|index| self.id(index));
        let node = self.config.node;
        self.event(EventKind::Resigned { node, successor });
        if planned {
            self.plan();
        }
        self.send_to(self.peers.to_partners(), Message::Resign(Resign { epoch, successor }));
        // Whoever could not serve lets the others try first.
        self.schedule_campaign(self.now() + self.config.election_timeout);
    }

    /// A primary or a candidate gave up.
    pub(super) fn on_resign(&mut self, from: usize, resign: Resign) {
        let freed = self.promises.release(from, self.peers[from].incarnation(), resign.epoch);
        if freed && !self.primary.is_known() {
            self.retry_campaign();
        }
        self.judging.close_if(
            |vote| matches!(vote, Vote::For(of, offer) if *of == from && offer.epoch <= resign.epoch),
        );
        if self.primary.is(from) && resign.epoch >= self.record.epoch() {
            if resign.successor.is_some() {
                self.plan();
            }
            self.ranks.gave_up(from, resign.successor.and_then(|id| self.peers.index(id)));
            let (node, successor) = (self.id(from), resign.successor);
            self.event(EventKind::Resigned { node, successor });
            self.suspect(Reason::Planned);
            self.peers.get_mut(from).resigned();
            self.schedule_campaign(self.now());
            if resign.successor == Some(self.config.node) {
                self.timers.set(Timer::Campaign, self.now());
            } else if successor.is_some() {
                self.timers.set(Timer::Campaign, self.now() + self.config.heartbeat_interval);
            }
        }
        self.answer_waiting();
    }

    /// Changes the state and tells of it where the role differs.
    pub(super) fn enter(&mut self, state: State, reason: Reason) {
        let from = self.role();
        self.state = state;
        let to = self.role();
        if from != to {
            self.event(EventKind::RoleChanged { from, to, reason });
        }
    }

    pub(super) fn set_primary(&mut self, primary: Option<usize>) {
        if self.primary.set(primary) {
            if primary.is_some() {
                self.fitness.primary_is_known();
                self.ranks.primary_is_known();
            }
            self.note_reign();
            let primary = self.primary();
            self.event(EventKind::PrimaryChanged { primary });
        }
    }
}
