//! What a clock is.

use crate::time::{Duration, Instant};
use futures::future::BoxFuture;

/// A monotonic clock with timers.
///
/// It must not stop while the process is stopped, and its rate must be within the configured drift of
/// real time: leases rest on it. Wall clocks play no part.
pub trait Clock: Send + Sync + 'static {
    /// What time it is. It never goes back.
    fn now(&self) -> Instant;

    /// Now or a little earlier, for the write path: as cheap as the platform allows. It may lag behind
    /// [`Clock::now`] (the write gate tolerates half a lease), never run ahead of it.
    fn coarse(&self) -> Instant {
        self.now()
    }

    /// Completes at `deadline` or soon after; at once if it has passed. Cancel by dropping.
    fn timer(&self, deadline: Instant) -> BoxFuture<'static, ()>;

    /// Time that this machine has slept since it started, as far as the clock can tell: [`Clock::now`]
    /// does not count it. Growth between two calls makes the driver fence.
    fn suspended(&self) -> Duration {
        Duration::ZERO
    }

    /// Milliseconds since 1970 on the wall clock, zero where there is none. Only ever shown to people,
    /// and used as a floor for the number of a process start.
    fn wall_ms(&self) -> u64 {
        0
    }
}
