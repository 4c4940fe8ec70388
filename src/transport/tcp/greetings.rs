//! How many greetings are heard within a time (T42). Where links have keys each costs two multiplications on a curve before it is known
//! whether somebody stands behind it.

use super::limits::ALLOWANCE_WINDOW;
use crate::time::Instant;
use std::sync::{Mutex, PoisonError};

/// What is left of it.
#[derive(Debug)]
pub(super) struct Greetings {
    most: u32,
    left: Mutex<[Budget; 2]>,
}

#[derive(Debug, Clone, Copy)]
struct Budget {
    left: u32,
    since: Instant,
}

impl Greetings {
    pub(super) fn new(most: u32, now: Instant) -> Self {
        Self { most, left: Mutex::new([Budget { left: most, since: now }; 2]) }
    }

    /// Whether one more is heard now. Those from hosts of peers have a budget of their own, which others cannot use up.
    pub(super) fn take(&self, of_peer: bool, now: Instant) -> bool {
        let mut budgets = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = &mut budgets[usize::from(of_peer)];
        if now.saturating_since(budget.since) >= ALLOWANCE_WINDOW {
            *budget = Budget { left: self.most, since: now };
        }
        let left = budget.left > 0;
        budget.left = budget.left.saturating_sub(1);
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    #[test]
    fn t42_so_many_are_heard_in_a_window_and_strangers_use_up_nothing_of_peers() {
        let start = Instant::ZERO;
        let greetings = Greetings::new(2, start);
        let late = start + (ALLOWANCE_WINDOW - Duration::from_nanos(1));
        assert!(greetings.take(false, start) && greetings.take(false, late) && !greetings.take(false, late));
        assert!(greetings.take(true, late) && greetings.take(true, late) && !greetings.take(true, late));
        let next = start + ALLOWANCE_WINDOW;
        assert!(greetings.take(false, next) && greetings.take(false, next) && !greetings.take(false, next));
    }
}
