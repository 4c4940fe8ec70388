//! A POSIX timer.

use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer as PosixTimer, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Goes on while the machine sleeps, so a lease that ended in its sleep has ended when it wakes up.
const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;

pub(crate) fn now() -> io::Result<Duration> {
    Ok(clock_gettime(CLOCK)?.into())
}

#[derive(Debug)]
pub(crate) struct Timer(Mutex<AnyThread>);

#[derive(Debug)]
struct AnyThread(PosixTimer);

// SAFETY: nix keeps `timer_t` as a raw pointer, which is why the compiler asks. It points to nothing that belongs to
// a thread: a POSIX timer belongs to the process (timer_create(2)), and this one signals the process, not a thread.
#[allow(unsafe_code)]
unsafe impl Send for AnyThread {}

impl Timer {
    pub(crate) fn new() -> io::Result<Self> {
        // No other signal will do. One with a handler, or with the default action of ending the process, stays pending
        // until the process is continued, and then races the threads that have answers to send.
        let event = SigEvent::new(SigevNotify::SigevSignal { signal: Signal::SIGKILL, si_value: 0 });
        Ok(Self(Mutex::new(AnyThread(PosixTimer::new(CLOCK, event)?))))
    }

    pub(crate) fn set(&self, deadline: Option<Duration>) -> io::Result<()> {
        // A time of zero is how the kernel is told to stop the timer; nobody's deadline may mean that.
        let at = deadline.map_or(Duration::ZERO, |deadline| deadline.max(Duration::from_nanos(1)));
        let expiration = Expiration::OneShot(TimeSpec::from_duration(at));
        let mut timer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(timer.0.set(expiration, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?)
    }
}
