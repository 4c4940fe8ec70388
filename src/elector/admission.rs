//! What a node without a vote record has learned of the votes that it may have forgotten.

use super::voters::VoterSet;
use crate::ids::{ClusterId, Round};

/// Answers of members to what this node asked after its start.
#[derive(Debug, Clone, Default)]
pub(super) struct Admission {
    /// Members that answered a heartbeat of ours sent after the wait that follows a start.
    answered: VoterSet,
    /// The first such heartbeat.
    since: Option<Round>,
    /// An operator wants this node admitted to this cluster, whatever it may have forgotten.
    wish: Option<ClusterId>,
}

impl Admission {
    /// The wait is over: answers count from `round` on.
    pub(super) fn begin(&mut self, round: Round) {
        self.since.get_or_insert(round);
    }

    /// A member answered the heartbeat `round`, where `last` was the last one sent; says whether that counts.
    pub(super) fn answer(&mut self, voter: usize, round: Round, last: Round) -> bool {
        let counts = self.since.is_some_and(|since| since <= round && round <= last);
        if counts {
            self.answered.insert(voter);
        }
        counts
    }

    /// Voters have other numbers from here on, and they are asked anew.
    pub(super) fn forget_answers(&mut self) {
        self.answered = VoterSet::EMPTY;
    }

    /// Whether this voter has answered.
    pub(super) fn has_answer_of(&self, voter: usize) -> bool {
        self.answered.contains(voter)
    }

    /// An operator wants this node admitted to this cluster.
    pub(super) fn wish_for(&mut self, cluster: ClusterId) {
        self.wish = Some(cluster);
    }

    pub(super) fn wish(&self) -> Option<ClusterId> {
        self.wish
    }

    #[cfg(feature = "sim")]
    pub(super) fn state(&self) -> (VoterSet, Option<Round>, Option<ClusterId>) {
        (self.answered, self.since, self.wish)
    }
}
