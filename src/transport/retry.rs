//! Pauses between attempts to dial.

use crate::rng::Rng;
use crate::time::Duration;

/// The pause before the second attempt to dial. It doubles up to [`RETRY_MAX`].
pub(crate) const RETRY_FIRST: Duration = Duration::from_millis(5);
/// The longest pause between attempts to dial.
pub(crate) const RETRY_MAX: Duration = Duration::from_millis(250);

/// Doubling pauses with jitter, so that nodes which lost each other at one instant do not keep dialling
/// at one instant.
#[derive(Debug)]
pub(super) struct Retry {
    next: Duration,
    rng: Rng,
}

impl Retry {
    pub(super) fn new(seed: u64) -> Self {
        Self { next: RETRY_FIRST, rng: Rng::new(seed) }
    }

    pub(super) fn reset(&mut self) {
        self.next = RETRY_FIRST;
    }

    /// Three quarters to five quarters of the pause that is due.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(RETRY_MAX);
        pause * 3 / 4 + pause.mul_f64(self.rng.unit() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_start_again_after_a_reset() {
        let mut retry = Retry::new(7);
        let pauses: Vec<_> = (0..20).map(|_| retry.next()).collect();
        assert!(pauses[0] < Duration::from_millis(7) && pauses[19] > RETRY_MAX * 3 / 4, "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= RETRY_MAX * 5 / 4), "{pauses:?}");
        retry.reset();
        assert!(retry.next() < Duration::from_millis(7));
    }
}
