//! Giving votes: whom this node may help to be primary, and what it promises by that.

use super::judging::{Place, Vote};
use super::{Elector, Epoch, Incarnation, Message, Position, State, Timer};
use crate::event::{EventKind, Outcome, Reason};
use crate::ids::Round;
use crate::message::{Grant, Offer, OfferKind, Reject, RejectReason};
use crate::time::Instant;

/// "I vote and pre-vote for nobody else until then."
#[derive(Debug, Clone, Copy)]
pub(super) struct Promise {
    pub(super) to: usize,
    /// The epoch in which it was given.
    pub(super) epoch: Epoch,
    /// The process it was given to; it is void once that one is dead.
    pub(super) incarnation: Option<Incarnation>,
    pub(super) until: Instant,
}

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
        self.promise.as_ref().filter(|promise| promise.until > self.now)
    }

    pub(super) fn promise_to(&mut self, to: usize) {
        self.promise = Some(Promise {
            to,
            epoch: self.hard.epoch,
            incarnation: self.peers[to].incarnation,
            until: self.now + self.config.election_timeout,
        });
    }

    /// Drops the promise to a process that is known to be dead; says whether there was one.
    pub(super) fn void_promise_to(&mut self, peer: usize, dead: Option<Incarnation>) -> bool {
        let void = self.promise.is_some_and(|promise| promise.to == peer && promise.incarnation == dead);
        if void {
            self.promise = None;
        }
        void
    }

    /// Whether a promise was given to the process that speaks as `peer` now, not to an earlier one of its node:
    /// that one may live and write.
    pub(super) fn is_to(&self, promise: &Promise, peer: usize) -> bool {
        promise.to == peer && promise.incarnation == self.peers[peer].incarnation
    }

    /// Why this node may not help `candidate`, whoever else it may help. In the order in which an operator
    /// would want to know.
    fn objection(&self, candidate: usize, offer: &Offer) -> Option<RejectReason> {
        if !self.peers[candidate].member.eligible() {
            return Some(RejectReason::NotEligible);
        }
        if self.paused {
            return Some(RejectReason::Paused);
        }
        if self.reign().is_some() && self.holds_office() {
            return Some(RejectReason::PrimaryAlive);
        }
        if self.promised_another_than(candidate) {
            return Some(RejectReason::Promise);
        }
        if self.booting_until.is_some_and(|until| until > self.now) {
            return Some(RejectReason::Booting);
        }
        if !self.knows_its_votes() {
            return Some(RejectReason::NoRecord);
        }
        if self.settling || self.position_refused.is_some() {
            return Some(RejectReason::Settling);
        }
        if !self.can_save() {
            return Some(RejectReason::Store);
        }
        self.would_lose(&self.position, &offer.position).then_some(RejectReason::Position)
    }

    pub(super) fn on_pre_offer(&mut self, from: usize, offer: Offer) {
        if self.ballot(self.me).is_none() {
            return;
        }
        // Newer than its last heartbeat: decides who goes first once we suspect the primary too.
        self.peers[from].progress = offer.position.progress();
        let objection = self.pre_objection(from, &offer);
        self.judged(OfferKind::PreVote, from, &offer, objection);
        match objection {
            None => self.grant_pre_vote(from, &offer),
            Some(reason) => {
                self.reject(OfferKind::PreVote, from, offer.round, reason);
                let better_data = reason == RejectReason::Position;
                self.peers[from].waiting = passes_by_itself(reason).then_some(offer);
                self.schedule_waiting();
                // It has noticed that the primary is gone and must not win: then we should.
                if better_data && self.primary.is_none() && matches!(self.state, State::Replica) {
                    self.set_earlier(Timer::Campaign, self.now);
                }
                if better_data {
                    self.renew_offer();
                }
            }
        }
    }

    fn pre_objection(&self, from: usize, offer: &Offer) -> Option<RejectReason> {
        if offer.epoch <= self.hard.epoch {
            return Some(RejectReason::Epoch);
        }
        let objection = self.objection(from, offer);
        // Two candidates with equal data would split the votes: one of them gives way beforehand.
        if objection.is_none()
            && self.campaign().is_some()
            && offer.position.progress() == self.position.progress()
            && self.preferred_to(from)
        {
            return Some(RejectReason::Position);
        }
        objection
    }

    fn grant_pre_vote(&mut self, to: usize, offer: &Offer) {
        self.peers[to].waiting = None;
        self.send(to, Message::PreAccept(Grant { epoch: offer.epoch, round: offer.round }));
        // The other one goes first now; without this both would go on to ask for votes.
        if let State::Campaigning(campaign) = &self.state
            && campaign.kind == OfferKind::PreVote
        {
            self.end_campaign(Outcome::Overtaken, Reason::Lost);
        }
    }

    /// Looks again at pre-votes that were refused for a reason that may have passed.
    pub(super) fn answer_waiting(&mut self) {
        for index in self.others() {
            let Some(offer) = self.peers[index].waiting.take() else { continue };
            match self.pre_objection(index, &offer) {
                None => {
                    self.judged(OfferKind::PreVote, index, &offer, None);
                    self.grant_pre_vote(index, &offer);
                }
                Some(reason) if passes_by_itself(reason) => self.peers[index].waiting = Some(offer),
                Some(reason) => {
                    self.judged(OfferKind::PreVote, index, &offer, Some(reason));
                    self.reject(OfferKind::PreVote, index, offer.round, reason);
                }
            }
        }
        self.schedule_waiting();
    }

    fn schedule_waiting(&mut self) {
        self.timers.clear(Timer::Waiting);
        if self.peers.iter().all(|peer| peer.waiting.is_none()) {
            return;
        }
        let ends = [self.live_promise().map(|promise| promise.until), self.booting_until, self.lease.until()];
        if let Some(at) = ends.into_iter().flatten().filter(|at| *at > self.now).min() {
            self.timers.set(Timer::Waiting, at);
        }
    }

    pub(super) fn on_offer(&mut self, from: usize, offer: Offer) {
        if self.ballot(self.me).is_none() {
            return;
        }
        let candidate = self.id(from);
        if offer.epoch == self.hard.epoch && self.hard.voted_for == Some(candidate) {
            // Asked again: the answer may have been lost. It is durable, or waits until it is.
            self.send(from, Message::Accept(Grant { epoch: offer.epoch, round: offer.round }));
            return;
        }
        match self.place_of(from, &offer) {
            Place::Judged => {}
            Place::Taken => self.refuse_vote(from, &offer, RejectReason::Epoch),
            Place::Free => match self.vote_objection(from, &offer, &self.position) {
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
        if self.is_used(offer.epoch) {
            return Some(RejectReason::Epoch);
        }
        self.objection(from, offer)
            .or_else(|| self.would_lose(ours, &offer.position).then_some(RejectReason::Position))
    }

    fn refuse_vote(&mut self, from: usize, offer: &Offer, reason: RejectReason) {
        self.judged(OfferKind::Vote, from, offer, Some(reason));
        // With nobody to protect, a higher epoch is worth knowing: our own campaign has to be above it.
        if offer.epoch > self.hard.epoch && reason == RejectReason::Position {
            self.adopt_epoch(offer.epoch, Reason::HigherEpoch);
        }
        // Known by now, from this offer or from a refusal that came before it: the epoch of a candidate who lacks what this
        // node holds. It gets no more than a moment to win it.
        if offer.epoch == self.hard.epoch && reason == RejectReason::Position && self.primary.is_none() {
            // Nor is it waited for where nobody can win it without this vote.
            let may_win = self.voters_reachable() > self.config.quorum();
            let pause = self.config.heartbeat_interval / 2 * u32::from(may_win);
            self.set_earlier(Timer::Campaign, self.now + pause);
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
        self.hard.epoch = offer.epoch;
        self.hard.voted_for = Some(candidate);
        self.set_primary(None);
        // Given now, before the vote is even durable: a winner's lease counts from its request, which was
        // earlier still.
        self.promise_to(from);
        self.judged(OfferKind::Vote, from, offer, None);
        self.persist_before_speaking();
        self.send(from, Message::Accept(Grant { epoch: offer.epoch, round: offer.round }));
        self.schedule_campaign(self.now + self.config.election_timeout);
    }

    fn judged(&mut self, kind: OfferKind, from: usize, offer: &Offer, objection: Option<RejectReason>) {
        let (candidate, epoch, progress) = (self.id(from), offer.epoch, offer.position.progress());
        let answer = objection.map_or(Ok(()), Err);
        self.event(EventKind::Judged { kind, candidate, epoch, progress, answer });
    }

    fn reject(&mut self, kind: OfferKind, to: usize, round: Round, reason: RejectReason) {
        let (epoch, progress) = (self.hard.epoch, self.position.progress());
        self.send(to, Message::Reject(Reject { epoch, round, kind, reason, progress }));
    }
}
