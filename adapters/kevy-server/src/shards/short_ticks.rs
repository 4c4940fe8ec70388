//! Short ticks, for as long as something waits for a shard.

use super::Shards;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Shards {
    /// Ticks are short, and idle shards are woken, until `duration` from now.
    pub fn hurry(self: &Arc<Self>, duration: Duration) {
        self.prolong(duration);
        if let Some(pulse) = self.pulse.get() {
            pulse.start(|| {
                let shards = Arc::downgrade(self);
                move || {
                    shards
                        .upgrade()
                        .filter(|shards| shards.goes_on())
                        .inspect(|shards| shards.wake())
                        .is_some()
                }
            });
        }
    }

    /// Ticks are short, where shards are not idle, until `duration` from now.
    pub(super) fn prolong(&self, duration: Duration) {
        let until = (self.born.elapsed() + duration).as_nanos();
        self.urgent_until.fetch_max(u64::try_from(until).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Whether the pulse is needed any longer.
    pub(crate) fn goes_on(&self) -> bool {
        self.pulse.get().is_some_and(|pulse| pulse.goes_on(|| self.is_urgent()))
    }

    /// Whether ticks are short now.
    pub fn is_urgent(&self) -> bool {
        u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX)
            < self.urgent_until.load(Ordering::SeqCst)
    }
}
