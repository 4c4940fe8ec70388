//! Why the plugin stopped.

use crate::host::HostError;
use crate::ids::NodeId;
use crate::store::StoreError;
use crate::transport::TransportError;

/// Why an election ([`crate::plugin::Election`]) ended. The write gate is shut when it is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElectError {
    /// The vote record cannot be read: voting without it could be a second vote in one epoch.
    #[error("cannot start the election: {0}")]
    Store(#[from] StoreError),
    /// The file does not name everybody who votes, or names one as something else: the lists were edited before the cluster was told.
    #[error(
        "cannot start the election: the file's voters are {file}, and by this node's vote record those of the cluster are {record}: \
         {voter} votes, and this file does not say so, or not as what. Put its entry back. Who votes is changed in the running \
         cluster (kevy-electctl members add, kevy-electctl members remove), and the files afterwards"
    )]
    Members {
        /// Whom the file lacks, or calls a witness where it is none, or the other way round.
        voter: NodeId,
        /// Who votes by the file.
        file: String,
        /// Who votes by the record.
        record: String,
    },
    /// The transport cannot work.
    #[error("cannot start the election: {0}")]
    Transport(#[from] TransportError),
    /// The host cannot say what data it has.
    #[error("cannot start the election: the server did not get ready: {0}")]
    Host(#[from] HostError),
}
