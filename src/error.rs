//! Why the plugin stopped.

use crate::host::HostError;
use crate::store::StoreError;
use crate::transport::TransportError;

/// Why an election ([`crate::plugin::Election`]) ended. The write gate is shut when it is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElectError {
    /// The vote record cannot be read: voting without it could be a second vote in one epoch.
    #[error("cannot start the election: {0}")]
    Store(#[from] StoreError),
    /// The transport cannot work.
    #[error("cannot start the election: {0}")]
    Transport(#[from] TransportError),
    /// The host cannot say what data it has.
    #[error("cannot start the election: the server did not get ready: {0}")]
    Host(#[from] HostError),
}
