//! A vote that waits for the host to let go of the old primary: a question to the host, and its answer.
//!
//! A host in this process answers before anything else comes in. One in another process answers later, or twice, or
//! never. So questions are numbered, and everything that may end the state that an answer speaks of closes the question:
//! the host goes on to follow somebody, or to take writes, and then holds more than it said (S15).

use super::{DetachSeq, Elector, HostAction, Position};
use crate::bounds::VOTE_PARTS_OF_TIMEOUT;
use crate::message::Offer;
use crate::time::Instant;

/// Questions to the host.
#[derive(Debug, Clone, Default)]
pub(super) struct Judging {
    /// Number of the newest one.
    asked: DetachSeq,
    /// What its answer is for; `None` once it is answered or closed.
    open: Option<Open>,
}

#[derive(Debug, Clone)]
struct Open {
    vote: Vote,
    since: Instant,
}

/// Whose election is judged.
#[derive(Debug, Clone)]
pub(super) enum Vote {
    /// Our own.
    Own,
    /// That of another member.
    For(usize, Offer),
}

/// What becomes of a new offer while a vote is judged.
pub(super) enum Place {
    /// It is the one that is judged: the answer will come.
    Judged,
    /// A vote in its epoch, or in a later one, is judged.
    Taken,
    /// None of these.
    Free,
}

impl Judging {
    /// Nobody wants to know any more.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    #[cfg(feature = "sim")]
    pub(super) fn vote(&self) -> Option<&Vote> {
        self.open.as_ref().map(|open| &open.vote)
    }
}

impl Elector {
    /// Makes the host let go, and judges the vote by what it holds then.
    pub(super) fn detach_for(&mut self, vote: Vote) {
        let seq = DetachSeq(self.judging.asked.0 + 1);
        self.judging = Judging { asked: seq, open: Some(Open { vote, since: self.now }) };
        self.following = None;
        self.host(HostAction::Detach(seq));
    }

    /// The question whose answer is waited for. The work of the host for an earlier one is of no use any more.
    pub fn question(&self) -> Option<DetachSeq> {
        self.open().map(|_| self.judging.asked)
    }

    /// Whether a vote is judged.
    pub(super) fn judges(&self) -> bool {
        self.open().is_some()
    }

    /// An answer that takes longer than a campaign for votes (E7) finds nobody whom the vote would help.
    fn open(&self) -> Option<&Open> {
        let most = self.config.election_timeout / VOTE_PARTS_OF_TIMEOUT;
        self.judging.open.as_ref().filter(|open| self.now <= open.since + most)
    }

    /// How an offer stands to the one that is judged. Whoever comes first in an epoch has the vote or nobody has.
    pub(super) fn place_of(&self, from: usize, offer: &Offer) -> Place {
        match self.open().map(|open| &open.vote) {
            Some(Vote::For(candidate, judged)) if *candidate == from && judged == offer => Place::Judged,
            Some(Vote::For(_, judged)) if judged.epoch >= offer.epoch => Place::Taken,
            Some(Vote::Own) if self.campaign().is_some_and(|own| own.epoch >= offer.epoch) => Place::Taken,
            _ => Place::Free,
        }
    }

    /// Closes the question if its vote is of no use any more.
    pub(super) fn close_if(&mut self, ends: impl FnOnce(&Vote) -> bool) {
        let _ = self.judging.open.take_if(|open| ends(&open.vote));
    }

    /// The host has let go of the old primary; its data ends here.
    pub(super) fn on_detached(&mut self, seq: DetachSeq, position: &Position) {
        if !self.is_answer(seq) || !self.judges() {
            return;
        }
        let Some(open) = self.judging.open.take() else { return };
        self.position.clone_from(position);
        match open.vote {
            Vote::Own => self.vote_for_myself(position),
            Vote::For(from, offer) => self.judge(from, &offer, position),
        }
    }

    /// Number of the newest question.
    pub(super) fn asked(&self) -> DetachSeq {
        self.judging.asked
    }
}
