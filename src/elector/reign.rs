//! Being primary: promotion, lease, fence, and leaving the office.

use super::judging::Vote;
use super::{Elector, Epoch, HOST_TIMEOUTS, HostAction, Instant, Message, Reason, State, Timer};
use crate::event::{EventKind, Outcome};
use crate::fence::FenceReason;
use crate::message::{Announce, OfferKind, Resign};
use crate::position::Progress;
use crate::time::Duration;

/// While an office is handed over, replicas are asked how far they are this many times per heartbeat
/// interval: writes are refused meanwhile.
const HANDOVER_POLLS: u32 = 20;

/// This node's time in office.
#[derive(Debug, Clone)]
pub(super) struct Reign {
    won_at: Instant,
    /// The host serves as primary.
    pub(super) promoted: bool,
    /// Writes have passed in this reign.
    opened: bool,
    /// Why writes are refused, if they are.
    pub(super) fenced: Option<FenceReason>,
    fenced_at: Instant,
    pub(super) handover: Option<Handover>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Handover {
    pub(super) reason: FenceReason,
    /// Resign even if no replica has caught up.
    pub(super) anyway: bool,
    /// Until when to wait for one.
    pub(super) deadline: Instant,
}

impl Elector {
    /// A quorum voted for this node.
    pub(super) fn win(&mut self) {
        let State::Campaigning(campaign) = &self.state else { return };
        let (epoch, took) = (campaign.epoch, self.now.saturating_since(campaign.started));
        self.timers.clear(Timer::Round);
        self.event(EventKind::CampaignEnded { kind: OfferKind::Vote, epoch, outcome: Outcome::Won, took });
        let reign = Reign {
            won_at: self.now,
            promoted: false,
            opened: false,
            fenced: None,
            fenced_at: self.now,
            handover: None,
        };
        self.lease.revoke();
        self.enter(State::Reigning(reign), Reason::Won);
        self.promise = None;
        self.set_primary(Some(self.me));
        self.following = None;
        self.judging.close();
        self.timers.clear(Timer::Campaign);
        self.timers.clear(Timer::Follow);
        self.timers.set(Timer::Promotion, self.now + self.config.election_timeout * HOST_TIMEOUTS);
        self.host(HostAction::Promote(epoch));
        // The lease begins with the echoes of this, while the host works. Votes are promises too, but only an
        // echo says that the voter's promise is as long as our lease. Nobody follows before the host is done.
        self.send_heartbeats();
        self.renew_lease();
    }

    pub(super) fn on_promoted(&mut self, epoch: Epoch) {
        let now = self.now;
        let State::Reigning(reign) = &mut self.state else { return };
        if epoch != self.hard.epoch || reign.promoted {
            return;
        }
        let took = now.saturating_since(reign.won_at);
        let mut reign = reign.clone();
        reign.promoted = true;
        self.timers.clear(Timer::Promotion);
        self.enter(State::Reigning(reign), Reason::Promoted);
        self.event(EventKind::Promoted { took });
        self.renew_lease();
        let announce = Message::Announce(Announce { epoch });
        for index in self.others() {
            self.send(index, announce.clone());
        }
        self.send_heartbeats();
    }

    pub(super) fn on_promote_failed(&mut self, epoch: Epoch, error: &str) {
        if epoch == self.hard.epoch && self.reign().is_some_and(|reign| !reign.promoted) {
            self.event(EventKind::PromoteFailed { error: error.to_owned() });
            self.cause = Reason::HostFailed;
            self.resign(FenceReason::HostFailing, None);
        }
    }

    /// Whether this node's office keeps it from voting for others.
    pub(super) fn holds_office(&self) -> bool {
        self.reign().is_some_and(|reign| !reign.promoted || reign.fenced.is_none())
            && self.lease.until().is_some_and(|until| until > self.now)
    }

    /// Recomputes the lease and what follows from it: fence or resume.
    pub(super) fn renew_lease(&mut self) {
        let (Some(me), true) = (self.my_vote, self.reign().is_some()) else { return };
        let held = self.lease.until().is_some();
        let until = self.lease.renew(me, self.now).filter(|until| *until > self.now);
        match until {
            Some(until) => {
                self.timers.set(Timer::Lease, until);
                let State::Reigning(reign) = &self.state else { return };
                if reign.fenced.is_some() && reign.handover.is_none() {
                    self.resume();
                }
                if self.reign().is_some_and(|reign| reign.promoted && reign.fenced.is_none() && !reign.opened)
                {
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
        let now = self.now;
        let State::Reigning(reign) = &mut self.state else { return };
        reign.opened = true;
        let took = now.saturating_since(reign.won_at);
        self.judging.close();
        self.event(EventKind::Writable { took });
    }

    pub(super) fn on_lease_over(&mut self) {
        self.fence(FenceReason::LeaseExpired);
    }

    /// Refuses writes from here on.
    pub(super) fn fence(&mut self, reason: FenceReason) {
        let (now, epoch) = (self.now, self.hard.epoch);
        let State::Reigning(reign) = &mut self.state else { return };
        if reign.fenced.is_some() {
            return;
        }
        reign.fenced = Some(reason);
        reign.fenced_at = now;
        if reign.promoted {
            self.event(EventKind::Fenced { reason });
            self.settling = true;
            self.host(HostAction::Fence(epoch, reason));
        }
    }

    /// The host has counted its last write.
    pub(super) fn on_fenced(&mut self) {
        self.settling = false;
        self.hand_over_if_caught_up();
        self.answer_waiting();
    }

    /// Lets writes pass again.
    #[cold]
    #[inline(never)]
    fn resume(&mut self) {
        let (now, epoch) = (self.now, self.hard.epoch);
        let State::Reigning(reign) = &mut self.state else { return };
        reign.fenced = None;
        // From here on the host may take more writes than it has said.
        self.judging.close();
        let after = now.saturating_since(reign.fenced_at);
        if reign.promoted {
            self.settling = false;
            self.event(EventKind::Unfenced { after });
            self.host(HostAction::Resume(epoch));
        }
    }

    /// Links to too many voters ended: whatever they were told, it is not to be relied on.
    pub(super) fn on_support_lost(&mut self, peer: usize) {
        let (Some(me), Some(voter), true) = (self.my_vote, self.peers[peer].voter, self.reign().is_some())
        else {
            return;
        };
        self.lease.unsupported(voter);
        if self.lease.renew(me, self.now).is_none() {
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
        if self.reign().is_some() {
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
        let State::Reigning(reign) = &self.state else { return };
        let served = reign.promoted;
        if reign.promoted && reign.fenced.is_none() {
            self.event(EventKind::Fenced { reason: fence });
        }
        for timer in [Timer::Lease, Timer::Promotion, Timer::Handover] {
            self.timers.clear(timer);
        }
        self.lease.revoke();
        // Whose gate was never open has nothing to count. Without this, a server that hangs refuses its vote for as
        // long as its promotion hangs.
        self.settling = served;
        self.host(HostAction::Fence(self.hard.epoch, fence));
        self.enter(State::Replica, reason);
        self.set_primary(None);
        self.schedule_campaign(self.now + self.config.election_timeout);
        self.answer_waiting();
    }

    /// Begins a planned transfer: fence, then wait for a replica that has everything.
    pub(super) fn step_down(&mut self, reason: FenceReason) {
        let anyway = self.leaving || reason == FenceReason::HostFailing;
        let deadline = self.now + self.config.election_timeout;
        let State::Reigning(reign) = &mut self.state else { return };
        let promoted = reign.promoted;
        if reign.handover.is_some_and(|handover| handover.anyway || !anyway) {
            return;
        }
        reign.handover = Some(Handover { reason, anyway, deadline });
        if self.stops_before_it_resigns() {
            self.fence(reason);
        }
        self.cause = Reason::Planned;
        if promoted {
            self.on_handover_due();
        } else {
            self.resign(reason, self.successor().map(|(index, _)| index));
        }
    }

    /// The best replica that is reachable.
    fn successor(&self) -> Option<(usize, Progress)> {
        let timeout = self.config.election_timeout;
        self.others()
            .filter(|index| {
                let peer = &self.peers[*index];
                peer.member.eligible() && peer.reachable(self.now, timeout)
            })
            .map(|index| (index, self.peers[index].progress))
            .max_by(|(a, x), (b, y)| {
                let fit = |index: usize| self.peers[index].health.is_good();
                (fit(*a), x, self.peers[*a].member.priority, b).cmp(&(
                    fit(*b),
                    y,
                    self.peers[*b].member.priority,
                    a,
                ))
            })
    }

    pub(super) fn hand_over_if_caught_up(&mut self) {
        let Some(handover) = self.reign().and_then(|reign| reign.handover) else { return };
        if !self.settling
            && let Some((successor, progress)) = self.successor()
            && progress >= self.position.progress()
        {
            self.resign(handover.reason, Some(successor));
        }
    }

    /// Asks the replicas how far they are, or ends the wait for them.
    pub(super) fn on_handover_due(&mut self) {
        self.hand_over_if_caught_up();
        let Some(handover) = self.reign().map(|reign| reign.handover) else { return };
        let anyway = handover.is_some_and(|handover| self.resigns_anyway(handover.reason));
        match handover {
            Some(handover) if self.now < handover.deadline => {
                let next = self.now + self.config.heartbeat_interval / HANDOVER_POLLS;
                self.timers.set(Timer::Handover, next.min(handover.deadline));
                self.send_heartbeats();
            }
            Some(handover) if anyway => {
                self.resign(handover.reason, self.successor().map(|(index, _)| index));
            }
            // Nobody caught up in time: better this primary than lost writes.
            Some(_) => {
                if let State::Reigning(reign) = &mut self.state {
                    reign.handover = None;
                }
                self.put_handover_off();
                self.renew_lease();
            }
            None => {}
        }
    }

    /// Gives the office up and frees everybody from their promises.
    fn resign(&mut self, fence: FenceReason, successor: Option<usize>) {
        if self.reign().is_none() {
            return;
        }
        let epoch = self.hard.epoch;
        if self.stops_before_it_resigns() {
            self.leave_office(fence, self.cause);
        }
        let successor = successor.map(|index| self.id(index));
        let node = self.config.node;
        self.event(EventKind::Resigned { node, successor });
        let resign = Message::Resign(Resign { epoch, successor });
        for index in self.others() {
            self.send(index, resign.clone());
        }
        // Whoever could not serve lets the others try first.
        self.schedule_campaign(self.now + self.config.election_timeout);
    }

    /// A primary or a candidate gave up.
    pub(super) fn on_resign(&mut self, from: usize, resign: Resign) {
        if self.promise.is_some_and(|promise| self.is_to(&promise, from) && promise.epoch <= resign.epoch) {
            self.promise = None;
            if self.primary.is_none() {
                self.retry_campaign();
            }
        }
        self.close_if(
            |vote| matches!(vote, Vote::For(of, offer) if *of == from && offer.epoch <= resign.epoch),
        );
        if self.primary == Some(from) && resign.epoch >= self.hard.epoch {
            let (node, successor) = (self.id(from), resign.successor);
            self.event(EventKind::Resigned { node, successor });
            self.suspect(Reason::Planned);
            self.peers[from].role = None;
            self.schedule_campaign(self.now);
            if resign.successor == Some(self.config.node) {
                self.timers.set(Timer::Campaign, self.now);
            } else if successor.is_some() {
                self.timers.set(Timer::Campaign, self.now + self.config.heartbeat_interval);
            }
        }
        self.answer_waiting();
    }

    /// How long the lease still runs.
    pub fn lease_left(&self, now: Instant) -> Duration {
        match self.gate() {
            super::GateState::Open(until) => until.saturating_since(now),
            super::GateState::Shut(_) => Duration::ZERO,
        }
    }
}
