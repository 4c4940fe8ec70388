//! Timers of the system that ring where sockets do.
//!
//! async-io's own timers are kept by its thread. Setting one on that very thread, where `kevy-server` runs its election, wakes it once more to
//! look at what it has just been told: six system calls, ten times a second and more, in a process that has nothing else to do. A
//! `timerfd` is set with one, and is a socket like the others.

use crate::time::{Duration, Instant};
use async_io::Async;
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::sync::{Mutex, PoisonError};

/// Those that nobody uses now: making one costs more than setting it.
static IDLE: Mutex<Vec<Async<OwnedFd>>> = Mutex::new(Vec::new());
/// A process with more elections than that is a test.
const IDLE_MAX: usize = 4;

/// One timer of the kernel.
pub(super) struct Alarm {
    /// Always there; taken when this is dropped.
    timer: Option<Async<OwnedFd>>,
}

impl Alarm {
    /// Set to `deadline` of the monotonic clock. Fails where the process may have no more descriptors.
    pub(super) fn at(deadline: Instant) -> io::Result<Self> {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let timer = match idle {
            Some(timer) => timer,
            None => Async::new(timerfd_create(
                TimerfdClockId::Monotonic,
                TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
            )?)?,
        };
        // Zero would stop it.
        let since_boot = Duration::from_nanos(deadline.as_nanos().max(1));
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: i64::try_from(since_boot.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: since_boot.subsec_nanos().into(),
            },
        };
        // Setting it forgets what it rang for before.
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(Self { timer: Some(timer) })
    }

    /// Waits until it rings. Early where another event of the system ends the wait.
    pub(super) async fn rings(&self) -> io::Result<()> {
        match &self.timer {
            Some(timer) => timer.readable().await,
            None => Ok(()),
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.extend(self.timer.take());
        }
    }
}
