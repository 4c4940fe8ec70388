//! A server without data, for tests and examples.

use super::{HostError, ReplicationHost};
use crate::ids::{Epoch, NodeId};
use crate::position::Position;
use async_trait::async_trait;

/// A server without data: whoever is told to be primary is.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoData;

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
}
