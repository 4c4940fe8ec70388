//! The last frames that a server received, each with its place (C6), for peers that lack them.

use super::Server;
use crate::sim::data::Place;
use crate::sim::server_mutation::ServerMutation;

/// How many frames in a thousand the wrong server does not keep.
const LOST: u64 = 150;

impl Server {
    /// A shard has come from `old` to `new` by what the primary of that history sent.
    pub(super) fn keep_frames(&mut self, shard: usize, old: Place, new: Place) {
        let Some(bound) = self.habits.and_then(|habits| habits.continues) else { return };
        // What was before a flush is of no use behind it.
        let first = if new.reaches(old) { old.offset } else { new.last_flush() };
        for offset in first.max(new.offset.saturating_sub(bound)) + 1..=new.offset {
            if self.wrong(ServerMutation::RingWithGaps) && self.rng.chance(LOST) {
                continue;
            }
            let ring = &mut self.ring.0[shard];
            if ring.len() as u64 >= bound {
                ring.pop_front();
            }
            ring.push_back(Place { offset, ..new });
        }
    }

    /// Whether it can give the frames behind `after` up to `upto`; gives up to where, and how many it leaves out: none, if it is right.
    pub(super) fn give(&self, shard: usize, after: Place, upto: u64) -> Option<(u64, u64)> {
        let have = self.ring.0[shard].iter().rev().find(|place| place.epoch == after.epoch)?.offset;
        let upto = if self.wrong(ServerMutation::FetchesBeyond) { have } else { upto };
        if have < upto || upto <= after.offset {
            return None;
        }
        let lacks = self.ring.lacks(shard, after, upto);
        (lacks == 0 || self.wrong(ServerMutation::RingWithGaps)).then_some((upto, lacks))
    }
}
