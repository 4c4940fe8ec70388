//! How fit this node is to be primary, and for how long it leaves the office to others.

use crate::fence::Health;
use crate::time::Instant;

/// What this node knows of its own fitness.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fitness {
    /// What the host last said.
    host: Health,
    /// Whether the server answers: as of the last look.
    answers: bool,
    /// What was last told to the outside.
    told: Health,
    /// An unfit node that found itself without a primary leaves the office to others until then.
    stands_from: Option<Instant>,
    /// No handover before this: nobody was ready for the last one.
    hand_over_from: Option<Instant>,
}

impl Fitness {
    pub(super) fn new() -> Self {
        Self {
            host: Health::Good,
            answers: true,
            told: Health::Good,
            stands_from: None,
            hand_over_from: None,
        }
    }

    /// What is wrong with this node, whose last save failed or did not.
    pub(super) fn health(&self, saves_fail: bool) -> Health {
        match self.host {
            Health::Good if saves_fail => Health::Store,
            said => said,
        }
    }

    /// The host says how it is.
    pub(super) fn said(&mut self, health: Health) {
        self.host = health;
    }

    /// The host says whether its server answers. Gives whether it does so again.
    pub(super) fn said_it_answers(&mut self, answers: bool) -> bool {
        !std::mem::replace(&mut self.answers, answers) && answers
    }

    pub(super) fn answers(&self) -> bool {
        self.answers
    }

    /// Says whether the outside has not been told this.
    pub(super) fn is_news(&mut self, health: Health) -> bool {
        let news = self.told != health;
        if news {
            self.told = health;
            self.hand_over_from = None;
        }
        news
    }

    pub(super) fn may_hand_over(&self, now: Instant) -> bool {
        self.hand_over_from.is_none_or(|at| at <= now)
    }

    pub(super) fn put_handover_off(&mut self, until: Instant) {
        self.hand_over_from = Some(until);
    }

    /// Whether the others have had their time.
    pub(super) fn stands(&self, now: Instant) -> bool {
        self.stands_from.is_some_and(|at| at <= now)
    }

    /// The others go first until then, unless they have been going first already.
    pub(super) fn leave_to_others(&mut self, until: Instant) {
        self.stands_from.get_or_insert(until);
    }

    /// There is a primary: the next time the others go first again.
    pub(super) fn primary_is_known(&mut self) {
        self.stands_from = None;
    }
}
