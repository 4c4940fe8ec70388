//! A primary whose lease ran out and did not come back keeps no clients (F22 of `docs/protocol.md`).
//!
//! Not at once: most leases that run out are renewed by the next echoes. Before the promises behind the lease have ended nobody
//! else can reign, and the other nodes go on naming this one, so clients would come back. After that, whoever stays would never
//! hear of the next primary: who listens waits for messages that are published elsewhere, who reads gets what is out of date.

use crate::shards::Shards;
use async_io::Timer;
use kevy_elect_plugin::host::FenceReason;
use kevy_elect_plugin::plugin::Denied;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// For how long shards look around often, so that they know.
const TOLD_WITHIN: Duration = Duration::from_millis(50);

/// Whether a node is one.
#[derive(Debug, Default)]
pub(crate) struct Adrift {
    /// Counts how often the gate was shut on a reign, and how often that was over: odd while it is shut.
    shut: AtomicU64,
    /// What `shut` was when clients were let go.
    let_go: AtomicU64,
}

impl Adrift {
    /// The gate shuts. Says which time, unless somebody looks after this time already.
    fn begin(&self) -> Option<u64> {
        let odd = |shut: u64| shut.is_multiple_of(2).then_some(shut + 1);
        self.shut.fetch_update(Ordering::AcqRel, Ordering::Acquire, odd).ok().map(|before| before + 1)
    }

    /// It has opened again, or the node follows another one.
    pub(crate) fn end(&self) {
        let even = |shut: u64| (!shut.is_multiple_of(2)).then_some(shut + 1);
        // Never shut, or over already.
        let _ = self.shut.fetch_update(Ordering::AcqRel, Ordering::Acquire, even);
    }

    fn is_still(&self, time: u64) -> bool {
        self.shut.load(Ordering::Acquire) == time
    }

    /// Whether clients were let go, and nothing has changed since.
    pub(crate) fn is(&self) -> bool {
        let let_go = self.let_go.load(Ordering::Acquire);
        let_go != 0 && self.is_still(let_go)
    }
}

/// The gate shuts: if it does not open within `patience`, and nobody else is followed by then, clients are let go. Once for each time.
pub(crate) async fn watch(shards: Arc<Shards>, patience: Duration) {
    let Some(time) = shards.adrift().begin() else { return };
    loop {
        Timer::after(patience).await;
        if !shards.adrift().is_still(time) {
            return;
        }
        match shards.check() {
            Ok(()) => return shards.adrift().end(),
            // May still be taken back, and ends in any case.
            Err(Denied::Fenced(FenceReason::StepDown)) => {}
            Err(_) => break,
        }
    }
    shards.adrift().let_go.store(time, Ordering::Release);
    // Each of them learns of it at its next tick.
    shards.hurry(TOLD_WITHIN);
    blocking::unblock(move || {
        shards.waits().end_clients("this node's lease ran out and did not come back: another one may reign");
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_looked_after_once_and_ends_what_was_said_of_it() {
        let adrift = Adrift::default();
        adrift.end();
        assert_eq!((adrift.begin(), adrift.begin(), adrift.is()), (Some(1), None, false));
        adrift.let_go.store(1, Ordering::Release);
        assert!(adrift.is());
        adrift.end();
        assert!(!adrift.is() && !adrift.is_still(1));
        assert_eq!(adrift.begin(), Some(3));
        assert!(!adrift.is());
    }
}
