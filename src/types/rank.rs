//! Who goes first among candidates whose data is equal. Sentences in `docs/protocol.md`, "Ranks".

use crate::time::Duration;
use crate::words::words;

words! {
    /// Who goes first among candidates whose data is equal. All members have to have the same.
    #[derive(Default)]
    #[non_exhaustive]
    pub enum Rank {
        /// For servers with data: the data itself, then the higher priority, then the lower id.
        #[default]
        Position = "position",
        /// For services without data: the longest time up, then the most work, then the higher id.
        Seniority = "seniority",
    }
}

/// What a node says of itself where rank is by seniority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Seniority {
    /// How long its process has been up, on its own clock.
    pub up: Duration,
    /// How much work it has recorded, as its host counts it.
    pub work: u64,
}

/// Why a node is not made primary by an order to itself alone. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForceRefused {
    /// Others vote, too: without them it could be the second one.
    #[error(
        "{voters} members vote: only they can make a node primary; use a transfer, or elections that are not paused"
    )]
    NotAlone {
        /// How many vote.
        voters: usize,
    },
    /// Another node is the only one that votes.
    #[error("this node has no vote: ask the one that has")]
    NoVote,
}
