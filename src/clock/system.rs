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

    /// A timer of async-io's own.
    fn wait(self, deadline: Instant) -> BoxFuture<'static, ()> {
        async_io::Timer::after(deadline.saturating_since(self.now())).map(drop).boxed()
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

    #[cfg(target_os = "linux")]
    fn timer(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let clock = *self;
        match super::alarm::Alarm::at(deadline) {
            Ok(alarm) => async move {
                while clock.now() < deadline {
                    if alarm.rings().await.is_err() {
                        return clock.wait(deadline).await;
                    }
                }
            }
            .boxed(),
            Err(_) => clock.wait(deadline),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn timer(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        self.wait(deadline)
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
    use futures::future::{join_all, select};

    #[test]
    fn timers_ring_at_their_time_and_not_before_whatever_those_were_for_that_had_it_before() {
        for round in 0..20 {
            let start = SystemClock.now();
            let at = |ms| start + Duration::from_millis(ms);
            let some = [3, 1, 2, 0, 1].map(|ms| async move {
                SystemClock.timer(at(ms)).await;
                assert!(SystemClock.now() >= at(ms), "round {round}");
            });
            // One that is given up leaves its descriptor to the next ones.
            let given_up = select(SystemClock.timer(at(2)), SystemClock.timer(at(1)));
            async_io::block_on(async {
                drop(given_up.await);
                join_all(some).await;
            });
        }
    }

    #[test]
    fn the_coarse_clock_never_runs_ahead() {
        for _ in 0..10_000 {
            let coarse = SystemClock.coarse();
            assert!(coarse <= SystemClock.now());
        }
    }
}
