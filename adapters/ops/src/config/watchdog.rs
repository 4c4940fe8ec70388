//! How much later than its lease a primary that does not run any more is ended.
//!
//! The promises of the voters outlast the longest lease that the election timeout allows. A lease that is shorter
//! leaves time in between: the primary fences itself at the end of its lease, finishes what passed before, and tells
//! its watchdog that all is well. One that could not is ended when the longest lease would have ended, so
//! before any other node may write.

use kevy_elect_plugin::config::Config;
use std::time::Duration;

/// Least time for standing down: a few ticks of every shard, on a machine that has other work too.
pub(super) const SLACK_MIN: Duration = Duration::from_millis(25);
/// The part of the longest lease that is kept for it by default. It costs nothing: only a primary that is cut off
/// feels that its lease is shorter.
const SLACK_SHARE: u32 = 10;

/// The default lease of a server with a watchdog, given the longest one.
pub(super) fn lease(lease_max: Duration) -> Duration {
    lease_max.saturating_sub(SLACK_MIN.max(lease_max / SLACK_SHARE))
}

/// How long after the end of its lease the process is ended.
pub(super) fn slack(config: &Config) -> Duration {
    Config::lease_max(config.election_timeout(), config.drift_percent()).saturating_sub(config.lease())
}
