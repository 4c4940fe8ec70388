//! A vote that waits for the host to let go of the old primary: a question to the host, and its answer.
//!
//! A host in this process answers before anything else comes in. One in another process answers later, or twice, or
//! never. So questions are numbered, and everything that may end the state that an answer speaks of closes the question:
//! the host goes on to follow somebody, or to take writes, and then holds more than it said (S15).

use super::io::DetachSeq;
use crate::message::Offer;
use crate::time::{Duration, Instant};

/// Questions to the host.
#[derive(Debug, Clone)]
pub(super) struct Judging {
    /// Number of the newest one.
    asked: DetachSeq,
    /// What its answer is for; `None` once it is answered or closed.
    open: Option<Open>,
    /// An answer that takes longer than a campaign for votes (E7) finds nobody whom the vote would help.
    longest: Duration,
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
    ForMyself,
    /// That of another member.
    For(usize, Offer),
}

impl Judging {
    pub(super) fn new(longest: Duration) -> Self {
        Self { asked: DetachSeq::default(), open: None, longest }
    }

    /// Asks anew; an older question is closed by that.
    pub(super) fn ask(&mut self, vote: Vote, now: Instant) -> DetachSeq {
        self.asked = DetachSeq(self.asked.0 + 1);
        self.open = Some(Open { vote, since: now });
        self.asked
    }

    /// Number of the newest question.
    pub(super) fn asked(&self) -> DetachSeq {
        self.asked
    }

    /// The vote that is judged now.
    pub(super) fn open(&self, now: Instant) -> Option<&Vote> {
        self.open.as_ref().filter(|open| now <= open.since + self.longest).map(|open| &open.vote)
    }

    /// The answer came.
    pub(super) fn take(&mut self, now: Instant) -> Option<Vote> {
        self.open(now)?;
        self.open.take().map(|open| open.vote)
    }

    /// Nobody wants to know any more.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Closes the question if its vote is of no use any more.
    pub(super) fn close_if(&mut self, ends: impl FnOnce(&Vote) -> bool) {
        let _ = self.open.take_if(|open| ends(&open.vote));
    }

    #[cfg(feature = "sim")]
    pub(super) fn vote(&self) -> Option<&Vote> {
        self.open.as_ref().map(|open| &open.vote)
    }
}
