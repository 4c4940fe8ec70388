//! Whether this node is a primary whose lease ran out and did not come back (F22 of `docs/protocol.md`).

use std::sync::atomic::{AtomicU64, Ordering};

/// Whether a node is one.
#[derive(Debug, Default)]
pub(crate) struct Lapsed {
    /// Counts how often the gate was shut on a reign, and how often that was over: odd while it is shut.
    shut: AtomicU64,
    /// What `shut` was when clients were let go.
    let_go: AtomicU64,
}

impl Lapsed {
    /// The gate shuts. Says which time, unless somebody looks after this time already.
    pub(crate) fn begin(&self) -> Option<u64> {
        let odd = |shut: u64| shut.is_multiple_of(2).then_some(shut + 1);
        self.shut.fetch_update(Ordering::AcqRel, Ordering::Acquire, odd).ok().map(|before| before + 1)
    }

    /// It has opened again, or the node follows another one.
    pub(crate) fn end(&self) {
        let even = |shut: u64| (!shut.is_multiple_of(2)).then_some(shut + 1);
        // Never shut, or over already.
        let _ = self.shut.fetch_update(Ordering::AcqRel, Ordering::Acquire, even);
    }

    pub(crate) fn is_still(&self, time: u64) -> bool {
        self.shut.load(Ordering::Acquire) == time
    }

    /// Clients are let go at this time.
    pub(crate) fn lets_go(&self, time: u64) {
        self.let_go.store(time, Ordering::Release);
    }

    /// Whether clients were let go, and nothing has changed since.
    pub(crate) fn is(&self) -> bool {
        let let_go = self.let_go.load(Ordering::Acquire);
        let_go != 0 && self.is_still(let_go)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_looked_after_once_and_ends_what_was_said_of_it() {
        let lapsed = Lapsed::default();
        lapsed.end();
        assert_eq!((lapsed.begin(), lapsed.begin(), lapsed.is()), (Some(1), None, false));
        lapsed.lets_go(1);
        assert!(lapsed.is());
        lapsed.end();
        assert!(!lapsed.is() && !lapsed.is_still(1));
        assert_eq!(lapsed.begin(), Some(3));
        assert!(!lapsed.is());
    }
}
