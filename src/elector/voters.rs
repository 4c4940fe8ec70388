//! A set of voters, as bits.

use crate::config::VOTERS_MAX;

/// Members by their index in the configuration. Only voters are ever put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct VoterSet(u128);

impl VoterSet {
    pub(super) const EMPTY: Self = Self(0);

    /// Adds the voter with this number among the voters.
    pub(super) fn insert(&mut self, voter: usize) {
        debug_assert!(voter < VOTERS_MAX);
        self.0 |= 1 << voter;
    }

    pub(super) fn contains(self, voter: usize) -> bool {
        self.0 >> voter & 1 == 1
    }

    pub(super) fn len(self) -> usize {
        self.0.count_ones() as usize
    }
}
