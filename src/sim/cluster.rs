//! A cluster to drive by hand.

/// Placeholder.
#[derive(Debug)]
pub struct Cluster;
