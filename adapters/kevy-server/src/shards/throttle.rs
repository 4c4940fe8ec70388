//! A primary whose writers are ahead of a replica that copies lets them wait, before it has dropped what that replica lacks (C14 of
//! `docs/protocol.md`).
//!
//! The replica says with every question how far it is. Where it is more than a quarter of the stream's buffer behind, the shard rests for
//! some milliseconds at its tick: longer, the fuller the buffer. It goes on with everything in between, so it never looks as if it hung.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// Of the buffer, what may be between the primary and the replica before writers wait.
const FREE_PART: u64 = 4;
/// A rest, for each time that this much is there.
const REST: Duration = Duration::from_millis(5);
/// The longest one.
const REST_MAX: Duration = Duration::from_millis(40);
/// A replica that has said nothing for so long is not waited for. It says how far it is with every few megabytes that it has taken; where
/// processors are short that takes a while.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Nor is one that lacks so many times what the buffer holds: it has to copy anew.
const LOST_TIMES: u64 = 2;
/// For how long shards look around often behind a question, or a rest: it is at their ticks that writers wait.
pub(super) const HURRY: Duration = Duration::from_millis(200);

/// One shard's.
#[derive(Default)]
pub(super) struct Throttle {
    pub(super) follower: Mutex<Option<Follower>>,
    pub(super) rested_ms: AtomicU64,
}

/// Somebody who fetches what is written.
#[derive(Clone, Copy)]
pub(super) struct Follower {
    pub(super) next: u64,
    /// How large frames are for it.
    pub(super) frame_bytes: u64,
    pub(super) heard: Instant,
}

impl Follower {
    /// How long writers wait now that the stream is at `offset`.
    pub(super) fn rest(&self, offset: u64, buffer: u64, now: Instant) -> Duration {
        if now.duration_since(self.heard) > SILENCE_MAX {
            return Duration::ZERO;
        }
        let behind = offset.saturating_sub(self.next).saturating_mul(self.frame_bytes);
        let times = behind / (buffer / FREE_PART).max(1);
        if times >= FREE_PART * LOST_TIMES {
            return Duration::ZERO;
        }
        REST.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX)).min(REST_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_wait_longer_the_fuller_the_buffer_and_never_long() {
        let now = Instant::now();
        let follower = Follower { next: 1_000, frame_bytes: 100, heard: now };
        let rest = |offset| follower.rest(offset, 400_000, now);
        assert_eq!(rest(1_999), Duration::ZERO, "a quarter is free");
        assert_eq!(rest(2_000), REST);
        assert_eq!(rest(5_000), REST * 4, "full");
        assert_eq!(rest(8_999), REST * 7, "nearly twice of that, as far as one can tell");
        assert_eq!(rest(9_000), Duration::ZERO, "no use");
        assert_eq!(rest(0), Duration::ZERO, "the stream began anew");
        assert_eq!(follower.rest(5_000, 400_000, now + SILENCE_MAX * 2), Duration::ZERO, "it has gone");
    }
}
