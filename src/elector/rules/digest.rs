//! What of an elector decides its future, for a model checker: two with the same digest do the same from here on.
//!
//! A checker that compared whole electors would never meet the same one twice: clocks and counters only grow. So
//! times are taken relative to now, and end where they stop to matter (a deadline that is over, a heartbeat older
//! than any timeout); numbers of heartbeats and campaigns are taken relative to the counter of the node that gave
//! them. What is only told to people (labels, start times, what a peer said of itself and nobody decides on) is
//! left out, and so is the state of chance: the checker sets it before every input with [`Elector::set_seed`].

use crate::elector::judging::Vote;
use crate::elector::machine::Elector;
use crate::elector::state::State;
use crate::ids::Round;
use crate::message::{Heartbeat, Message, Offer, Role};
use crate::time::Instant;
use std::hash::{Hash, Hasher};

/// The counters of a node: its last heartbeat and its last campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rounds {
    beat: Round,
    campaign: Round,
}

impl Rounds {
    /// How far back a heartbeat lies; apart from that only "none yet" is special.
    fn since_beat(self, round: Round) -> (u64, bool) {
        (self.beat.0.wrapping_sub(round.0), round == Round(0))
    }

    fn since_campaign(self, round: Round) -> u64 {
        self.campaign.0.wrapping_sub(round.0)
    }
}

/// For model checkers.
impl Elector {
    /// Sets what chance will bring.
    pub fn set_seed(&mut self, seed: u64) {
        self.rng = crate::rng::Rng::new(seed);
    }

    /// This node's counters.
    pub fn rounds(&self) -> Rounds {
        Rounds { beat: self.lease.round(), campaign: self.campaigns }
    }

    /// Hashes what decides this node's future, at `now` on its clock. `rounds` are the counters of all members, in
    /// the order of their ids. Outputs must have been drained.
    pub fn digest(&self, now: Instant, rounds: &[Rounds], hasher: &mut impl Hasher) {
        debug_assert!(self.is_drained());
        let mine = self.rounds();
        let new = !self.record.is_complete();

        self.record.digest(now, self.data.position(), hasher);
        self.promises.digest(now, hasher);
        (mine.beat == Round(0), self.primary.index(), self.following.whom()).hash(hasher);
        (self.health(), self.fitness.answers(), self.planned, self.leaving).hash(hasher);
        (self.data.settling(), self.data.position()).hash(hasher);
        self.ranks.digest(now, hasher);
        self.timers.deadlines().map(|at| at.map(|at| at.saturating_since(now))).hash(hasher);
        match self.judging.vote() {
            None => 0.hash(hasher),
            Some(Vote::ForMyself) => 1.hash(hasher),
            Some(Vote::For(from, offer)) => {
                from.hash(hasher);
                digest_offer(offer, rounds[*from], hasher);
            }
        }
        if new {
            let (answered, since, wish) = self.admission.state();
            (answered, wish, since.map(|since| mine.since_beat(since))).hash(hasher);
        }
        for index in self.peers.others() {
            let peer = &self.peers[index];
            peer.digest(now, self.config.election_timeout, new, hasher);
            peer.waiting().is_some().hash(hasher);
            if let Some(offer) = peer.waiting() {
                digest_offer(offer, rounds[index], hasher);
            }
        }
        if self.peers.has_witnesses() {
            self.last_round.digest(hasher);
        }
        self.digest_state(now, hasher);
        for (to, message) in self.record.held() {
            for to in to.ids() {
                let receiver = self.peers.index(*to).map(|index| rounds[index]).unwrap_or_default();
                digest_message(message, mine, receiver, hasher);
                to.hash(hasher);
            }
        }
    }

    fn digest_state(&self, now: Instant, hasher: &mut impl Hasher) {
        match &self.state {
            State::Replica => 0.hash(hasher),
            State::Campaigning(campaign) => {
                1.hash(hasher);
                campaign.digest(self.campaigns, hasher);
            }
            State::Reigning(reign) => {
                2.hash(hasher);
                reign.digest(now, hasher);
                self.lease.digest(now, hasher);
            }
        }
        // Outside of an office its end still wakes those who wait.
        self.lease.until().map(|until| until.saturating_since(now)).hash(hasher);
    }
}

/// Hashes what of a message decides what its receiver does.
pub fn digest_message(message: &Message, sender: Rounds, receiver: Rounds, hasher: &mut impl Hasher) {
    message.verb().hash(hasher);
    match message {
        Message::Heartbeat(heartbeat) => {
            let Heartbeat { epoch, round, role, standing, progress, lease, health, identity, .. } = heartbeat;
            let reigning = matches!(role, Role::Primary | Role::Promoting).then_some(*role);
            (epoch, sender.since_beat(*round), reigning, standing, progress, lease, health, identity)
                .hash(hasher);
        }
        Message::Echo(echo) => {
            let round = receiver.since_beat(echo.round);
            (echo.epoch, round, echo.primary, echo.standing, echo.progress).hash(hasher);
        }
        Message::PreOffer(offer) | Message::Offer(offer) => digest_offer(offer, sender, hasher),
        Message::PreAccept(grant) | Message::Accept(grant) => {
            (grant.epoch, receiver.since_campaign(grant.round), grant.identity).hash(hasher);
        }
        Message::Reject(reject) => {
            let round = receiver.since_campaign(reject.round);
            (reject.epoch, round, reject.kind, reject.reason, reject.progress).hash(hasher);
        }
        Message::Announce(announce) => announce.epoch.hash(hasher),
        Message::Resign(resign) => (resign.epoch, resign.successor).hash(hasher),
        Message::Rank(seniority) => seniority.hash(hasher),
        Message::Members(members) => members.hash(hasher),
        Message::Held(generation) => generation.hash(hasher),
    }
}

fn digest_offer(offer: &Offer, candidate: Rounds, hasher: &mut impl Hasher) {
    (offer.epoch, candidate.since_campaign(offer.round), &offer.position).hash(hasher);
}
