//! What the kernel does for a server that cannot do it itself: end it in time, say at once that it is dead, and run first what must not wait.
//!
//! # A timer that ends this process unless it is put off
//!
//! A lease ends on a clock, and a gate that reads that clock refuses every write after it. One case is left: a
//! write that passed the gate, and a process that is stopped before it has answered (`SIGSTOP`, a frozen control
//! group, a machine that sleeps). When it goes on, seconds later, the answer goes out, although another node
//! acknowledges writes by then. No code of the process can prevent that, because none runs in between. The
//! kernel's does: a timer that sends `SIGKILL` fires while the process is stopped, and a process with `SIGKILL`
//! pending executes no further instruction.
//!
//! ```no_run
//! # use kevy_elect_watchdog::{Instant, Watchdog};
//! # use std::time::Duration;
//! # fn serve() {}
//! # fn main() -> std::io::Result<()> {
//! let watchdog = Watchdog::new()?;
//! // The clock first: a stop between the two lines then makes the timer fire early, never late.
//! let now = Instant::now()?;
//! watchdog.put_off(now + Duration::from_millis(950))?;
//! serve();
//! watchdog.stand_down()?; // nothing is left to answer
//! # Ok(())
//! # }
//! ```
//!
//! # A process that says when this one is dead
//!
//! See [`companion`].
//!
//! # A thread that is not kept waiting
//!
//! A thread that waits for a processor cannot be told from one that is stopped, and the timer would end a healthy process on a busy
//! machine. [`prefer_this_thread`] has the kernel run it first.

#[cfg(target_os = "linux")]
pub mod companion;
#[cfg(not(target_os = "linux"))]
#[path = "companion/unsupported.rs"]
pub mod companion;
mod priority;
#[cfg(not(target_os = "linux"))]
#[path = "unsupported.rs"]
mod timer;
#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod timer;

pub use priority::prefer_this_thread;

use std::io;
use std::ops::Add;
use std::time::Duration;

/// Whether this system has timers that end a stopped process.
pub const SUPPORTED: bool = cfg!(target_os = "linux");

/// A time on the clock that also counts while the machine sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    /// The time.
    pub fn now() -> io::Result<Self> {
        timer::now().map(Self)
    }

    /// The time from `earlier` to this; zero if that was later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// The timer. Stands down when dropped.
#[derive(Debug)]
pub struct Watchdog(timer::Timer);

impl Watchdog {
    /// A timer that stands down. Fails where the system has none ([`SUPPORTED`]), or has no more of them.
    pub fn new() -> io::Result<Self> {
        timer::Timer::new().map(Self)
    }

    /// This process ends at `deadline`, unless it is put off again, or stands down before.
    pub fn put_off(&self, deadline: Instant) -> io::Result<()> {
        self.0.set(Some(deadline.0))
    }

    /// This process does not end.
    pub fn stand_down(&self) -> io::Result<()> {
        self.0.set(None)
    }
}
