//! The operating system's clocks.

use super::api::Clock;
use crate::time::{Duration, Instant};
use futures::future::{BoxFuture, FutureExt};
use rustix::time::{ClockId, clock_gettime};

/// The machine's monotonic clock, with timers of `async-io`: they work on every executor.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The system's clock.
    pub const fn new() -> Self {
        Self
    }
}

fn read(id: ClockId) -> u64 {
    let t = clock_gettime(id);
    // Monotonic clocks count from boot: both parts are non-negative.
    (t.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(t.tv_nsec as u64)
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(read(ClockId::Monotonic))
    }

    #[cfg(target_os = "linux")]
    fn coarse(&self) -> Instant {
        Instant::from_nanos(read(ClockId::MonotonicCoarse))
    }

    fn timer(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let wait = deadline.saturating_since(self.now());
        async_io::Timer::after(wait).map(drop).boxed()
    }

    #[cfg(target_os = "linux")]
    fn suspended(&self) -> Duration {
        // Read in this order the difference can only come out too large by the time between the reads,
        // which the driver's threshold covers, and never too small.
        let monotonic = read(ClockId::Monotonic);
        Duration::from_nanos(read(ClockId::Boottime).saturating_sub(monotonic))
    }

    fn wall_ms(&self) -> u64 {
        let t = clock_gettime(ClockId::Realtime);
        (t.tv_sec.max(0) as u64).saturating_mul(1000).saturating_add(t.tv_nsec as u64 / 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coarse_clock_never_runs_ahead() {
        for _ in 0..10_000 {
            let coarse = SystemClock.coarse();
            assert!(coarse <= SystemClock.now());
        }
    }
}
