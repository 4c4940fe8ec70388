//! A primary whose writers are ahead of a replica that copies lets them wait, before it has dropped what that replica lacks (C14 of
//! `docs/protocol.md`).
//!
//! The replica says with every question how far it is. Where it is more than a quarter of the stream's buffer behind, the shard rests for
//! some milliseconds at its tick: longer, the fuller the buffer. It goes on with everything in between, so it never looks as if it hung.

use super::Shards;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Of the buffer, what may be between the primary and the replica before writers wait.
const FREE_PART: u64 = 4;
/// A rest, for each time that this much is there.
const REST: Duration = Duration::from_millis(5);
/// The longest one.
const REST_MAX: Duration = Duration::from_millis(40);
/// A replica that has said nothing for so long is not waited for.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// For how long shards look around often behind a question.
const HURRY: Duration = Duration::from_millis(200);

/// One shard's.
#[derive(Default)]
pub(super) struct Brake {
    follower: Mutex<Option<Follower>>,
    rested_ms: AtomicU64,
}

/// Somebody who fetches what is written.
#[derive(Clone, Copy)]
struct Follower {
    next: u64,
    /// How large frames are for it.
    frame_bytes: u64,
    heard: Instant,
}

impl Follower {
    /// How long writers wait now that the stream is at `offset`.
    fn rest(&self, offset: u64, buffer: u64, now: Instant) -> Duration {
        if now.duration_since(self.heard) > SILENCE_MAX {
            return Duration::ZERO;
        }
        let behind = offset.saturating_sub(self.next).saturating_mul(self.frame_bytes);
        let times = behind / (buffer / FREE_PART).max(1);
        REST.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX)).min(REST_MAX)
    }
}

impl Shards {
    /// What kevy keeps of each stream, in bytes.
    pub(crate) fn set_buffer(&self, bytes: u64) {
        self.buffer.store(bytes, Ordering::Relaxed);
    }

    /// A replica has all of this shard's stream before `next`, and fetches the rest.
    pub(crate) fn note_follower(self: &std::sync::Arc<Self>, shard: usize, next: u64, frame_bytes: u64) {
        let mut follower = self.shards[shard].brake.follower.lock().unwrap_or_else(PoisonError::into_inner);
        *follower = Some(Follower { next, frame_bytes, heard: Instant::now() });
        drop(follower);
        self.hurry(HURRY);
    }

    /// The stream is at `offset`. Told at every tick, by the shard's thread.
    pub(super) fn brake(&self, shard: usize, offset: u64) {
        let brake = &self.shards[shard].brake;
        let follower = *brake.follower.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(follower) = follower else { return };
        let rest = follower.rest(offset, self.buffer.load(Ordering::Relaxed), Instant::now());
        if !rest.is_zero() {
            std::thread::sleep(rest);
            let ms = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
            if brake.rested_ms.fetch_add(ms, Ordering::Relaxed) == 0 {
                log::warn!(
                    "shard {shard}: writers wait for a replica that copies, which cannot keep up with them"
                );
            }
            metrics::counter!("kevy_server_writes_slowed_total").increment(1);
        }
    }

    /// For how long shards have rested so that a replica could keep up, in milliseconds.
    pub(crate) fn rested_ms(&self) -> u64 {
        self.shards.iter().map(|shard| shard.brake.rested_ms.load(Ordering::Relaxed)).sum()
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
        assert_eq!(rest(u64::MAX), REST_MAX);
        assert_eq!(rest(0), Duration::ZERO, "the stream began anew");
        assert_eq!(follower.rest(5_000, 400_000, now + SILENCE_MAX * 2), Duration::ZERO, "it has gone");
    }
}
