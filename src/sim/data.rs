//! What a server holds: the writes of every primary it followed, history by history.

use crate::ids::Epoch;
use crate::position::Position;

/// The most shards a simulated server has.
pub(super) const SHARDS: usize = 3;

/// One offset per shard.
pub(super) type Offsets = [u64; SHARDS];

/// The writes of one primary's time in office.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) epoch: Epoch,
    pub(super) offsets: Offsets,
}

/// All writes a server holds. Write `n` of a shard in an epoch is there if its part goes at least to `n`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Data(pub(super) Vec<Part>);

impl Data {
    /// Whether all writes up to `offset` of `shard` in `epoch` are there.
    pub(super) fn holds(&self, epoch: Epoch, shard: usize, offset: u64) -> bool {
        offset == 0
            || self.0.iter().rev().find(|p| p.epoch == epoch).is_some_and(|p| p.offsets[shard] >= offset)
    }

    /// Starts the stream of `epoch`: offsets count from zero again.
    pub(super) fn begin(&mut self, epoch: Epoch) {
        self.0.push(Part { epoch, offsets: [0; SHARDS] });
    }

    pub(super) fn last(&self) -> Part {
        self.0.last().copied().unwrap_or(Part { epoch: Epoch::ZERO, offsets: [0; SHARDS] })
    }

    pub(super) fn last_mut(&mut self) -> &mut Part {
        if self.0.is_empty() {
            self.begin(Epoch::ZERO);
        }
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// The position, as the host tells it.
    pub(super) fn position(&self, shards: usize) -> Position {
        let last = self.last();
        Position::new(last.epoch, &last.offsets[..shards]).unwrap_or_default()
    }
}
