//! A node's clock: real time at a rate of its own, standing still while the machine sleeps.

use crate::clock::{Clock, ManualClock};
use crate::sim::clock::{DriftClock, MS};
use crate::sim::rng::Rng;
use crate::time::{Duration, Instant};
use futures::future::{BoxFuture, FutureExt, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

/// Timers fire up to so much late, as an operating system's do.
const LATE_MAX: u64 = MS / 2;
/// The wall clock's milliseconds at the start of a run: never zero, which would mean "no wall clock".
const WALL_MS: u64 = 1_000_000;

/// The [`Clock`] of one simulated machine.
#[derive(Clone)]
pub(super) struct NodeClock(Arc<Shared>);

struct Shared {
    real: ManualClock,
    reading: Mutex<Reading>,
}

struct Reading {
    drift: DriftClock,
    asleep_since: Option<u64>,
    slept: u64,
    /// The machine slept, and nobody has asked since.
    unseen: bool,
    rng: Rng,
}

impl NodeClock {
    pub(super) fn new(real: ManualClock, drift: DriftClock, rng: Rng) -> Self {
        let reading = Reading { drift, asleep_since: None, slept: 0, unseen: false, rng };
        Self(Arc::new(Shared { real, reading: Mutex::new(reading) }))
    }

    fn real_ns(&self) -> u64 {
        self.0.real.now().as_nanos()
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.0.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_rate(&self, ppm: i64) {
        let now = self.real_ns();
        self.reading().drift.set_rate(now, ppm);
    }

    /// The machine falls asleep: its clock stands still, and nothing on it runs.
    pub(super) fn sleep(&self) {
        let now = self.real_ns();
        self.reading().asleep_since.get_or_insert(now);
    }

    pub(super) fn wake(&self) {
        let now = self.real_ns();
        let mut reading = self.reading();
        if let Some(since) = reading.asleep_since.take() {
            reading.drift.slept(since, now);
            reading.slept += now - since;
            reading.unseen = true;
        }
    }

    /// Whether the machine slept since the driver last looked.
    pub(super) fn sleep_unseen(&self) -> bool {
        self.reading().unseen
    }

    /// A new process has seen no sleep, and asks first of all.
    pub(super) fn restarted(&self) {
        self.reading().unseen = false;
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Instant {
        let now = self.real_ns();
        let reading = self.reading();
        reading.drift.local(reading.asleep_since.unwrap_or(now))
    }

    fn timer(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        let late = self.reading().rng.below(LATE_MAX);
        let mut armed: Option<(u64, BoxFuture<'static, ()>)> = None;
        // Looked at anew on every poll: the clock's rate may have changed, or the machine slept.
        poll_fn(move |cx| {
            loop {
                if clock.now() >= deadline && armed.is_none() {
                    return Poll::Ready(());
                }
                let at = clock.reading().drift.real(deadline).saturating_add(late);
                if armed.as_ref().is_none_or(|(when, _)| *when != at) {
                    armed = Some((at, clock.0.real.timer(Instant::from_nanos(at))));
                }
                match armed.as_mut().map(|(_, timer)| timer.poll_unpin(cx)) {
                    Some(Poll::Pending) => return Poll::Pending,
                    _ => armed = None,
                }
                if clock.now() < deadline {
                    // The machine sleeps; who wakes it polls this again.
                    return Poll::Pending;
                }
            }
        })
        .boxed()
    }

    fn suspended(&self) -> Duration {
        let mut reading = self.reading();
        reading.unseen = false;
        Duration::from_nanos(reading.slept)
    }

    fn wall_ms(&self) -> u64 {
        WALL_MS + self.real_ns() / MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Waker};

    #[test]
    fn a_timer_waits_out_a_sleep_and_follows_a_change_of_rate() {
        let real = ManualClock::new();
        let clock = NodeClock::new(real.clone(), DriftClock::new(0, 0), Rng::new(1, 1));
        let start = clock.now();
        let mut timer = clock.timer(start + Duration::from_millis(100));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(timer.poll_unpin(&mut cx).is_pending());
        clock.sleep();
        real.advance(Duration::from_millis(500));
        assert!(timer.poll_unpin(&mut cx).is_pending(), "the clock stood still");
        clock.wake();
        assert!(clock.sleep_unseen() && clock.suspended() == Duration::from_millis(500));
        assert!(!clock.sleep_unseen());
        clock.set_rate(1_000_000);
        assert!(timer.poll_unpin(&mut cx).is_pending());
        real.advance(Duration::from_millis(51));
        assert!(timer.poll_unpin(&mut cx).is_ready(), "twice as fast");
        assert!(clock.now() >= start + Duration::from_millis(100));
    }
}
