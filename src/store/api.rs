//! What a vote store is.

use async_trait::async_trait;
use std::path::PathBuf;

/// Keeps one vote record, and apart from it one record of a position.
///
/// Contract, checked by the conformance suite: when a save returns `Ok` the record survives the death of
/// the process and of the machine; when it is interrupted or fails, loading gives the old record or the new
/// one, never anything else; it gives `None` only where nothing was ever saved.
#[async_trait]
pub trait VoteStore: Send + Sync + 'static {
    /// The last saved vote record, `None` if there never was one.
    async fn load(&self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Replaces the vote record. Calls never overlap: the next one comes after this one's future has completed
    /// or was dropped. A dropped one takes effect before any later call, or not at all.
    async fn save(&self, record: &[u8]) -> Result<(), StoreError>;

    /// The last saved position, as [`VoteStore::load`]. A store that keeps none leaves the node to what its host
    /// finds in its data.
    async fn load_position(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    /// Replaces the position, as [`VoteStore::save`]. May be called while a save of the vote record is under way and the
    /// other way round: neither may wait for the other, because nobody waits for a position and a failover
    /// waits for a vote.
    async fn save_position(&self, record: &[u8]) -> Result<(), StoreError> {
        let _ = record;
        Ok(())
    }

    /// What to call the vote record in errors.
    fn place(&self) -> PathBuf {
        PathBuf::from("(unnamed)")
    }
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
         Restore nothing from a backup: an older record votes twice. Remove the node's whole data directory, on one node \
         at a time and only while the others form a quorum; it comes back as a new node, which votes once they \
         have told it what it may have forgotten",
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
