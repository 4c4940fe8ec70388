//! Whether a cut is needed at once, or replicas that are behind lack nothing but the last one.
//!
//! A tick that finds a replica behind asks for a cut. Where nothing was written since the last one began, another one changes nothing but the
//! place that replicas are measured by: a handover, which waits for one that has all, would wait until a tick finds none behind.

use std::sync::atomic::{AtomicU64, Ordering};

/// What one shard's stream holds beside cuts.
pub(crate) struct Pace {
    /// Cuts that the shard took.
    cuts: AtomicU64,
    /// Other frames, as of the last look.
    seen: AtomicU64,
    /// And as of the last cut that began.
    covered: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        // The first cut is needed at once.
        Self { cuts: AtomicU64::new(0), seen: AtomicU64::new(0), covered: AtomicU64::new(u64::MAX) }
    }
}

impl Pace {
    /// The stream has come to `offset`; whether something stands there that no cut that has begun is behind. Where the stream began
    /// anew it looks as if there were, which costs one cut.
    pub(crate) fn is_due(&self, offset: u64) -> bool {
        let other = offset.wrapping_sub(self.cuts.load(Ordering::Acquire));
        self.seen.store(other, Ordering::Release);
        other != self.covered.load(Ordering::Acquire)
    }

    /// A cut begins, behind all that was seen.
    pub(crate) fn begins(&self) {
        self.covered.store(self.seen.load(Ordering::Acquire), Ordering::Release);
    }

    /// The shard took one.
    pub(crate) fn takes(&self) {
        self.cuts.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_due_until_one_began_behind_everything_that_is_no_cut() {
        let pace = Pace::default();
        assert!(pace.is_due(0), "the first");
        pace.begins();
        pace.takes();
        assert!(!pace.is_due(1), "nothing but the cut");
        assert!(pace.is_due(3), "two writes");
        pace.begins();
        // One more came in before the shard took it.
        pace.takes();
        assert!(pace.is_due(5));
        pace.begins();
        pace.takes();
        assert!(!pace.is_due(6));
        assert!(pace.is_due(0), "the stream began anew");
    }
}
