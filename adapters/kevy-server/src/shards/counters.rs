//! What shards count while the office goes from one node to another.

use std::sync::atomic::{AtomicBool, AtomicU64};

/// Of one shard. Written by its own thread.
#[derive(Default)]
pub(super) struct Shutting {
    /// Ticks since the gate is shut.
    pub(super) ticks: AtomicU64,
    /// Those of them that came when every shard had had one.
    pub(super) ticks_after_all: AtomicU64,
    /// Whether what had begun is over here, and told of.
    pub(super) closed: AtomicBool,
}

/// Of all shards: how often they were asked to take turns.
#[derive(Default)]
pub(super) struct Rounds(pub(super) AtomicU64);
