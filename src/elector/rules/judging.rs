//! A vote waits until the host has let go of the old primary.

use crate::elector::io::{DetachSeq, HostAction};
use crate::elector::judging::Vote;
use crate::elector::machine::Elector;
use crate::message::Offer;
use crate::position::Position;

/// What becomes of a new offer while a vote is judged.
pub(super) enum Place {
    /// It is the one that is judged: the answer will come.
    Judged,
    /// A vote in its epoch, or in a later one, is judged.
    Taken,
    /// None of these.
    Free,
}

impl Elector {
    /// Makes the host let go, and judges the vote by what it holds then.
    pub(super) fn detach_for(&mut self, vote: Vote) {
        let seq = self.judging.ask(vote, self.now());
        self.following.end();
        self.host(HostAction::Detach(seq));
    }

    /// The question whose answer is waited for. The work of the host for an earlier one is of no use any more.
    pub fn question(&self) -> Option<DetachSeq> {
        self.judging.open(self.now()).map(|_| self.judging.asked())
    }

    /// How an offer stands to the one that is judged. Whoever comes first in an epoch has the vote or nobody has.
    pub(super) fn place_of(&self, from: usize, offer: &Offer) -> Place {
        match self.judging.open(self.now()) {
            Some(Vote::For(candidate, judged)) if *candidate == from && judged == offer => Place::Judged,
            Some(Vote::For(_, judged)) if judged.epoch >= offer.epoch => Place::Taken,
            Some(Vote::ForMyself) if self.state.campaign().is_some_and(|own| own.epoch() >= offer.epoch) => {
                Place::Taken
            }
            _ => Place::Free,
        }
    }

    /// The host has let go of the old primary; its data ends here.
    pub(super) fn on_detached(&mut self, seq: DetachSeq, position: &Position) {
        if !self.is_answer(seq) {
            return;
        }
        let Some(vote) = self.judging.take(self.now()) else { return };
        self.data.end_at(position);
        match vote {
            Vote::ForMyself => self.vote_for_myself(position),
            Vote::For(from, offer) => self.judge(from, &offer, position),
        }
    }
}
