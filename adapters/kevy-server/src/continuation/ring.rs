//! The last frames that a shard received, for those who were behind when their primary was lost (C6 of `docs/protocol.md`).
//!
//! kevy keeps what it streams itself, and nothing of what it receives. So whoever becomes primary has here what the others
//! may lack of the history before its own.

use crate::position::marks::Place;
use kevy_elect_plugin::ids::Epoch;
use kevy_resp::{encode_array_len, encode_bulk, encode_integer};
#[cfg(test)]
use kevy_rt::Argv;
use kevy_rt::ArgvView;
use std::collections::VecDeque;

/// Frames and bytes of one answer. It is put together in the shard's memory, by the shard.
const ANSWER_FRAMES_MAX: usize = 4096;
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// What surrounds a frame in memory.
const FRAME_COST: usize = 32;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Ring {
    runs: VecDeque<Run>,
    bytes: usize,
    bytes_max: usize,
}

/// Frames of one history that follow each other.
#[derive(Debug)]
struct Run {
    epoch: Epoch,
    flushes: u64,
    /// The offset of the first one.
    first: u64,
    /// Each as it stands in an answer.
    frames: VecDeque<Box<[u8]>>,
}

impl Run {
    fn next(&self) -> u64 {
        self.first + self.frames.len() as u64
    }
}

impl Ring {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { runs: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// What it may hold.
    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// What is in it is not certain.
    pub(crate) fn clear(&mut self) {
        self.runs.clear();
        self.bytes = 0;
    }

    /// Bytes in it.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The frame at `at` was received.
    pub(crate) fn push<A: ArgvView + ?Sized>(&mut self, at: Place, argv: &A) {
        let words = || (0..argv.len()).filter_map(|i| argv.get(i));
        let mut frame = Vec::with_capacity(words().map(|word| word.len() + 16).sum::<usize>() + 32);
        encode_array_len(&mut frame, 2);
        encode_integer(&mut frame, int(at.offset));
        encode_array_len(&mut frame, int(argv.len() as u64));
        words().for_each(|word| encode_bulk(&mut frame, word));
        let follows = |run: &Run| (run.epoch, run.flushes, run.next()) == (at.epoch, at.flushes, at.offset);
        if !self.runs.back().is_some_and(follows) {
            let (epoch, flushes, first) = (at.epoch, at.flushes, at.offset);
            self.runs.push_back(Run { epoch, flushes, first, frames: VecDeque::new() });
        }
        self.bytes += frame.len() + FRAME_COST;
        if let Some(run) = self.runs.back_mut() {
            run.frames.push_back(frame.into_boxed_slice());
        }
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.runs.front_mut() else { break };
            match oldest.frames.pop_front() {
                Some(frame) => {
                    self.bytes -= frame.len() + FRAME_COST;
                    oldest.first += 1;
                }
                None => drop(self.runs.pop_front()),
            }
        }
        self.runs.retain(|run| !run.frames.is_empty());
    }

    /// Up to `count` frames from `from` on, as an answer; `None` where the first of them is not here.
    pub(crate) fn answer(&self, from: Place, count: usize) -> Option<Vec<u8>> {
        let has = |run: &&Run| {
            (run.epoch, run.flushes) == (from.epoch, from.flushes)
                && (run.first..run.next()).contains(&from.offset)
        };
        // The newest, if it was received twice.
        let run = self.runs.iter().rev().find(has)?;
        let skipped = usize::try_from(from.offset - run.first).ok()?;
        let mut body = Vec::new();
        let mut frames = 0;
        for frame in run.frames.iter().skip(skipped).take(count.min(ANSWER_FRAMES_MAX)) {
            if frames > 0 && body.len() + frame.len() > ANSWER_BYTES_MAX {
                break;
            }
            body.extend_from_slice(frame);
            frames += 1;
        }
        let mut out = Vec::with_capacity(body.len() + 64);
        encode_array_len(&mut out, 3);
        encode_integer(&mut out, int(from.epoch.0));
        encode_integer(&mut out, int(from.offset + frames));
        encode_array_len(&mut out, int(frames));
        out.extend_from_slice(&body);
        Some(out)
    }
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    fn at(epoch: u64, flushes: u64, offset: u64) -> Place {
        Place { epoch: Epoch(epoch), flushes, offset }
    }

    fn frame(n: u64) -> Argv {
        Argv::from(vec![b"SET".to_vec(), b"k".to_vec(), n.to_string().into_bytes()])
    }

    fn numbers(ring: &Ring, from: Place, count: usize) -> Option<Vec<u64>> {
        let answer = ring.answer(from, count)?;
        let text = String::from_utf8(answer).unwrap();
        let mut lines = text.split("\r\n");
        assert_eq!(lines.next(), Some("*3"));
        Some(
            text.split("*2\r\n:").skip(1).map(|f| f.split("\r\n").next().unwrap().parse().unwrap()).collect(),
        )
    }

    #[test]
    fn frames_come_out_of_the_history_that_they_were_received_in() {
        let mut ring = Ring::new(1 << 20);
        (0..5).for_each(|n| ring.push(at(3, 0, n), &frame(n)));
        (0..3).for_each(|n| ring.push(at(5, 0, n), &frame(n)));
        assert_eq!(numbers(&ring, at(3, 0, 2), 10), Some(vec![2, 3, 4]));
        assert_eq!(numbers(&ring, at(3, 0, 2), 2), Some(vec![2, 3]));
        assert_eq!(numbers(&ring, at(5, 0, 0), 10), Some(vec![0, 1, 2]));
        for lacking in [at(3, 0, 5), at(4, 0, 0), at(5, 1, 0), at(5, 0, 3)] {
            assert_eq!(numbers(&ring, lacking, 10), None, "{lacking:?}");
        }
    }

    #[test]
    fn a_gap_is_never_jumped_over() {
        let mut ring = Ring::new(1 << 20);
        ring.push(at(3, 0, 0), &frame(0));
        ring.push(at(3, 0, 2), &frame(2));
        assert_eq!(numbers(&ring, at(3, 0, 0), 10), Some(vec![0]));
        assert_eq!(numbers(&ring, at(3, 0, 1), 10), None);
        assert_eq!(numbers(&ring, at(3, 0, 2), 10), Some(vec![2]));
    }

    #[test]
    fn the_oldest_frames_go_first_and_no_more_than_the_bound_stays() {
        let mut ring = Ring::new(1_000);
        (0..100).for_each(|n| ring.push(at(3, 0, n), &frame(n)));
        assert!(ring.bytes() <= 1_000 && ring.bytes() > 800, "{}", ring.bytes());
        assert_eq!(numbers(&ring, at(3, 0, 0), 10), None);
        assert_eq!(numbers(&ring, at(3, 0, 99), 10), Some(vec![99]));
        let big = Argv::from(vec![vec![b'x'; 2_000]]);
        ring.push(at(3, 0, 100), &big);
        assert_eq!((ring.bytes(), ring.runs.len()), (0, 0), "one that is too large for it is not kept");
        ring.push(at(3, 0, 101), &frame(101));
        assert_eq!(numbers(&ring, at(3, 0, 101), 10), Some(vec![101]));
    }
}
