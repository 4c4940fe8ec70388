//! A clock that moves when it is told to.

use super::api::Clock;
use crate::time::{Duration, Instant, nanos};
use futures::future::{BoxFuture, FutureExt};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Virtual time for tests and simulations: clones share one clock, timers fire from
/// [`ManualClock::advance`].
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    now: AtomicU64,
    coarse_lag: AtomicU64,
    suspended: AtomicU64,
    timers: Mutex<Timers>,
}

/// Waiting timers by deadline; the second part of the key tells equal deadlines apart.
#[derive(Debug, Default)]
struct Timers {
    issued: u64,
    waiting: BTreeMap<(u64, u64), Waker>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl ManualClock {
    /// A clock that shows one second: zero is reserved for "never".
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            now: AtomicU64::new(1_000_000_000),
            coarse_lag: AtomicU64::new(0),
            suspended: AtomicU64::new(0),
            timers: Mutex::default(),
        }))
    }

    /// Moves time on and wakes the timers that have come.
    pub fn advance(&self, by: Duration) {
        let now = self.0.now.fetch_add(nanos(by), Ordering::SeqCst).saturating_add(nanos(by));
        let due = {
            let mut timers = self.timers();
            let later = timers.waiting.split_off(&(now, u64::MAX));
            std::mem::replace(&mut timers.waiting, later)
        };
        due.into_values().for_each(Waker::wake);
    }

    /// The earliest deadline that anybody waits for.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers().waiting.keys().next().map(|(at, _)| Instant::from_nanos(*at))
    }

    /// Makes [`Clock::coarse`] lag.
    pub fn set_coarse_lag(&self, lag: Duration) {
        self.0.coarse_lag.store(nanos(lag), Ordering::SeqCst);
    }

    /// Pretends that the machine slept for `more`, uncounted by [`Clock::now`].
    pub fn suspend(&self, more: Duration) {
        self.0.suspended.fetch_add(nanos(more), Ordering::SeqCst);
    }

    fn timers(&self) -> MutexGuard<'_, Timers> {
        self.0.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a timer off the clock when it is dropped before its time.
struct Registration {
    clock: ManualClock,
    key: (u64, u64),
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.clock.timers().waiting.remove(&self.key);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.now.load(Ordering::SeqCst))
    }

    fn coarse(&self) -> Instant {
        self.now().saturating_sub(Duration::from_nanos(self.0.coarse_lag.load(Ordering::SeqCst)))
    }

    fn timer(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let key = {
            let mut timers = self.timers();
            timers.issued += 1;
            (deadline.as_nanos(), timers.issued)
        };
        let registration = Registration { clock: self.clone(), key };
        futures::future::poll_fn(move |cx| {
            let Registration { clock, key } = &registration;
            // Under the lock: an `advance` between the look at the clock and the insertion would be missed.
            let mut timers = clock.timers();
            if clock.now() >= deadline {
                return Poll::Ready(());
            }
            timers.waiting.insert(*key, cx.waker().clone());
            Poll::Pending
        })
        .boxed()
    }

    fn suspended(&self) -> Duration {
        Duration::from_nanos(self.0.suspended.load(Ordering::SeqCst))
    }
}
