//! A service without data.

use super::api::{HostError, ReplicationHost};
use crate::ids::{Epoch, NodeId};
use crate::position::Position;
use async_trait::async_trait;
use std::sync::atomic::{AtomicU64, Ordering};

/// A service without data: whoever is told to be primary is, and nobody follows anything. With
/// [`Rank::Seniority`](crate::rank::Rank::Seniority) the longest time up decides, then the most work counted here, then the higher id.
#[derive(Debug, Default)]
pub struct NoData {
    work: AtomicU64,
}

impl NoData {
    /// One that has done no work.
    pub const fn new() -> Self {
        Self { work: AtomicU64::new(0) }
    }

    /// Counts work that was done: jobs, commands, whatever the service counts.
    pub fn worked(&self, work: u64) {
        self.work.fetch_add(work, Ordering::Relaxed);
    }
}

#[async_trait]
impl ReplicationHost for NoData {
    async fn promote(&self, _: Epoch) -> Result<(), HostError> {
        Ok(())
    }
    async fn follow(&self, _: Epoch, _: NodeId) -> Result<(), HostError> {
        Ok(())
    }
    async fn detach(&self) -> Result<Position, HostError> {
        Ok(Position::NONE)
    }
    fn work(&self) -> u64 {
        self.work.load(Ordering::Relaxed)
    }
}
