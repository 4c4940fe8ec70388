//! Rewrites of the log and snapshots across a leap of the clock.
//!
//! kevy measures how long each key has left when a dump begins, and adds the time when it writes. If the clock leaps in between, the
//! deadlines in the dump are off by the leap, and a restart would believe them. So such a dump never becomes the log or the
//! snapshot: its file is removed before kevy looks for it, which kevy takes for a failed dump, and keeps what it had. Then
//! it is made to write its log anew.

use super::{NOTHING_DUMPED, Shards};
use crate::process::clock;
use std::sync::atomic::Ordering;

/// An odd one, which no later look finds again.
const UNKNOWN: u64 = 1;

impl Shards {
    /// A keyspace was measured just now, by this shard's thread.
    pub(super) fn note_dump(&self, shard: usize) {
        let dumps = &self.shards[shard].dumps;
        let leaps = clock::leaps();
        // It was measured after the last tick. A leap since then may lie on either side of that.
        let leaps = if dumps.ticked.load(Ordering::Relaxed) == leaps { leaps } else { UNKNOWN };
        dumps.again.store(false, Ordering::Relaxed);
        // The oldest of those that are under way.
        dumps.begun.fetch_min(leaps, Ordering::Relaxed);
    }

    /// Told at every tick, right before kevy looks whether a dump is complete; and before it waits for one at the end.
    pub(crate) fn before_dumps(&self, shard: usize) {
        let dumps = &self.shards[shard].dumps;
        let leaps = clock::leaps();
        dumps.ticked.store(leaps, Ordering::Relaxed);
        let begun = dumps.begun.load(Ordering::Relaxed);
        if begun == NOTHING_DUMPED || begun == leaps && leaps.is_multiple_of(2) {
            return;
        }
        if let Some(disk) = self.disk.get() {
            dumps.spoilt.store(true, Ordering::Relaxed);
            for file in disk.drop_dumps(shard) {
                log::warn!(
                    "shard {shard}: {file} is dropped: it was begun before this node took or lost the office, or before its clock was \
                     set, and would hold wrong deadlines. A log is rewritten again; for a snapshot, send BGSAVE again"
                );
            }
        }
    }

    /// Told at every tick, right after kevy has looked.
    pub(crate) fn after_dumps(&self, shard: usize, under_way: bool) {
        let dumps = &self.shards[shard].dumps;
        if under_way {
            return;
        }
        let begun = dumps.begun.swap(NOTHING_DUMPED, Ordering::Relaxed);
        let spoilt =
            dumps.spoilt.swap(false, Ordering::Relaxed) || begun != NOTHING_DUMPED && begun != clock::leaps();
        if spoilt {
            dumps.again.store(self.has_logs(), Ordering::Relaxed);
        }
    }
}
