//! Giving votes: whom this node may help to be primary, and what it promises by that.

use super::judging::Place;
use crate::elector::judging::Vote;
use crate::elector::machine::Elector;
use crate::elector::promise::Promise;
use crate::elector::state::State;
use crate::elector::timers::Timer;
use crate::event::{EventKind, Outcome, Reason};
use crate::ids::Round;
use crate::message::{Grant, Message, Offer, OfferKind, Reject, RejectReason};
use crate::position::Position;
use crate::time::{Duration, Instant};

/// Whether a refusal for this reason turns into a yes by waiting.
pub(super) fn passes_by_itself(reason: RejectReason) -> bool {
    matches!(
        reason,
        RejectReason::Promise
            | RejectReason::PrimaryAlive
            | RejectReason::Booting
            | RejectReason::NoRecord
            | RejectReason::Settling
    )
}

impl Elector {
    pub(super) fn live_promise(&self) -> Option<&Promise> {
        self.promises.live(self.now())
    }

    pub(super) fn promise_to(&mut self, to: usize, length: Duration) {
        let until = self.now() + length;
        self.promises.give(Promise::new(to, self.peers[to].incarnation(), self.record.epoch(), until));
        if length > self.promises.length.usual() {
            self.promise_longer(length, until);
        }
    }

    /// A start after this one has to know of it (P7).
    #[cold]
    #[inline(never)]
    fn promise_longer(&mut self, length: Duration, until: Instant) {
        self.promises.longer_until(until);
        if length > self.record.promise() {
            let unsaved = self.record.promise_longer(length);
            self.persist_before_speaking(unsaved);
        }
    }

    /// Why this node may not help `candidate`, whoever else it may help. In the order in which an operator
    /// would want to know.
    fn objection(&self, candidate: usize, offer: &Offer) -> Option<RejectReason> {
        if !self.peers[candidate].eligible() {
            return Some(RejectReason::NotEligible);
        }
        if self.counts_by_older(candidate) {
            return Some(RejectReason::NotEligible);
        }
        if self.is_paused() {
            return Some(RejectReason::Paused);
        }
        if self.state.reign().is_some() && self.holds_office() {
            return Some(RejectReason::PrimaryAlive);
        }
        if self.promised_another_than(candidate) && !self.changes_its_vote_to(candidate, offer.epoch) {
            return Some(RejectReason::Promise);
        }
        // Likewise: where nothing was heard of it yet that tells to which cluster it belongs.
        if self.promises.booting(self.now()) || self.may_be_foreign(candidate) {
            return Some(RejectReason::Booting);
        }
        if !self.knows_its_votes() {
            return Some(RejectReason::NoRecord);
        }
        if self.data.may_exceed(&offer.position) {
            return Some(RejectReason::Settling);
        }
        if !self.record.can_save() {
            return Some(RejectReason::Store);
        }
        self.would_lose(self.data.position(), &offer.position).then_some(RejectReason::Position)
    }

    pub(super) fn on_pre_offer(&mut self, from: usize, offer: Offer) {
        if self.ballot(self.peers.me()).is_none() {
            return;
        }
        // Newer than its last heartbeat: decides who goes first once we suspect the primary too.
        self.peers.get_mut(from).offered(offer.position.progress());
        let objection = self.pre_objection(from, &offer);
        self.judged(OfferKind::PreVote, from, &offer, objection);
        match objection {
            None => self.grant_pre_vote(from, &offer),
            Some(reason) => {
                self.reject(OfferKind::PreVote, from, offer.round, reason);
                let better_data = reason == RejectReason::Position;
                let (now, progress) = (self.now(), offer.position.progress());
                if better_data {
                    self.ranks.asked(now);
                }
                let for_another = self.ranks.are_seniority() && !self.goes_before(from, progress);
                self.peers.get_mut(from).wait_with(passes_by_itself(reason).then_some(offer));
                self.schedule_waiting();
                // It has noticed that the primary is gone and must not win: then we should.
                if better_data
                    && !for_another
                    && !self.primary.is_known()
                    && matches!(self.state, State::Replica)
                {
                    self.timers.set_earlier(Timer::Campaign, self.now());
                }
                if better_data {
                    self.renew_offer();
                }
            }
        }
    }

    fn pre_objection(&self, from: usize, offer: &Offer) -> Option<RejectReason> {
        if offer.epoch <= self.record.epoch() {
            return Some(RejectReason::Epoch);
        }
        let objection = self.objection(from, offer);
        // Two candidates with equal data would split the votes: one of them gives way beforehand.
        if objection.is_none()
            && self.state.campaign().is_some()
            && offer.position.progress() == self.data.progress()
            && self.preferred_to(from)
        {
            return Some(RejectReason::Position);
        }
        if objection.is_none() && self.waits_for_seniors(from, offer.position.progress()) {
            return Some(RejectReason::Position);
        }
        objection
    }

    fn grant_pre_vote(&mut self, to: usize, offer: &Offer) {
        self.peers.get_mut(to).wait_with(None);
        self.send(to, Message::PreAccept(self.grant(offer)));
        // The other one goes first now; without this both would go on to ask for votes.
        if self.state.campaign().is_some_and(|campaign| campaign.kind() == OfferKind::PreVote) {
            self.end_campaign(Outcome::Overtaken, Reason::Lost);
        }
    }

    /// Looks again at pre-votes that were refused for a reason that may have passed.
    pub(super) fn answer_waiting(&mut self) {
        for index in self.peers.others() {
            let Some(offer) = self.peers.get_mut(index).take_waiting() else { continue };
            match self.pre_objection(index, &offer) {
                None => {
                    self.judged(OfferKind::PreVote, index, &offer, None);
                    self.grant_pre_vote(index, &offer);
                }
                Some(reason) if passes_by_itself(reason) => self.peers.get_mut(index).wait_with(Some(offer)),
                Some(reason) => {
                    if reason == RejectReason::Position {
                        let now = self.now();
                        self.ranks.asked(now);
                    }
                    self.judged(OfferKind::PreVote, index, &offer, Some(reason));
                    self.reject(OfferKind::PreVote, index, offer.round, reason);
                }
            }
        }
        self.schedule_waiting();
    }

    fn schedule_waiting(&mut self) {
        self.timers.clear(Timer::Waiting);
        if self.peers.all().iter().all(|peer| peer.waiting().is_none()) {
            return;
        }
        let promise = self.live_promise().map(Promise::until);
        let ends = [promise, self.promises.booting_until(), self.lease.until()];
        if let Some(at) = ends.into_iter().flatten().filter(|at| *at > self.now()).min() {
            self.timers.set(Timer::Waiting, at);
        }
    }

    pub(super) fn on_offer(&mut self, from: usize, offer: Offer) {
        if self.ballot(self.peers.me()).is_none() {
            return;
        }
        let candidate = self.id(from);
        if offer.epoch == self.record.epoch() && self.record.voted_for() == Some(candidate) {
            // Asked again: the answer may have been lost. It is durable, or waits until it is.
            self.send(from, Message::Accept(self.grant(&offer)));
            return;
        }
        match self.place_of(from, &offer) {
            Place::Judged => {}
            Place::Taken => self.refuse_vote(from, &offer, RejectReason::Epoch),
            Place::Free => match self.vote_objection(from, &offer, self.data.position()) {
                Some(reason) => self.refuse_vote(from, &offer, reason),
                // What the host acknowledges from here on would be confirmed to the old primary's clients and
                // missing from the new history: let go first, then compare what is really there.
                None => self.detach_for(Vote::For(from, offer)),
            },
        }
    }

    /// The host has let go: what it holds is known, and stays as it is.
    pub(super) fn judge(&mut self, from: usize, offer: &Offer, ours: &Position) {
        match self.vote_objection(from, offer, ours) {
            Some(reason) => self.refuse_vote(from, offer, reason),
            None => self.vote_for(from, offer),
        }
    }

    fn vote_objection(&self, from: usize, offer: &Offer, ours: &Position) -> Option<RejectReason> {
        if self.is_used(offer.epoch) && !self.changes_its_vote_to(from, offer.epoch) {
            return Some(RejectReason::Epoch);
        }
        self.objection(from, offer)
            .or_else(|| self.would_lose(ours, &offer.position).then_some(RejectReason::Position))
    }

    fn refuse_vote(&mut self, from: usize, offer: &Offer, reason: RejectReason) {
        self.judged(OfferKind::Vote, from, offer, Some(reason));
        // With nobody to protect, a higher epoch is worth knowing: our own campaign has to be above it.
        if offer.epoch > self.record.epoch() && reason == RejectReason::Position {
            self.adopt_epoch(offer.epoch, Reason::HigherEpoch);
        }
        // Known by now, from this offer or from a refusal that came before it: the epoch of a candidate who lacks what this
        // node holds. It gets no more than a moment to win it.
        if offer.epoch == self.record.epoch() && reason == RejectReason::Position && !self.primary.is_known()
        {
            // Nor is it waited for where nobody can win it without this vote.
            let may_win = self.peers.voters_reachable(self.now()) > self.peers.quorum();
            let pause = self.config.heartbeat_interval / 2 * u32::from(may_win);
            self.timers.set_earlier(Timer::Campaign, self.now() + pause);
        }
        self.reject(OfferKind::Vote, from, offer.round, reason);
    }

    fn vote_for(&mut self, from: usize, offer: &Offer) {
        match &self.state {
            State::Replica => {}
            State::Campaigning(_) => self.end_campaign(Outcome::Overtaken, Reason::Lost),
            State::Reigning(_) => self.depose(Reason::HigherEpoch),
        }
        let candidate = self.id(from);
        let unsaved = self.record.enter(offer.epoch, Some(candidate));
        self.set_primary(None);
        // Given now, before the vote is even durable: a winner's lease counts from its request, which was
        // earlier still.
        self.promise_to(from, self.config.election_timeout);
        self.judged(OfferKind::Vote, from, offer, None);
        self.persist_before_speaking(unsaved);
        self.send(from, Message::Accept(self.grant(offer)));
        self.schedule_campaign(self.now() + self.config.election_timeout);
    }

    fn grant(&self, offer: &Offer) -> Grant {
        Grant { epoch: offer.epoch, round: offer.round, identity: self.record.identity() }
    }

    fn judged(&mut self, kind: OfferKind, from: usize, offer: &Offer, objection: Option<RejectReason>) {
        let (candidate, epoch, progress) = (self.id(from), offer.epoch, offer.position.progress());
        let answer = objection.map_or(Ok(()), Err);
        self.event(EventKind::Judged { kind, candidate, epoch, progress, answer });
    }

    fn reject(&mut self, kind: OfferKind, to: usize, round: Round, reason: RejectReason) {
        let (epoch, progress) = (self.record.epoch(), self.data.progress());
        self.send(to, Message::Reject(Reject { epoch, round, kind, reason, progress }));
    }
}
