//! Whether a shard is at a command that somebody sent, or at work of the server's own: a copy of its data that is begun for a replica, for a
//! save, for a log that is written anew. kevy says nothing before it begins such work, which takes seconds where there are millions of keys. So it
//! is told from commands, which pass through here, and are all over at the end of a turn of the shard's loop, before kevy looks for other work.
//! What kevy does with all keys and without its table of commands (`KEYS`, `FLUSHALL`, `BGREWRITEAOF`), and a table that grows by `SET`, counts as
//! the server's own too: the next node would have the same to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// See the head of this file. Clones are of the same shard.
#[derive(Debug, Clone, Default)]
pub(crate) struct Serving(Arc<AtomicBool>);

impl Serving {
    /// A command begins that may take long.
    #[inline]
    pub(crate) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// A write is done, or all commands of a turn.
    #[inline]
    pub(crate) fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether the shard may be at such a command just now.
    pub(crate) fn now(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
