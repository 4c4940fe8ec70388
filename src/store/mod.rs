//! The vote store: where a node keeps what it must not forget.

mod file;
mod memory;
mod record;

pub use crate::state::HardState;
pub use file::FileVoteStore;
pub use memory::{Hang, MemoryVoteStore};

use async_trait::async_trait;
use std::path::PathBuf;

/// Keeps one [`HardState`].
///
/// Contract, checked by the conformance suite: when `save` returns `Ok` the state survives the death of
/// the process and of the machine; when it is interrupted or fails, `load` gives the old state or the new
/// one, never anything else; `load` gives `None` only where nothing was ever saved.
#[async_trait]
pub trait VoteStore: Send + Sync + 'static {
    /// The last saved state, `None` if there never was one.
    async fn load(&self) -> Result<Option<HardState>, StoreError>;

    /// Replaces the state. Calls never overlap: the next one comes after this one's future has completed
    /// or was dropped. A dropped one takes effect before any later call, or not at all.
    async fn save(&self, state: &HardState) -> Result<(), StoreError>;
}

/// Why the store could not do its work. What was stored is unchanged, with one exception: after an error
/// about syncing, a record that was being saved may or may not have replaced the old one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system refused.
    #[error("vote record {}: cannot {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried ("read", "write", "sync", ...).
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file is there and is not a vote record, or a damaged one. Not voting is the only safe thing.
    #[error(
        "vote record {} is damaged ({reason}); this node must not vote, because it may have voted already. \
         Restore the file from a copy, or, if a majority of the other nodes is up, remove it: the node then \
         rejoins without a vote until they have told it what it may have forgotten",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A value that no healthy node has. Stored, it would make every later start fail.
    #[error("vote record {} was not saved: {reason}; the old record stays. This is a bug in the caller", path.display())]
    Unstorable {
        /// The file.
        path: PathBuf,
        /// Which value.
        reason: String,
    },
    /// Another process has the record open.
    #[error("vote record {} is in use by another process; stop that one first, or give this node its own directory", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
}
