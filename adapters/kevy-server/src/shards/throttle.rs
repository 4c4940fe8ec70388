//! A primary whose writers are ahead of a replica lets them wait, before it has dropped what that replica lacks (C18 of
//! `docs/protocol.md`).
//!
//! How far a replica is, the shard sees at its ticks: kevy tells what it has sent on each connection. What a replica fetches beside
//! its stream it says itself, with every question. Where one is more than a quarter of the stream's buffer behind, the shard rests for
//! some milliseconds at its tick: longer, the fuller the buffer. It goes on with everything in between, so it never looks as if it hung.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Of the buffer, what may be between the primary and a replica before writers wait.
const FREE_PART: u64 = 4;
/// A rest where that much is there; four times as long where twice that is, because a replica that has to share its processors takes
/// little while writers take a turn.
const REST: Duration = Duration::from_millis(5);
/// The longest one.
const REST_MAX: Duration = Duration::from_millis(40);
/// A replica that has taken nothing for so long is not waited for.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// One that fetches says how far it is with every few megabytes; where processors are short that takes a while.
const FETCHES_SILENCE_MAX: Duration = Duration::from_secs(5);
/// Nor is one that lacks so many times what the buffer holds: it has to copy anew.
const LOST_TIMES: u64 = 2;
/// For how long shards look around often behind a question, a rest, or a look at a replica that does not keep up: it is at their ticks
/// that writers wait.
pub(super) const HURRY: Duration = Duration::from_millis(200);
/// Frames whose size is remembered, about.
const WEIGHED_FRAMES: u64 = 16_384;
/// What surrounds a frame, and each of its words, in the stream.
const FRAME_BYTES: u64 = 16;
const WORD_BYTES: u64 = 8;

/// One shard's.
#[derive(Default)]
pub(super) struct Throttle {
    replicas: Mutex<Replicas>,
    pub(super) weight: Weight,
    pub(super) rested_ms: AtomicU64,
}

impl Throttle {
    pub(super) fn replicas(&self) -> MutexGuard<'_, Replicas> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far the replicas of a stream are.
#[derive(Default)]
pub(super) struct Replicas {
    /// The stream, by its reign and flushes, and where it was at the last look.
    stream: (u64, u64),
    end: u64,
    all: Vec<Replica>,
    /// How large frames are, as the last one who fetched has it.
    told_bytes: u64,
}

struct Replica {
    reached: Reached,
    /// What it said last when it was about to go on, or fetched.
    said: u64,
    /// When anything of that changed.
    heard: Instant,
    /// Whether it fetches beside its stream.
    fetches: bool,
}

/// How far a node is by its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) node: String,
    /// All before this it has, as it says; else it was sent. Between the two lies what kernels keep, which may be as much as the buffer.
    pub(super) has: u64,
    /// All before this was sent.
    pub(super) sent: u64,
}

/// What a look at the replicas found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Looked {
    /// For how long writers wait.
    pub(super) rest: Duration,
    /// Whether somebody lacks what was there at the look before.
    pub(super) lags: bool,
}

impl Replicas {
    /// A node says how far it is; `None`: it fetches no more.
    pub(super) fn note(&mut self, node: &str, next: Option<u64>, frame_bytes: u64, now: Instant) {
        let Some(next) = next else {
            let known = self.all.iter_mut().find(|replica| replica.reached.node == node);
            known.into_iter().for_each(|replica| (replica.heard, replica.fetches) = (now, false));
            return;
        };
        let replica = self.of(node, now);
        (replica.said, replica.heard, replica.fetches) = (next.max(replica.said), now, true);
        if frame_bytes > 0 {
            self.told_bytes = frame_bytes;
        }
    }

    /// The stream is at `end`, and its connections at `rows`. `frame_bytes`: how large frames are; 0: not known.
    pub(super) fn look(
        &mut self,
        stream: (u64, u64),
        end: u64,
        rows: &[Reached],
        frame_bytes: u64,
        buffer: u64,
        now: Instant,
    ) -> Looked {
        if self.stream != stream {
            (self.stream, self.end) = (stream, end);
            self.all.clear();
        }
        // What is beyond it was said of a stream before.
        self.all.retain(|replica| {
            replica.said <= end
                && (replica.is_heard(now) || rows.iter().any(|row| row.node == replica.reached.node))
        });
        for row in rows {
            let replica = self.of(&row.node, now);
            if replica.reached != *row {
                (replica.reached, replica.heard) = (row.clone(), now);
            }
            if replica.has() == end {
                replica.heard = now;
            }
        }
        let frame_bytes = if frame_bytes > 0 { frame_bytes } else { self.told_bytes };
        let before = std::mem::replace(&mut self.end, end);
        let heard = || self.all.iter().filter(|replica| replica.is_heard(now));
        Looked {
            rest: heard()
                .map(|replica| rest(end.saturating_sub(replica.has()).saturating_mul(frame_bytes), buffer))
                .max()
                .unwrap_or_default(),
            lags: heard().any(|replica| replica.sent() < before),
        }
    }

    fn of(&mut self, node: &str, now: Instant) -> &mut Replica {
        let at = self.all.iter().position(|replica| replica.reached.node == node).unwrap_or_else(|| {
            let reached = Reached { node: node.to_owned(), has: 0, sent: 0 };
            self.all.push(Replica { reached, said: 0, heard: now, fetches: false });
            self.all.len() - 1
        });
        &mut self.all[at]
    }
}

impl Replica {
    fn has(&self) -> u64 {
        self.reached.has.max(self.said)
    }

    fn sent(&self) -> u64 {
        self.reached.sent.max(self.said)
    }

    fn is_heard(&self, now: Instant) -> bool {
        now.duration_since(self.heard) <= if self.fetches { FETCHES_SILENCE_MAX } else { SILENCE_MAX }
    }
}

/// How long writers wait for a replica that is so many bytes behind.
fn rest(behind: u64, buffer: u64) -> Duration {
    let times = behind / (buffer / FREE_PART).max(1);
    if times >= FREE_PART * LOST_TIMES {
        return Duration::ZERO;
    }
    REST.saturating_mul(u32::try_from(times * times).unwrap_or(u32::MAX)).min(REST_MAX)
}

/// How large the frames are that a shard writes: kevy counts them, and tells nobody their size. They are weighed while somebody lags. Only
/// the shard's thread changes it.
#[derive(Default)]
pub(super) struct Weight {
    pub(super) on: AtomicBool,
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl Weight {
    /// So many frames were written, of so many words and bytes in all.
    pub(super) fn add(&self, frames: u64, words: usize, bytes: usize) {
        let add = |sum: &AtomicU64, more| {
            sum.store(sum.load(Ordering::Relaxed).saturating_add(more), Ordering::Relaxed)
        };
        add(&self.frames, frames);
        add(&self.bytes, frames * FRAME_BYTES + words as u64 * WORD_BYTES + bytes as u64);
    }

    /// Their mean. 0: none was weighed.
    pub(super) fn mean(&self) -> u64 {
        let (frames, bytes) = (self.frames.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        if frames > WEIGHED_FRAMES {
            // The newer ones count for more.
            self.frames.store(frames / 2, Ordering::Relaxed);
            self.bytes.store(bytes / 2, Ordering::Relaxed);
        }
        bytes.checked_div(frames).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUFFER: u64 = 400_000;
    const STREAM: (u64, u64) = (7, 0);

    fn rows(next: u64) -> Vec<Reached> {
        vec![Reached { node: "n2".to_owned(), has: next, sent: next }]
    }

    #[test]
    fn writers_wait_longer_the_fuller_the_buffer_and_never_long() {
        assert_eq!(rest(99_999, BUFFER), Duration::ZERO, "a quarter is free");
        assert_eq!(rest(100_000, BUFFER), REST);
        assert_eq!(rest(200_000, BUFFER), REST * 4);
        assert_eq!(rest(400_000, BUFFER), REST_MAX, "full");
        assert_eq!(rest(799_999, BUFFER), REST_MAX, "nearly twice of that, as far as one can tell");
        assert_eq!(rest(800_000, BUFFER), Duration::ZERO, "no use");
    }

    #[test]
    fn who_was_accepted_just_now_is_waited_for_and_who_takes_nothing_is_not_for_long() {
        let (mut replicas, now) = (Replicas::default(), Instant::now());
        let mut look = |rows: &[Reached], end, later| {
            let seen = replicas.look(STREAM, end, rows, 100, BUFFER, now + later);
            (seen.rest, seen.lags)
        };
        assert_eq!(look(&[], 9_000, Duration::ZERO), (Duration::ZERO, false), "nobody is here");
        assert_eq!(look(&rows(8_000), 10_000, Duration::ZERO), (REST * 4, true), "it has said nothing yet");
        assert_eq!(look(&rows(8_000), 10_000, SILENCE_MAX), (REST * 4, true));
        assert_eq!(look(&rows(8_000), 10_000, SILENCE_MAX * 2), (Duration::ZERO, false));
        assert_eq!(look(&rows(8_001), 10_001, SILENCE_MAX * 2), (REST * 4, true), "it moves");
        assert_eq!(look(&rows(10_001), 10_001, SILENCE_MAX * 2), (Duration::ZERO, false), "it is there");
        assert_eq!(look(&[], 12_001, SILENCE_MAX * 3), (REST * 4, false), "it connects anew");
        assert_eq!(look(&[], 12_001, SILENCE_MAX * 4), (Duration::ZERO, false), "it has gone");
    }

    #[test]
    fn who_fetches_is_as_far_as_it_says_and_not_forgotten_between_that_and_its_stream() {
        let (mut replicas, now) = (Replicas::default(), Instant::now());
        let at = |replicas: &mut Replicas, end, row, later| {
            replicas.look(STREAM, end, &rows(row), 0, BUFFER, now + later).rest
        };
        assert_eq!(at(&mut replicas, 1_000, 1_000, Duration::ZERO), Duration::ZERO);
        replicas.note("n2", Some(5_000), 100, now + SILENCE_MAX);
        assert_eq!(at(&mut replicas, 6_000, 1_000, SILENCE_MAX), REST, "its copy is of long ago");
        assert_eq!(at(&mut replicas, 7_000, 1_000, SILENCE_MAX * 2), REST * 4);
        replicas.note("n2", None, 0, now + SILENCE_MAX * 2);
        assert_eq!(
            replicas.look(STREAM, 7_000, &[], 0, BUFFER, now + SILENCE_MAX * 2).rest,
            REST * 4,
            "it dials"
        );
        assert_eq!(at(&mut replicas, 7_000, 5_000, SILENCE_MAX * 2), REST * 4, "it was accepted");
        replicas.note("n2", Some(9_000), 100, now + SILENCE_MAX * 2);
        assert_eq!(
            replicas.look((7, 1), 5_000, &rows(0), 0, BUFFER, now + SILENCE_MAX * 2).rest,
            REST_MAX,
            "flushed"
        );
    }

    #[test]
    fn what_was_sent_and_is_not_acknowledged_is_not_there() {
        let (mut replicas, now) = (Replicas::default(), Instant::now());
        replicas.look(STREAM, 9_000, &rows(9_000), 100, BUFFER, now);
        let row = Reached { node: "n2".to_owned(), has: 9_000, sent: 10_000 };
        let seen = replicas.look(STREAM, 10_000, &[row], 100, BUFFER, now);
        assert_eq!(seen, Looked { rest: REST, lags: false });
    }

    #[test]
    fn one_who_fetches_does_not_hide_another_one() {
        let (mut replicas, now) = (Replicas::default(), Instant::now());
        replicas.look(STREAM, 1_000, &[], 0, BUFFER, now);
        for (node, next) in [("n2", 2_000), ("n3", 9_000)] {
            replicas.note(node, Some(next), 100, now);
        }
        assert_eq!(replicas.look(STREAM, 9_000, &[], 0, BUFFER, now).rest, REST_MAX);
    }

    #[test]
    fn frames_weigh_what_the_last_ones_weighed() {
        let weight = Weight::default();
        assert_eq!(weight.mean(), 0);
        weight.add(1, 3, 60);
        assert_eq!(weight.mean(), FRAME_BYTES + 3 * WORD_BYTES + 60);
        for _ in 0..20 * WEIGHED_FRAMES {
            weight.add(1, 0, 1_000);
            weight.mean();
        }
        let exact = FRAME_BYTES + 1_000;
        assert!((exact - 1..=exact).contains(&weight.mean()), "{}", weight.mean());
    }
}
