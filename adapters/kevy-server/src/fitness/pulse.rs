//! Wakes the shards while something waits for them.
//!
//! An idle shard of kevy sleeps for up to 50 ms and ticks ten times a second. A promotion, a replica that
//! connects, and a `WAIT` would all wait for that.

use crate::inline::Inline;
use crate::shards::Shards;
use async_io::Timer;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two wakes while someone waits. Ticks are one millisecond apart then.
const PULSE: Duration = Duration::from_millis(1);

/// Beats while it is needed, and costs nothing otherwise.
pub(crate) struct Pulse {
    inline: Inline,
    beating: AtomicBool,
}

impl Pulse {
    /// One that rests.
    pub(crate) fn new(inline: Inline) -> Self {
        Self { inline, beating: AtomicBool::new(false) }
    }

    /// Wakes `shards`, whose pulse this is, until nothing is urgent any more.
    pub(crate) fn start(&self, shards: &Arc<Shards>) {
        if self.beating.swap(true, Ordering::SeqCst) {
            return;
        }
        let shards = Arc::downgrade(shards);
        self.inline.spawn(async move {
            while let Some(shards) = shards.upgrade().filter(|shards| shards.goes_on()) {
                shards.wake();
                drop(shards);
                Timer::after(PULSE).await;
            }
        });
    }

    /// Whether the next beat is due; this rests otherwise.
    pub(crate) fn goes_on(&self, is_urgent: impl Fn() -> bool) -> bool {
        if is_urgent() {
            return true;
        }
        self.beating.store(false, Ordering::SeqCst);
        // Who was in a hurry just now may have found it beating.
        is_urgent() && !self.beating.swap(true, Ordering::SeqCst)
    }
}
