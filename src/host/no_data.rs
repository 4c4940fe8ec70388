//! A service without data.

use super::api::{HostError, ReplicationHost};
use crate::ids::{Epoch, NodeId};
use crate::position::Position;
use async_trait::async_trait;

/// A service without data: whoever is told to be primary is, and nobody follows anything. With
/// [`Rank::Seniority`](crate::rank::Rank::Seniority) the longest time up decides, then the higher id; a service that counts its work
/// has a host of its own, with [`ReplicationHost::work`].
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
