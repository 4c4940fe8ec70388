//! What a server calls: the [`ElectPlugin`] trait and its implementation, [`QuorumPlugin`].

mod api;
mod quorum;
mod snapshot;

pub use crate::driver::{LabelValues, METRICS, MetricInfo, MetricKind, Reign};
pub use crate::fence::Denied;
pub use crate::gate::WriteGate;
pub use crate::terms::agreed;
pub use api::ElectPlugin;
pub use quorum::{Election, QuorumParts, QuorumPlugin};
pub use snapshot::{ElectSnapshot, PeerSnapshot};
