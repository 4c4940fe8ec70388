//! Getting elected: suspicion, pre-vote, vote, and trying again.

use crate::bounds::{
    PRE_VOTE_HEARTBEATS, RANK_STEPS_MAX, RANK_STEPS_PER_HEARTBEAT, RETRY_HEARTBEATS, VOTE_PARTS_OF_TIMEOUT,
};
use crate::elector::campaign::Campaign;
use crate::elector::judging::Vote;
use crate::elector::machine::Elector;
use crate::elector::state::State;
use crate::elector::timers::Timer;
use crate::event::{EventKind, Outcome, Reason};
use crate::ids::{Epoch, Round};
use crate::message::{Grant, Message, Offer, OfferKind, Reject, RejectReason, Resign};
use crate::position::Position;
use crate::time::{Duration, Instant, nanos};

impl Elector {
    /// (Re)sets the time at which this node campaigns if nothing happens: `base`, and a step later for
    /// every reachable candidate that is better. So the best goes first, and the others need not.
    pub(super) fn schedule_campaign(&mut self, base: Instant) {
        // Our own data as it is now, the others' as they last said: under load two nodes may then both go
        // first. That costs a pre-vote, which the better one wins; waiting would cost time.
        let better = if self.ranks.are_seniority() { self.seniors() } else { self.better_placed() };
        let steps = better.min(RANK_STEPS_MAX as usize) as u32;
        self.timers
            .set(Timer::Campaign, base + self.config.heartbeat_interval / RANK_STEPS_PER_HEARTBEAT * steps);
    }

    /// The primary is held to be gone.
    pub(super) fn suspect(&mut self, evidence: Reason) {
        let primary = self.primary();
        let heard =
            self.primary.heard().or_else(|| self.primary.index().and_then(|index| self.peers[index].heard()));
        let silence = heard.map_or(Duration::ZERO, |at| self.now().saturating_since(at));
        self.primary.gives_up_for(evidence);
        self.event(EventKind::PrimarySuspected { primary, evidence, silence });
        self.set_primary(None);
    }

    pub(super) fn on_campaign_due(&mut self) {
        if self.state.reign().is_some() {
            return;
        }
        if self.primary.is_known() {
            self.suspect(Reason::Timeout);
        }
        self.leave_to_the_fit();
        if self.may_campaign() {
            self.ask_for_pre_votes();
        } else if self.peers.my_member().eligible() {
            self.retry_campaign();
        }
    }

    /// Whether this node could be primary and may vote for itself.
    pub(super) fn may_campaign(&self) -> bool {
        self.peers.my_member().eligible()
            && self.may_stand()
            && !self.is_paused()
            && !self.leaving
            && self.record.is_complete()
            && !self.promises.booting(self.now())
            && self.live_promise().is_none()
            && self.record.can_save()
            && self.judging.open(self.now()).is_none()
            && self.data.is_told()
            && self.data.progress() >= self.floor()
    }

    pub(super) fn retry_campaign(&mut self) {
        let interval = self.config.heartbeat_interval;
        let spread = self.rng.below(nanos(interval * (RETRY_HEARTBEATS - 1)).max(1));
        let mut at = self.now() + interval + Duration::from_nanos(spread);
        // No use in asking before this node may vote for itself.
        if let Some(promise) = self.live_promise() {
            at = at.max(promise.until());
        }
        if let Some(until) = self.promises.booting_until() {
            at = at.max(until);
        }
        self.schedule_campaign(at);
    }

    pub(super) fn ask_for_pre_votes(&mut self) {
        let Some(epoch) = self.record.epoch().next() else { return };
        self.campaigns = Round(self.campaigns.0 + 1);
        let position = self.data.position().clone();
        let offer = Offer { epoch, round: self.campaigns, position: position.clone() };
        let campaign = Campaign::new(epoch, self.campaigns, position, self.now());
        self.timers.clear(Timer::Campaign);
        self.timers.set(Timer::Round, self.now() + self.config.heartbeat_interval * PRE_VOTE_HEARTBEATS);
        self.enter(State::Campaigning(campaign), self.primary.cause());
        let now = self.now();
        self.ranks.asked(now);
        self.tell_rank();
        let progress = self.data.progress();
        self.event(EventKind::Campaign { kind: OfferKind::PreVote, epoch, progress });
        if !self.asks_for_pre_votes() {
            return self.ask_for_votes();
        }
        self.send_to_voters(Message::PreOffer(offer));
        self.count_yes(self.peers.me());
    }

    /// What a campaign says, it says to all others whose votes count.
    fn send_to_voters(&mut self, message: Message) {
        self.send_to(self.electorate(), message);
    }

    /// A quorum would vote for us: let go of the old primary, then vote for ourselves, then ask.
    fn ask_for_votes(&mut self) {
        if let Some(campaign) = self.state.campaign_mut() {
            campaign.go_on_to_votes();
            // Half a timeout: the winner's lease, which counts from the request, is then still of use; and
            // the round is over long before a voter that restarted meanwhile may vote again.
            self.timers.set(Timer::Round, self.now() + self.config.election_timeout / VOTE_PARTS_OF_TIMEOUT);
            self.detach_for(Vote::ForMyself);
        }
    }

    /// The host has let go, at `position`.
    pub(super) fn vote_for_myself(&mut self, position: &Position) {
        let node = self.config.node;
        let Some(campaign) = self.state.campaign_mut() else { return };
        let epoch = campaign.epoch();
        // A vote that was given to another meanwhile has ended this campaign; so this epoch is unused.
        debug_assert!(self.record.epoch() < epoch);
        campaign.offer(position);
        let unsaved = self.record.enter(epoch, Some(node));
        self.persist_before_speaking(unsaved);
        let progress = position.progress();
        self.event(EventKind::Campaign { kind: OfferKind::Vote, epoch, progress });
    }

    /// The vote for ourselves is durable: it counts now, and the others may hear of it.
    pub(super) fn on_own_vote_durable(&mut self) {
        let epoch = self.record.epoch();
        let Some(campaign) = self.state.campaign_mut() else { return };
        if campaign.kind() != OfferKind::Vote || campaign.epoch() != epoch {
            return;
        }
        campaign.ask();
        let offer = Offer { epoch, round: campaign.round(), position: campaign.position().clone() };
        self.send_to_voters(Message::Offer(offer));
        self.count_yes(self.peers.me());
    }

    pub(super) fn on_pre_accept(&mut self, from: usize, grant: Grant) {
        self.on_grant(from, grant, OfferKind::PreVote);
    }

    pub(super) fn on_accept(&mut self, from: usize, grant: Grant) {
        self.on_grant(from, grant, OfferKind::Vote);
    }

    fn on_grant(&mut self, from: usize, grant: Grant, kind: OfferKind) {
        let answers = |c: &Campaign| c.is_answered_by(kind, grant.epoch, grant.round);
        if !self.state.campaign().is_some_and(answers) {
            return;
        }
        if self.ballot(from).is_some() {
            let voter = self.id(from);
            self.event(EventKind::Answered { kind, voter, answer: Ok(()) });
            if let Some(campaign) = self.state.campaign_mut() {
                campaign.told(grant.identity);
            }
            self.count_yes(from);
        }
    }

    fn count_yes(&mut self, from: usize) {
        let quorum = self.peers.quorum();
        let (voter, now) = (self.ballot(from), self.now());
        let (Some(voter), Some(campaign)) = (voter, self.state.campaign_mut()) else { return };
        let (yes, again) = campaign.accept(voter);
        let (kind, epoch, took) = (campaign.kind(), campaign.epoch(), campaign.took(now));
        if self.votes(yes, voter, again) >= quorum {
            match kind {
                OfferKind::PreVote => {
                    self.event(EventKind::CampaignEnded { kind, epoch, outcome: Outcome::Won, took });
                    self.ask_for_votes();
                }
                OfferKind::Vote => self.win(),
            }
        }
    }

    pub(super) fn on_reject(&mut self, from: usize, reject: &Reject) {
        let ours = self.state.campaign().filter(|c| c.kind() == reject.kind && c.round() == reject.round);
        let campaign_epoch = ours.map(Campaign::epoch);
        if ours.is_some() && self.peers[from].voter().is_some() {
            let voter = self.id(from);
            let answer = Err((reject.reason, reject.progress));
            self.event(EventKind::Answered { kind: reject.kind, voter, answer });
        }
        if reject.epoch > self.record.epoch() {
            self.adopt_epoch(reject.epoch, Reason::HigherEpoch);
            return;
        }
        if campaign_epoch.is_none() {
            return;
        }
        let passes = reject.kind == OfferKind::PreVote && super::vote::passes_by_itself(reject.reason);
        let (voters, quorum) = (self.peers.voters(), self.peers.quorum());
        let (Some(voter), Some(campaign)) = (self.peers[from].voter(), self.state.campaign_mut()) else {
            return;
        };
        // A voter that only has to wait for its promise answers again when that has passed.
        if passes {
            return;
        }
        if voters - campaign.reject(voter) < quorum {
            self.end_campaign(Outcome::Refused, Reason::Lost);
        }
        if reject.reason == RejectReason::Position {
            self.renew_offer();
        }
    }

    /// What a dead primary had still sent is read after its death is known. So data may decide against an offer that is
    /// behind what its candidate holds by now: it asks again with that, and does not wait for the end of the round.
    pub(super) fn renew_offer(&mut self) {
        let held = self.data.progress();
        let behind = |c: &&Campaign| c.kind() == OfferKind::PreVote && c.position().progress() < held;
        if self.state.campaign().filter(behind).is_some() {
            self.end_campaign(Outcome::Refused, Reason::Lost);
            self.timers.set_earlier(Timer::Campaign, self.now());
        }
    }

    /// The answers took too long.
    pub(super) fn on_round_over(&mut self) {
        match self.ends_in_time() {
            true => self.end_campaign(Outcome::Expired, Reason::Lost),
            false => self.free_voters(self.record.epoch()),
        }
    }

    /// A campaign for votes is given up for good: the promises that came with its votes may go.
    fn free_voters(&mut self, epoch: Epoch) {
        self.send_to_voters(Message::Resign(Resign { epoch, successor: None }));
    }

    /// Ends the campaign without a win, frees those who voted for it, and plans the next one.
    pub(super) fn end_campaign(&mut self, outcome: Outcome, reason: Reason) {
        let Some(campaign) = self.state.campaign() else { return };
        let (kind, epoch, took) = (campaign.kind(), campaign.epoch(), campaign.took(self.now()));
        let asked = campaign.asked();
        self.event(EventKind::CampaignEnded { kind, epoch, outcome, took });
        self.timers.clear(Timer::Round);
        self.judging.close_if(|vote| matches!(vote, Vote::ForMyself));
        self.enter(State::Replica, reason);
        if asked {
            // Answers that still come in find no campaign.
            self.free_voters(epoch);
        }
        self.retry_campaign();
    }

    /// Gives up a campaign that must not succeed any more.
    pub(super) fn abandon_campaign(&mut self) {
        if self.state.campaign().is_some() {
            self.end_campaign(Outcome::Expired, Reason::Lost);
        }
    }

    /// A newer epoch is known. Whoever reigned or campaigned in an older one does not any more.
    pub(super) fn adopt_epoch(&mut self, epoch: Epoch, reason: Reason) {
        debug_assert!(epoch > self.record.epoch());
        if self.defies() {
            return;
        }
        match &self.state {
            State::Replica => {}
            State::Campaigning(_) => self.end_campaign(Outcome::Overtaken, reason),
            State::Reigning(_) => self.depose(reason),
        }
        let unsaved = self.record.enter(epoch, None);
        if self.primary.is_known() {
            self.set_primary(None);
        }
        // A candidate's heartbeat overtakes the answer of our host, and says the epoch that it asked for.
        self.judging.close_if(|vote| !matches!(vote, Vote::For(_, offer) if offer.epoch >= epoch));
        self.persist_before_speaking(unsaved);
        // Whoever raised the epoch has the time of an election to win it.
        self.schedule_campaign(self.now() + self.config.election_timeout / 2);
        self.following.end_before(epoch);
    }
}
