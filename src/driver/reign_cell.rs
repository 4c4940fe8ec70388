//! Where the driver leaves, for the host's threads, who reigns.

use crate::ids::{Epoch, NodeId};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Who reigns, as far as a node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reign {
    /// The node's epoch.
    pub epoch: Epoch,
    /// The primary it follows, or itself.
    pub primary: Option<NodeId>,
    /// Whether it is itself the primary, and its host serves as such. That it may write now is for
    /// [`crate::plugin::WriteGate`] to say.
    pub own: bool,
}

impl Reign {
    /// Nobody, that this node knows of.
    pub const NOBODY: Self = Self { epoch: Epoch::ZERO, primary: None, own: false };
}

/// This many low bits of an epoch tell which one is meant. Epochs grow by less than that between two
/// looks: [`crate::ids::EPOCH_STEP_MAX`] at a time. (Where a quorum is further ahead, E11, who looks in that very moment
/// sees an epoch that never was, once.)
const EPOCH_BITS: u32 = 48;
const EPOCH_MASK: u64 = (1 << EPOCH_BITS) - 1;
const OWN: u64 = 1 << 63;

/// Written by the driver, read by any thread without a lock and without a second try: a driver that is
/// stopped in the middle of an update delays nobody.
#[derive(Debug, Default)]
pub(crate) struct ReignCell {
    /// In the order in which the elector counts them.
    members: Names,
    /// Stored before `word`, so it is never older than that.
    epoch: AtomicU64,
    /// From the highest bit: whether the reign is our own; one more than the index of the primary, or zero; the
    /// low bits of the epoch in which that is so.
    word: AtomicU64,
}

/// Ids that only become more: the first ones, and those that came later. By the driver only are they added.
#[derive(Debug, Default)]
struct Names(OnceLock<(Box<[NodeId]>, Box<Self>)>);

impl Names {
    fn add(&self, ids: Box<[NodeId]>) {
        match self.0.get() {
            Some((_, more)) => more.add(ids),
            None => drop(self.0.set((ids, Box::default()))),
        }
    }

    fn get(&self, index: usize) -> Option<NodeId> {
        let (ids, more) = self.0.get()?;
        match ids.get(index) {
            Some(id) => Some(*id),
            None => more.get(index - ids.len()),
        }
    }
}

impl ReignCell {
    /// Makes more members known, before one of them reigns.
    pub(crate) fn name(&self, members: impl IntoIterator<Item = NodeId>) {
        self.members.add(members.into_iter().collect());
    }

    /// By the driver only: two writers could mix two reigns.
    #[inline]
    pub(crate) fn set(&self, epoch: Epoch, primary: Option<usize>, own: bool) {
        let primary = primary.map_or(0, |index| index as u64 + 1);
        let word = (u64::from(own) * OWN) | (primary << EPOCH_BITS) | (epoch.0 & EPOCH_MASK);
        if self.word.load(Ordering::Relaxed) != word {
            self.epoch.store(epoch.0, Ordering::Relaxed);
            self.word.store(word, Ordering::Release);
        }
    }

    /// This node does not reign any more; nothing else is known to have changed.
    pub(crate) fn end(&self) {
        self.word.fetch_and(!OWN, Ordering::Release);
    }

    pub(crate) fn get(&self) -> Reign {
        let word = self.word.load(Ordering::Acquire);
        // Of this update or of a later one.
        let epoch = self.epoch.load(Ordering::Relaxed);
        let behind = epoch.wrapping_sub(word) & EPOCH_MASK;
        let index = ((word & !OWN) >> EPOCH_BITS) as usize;
        Reign {
            epoch: Epoch(epoch - behind),
            primary: index.checked_sub(1).and_then(|at| self.members.get(at)),
            own: word & OWN != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MEMBERS_MAX;
    use crate::ids::{EPOCH_MAX, EPOCH_STEP_MAX};
    use std::sync::atomic::AtomicBool;

    fn id(n: usize) -> NodeId {
        NodeId::new(&format!("n{n}")).unwrap()
    }

    fn cell(members: usize) -> ReignCell {
        let cell = ReignCell::default();
        cell.name((0..members).map(id));
        cell
    }

    #[test]
    fn what_is_told_is_read_up_to_the_last_epoch_and_the_last_member() {
        assert_eq!(ReignCell::default().get(), Reign::NOBODY);
        let cell = cell(MEMBERS_MAX);
        for epoch in [Epoch(1), Epoch(EPOCH_MASK), Epoch(EPOCH_MASK + 7), EPOCH_MAX] {
            for primary in [None, Some(0), Some(MEMBERS_MAX - 1)] {
                for own in [false, true] {
                    cell.set(epoch, primary, own);
                    assert_eq!(cell.get(), Reign { epoch, primary: primary.map(id), own });
                }
            }
        }
        cell.end();
        assert_eq!(cell.get(), Reign { epoch: EPOCH_MAX, primary: Some(id(MEMBERS_MAX - 1)), own: false });
    }

    #[test]
    fn members_that_come_later_reign_like_the_first() {
        let cell = cell(3);
        cell.name([id(3)]);
        cell.name([id(4), id(5)]);
        for primary in 0..6 {
            cell.set(Epoch(1), Some(primary), false);
            assert_eq!(cell.get().primary, Some(id(primary)));
        }
    }

    #[test]
    fn a_reader_in_the_middle_of_an_update_sees_the_reign_before_it() {
        let cell = cell(3);
        for epoch in [Epoch(5), Epoch(EPOCH_MASK - 1)] {
            cell.set(epoch, Some(2), false);
            // The driver has stored the new epoch, and is stopped there.
            cell.epoch.store(epoch.0 + EPOCH_STEP_MAX, Ordering::Relaxed);
            assert_eq!(cell.get(), Reign { epoch, primary: Some(id(2)), own: false });
        }
    }

    #[test]
    fn readers_beside_a_writer_never_mix_two_reigns() {
        let (cell, over) = (cell(7), AtomicBool::new(false));
        let of = |epoch: u64| (Some((epoch % 7) as usize), epoch % 2 == 1);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = 0;
                    while !over.load(Ordering::Relaxed) {
                        let seen = cell.get();
                        let (primary, own) = of(seen.epoch.0);
                        if seen.epoch.0 > 0 {
                            assert_eq!((seen.primary, seen.own), (primary.map(id), own), "{seen:?}");
                        }
                        assert!(seen.epoch.0 >= last, "{} after {last}", seen.epoch);
                        last = seen.epoch.0;
                    }
                });
            }
            for epoch in (1..200_000).map(|n| n * 3) {
                let (primary, own) = of(epoch);
                cell.set(Epoch(epoch), primary, own);
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}
