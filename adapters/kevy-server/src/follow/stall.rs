//! A stream that stands still: the primary has more, and nothing comes.
//!
//! kevy says nothing of a frame that it will never send. What tells is the primary's own position, in its heartbeats and
//! once a second in the stream: where it is ahead, and no frame came for a while, the link looks itself ([`crate::follow::feed`]).

use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Without a frame for so long a stream stands still, if there are any.
const QUIET: Duration = Duration::from_millis(100);
/// Between two looks that found nothing.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// From here on everybody is told.
pub(crate) const SAID_AFTER: Duration = Duration::from_secs(2);
/// From here on a copy is made, where the primary answers and the frames cannot be had.
pub(crate) const COPIED_AFTER: Duration = Duration::from_secs(15);

/// Whether a stream stands still.
#[derive(Debug)]
pub(crate) struct Stall {
    last_frame: Instant,
    since: Option<Instant>,
    looked: Option<Instant>,
}

impl Stall {
    pub(crate) fn new(now: Instant) -> Self {
        Self { last_frame: now, since: None, looked: None }
    }

    /// A frame came, or a whole copy.
    pub(crate) fn moved(&mut self, now: Instant) {
        *self = Self { last_frame: now, since: None, looked: self.looked };
    }

    /// The primary was asked, and has no more than this.
    pub(crate) fn nothing(&mut self) {
        self.since = None;
    }

    /// The primary is known to be ahead, or not. Whether to look is for once, not for every call.
    pub(crate) fn suspect(&mut self, now: Instant, behind: bool) -> bool {
        if !behind {
            self.since = None;
            return false;
        }
        if now.duration_since(self.last_frame) < QUIET {
            return false;
        }
        self.since.get_or_insert(now);
        let due = self.looked.is_none_or(|looked| now.duration_since(looked) >= LOOK_INTERVAL)
            || self.looked < Some(self.last_frame);
        if due {
            self.looked = Some(now);
        }
        due
    }

    /// Whether it was suspected and neither moved nor cleared since.
    pub(crate) fn lasts(&self, now: Instant) -> Option<Duration> {
        self.since.map(|since| now.duration_since(since))
    }
}

/// Wakes a thread that waits for its socket.
#[derive(Debug)]
pub(crate) struct Waker(OwnedFd);

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(crate) fn wake(&self) {
        // It fails only where it is woken already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Whether it was woken since this was last asked.
    pub(crate) fn woken(&self) -> bool {
        rustix::io::read(&self.0, &mut [0; 8]).is_ok()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_at_once_in_a_while_and_told_of_until_something_comes() {
        let born = Instant::now();
        let at = |ms| born + Duration::from_millis(ms);
        let mut stall = Stall::new(born);
        assert!(!stall.suspect(at(50), true), "a frame came just now");
        assert_eq!(stall.lasts(at(50)), None);
        assert!(stall.suspect(at(200), true));
        assert!(!stall.suspect(at(300), true), "it was looked at");
        assert_eq!(stall.lasts(at(700)), Some(Duration::from_millis(500)));
        assert!(stall.suspect(at(1_300), true), "again");
        stall.moved(at(1_400));
        assert_eq!(stall.lasts(at(1_400)), None);
        assert!(stall.suspect(at(1_550), true), "after a frame the next look waits for nothing");
        assert!(!stall.suspect(at(1_600), false));
        assert_eq!(stall.lasts(at(1_600)), None);
    }

    #[test]
    fn who_waits_is_woken_once_however_often_it_was_asked() {
        let waker = Waker::new().unwrap();
        assert!(!waker.woken());
        waker.wake();
        waker.wake();
        assert!(waker.woken() && !waker.woken());
    }
}
