//! A server's log: what a killed process leaves, and what a machine without power leaves.

use crate::sim::clock::MS;
use crate::sim::data::{Data, Offsets, Part, ShardData};
use crate::sim::habits::Fsync;
use crate::sim::rng::Rng;

/// How often a kernel writes back by itself.
const WRITEBACK: u64 = 5_000 * MS;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sim) enum End {
    /// In order: everything was written.
    Orderly,
    /// What it had not handed to the kernel is gone.
    Killed,
    /// What was not on the disk is gone.
    Power,
}

/// What was handed to the kernel, and what of that is on the disk.
#[derive(Default)]
pub(super) struct Log {
    written: Data,
    synced: Data,
    synced_at: u64,
}

impl Log {
    /// A turn of the server: the sync that was under way is over, what was applied is handed to the kernel.
    pub(super) fn turn(&mut self, now: u64, data: &Data, fsync: Fsync) {
        let due = match fsync {
            Fsync::Always => true,
            Fsync::Everysec => now >= self.synced_at + 1_000 * MS,
            Fsync::No => now >= self.synced_at + WRITEBACK,
        };
        if due {
            self.synced_at = now;
            self.synced.catch_up(&self.written);
        }
        self.written.catch_up(data);
    }

    /// All there is, at once: a copy was put in place, or a promotion was written down.
    pub(super) fn write_all(&mut self, data: &Data, fsync: Fsync) {
        self.written.catch_up(data);
        if fsync == Fsync::Always {
            self.synced.catch_up(data);
        }
    }

    /// What an acknowledgement may tell of `data`: nothing before the log names its history.
    /// `cuts`: and nothing behind the last cut that it has on all shards.
    pub(super) fn covers(&self, data: &Data, fsync: Fsync, cuts: bool) -> Option<Offsets> {
        let log = if fsync == Fsync::Always { &self.synced } else { &self.written };
        let place = if cuts { Data::last_cut } else { Data::last };
        let (kept, last): (Part, Part) = (place(log), place(data));
        (kept.epoch == last.epoch)
            .then(|| std::array::from_fn(|shard| kept.offsets[shard].min(last.offsets[shard])))
    }

    /// What the next start finds. `continues`: so many shards have a log each that says where it is in which history, whatever the
    /// others say; otherwise only what is of one history counts.
    pub(super) fn recover(&mut self, end: End, data: &mut Data, continues: Option<usize>, rng: &mut Rng) {
        match end {
            End::Orderly => self.written.catch_up(data),
            End::Killed => {}
            End::Power => {
                let (kept, lost) = (&mut self.synced, &self.written);
                let within = |kept: &ShardData, lost: &ShardData| match continues {
                    None => kept.runs.len() == lost.runs.len() && kept.end().epoch == lost.end().epoch,
                    Some(_) => kept.goes_on_as(lost),
                };
                let mut lanes = kept.lanes.iter().zip(&lost.lanes);
                if lanes.all(|(kept, lost)| !kept.runs.is_empty() && within(kept, lost)) {
                    // The kernel wrote some of it back, of each shard's file as much as it liked.
                    for (shard, (kept, lost)) in kept.lanes.iter_mut().zip(&lost.lanes).enumerate() {
                        match continues {
                            Some(shards) if shard >= shards => kept.clone_from(lost),
                            Some(_) => kept.come_closer(lost, |most| rng.below(most + 1)),
                            None => {
                                let newest = lost.end();
                                let offset = kept.offset_mut();
                                let more = rng.below(newest.offset.saturating_sub(*offset) + 1);
                                *offset = newest.ends_at(*offset, *offset + more);
                            }
                        }
                    }
                } else if rng.chance(500) {
                    kept.clone_from(lost);
                }
                self.written.clone_from(kept);
            }
        }
        data.clone_from(&self.written);
        self.synced.clone_from(&self.written);
    }

    /// It says that it holds nothing.
    pub(super) fn clear(&mut self) {
        self.written.clear();
        self.synced.clear();
    }
}
