//! The last frames that a server received, each with its place (C6), for peers that lack them.

use super::Server;
use super::parts::Ring;
use crate::sim::data::{Place, SHARDS, WRITE};
use crate::sim::server_mutation::ServerMutation;

/// How many frames in a thousand the wrong server does not keep.
const LOST: u64 = 150;

/// The last frames behind `first`, up to `last`, at most so many writes; of cuts only the last one.
fn frames(first: u64, last: Place, bound: u64) -> impl Iterator<Item = Place> {
    let (from, to) = (first / WRITE, last.offset / WRITE);
    let writes = (from.max(to.saturating_sub(bound)) + 1..=to).map(move |write| write * WRITE);
    let cut = (!last.offset.is_multiple_of(WRITE) && last.offset > first).then_some(last.offset);
    writes.chain(cut).map(move |offset| Place { offset, ..last })
}

impl Server {
    /// A shard has come from `old` to `new` by what the primary of that history sent.
    pub(super) fn keep_frames(&mut self, shard: usize, old: Place, new: Place) {
        let Some(bound) = self.habits.and_then(|habits| habits.continues) else { return };
        // What was before a flush is of no use behind it.
        let first = if new.reaches(old) { old.offset } else { new.last_flush() };
        for place in frames(first, new, bound) {
            if self.wrong(ServerMutation::RingWithGaps) && self.rng.chance(LOST) {
                continue;
            }
            self.keep(shard, place, bound);
        }
    }

    fn keep(&mut self, shard: usize, place: Place, bound: u64) {
        let frames = &mut self.ring.frames[shard];
        // Only the last cut behind a write is kept: the others are there with it.
        if frames.back().is_some_and(|last| place.reaches(*last) && last.offset > place.without_cuts().offset)
        {
            frames.pop_back();
        }
        if frames.len() as u64 >= bound {
            frames.pop_front();
        }
        frames.push_back(place);
    }

    /// A process has ended: the next one reads the end of its log back, where every frame has the place that is counted there.
    /// `ends`: where the shards were, and some of that the log may have lost.
    pub(super) fn refill_ring(&mut self, ends: [Place; SHARDS]) {
        self.ring = Ring::default();
        let Some(bound) = self.habits.and_then(|habits| habits.continues) else { return };
        for (shard, end) in ends.into_iter().enumerate().take(self.shards) {
            let runs = self.data.lanes[shard].runs.clone();
            for run in runs {
                frames(run.last_flush(), run, bound).for_each(|place| self.keep(shard, place, bound));
            }
            if self.wrong(ServerMutation::RefillsMiscounted) {
                self.ring.miscounted[shard] = end;
            }
        }
    }

    /// Whether the frames behind `from`, up to `to`, are here to be looked at: in what it wrote in this process, in what it received, or in what it
    /// read back of its log.
    pub(super) fn sees(&self, shard: usize, from: Place, to: Place) -> bool {
        let wrote = self.wrote == Some(to.epoch) && self.backlog[shard] <= from.offset;
        let ring = &self.ring;
        let newest = ring.frames[shard].iter().rev().find(|place| place.epoch == to.epoch);
        wrote || newest.is_some_and(|at| at.reaches(to)) && ring.lacks(shard, from, to.offset) == 0
    }

    /// Whether it can give the frames behind `after` up to `upto`; gives up to where, and how many it leaves out: none, if it is right.
    pub(super) fn give(&self, shard: usize, after: Place, upto: u64) -> Option<(u64, u64)> {
        let have = self.ring.frames[shard].iter().rev().find(|place| place.epoch == after.epoch)?.offset;
        let miscounted = self.ring.miscounted[shard];
        let have = if miscounted.epoch == after.epoch { have.max(miscounted.offset) } else { have };
        let upto = if self.wrong(ServerMutation::FetchesBeyond) { have } else { upto };
        if have < upto || upto <= after.offset {
            return None;
        }
        let lacks = self.ring.lacks(shard, after, upto);
        let blind = self.wrong(ServerMutation::RingWithGaps) || self.wrong(ServerMutation::RefillsMiscounted);
        (lacks == 0 || blind).then_some((upto, lacks))
    }
}
