//! Wakes the shards while something waits for them.
//!
//! An idle shard of kevy sleeps for up to 50 ms and ticks ten times a second. A promotion, a replica that
//! connects, and a `WAIT` would all wait for that.

use crate::inline::Inline;
use async_io::Timer;
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

    /// Beats, unless it does already. Each beat wakes the shards, and says whether the next one is needed.
    pub(crate) fn start<B: Fn() -> bool + Send + 'static>(&self, beat: impl FnOnce() -> B) {
        if self.beating.swap(true, Ordering::SeqCst) {
            return;
        }
        let beat = beat();
        self.inline.spawn(async move {
            while beat() {
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
