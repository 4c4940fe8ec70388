//! Cuts: what makes the streams of several shards one history.
//!
//! Every shard streams on its own. Two replicas that each lack the other's last frame hold histories of which neither
//! is the longer one: whichever is elected, a write that the other one confirmed is lost. So a primary with several shards
//! puts a frame with the same rising number into every stream, a cut, and replicas count by cuts alone: what they
//! acknowledge, and what they say they hold, is the last cut that they received on *every* shard. Cuts come one after the other,
//! so of two replicas one always holds all that the other one acknowledged (S6 to S8 of `docs/protocol.md`).
//!
//! With one shard the stream's own order is enough, and there are no cuts.

use crate::position::offset::position_offset;
use std::collections::VecDeque;

/// The frame's name: `ELECT.CUT <a key of the shard> <number>`.
pub(crate) const CUT: &[u8] = b"ELECT.CUT";
/// Cuts that a shard may be ahead of the slowest one. Older ones are forgotten; the newest is what matters.
const AHEAD_MAX: usize = 1024;

/// A place in a shard's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// How often the stream began anew before.
    pub(crate) flushes: u64,
    /// The frame that comes next.
    pub(crate) next: u64,
}

impl Place {
    /// As an offset that only grows.
    pub(crate) fn position_offset(&self) -> u64 {
        position_offset(self.flushes, self.next)
    }
}

/// What of each shard's cuts came in, and which is whole.
#[derive(Debug)]
pub(crate) struct Tracker {
    shards: Vec<VecDeque<(u64, Place)>>,
    whole: Option<u64>,
}

impl Tracker {
    /// One that has seen nothing.
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards: vec![VecDeque::new(); shards], whole: None }
    }

    /// Cut `number` has come in on `shard`, up to and with `place`. The places of all shards at the newest cut that is
    /// whole now and was not before.
    pub(crate) fn note(&mut self, shard: usize, number: u64, place: Place) -> Option<Vec<Place>> {
        let seen = self.shards.get_mut(shard)?;
        if seen.back().is_some_and(|(last, _)| *last >= number) {
            // Heard twice, after a connection was made anew.
            return None;
        }
        if seen.len() == AHEAD_MAX {
            seen.pop_front();
        }
        seen.push_back((number, place));
        self.complete()
    }

    /// `shard` starts from a snapshot: what it had seen is no part of what comes.
    pub(crate) fn restart(&mut self, shard: usize) {
        if let Some(seen) = self.shards.get_mut(shard) {
            seen.clear();
        }
    }

    fn complete(&mut self) -> Option<Vec<Place>> {
        let (first, others) = self.shards.split_first()?;
        let everywhere = |number: &u64| {
            others.iter().all(|seen| seen.binary_search_by_key(number, |(number, _)| *number).is_ok())
        };
        let number = first.iter().rev().map(|(number, _)| *number).find(everywhere)?;
        if self.whole.is_some_and(|whole| whole >= number) {
            return None;
        }
        self.whole = Some(number);
        let mut places = Vec::with_capacity(self.shards.len());
        for seen in &mut self.shards {
            while seen.front().is_some_and(|(older, _)| *older < number) {
                seen.pop_front();
            }
            places.push(seen.front()?.1);
        }
        Some(places)
    }
}

/// The number that a frame cuts at, if it is a cut.
pub(crate) fn number<A: kevy_rt::ArgvView + ?Sized>(frame: &A) -> Option<u64> {
    if frame.first() != Some(CUT) || frame.len() != 3 {
        return None;
    }
    std::str::from_utf8(frame.get(2)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(next: u64) -> Place {
        Place { flushes: 0, next }
    }

    #[test]
    fn a_cut_is_whole_once_it_came_in_on_every_shard() {
        let mut tracker = Tracker::new(2);
        assert_eq!(tracker.note(0, 1, place(10)), None);
        assert_eq!(tracker.note(0, 2, place(20)), None);
        assert_eq!(tracker.note(1, 1, place(5)), Some(vec![place(10), place(5)]));
        assert_eq!(tracker.note(1, 2, place(6)), Some(vec![place(20), place(6)]));
        assert_eq!(tracker.note(1, 2, place(6)), None, "heard twice");
    }

    #[test]
    fn a_cut_that_one_shard_missed_is_passed_over() {
        let mut tracker = Tracker::new(2);
        for number in [1, 2, 3] {
            assert_eq!(tracker.note(0, number, place(number * 10)), None);
        }
        // Its snapshot was made after the first two.
        assert_eq!(tracker.note(1, 3, place(1)), Some(vec![place(30), place(1)]));
    }

    #[test]
    fn a_shard_that_starts_anew_waits_for_a_cut_of_its_new_stream() {
        let mut tracker = Tracker::new(2);
        tracker.note(0, 1, place(10));
        tracker.restart(0);
        assert_eq!(tracker.note(1, 1, place(5)), None);
        tracker.note(0, 2, place(3));
        assert_eq!(tracker.note(1, 2, place(7)), Some(vec![place(3), place(7)]));
    }

    #[test]
    fn a_shard_far_ahead_costs_no_memory_without_bound() {
        let mut tracker = Tracker::new(2);
        for number in 1..=5000 {
            tracker.note(0, number, place(number));
        }
        assert_eq!(tracker.shards[0].len(), AHEAD_MAX);
        assert_eq!(tracker.note(1, 5000, place(1)), Some(vec![place(5000), place(1)]));
    }
}
