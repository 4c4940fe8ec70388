//! How far a node's data goes, and which of two nodes has more.
//!
//! A server that starts a new stream at every promotion (kevy resets its offset to 0) makes bare offsets
//! incomparable: offset 57 of the new history is *more* than offset 1 000 000 of the old one. A position
//! therefore names the history first: the epoch of the primary whose writes the node holds.
//! Rules: `docs/protocol.md`, section "Position".

use crate::ids::{EPOCH_MAX, Epoch, SHARDS_MAX};
use std::fmt;

/// The highest offset of a shard that is ever accepted: garbage must not win an election, and sums of
/// all shards must not wrap.
pub const OFFSET_MAX: u64 = u64::MAX >> 8;

/// A position in short: what heartbeats carry and what ranks candidates. Ordered: history, then offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Progress {
    /// Epoch of the primary whose history the node holds; [`Epoch::ZERO`] where it holds none.
    pub stream_epoch: Epoch,
    /// Sum of the offsets of all shards, in the unit of the host's stream (kevy: frames).
    pub offset: u64,
}

impl Progress {
    /// No data at all. Lower than every other progress.
    pub const NONE: Self = Self { stream_epoch: Epoch::ZERO, offset: 0 };
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.stream_epoch, self.offset)
    }
}

/// A position in full: what a vote is asked and given on.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Position {
    stream_epoch: Epoch,
    offsets: Vec<u64>,
}

impl Position {
    /// No data at all.
    pub const NONE: Self = Self { stream_epoch: Epoch::ZERO, offsets: Vec::new() };

    /// A position in the history of `stream_epoch` with one offset per shard.
    ///
    /// Offsets over [`OFFSET_MAX`] are capped.
    pub fn new(stream_epoch: Epoch, offsets: &[u64]) -> Result<Self, PositionError> {
        let mut position = Self { stream_epoch, offsets: Vec::new() };
        position.set(stream_epoch, offsets).map(|()| position)
    }

    /// A position of a host with a single stream; both numbers are capped at the highest there can be.
    pub fn single(stream_epoch: Epoch, offset: u64) -> Self {
        Self { stream_epoch: stream_epoch.min(EPOCH_MAX), offsets: vec![offset.min(OFFSET_MAX)] }
    }

    /// Replaces the position, in place: no allocation while the number of shards stays the same.
    /// An error changes nothing: no peer could read the heartbeats of a node that told of such a position.
    pub fn set(&mut self, stream_epoch: Epoch, offsets: &[u64]) -> Result<(), PositionError> {
        if offsets.len() > SHARDS_MAX {
            return Err(PositionError::Shards { shards: offsets.len() });
        }
        if stream_epoch > EPOCH_MAX {
            return Err(PositionError::StreamEpoch { stream_epoch });
        }
        self.stream_epoch = stream_epoch;
        self.offsets.clear();
        self.offsets.extend(offsets.iter().map(|offset| (*offset).min(OFFSET_MAX)));
        Ok(())
    }

    /// Epoch of the primary whose history this is.
    pub fn stream_epoch(&self) -> Epoch {
        self.stream_epoch
    }

    /// The offsets, one per shard.
    pub fn offsets(&self) -> &[u64] {
        &self.offsets
    }

    /// The position in short.
    pub fn progress(&self) -> Progress {
        // At most 128 offsets of at most 2^56: the sum stays below 2^63.
        Progress { stream_epoch: self.stream_epoch, offset: self.offsets().iter().sum() }
    }

    /// Whether no shard of `self` is behind the same shard of `other`. A newer history dominates an
    /// older one; in one history a different number of shards cannot be compared and does not dominate.
    pub fn dominates(&self, other: &Self) -> bool {
        if self.stream_epoch != other.stream_epoch {
            return self.stream_epoch > other.stream_epoch;
        }
        self.offsets.len() == other.offsets.len()
            && self.offsets().iter().zip(other.offsets()).all(|(mine, theirs)| mine >= theirs)
            || *other == Self::NONE
    }
}

/// Why there is no such position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PositionError {
    /// More than [`SHARDS_MAX`].
    #[error("a position of {shards} shards; at most {SHARDS_MAX} can be told, so run the server with fewer")]
    Shards {
        /// How many.
        shards: usize,
    },
    /// No election can have begun this history.
    #[error("a position in history {stream_epoch}; at most {EPOCH_MAX} can be")]
    StreamEpoch {
        /// The epoch that was given for it.
        stream_epoch: Epoch,
    },
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:?}", self.stream_epoch, self.offsets())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, offsets: &[u64]) -> Position {
        Position::new(Epoch(epoch), offsets).unwrap()
    }

    #[test]
    fn a_short_new_history_beats_a_long_old_one() {
        assert!(at(2, &[57]).progress() > at(1, &[1_000_000]).progress());
        assert!(at(2, &[57]).dominates(&at(1, &[1_000_000])));
        assert!(!at(1, &[1_000_000]).dominates(&at(2, &[57])));
    }

    #[test]
    fn dominates_needs_every_shard() {
        assert!(at(1, &[3, 3]).dominates(&at(1, &[3, 2])));
        assert!(
            !at(1, &[9, 1]).dominates(&at(1, &[1, 2])),
            "a higher sum does not make up for a shard behind"
        );
        assert!(!at(1, &[9]).dominates(&at(1, &[1, 2])), "shards that were never counted are not dominated");
        assert!(at(0, &[0, 0]).dominates(&Position::NONE) && Position::NONE.dominates(&Position::NONE));
    }

    #[test]
    fn garbage_offsets_are_capped_and_sums_do_not_wrap() {
        let all = at(1, &[u64::MAX; SHARDS_MAX]);
        assert_eq!(all.progress().offset, OFFSET_MAX * SHARDS_MAX as u64);
    }

    #[test]
    fn each_position_that_cannot_be_has_its_own_error_and_changes_nothing() {
        let shards = PositionError::Shards { shards: SHARDS_MAX + 1 };
        let over = Epoch(EPOCH_MAX.0 + 1);
        let stream_epoch = PositionError::StreamEpoch { stream_epoch: over };
        let mut position = at(3, &[7, 8]);
        assert_eq!(position.set(Epoch(4), &[0; SHARDS_MAX + 1]), Err(shards));
        assert_eq!(position.set(over, &[1]), Err(stream_epoch));
        assert_eq!(position, at(3, &[7, 8]));
        assert!(shards.to_string().contains("129 shards") && stream_epoch.to_string().contains("history"));
    }
}
