//! What the pages tell of.

use super::copying::Copying;
use super::facts::Facts;
use super::views::Views;
use crate::history::History;
use crate::members::Addresses;
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::plugin::ElectPlugin;
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::Arc;

/// Says where a member is.
pub type Place = dyn Fn(NodeId) -> Addresses + Send + Sync;

/// Everything the pages tell of.
pub struct Pages {
    /// The process's metrics.
    pub metrics: PrometheusHandle,
    /// The election.
    pub plugin: Arc<dyn ElectPlugin>,
    /// Why a replica that is behind receives nothing, where that is so.
    pub stall: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// The copy that it takes just now, if it takes one.
    pub copying: Box<dyn Fn() -> Option<Copying> + Send + Sync>,
    /// What it decided.
    pub history: History,
    /// The cluster's name.
    pub cluster: String,
    /// What links prove: `secure`, `local` or `insecure`.
    pub links: &'static str,
    /// What it was told, and what its machine gives it.
    pub facts: Facts,
    /// Where the members are.
    pub place: Box<Place>,
    /// What the others say of their links.
    pub views: Views,
}
