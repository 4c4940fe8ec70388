//! How the network treats what is sent.

use crate::time::Duration;

/// The most frames under way from one node to another. What comes on top is lost or refused.
pub(crate) const IN_FLIGHT_MAX: usize = 1024;
/// How long a link lives that nothing gets through, unless the builder says otherwise.
pub(crate) const LINK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// How the network treats what is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conditions {
    pub(super) delay_min: Duration,
    pub(super) delay_max: Duration,
    pub(super) loss: f64,
    pub(super) duplicate: f64,
    pub(super) reorder: f64,
    pub(super) link_timeout: Duration,
    pub(super) stale_after: Duration,
}
