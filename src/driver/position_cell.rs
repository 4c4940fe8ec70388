//! Where the host's threads leave their offsets for the driver.

use crate::ids::{Epoch, SHARDS_MAX};
use crate::position::{OFFSET_MAX, Position, Progress};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A history is replaced within a few hundred stores; a reader that finds it being replaced looks so often again.
const LOOKS_MAX: usize = 1_000_000;
/// Of a host with too many shards no more than this many are counted.
const SHARDS_TOLD_MAX: usize = 4096;

/// The live position: one atomic store per report, no lock.
///
/// A reader may see one shard newer than another, or, while a new history begins, [`None`]. Both are fine:
/// the live position ranks candidates and fills heartbeats; votes use the exact one of
/// [`crate::host::ReplicationHost::detach`].
#[derive(Debug)]
pub(crate) struct PositionCell {
    /// Odd while a history is being replaced.
    version: AtomicUsize,
    stream_epoch: AtomicU64,
    shards: AtomicUsize,
    offsets: [AtomicU64; SHARDS_MAX],
}

impl PositionCell {
    pub(crate) fn new() -> Self {
        Self {
            version: AtomicUsize::new(0),
            stream_epoch: AtomicU64::new(0),
            shards: AtomicUsize::new(0),
            offsets: [const { AtomicU64::new(0) }; SHARDS_MAX],
        }
    }

    /// One shard has come this far.
    pub(crate) fn set_offset(&self, shard: usize, offset: u64) {
        if let Some(cell) = self.offsets.get(shard) {
            cell.store(offset, Ordering::Release);
        }
        if self.shards.load(Ordering::Relaxed) <= shard {
            self.shards.fetch_max(shard.saturating_add(1), Ordering::AcqRel);
        }
    }

    /// A history begins.
    pub(crate) fn replace(&self, stream_epoch: Epoch, offsets: &[u64]) {
        // Two threads that replace at once would be a host that promotes and follows at once; taking the
        // odd version by exchange keeps even that from tearing.
        while self.version.fetch_or(1, Ordering::AcqRel) & 1 == 1 {
            std::hint::spin_loop();
        }
        self.stream_epoch.store(stream_epoch.0, Ordering::Release);
        for (cell, offset) in self.offsets.iter().zip(offsets) {
            cell.store(*offset, Ordering::Release);
        }
        self.shards.store(offsets.len(), Ordering::Release);
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// The position, into `into`; `None` while a history is being replaced. Where there are more shards than
    /// [`SHARDS_MAX`] it has that many zeros too many, and the elector says so.
    pub(crate) fn read(&self, into: &mut Vec<u64>) -> Option<Epoch> {
        let before = self.version.load(Ordering::Acquire);
        if before & 1 == 1 {
            return None;
        }
        let stream_epoch = Epoch(self.stream_epoch.load(Ordering::Acquire));
        let shards = self.shards.load(Ordering::Acquire).min(SHARDS_TOLD_MAX);
        into.clear();
        into.extend(self.offsets.iter().take(shards).map(|cell| cell.load(Ordering::Acquire)));
        into.resize(shards, 0);
        (self.version.load(Ordering::Acquire) == before).then_some(stream_epoch)
    }

    /// How far it goes, all shards together; `None` while a history is being replaced by a thread that does not run.
    pub(crate) fn progress(&self) -> Option<Progress> {
        for _ in 0..LOOKS_MAX {
            let before = self.version.load(Ordering::Acquire);
            let stream_epoch = Epoch(self.stream_epoch.load(Ordering::Acquire));
            let shards = self.shards.load(Ordering::Acquire).min(SHARDS_MAX);
            let offset = |cell: &AtomicU64| cell.load(Ordering::Acquire).min(OFFSET_MAX);
            let offset = self.offsets.iter().take(shards).map(offset).sum();
            if before & 1 == 0 && self.version.load(Ordering::Acquire) == before {
                return Some(Progress { stream_epoch, offset });
            }
            std::hint::spin_loop();
        }
        None
    }

    pub(crate) fn replace_with(&self, position: &Position) {
        self.replace(position.stream_epoch(), position.offsets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_an_old_history_do_not_show_in_a_new_one() {
        let (cell, mut offsets) = (PositionCell::new(), Vec::new());
        cell.replace(Epoch(1), &[7, 8, 9]);
        cell.set_offset(1, 80);
        assert_eq!(cell.read(&mut offsets), Some(Epoch(1)));
        assert_eq!(offsets, [7, 80, 9]);
        assert_eq!(cell.progress(), Some(Progress { stream_epoch: Epoch(1), offset: 96 }));
        cell.replace(Epoch(2), &[0, 0]);
        assert_eq!(cell.read(&mut offsets), Some(Epoch(2)));
        assert_eq!(offsets, [0, 0]);
        cell.set_offset(SHARDS_MAX, 1);
        assert_eq!(cell.read(&mut offsets), Some(Epoch(2)));
        assert_eq!(offsets.len(), SHARDS_MAX + 1, "the elector hears of a shard too many");
        cell.set_offset(usize::MAX, 1);
        cell.read(&mut offsets);
        assert_eq!(offsets.len(), SHARDS_TOLD_MAX);
        cell.replace(Epoch(3), &[0; SHARDS_MAX + 7]);
        cell.read(&mut offsets);
        assert_eq!(offsets.len(), SHARDS_MAX + 7);
        cell.replace(Epoch(3), &[5]);
        cell.read(&mut offsets);
        assert_eq!(offsets, [5], "as if nothing had been");
    }
}
