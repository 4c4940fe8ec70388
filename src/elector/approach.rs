//! How far this node lets itself be moved by epochs that one other node alone claims.

use crate::ids::EPOCH_STEP_MAX;
use crate::time::{Duration, Instant};

/// What is left of a budget of epochs that begins anew once in a while.
#[derive(Debug, Clone)]
pub(super) struct Approach {
    since: Instant,
    left: u64,
}

impl Approach {
    /// Of a node that starts. It begins with nothing: a process that is started again and again has no more than one
    /// that runs on.
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, left: 0 }
    }

    /// Takes so many epochs, or what is left of them. The budget is for one `period`, which begins with its first use.
    pub(super) fn take(&mut self, wanted: u64, now: Instant, period: Duration) -> u64 {
        if now.saturating_since(self.since) >= period {
            (self.since, self.left) = (now, EPOCH_STEP_MAX);
        }
        let taken = wanted.min(self.left);
        self.left -= taken;
        taken
    }

    /// Nothing is left of it for the period that begins now.
    pub(super) fn spend(&mut self, now: Instant) {
        (self.since, self.left) = (now, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_period_has_one_budget_however_it_is_asked_for() {
        let mut approach = Approach::new(at(5000));
        assert_eq!(approach.take(1, at(5999), PERIOD), 0, "a start brings nothing");
        assert_eq!(approach.take(7, at(6000), PERIOD), 7);
        assert_eq!(approach.take(u64::MAX, at(6500), PERIOD), EPOCH_STEP_MAX - 7);
        assert_eq!(approach.take(1, at(6999), PERIOD), 0);
        assert_eq!(approach.take(u64::MAX, at(9000), PERIOD), EPOCH_STEP_MAX, "nothing is saved up");
        approach.spend(at(9900));
        assert_eq!(approach.take(1, at(10_800), PERIOD), 0);
        assert_eq!(approach.take(1, at(10_900), PERIOD), 1);
    }
}
