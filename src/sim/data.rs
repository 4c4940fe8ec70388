//! What a server holds: the writes of every primary it followed, history by history.

use crate::ids::Epoch;
use crate::position::Position;

/// The most shards a simulated server has.
pub(super) const SHARDS: usize = 3;

/// One offset per shard.
pub(super) type Offsets = [u64; SHARDS];

/// A cut through all streams: its number, and where it lies.
pub(super) type Cut = (u64, Offsets);

/// The writes of one primary's time in office.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) epoch: Epoch,
    pub(super) offsets: Offsets,
}

/// All writes a server holds. Write `n` of a shard in an epoch is there if its part goes at least to `n`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Data {
    /// In the order of the histories.
    pub(super) parts: Vec<Part>,
    /// Per shard: what is there besides, or is missing, as a digest. Zero where all was done that the primaries sent, and no more.
    pub(super) odd: [u64; SHARDS],
    /// Per shard: when its key with an end ends, in nanoseconds of real time. Zero: there is none.
    pub(super) ends: [u64; SHARDS],
    /// The last cut through all streams of the newest history that is there on every shard (S6).
    pub(super) cut: Cut,
}

impl Data {
    /// Whether all writes up to `offset` of `shard` in `epoch` are there.
    pub(super) fn holds(&self, epoch: Epoch, shard: usize, offset: u64) -> bool {
        offset == 0
            || self.parts.iter().rev().find(|p| p.epoch == epoch).is_some_and(|p| p.offsets[shard] >= offset)
    }

    /// Starts the stream of `epoch`: offsets count from zero again.
    pub(super) fn begin(&mut self, epoch: Epoch) {
        self.parts.push(Part { epoch, offsets: [0; SHARDS] });
        self.cut = Cut::default();
    }

    pub(super) fn last(&self) -> Part {
        self.parts.last().copied().unwrap_or(Part { epoch: Epoch::ZERO, offsets: [0; SHARDS] })
    }

    pub(super) fn last_mut(&mut self) -> &mut Part {
        if self.parts.is_empty() {
            self.begin(Epoch::ZERO);
        }
        let last = self.parts.len() - 1;
        &mut self.parts[last]
    }

    /// The position, as the host tells it.
    pub(super) fn position(&self, shards: usize) -> Position {
        let last = self.last();
        Position::new(last.epoch, &last.offsets[..shards]).unwrap_or_default()
    }

    /// Nothing is there any more.
    pub(super) fn clear(&mut self) {
        self.parts.clear();
        (self.odd, self.ends, self.cut) = ([0; SHARDS], [0; SHARDS], Cut::default());
    }

    /// Becomes equal to `other`; cheap where only the newest part has grown.
    pub(super) fn catch_up(&mut self, other: &Self) {
        (self.odd, self.ends, self.cut) = (other.odd, other.ends, other.cut);
        let (mine, theirs) = (self.parts.len(), other.parts.len());
        if mine == theirs && mine > 0 && self.parts[..mine - 1] == other.parts[..mine - 1] {
            self.parts[mine - 1] = other.parts[mine - 1];
        } else {
            self.parts.clone_from(&other.parts);
        }
    }

    /// What is different at `shard`, where both have come as far in the same history.
    pub(super) fn differs(&self, other: &Self, shard: usize) -> Option<String> {
        let ((mine, before), (theirs, before_theirs)) = (self.parts.split_last()?, other.parts.split_last()?);
        if mine.epoch != theirs.epoch || mine.offsets[shard] != theirs.offsets[shard] {
            return None;
        }
        if before != before_theirs {
            return Some(format!("older histories {before:?} and {before_theirs:?}"));
        }
        if self.odd[shard] != other.odd[shard] {
            return Some(format!("digests {:x} and {:x}", self.odd[shard], other.odd[shard]));
        }
        (self.ends[shard] != other.ends[shard])
            .then(|| format!("a key that ends at {} and at {}", self.ends[shard], other.ends[shard]))
    }
}
