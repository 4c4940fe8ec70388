//! Getting elected: suspicion, pre-vote, vote, and trying again.

use super::judging::Vote;
use super::voters::VoterSet;
use super::{Elector, Epoch, Message, Position, Reason, Round, Standing, State, Timer};
use crate::bounds::{
    PRE_VOTE_HEARTBEATS, RANK_STEPS_MAX, RANK_STEPS_PER_HEARTBEAT, RETRY_HEARTBEATS, VOTE_PARTS_OF_TIMEOUT,
};
use crate::event::{EventKind, Outcome};
use crate::message::{Grant, Offer, OfferKind, Reject, RejectReason, Resign};
use crate::position::Progress;
use crate::time::Instant;
use std::cmp::Reverse;

/// A campaign of this node.
#[derive(Debug, Clone)]
pub(super) struct Campaign {
    pub(super) kind: OfferKind,
    pub(super) epoch: Epoch,
    pub(super) round: Round,
    pub(super) started: Instant,
    /// Whether the votes were asked for: our own was durable.
    pub(super) asked: bool,
    pub(super) yes: VoterSet,
    pub(super) no: VoterSet,
    pub(super) position: Position,
}

impl Elector {
    /// (Re)sets the time at which this node campaigns if nothing happens: `base`, and a step later for
    /// every reachable candidate that is better. So the best goes first, and the others need not.
    pub(super) fn schedule_campaign(&mut self, base: Instant) {
        // Our own data as it is now, the others' as they last said: under load two nodes may then both go
        // first. That costs a pre-vote, which the better one wins; waiting would cost time.
        let mine = self.rank(self.me, self.position.progress());
        let timeout = self.config.election_timeout;
        let better = self.other_voters().filter(|index| {
            let peer = &self.peers[*index];
            Some(*index) != self.primary
                && peer.member.eligible()
                && peer.health.is_good()
                && peer.reachable(self.now, timeout)
                && self.rank(*index, peer.progress) < mine
        });
        let steps = better.count().min(RANK_STEPS_MAX as usize) as u32;
        self.timers
            .set(Timer::Campaign, base + self.config.heartbeat_interval / RANK_STEPS_PER_HEARTBEAT * steps);
    }

    /// Orders candidates: the best first. Data, then preference, then the lower id.
    fn rank(&self, index: usize, progress: Progress) -> (Reverse<Progress>, Reverse<u8>, usize) {
        (Reverse(progress), Reverse(self.peers[index].member.priority), index)
    }

    /// Whether this node is a better candidate than `other`, with equal data.
    pub(super) fn preferred_to(&self, other: usize) -> bool {
        self.rank(self.me, Progress::NONE) < self.rank(other, Progress::NONE)
    }

    /// The primary is held to be gone.
    pub(super) fn suspect(&mut self, evidence: Reason) {
        let primary = self.primary();
        let heard = self.primary_heard.or_else(|| self.primary.and_then(|index| self.peers[index].heard));
        let silence = heard.map_or(crate::time::Duration::ZERO, |at| self.now.saturating_since(at));
        self.cause = evidence;
        self.event(EventKind::PrimarySuspected { primary, evidence, silence });
        self.set_primary(None);
    }

    pub(super) fn on_campaign_due(&mut self) {
        if self.reign().is_some() {
            return;
        }
        if self.primary.is_some() {
            self.suspect(Reason::Timeout);
        }
        self.leave_to_the_fit();
        if self.may_campaign() {
            self.ask_for_pre_votes();
        } else if self.member().eligible() {
            self.retry_campaign();
        }
    }

    /// Whether this node could be primary and may vote for itself.
    pub(super) fn may_campaign(&self) -> bool {
        self.member().eligible()
            && self.may_stand()
            && !self.paused
            && !self.leaving
            && self.hard.standing == Standing::Member
            && self.booting_until.is_none_or(|until| until <= self.now)
            && self.live_promise().is_none()
            && self.can_save()
            && !self.judges()
            && !self.settling
            && self.position_refused.is_none()
    }

    pub(super) fn retry_campaign(&mut self) {
        let interval = self.config.heartbeat_interval;
        let spread = self.rng.below(crate::time::nanos(interval * (RETRY_HEARTBEATS - 1)).max(1));
        let mut at = self.now + interval + crate::time::Duration::from_nanos(spread);
        // No use in asking before this node may vote for itself.
        if let Some(promise) = self.live_promise() {
            at = at.max(promise.until);
        }
        if let Some(until) = self.booting_until {
            at = at.max(until);
        }
        self.schedule_campaign(at);
    }

    pub(super) fn ask_for_pre_votes(&mut self) {
        let Some(epoch) = self.hard.epoch.next() else { return };
        self.campaign_round = Round(self.campaign_round.0 + 1);
        let position = self.position.clone();
        let offer = Offer { epoch, round: self.campaign_round, position: position.clone() };
        let campaign = Campaign {
            kind: OfferKind::PreVote,
            epoch,
            round: self.campaign_round,
            started: self.now,
            asked: false,
            yes: VoterSet::EMPTY,
            no: VoterSet::EMPTY,
            position,
        };
        self.timers.clear(Timer::Campaign);
        self.timers.set(Timer::Round, self.now + self.config.heartbeat_interval * PRE_VOTE_HEARTBEATS);
        self.enter(State::Campaigning(campaign), self.cause);
        let progress = self.position.progress();
        self.event(EventKind::Campaign { kind: OfferKind::PreVote, epoch, progress });
        if !self.asks_for_pre_votes() {
            return self.ask_for_votes();
        }
        self.send_to_voters(&Message::PreOffer(offer));
        self.count_yes(self.me);
    }

    /// What a campaign says, it says to all others whose votes count.
    fn send_to_voters(&mut self, message: &Message) {
        for number in 0..self.partners.len() {
            let member = self.partners[number];
            if self.ballot(member).is_some() {
                self.send(member, message.clone());
            }
        }
    }

    /// A quorum would vote for us: let go of the old primary, then vote for ourselves, then ask.
    fn ask_for_votes(&mut self) {
        if let State::Campaigning(campaign) = &mut self.state {
            campaign.kind = OfferKind::Vote;
            campaign.yes = VoterSet::EMPTY;
            campaign.no = VoterSet::EMPTY;
            // Half a timeout: the winner's lease, which counts from the request, is then still of use; and
            // the round is over long before a voter that restarted meanwhile may vote again.
            self.timers.set(Timer::Round, self.now + self.config.election_timeout / VOTE_PARTS_OF_TIMEOUT);
            self.detach_for(Vote::Own);
        }
    }

    /// The host has let go, at `position`.
    pub(super) fn vote_for_myself(&mut self, position: &Position) {
        let node = self.config.node;
        let State::Campaigning(campaign) = &mut self.state else { return };
        let epoch = campaign.epoch;
        // A vote that was given to another meanwhile has ended this campaign; so this epoch is unused.
        debug_assert!(self.hard.epoch < epoch);
        campaign.position.clone_from(position);
        self.hard.epoch = epoch;
        self.hard.voted_for = Some(node);
        self.persist_before_speaking();
        let progress = position.progress();
        self.event(EventKind::Campaign { kind: OfferKind::Vote, epoch, progress });
    }

    /// The vote for ourselves is durable: it counts now, and the others may hear of it.
    pub(super) fn on_own_vote_durable(&mut self) {
        let State::Campaigning(campaign) = &mut self.state else { return };
        if campaign.kind != OfferKind::Vote || campaign.epoch != self.hard.epoch {
            return;
        }
        campaign.asked = true;
        let offer =
            Offer { epoch: campaign.epoch, round: campaign.round, position: campaign.position.clone() };
        self.send_to_voters(&Message::Offer(offer));
        self.count_yes(self.me);
    }

    pub(super) fn on_pre_accept(&mut self, from: usize, grant: Grant) {
        self.on_grant(from, grant, OfferKind::PreVote);
    }

    pub(super) fn on_accept(&mut self, from: usize, grant: Grant) {
        self.on_grant(from, grant, OfferKind::Vote);
    }

    fn on_grant(&mut self, from: usize, grant: Grant, kind: OfferKind) {
        if !self.answers(kind, grant.epoch, grant.round) {
            return;
        }
        if self.ballot(from).is_some() {
            let voter = self.id(from);
            self.event(EventKind::Answered { kind, voter, answer: Ok(()) });
            self.count_yes(from);
        }
    }

    /// Whether an answer is one to the present campaign.
    fn answers(&self, kind: OfferKind, epoch: Epoch, round: Round) -> bool {
        self.campaign().is_some_and(|c| {
            c.kind == kind && c.epoch == epoch && c.round == round && (kind == OfferKind::PreVote || c.asked)
        })
    }

    fn count_yes(&mut self, from: usize) {
        let quorum = self.config.quorum();
        let (Some(voter), Some(mut yes)) = (self.ballot(from), self.campaign().map(|campaign| campaign.yes))
        else {
            return;
        };
        let votes = self.votes_with(&mut yes, voter);
        let State::Campaigning(campaign) = &mut self.state else { return };
        campaign.yes = yes;
        if votes >= quorum {
            match campaign.kind {
                OfferKind::PreVote => {
                    let (epoch, took) = (campaign.epoch, self.now.saturating_since(campaign.started));
                    let kind = OfferKind::PreVote;
                    self.event(EventKind::CampaignEnded { kind, epoch, outcome: Outcome::Won, took });
                    self.ask_for_votes();
                }
                OfferKind::Vote => self.win(),
            }
        }
    }

    pub(super) fn on_reject(&mut self, from: usize, reject: &Reject) {
        let ours = self.campaign().filter(|c| c.kind == reject.kind && c.round == reject.round);
        let campaign_epoch = ours.map(|c| c.epoch);
        if ours.is_some() && self.peers[from].voter.is_some() {
            let voter = self.id(from);
            let answer = Err((reject.reason, reject.progress));
            self.event(EventKind::Answered { kind: reject.kind, voter, answer });
        }
        if reject.epoch > self.hard.epoch {
            self.adopt_epoch(reject.epoch, Reason::HigherEpoch);
            return;
        }
        if campaign_epoch.is_none() {
            return;
        }
        let passes = reject.kind == OfferKind::PreVote && super::vote::passes_by_itself(reject.reason);
        let (voters, quorum) = (self.config.voters(), self.config.quorum());
        let (Some(voter), State::Campaigning(campaign)) = (self.peers[from].voter, &mut self.state) else {
            return;
        };
        // A voter that only has to wait for its promise answers again when that has passed.
        if passes {
            return;
        }
        campaign.no.insert(voter);
        if voters - campaign.no.len() < quorum {
            self.end_campaign(Outcome::Refused, Reason::Lost);
        }
        if reject.reason == RejectReason::Position {
            self.renew_offer();
        }
    }

    /// What a dead primary had still sent is read after its death is known. So data may decide against an offer that is
    /// behind what its candidate holds by now: it asks again with that, and does not wait for the end of the round.
    pub(super) fn renew_offer(&mut self) {
        let held = self.position.progress();
        let behind = |c: &&Campaign| c.kind == OfferKind::PreVote && c.position.progress() < held;
        if self.campaign().filter(behind).is_some() {
            self.end_campaign(Outcome::Refused, Reason::Lost);
            self.set_earlier(Timer::Campaign, self.now);
        }
    }

    /// The answers took too long.
    pub(super) fn on_round_over(&mut self) {
        match self.ends_in_time() {
            true => self.end_campaign(Outcome::Expired, Reason::Lost),
            false => self.free_voters(self.hard.epoch),
        }
    }

    /// A campaign for votes is given up for good: the promises that came with its votes may go.
    fn free_voters(&mut self, epoch: Epoch) {
        self.send_to_voters(&Message::Resign(Resign { epoch, successor: None }));
    }

    /// Ends the campaign without a win, frees those who voted for it, and plans the next one.
    pub(super) fn end_campaign(&mut self, outcome: Outcome, reason: Reason) {
        let State::Campaigning(campaign) = &self.state else { return };
        let (kind, epoch, took) =
            (campaign.kind, campaign.epoch, self.now.saturating_since(campaign.started));
        let asked = campaign.asked;
        self.event(EventKind::CampaignEnded { kind, epoch, outcome, took });
        self.timers.clear(Timer::Round);
        self.close_if(|vote| matches!(vote, Vote::Own));
        self.enter(State::Replica, reason);
        if asked {
            // Answers that still come in find no campaign.
            self.free_voters(epoch);
        }
        self.retry_campaign();
    }

    /// Gives up a campaign that must not succeed any more.
    pub(super) fn abandon_campaign(&mut self) {
        if matches!(self.state, State::Campaigning(_)) {
            self.end_campaign(Outcome::Expired, Reason::Lost);
        }
    }

    /// A newer epoch is known. Whoever reigned or campaigned in an older one does not any more.
    pub(super) fn adopt_epoch(&mut self, epoch: Epoch, reason: Reason) {
        debug_assert!(epoch > self.hard.epoch);
        if self.defies() {
            return;
        }
        match &self.state {
            State::Replica => {}
            State::Campaigning(_) => self.end_campaign(Outcome::Overtaken, reason),
            State::Reigning(_) => self.depose(reason),
        }
        self.hard.epoch = epoch;
        self.hard.voted_for = None;
        if self.primary.is_some() {
            self.set_primary(None);
        }
        // A candidate's heartbeat overtakes the answer of our host, and says the epoch that it asked for.
        self.close_if(|vote| !matches!(vote, Vote::For(_, offer) if offer.epoch >= epoch));
        self.persist_before_speaking();
        // Whoever raised the epoch has the time of an election to win it.
        self.schedule_campaign(self.now + self.config.election_timeout / 2);
        let _ = self.following.take_if(|(of, _)| *of < epoch);
    }
}
