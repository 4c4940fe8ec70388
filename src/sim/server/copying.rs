//! A copy ends, however much is written meanwhile: C14 of `docs/protocol.md`.
//!
//! Beside its copy a replica fetches what is written, in rounds, from the place of the copy on; and where it does not keep up the primary has
//! its clients wait. Only so does a primary that keeps so many frames and no more still have those that are missing once the copy is there.

use super::Server;
use super::act::{Act, Payload, Written};
use super::parts::{Fetching, Spool};
use crate::ids::Epoch;
use crate::sim::clock::MS;
use crate::sim::data::{Data, Offsets, Place, SHARDS, WRITE};
use crate::sim::server_mutation::ServerMutation;

/// A question that is not answered is asked again.
const AGAIN: u64 = 100 * MS;
/// Clients wait for a replica that asked so long ago.
const SEEN: u64 = 200 * MS;
/// So long after somebody asked for a copy clients write more than anybody could copy, in some reigns.
const FLOOD: u64 = 2_000 * MS;

impl Server {
    /// A copy is on its way to `from`.
    pub(super) fn copy_begins(&mut self, now: u64, from: usize) {
        self.fetching[from] = Fetching { seen_at: now, upto: self.data.last().offsets };
    }

    /// How many frames a client writes that wants to write `frames`; `None`: it has to wait, because a replica is a quarter of what is kept behind.
    pub(super) fn has_room(&self, now: u64, frames: u64) -> Option<u64> {
        let Some(bound) = self.habits.and_then(|habits| habits.continues) else { return Some(frames) };
        let ends = self.data.last().offsets;
        let braked = self.fetching.iter().any(|replica| {
            let behind = |(end, upto): (&u64, &u64)| end.saturating_sub(*upto) / WRITE > bound;
            now < replica.seen_at + SEEN && ends.iter().zip(&replica.upto).any(behind)
        });
        if braked && !self.wrong(ServerMutation::CopiesAlone) {
            return None;
        }
        let copied = self.fetching.iter().any(|replica| now < replica.seen_at + FLOOD);
        Some(if self.floods && copied { 3 * bound - 1 } else { frames })
    }

    /// A copy came in: what is written behind it is fetched from now on, until it is in place.
    pub(super) fn spool(&mut self, copy: &Data) {
        self.continuation.copying = true;
        if !self.wrong(ServerMutation::CopiesAlone) {
            let ends = copy.lanes.each_ref().map(|lane| lane.ends);
            let (upto, lost) = (copy.last().offsets, [0; SHARDS]);
            self.continuation.spool =
                Some(Spool { upto, ends, cut: copy.cut, lost, first: true, asked_at: 0 });
        }
    }

    pub(super) fn fetch_beside(&mut self, now: u64, out: &mut Vec<Act>) {
        if let Some((epoch, primary)) = self.target.filter(|_| !self.joined)
            && let Some(spool) = &mut self.continuation.spool
            && now >= spool.asked_at + AGAIN
        {
            spool.asked_at = now;
            let (turn, after) = (self.turn, spool.upto);
            out.push(Act::Send(primary, Payload::Lacks { epoch, turn, after }));
        }
    }

    /// A replica asks what was written behind these places.
    pub(super) fn on_lacks(
        &mut self,
        now: u64,
        from: usize,
        epoch: Epoch,
        (turn, after): (u64, Offsets),
        out: &mut Vec<Act>,
    ) {
        if self.serving != Some(epoch) {
            return;
        }
        self.fetching[from] = Fetching { seen_at: now, upto: after };
        let kept = |(lane, (at, kept)): (&crate::sim::data::ShardData, (u64, u64))| {
            at >= kept && lane.end().reaches(Place { offset: at, ..lane.end() })
        };
        if !self.data.lanes.iter().zip(after.into_iter().zip(self.backlog)).all(kept) {
            out.push(Act::Send(from, Payload::Gone { turn }));
            return;
        }
        self.cut();
        let upto = self.data.last().offsets;
        let ends = self.data.lanes.each_ref().map(|lane| lane.ends);
        out.push(Act::Send(from, Payload::Written(Written { turn, after, upto, ends, cut: self.cuts[0] })));
    }

    pub(super) fn on_written(&mut self, written: Written) {
        let first = self.wrong(ServerMutation::NotedTooLate);
        let Some(spool) = &mut self.continuation.spool else { return };
        if self.turn != written.turn || self.joined || spool.upto != written.after {
            return;
        }
        if first && std::mem::take(&mut spool.first) {
            let missed = written.upto.into_iter().zip(spool.upto).map(|(to, from)| to / WRITE - from / WRITE);
            spool.lost.iter_mut().zip(missed).for_each(|(lost, missed)| *lost = missed);
        }
        (spool.upto, spool.ends, spool.cut) = (written.upto, written.ends, written.cut);
        spool.asked_at = 0;
    }

    /// The copy is in place on all shards. What was fetched meanwhile follows, and then the stream, as for anybody who is in this history.
    pub(super) fn copied(&mut self, now: u64, out: &mut Vec<Act>) {
        if let Some(spool) = self.continuation.spool.take() {
            for shard in 0..self.shards {
                let lane = &mut self.data.lanes[shard];
                let old = lane.end();
                *lane.offset_mut() = spool.upto[shard];
                lane.ends = spool.ends[shard];
                lane.miss(spool.lost[shard]);
                self.keep_frames(shard, old, Place { offset: spool.upto[shard], ..old });
            }
            self.data.set_cut(self.data.last().epoch, spool.cut);
        }
        (self.whole, self.continuation.copying, self.continuation.copied) = (false, false, true);
        self.asked_at = now;
        out.push(Act::Moved);
        let Some((epoch, primary)) = self.target else { return };
        let (turn, offsets) = (self.turn, self.data.last().offsets);
        out.push(Act::Send(primary, Payload::Attach { epoch, turn, offsets }));
    }
}
