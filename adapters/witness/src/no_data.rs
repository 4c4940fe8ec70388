//! The server of a node that has none.

use async_trait::async_trait;
use kevy_elect_plugin::host::{HostError, ReplicationHost};
use kevy_elect_plugin::ids::{Epoch, NodeId};
use kevy_elect_plugin::position::Position;

/// Holds nothing, follows nobody, and can never be primary.
pub(crate) struct NoData;

#[async_trait]
impl ReplicationHost for NoData {
    /// Also where the record is that of a server which had data once: this node has it no more.
    async fn start(&self, _last: Option<Position>) -> Result<Position, HostError> {
        Ok(Position::NONE)
    }

    async fn promote(&self, _epoch: Epoch) -> Result<(), HostError> {
        Err(HostError::new("a witness holds no data"))
    }

    async fn follow(&self, _epoch: Epoch, _primary: NodeId) -> Result<(), HostError> {
        Ok(())
    }

    async fn detach(&self) -> Result<Position, HostError> {
        Ok(Position::NONE)
    }
}
