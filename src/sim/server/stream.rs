//! Streams of one shard each: what is sent, received, applied and acknowledged.

use super::Server;
use super::act::{Act, Frames, Payload};
use crate::sim::clock::MS;
use crate::sim::data::{Place, WRITE};
use crate::sim::server_mutation::ServerMutation;

/// A replica that is behind, and to which nothing comes for so long, copies.
const STALL: u64 = 1_000 * MS;
/// How many writes in a thousand are too large for the stream.
const LARGE: u64 = 4;
/// How many writes in a thousand set a key that ends, or make it last longer.
const KEYS: u64 = 200;
/// How often in a thousand turns a shard does not get to what came in for it.
const LATE: u64 = 700;
/// How many turns in a thousand put a cut into the streams although nothing was written.
const IDLE_CUTS: u64 = 100;
/// The longest life of such a key.
const LIFE: u64 = 1_500 * MS;
/// By how much the clock of a replica may show another time of day.
const SKEW: u64 = 800 * MS;

impl Server {
    /// What a client's write is: some are too large for the stream, some set a key that ends.
    pub(super) fn wish(&mut self, now: u64, shard: usize, before: u64, after: Place) {
        let Place { epoch, offset } = after;
        // A replica that has not got over the last one yet stands there, and not at a later one.
        let passed = self.attached.iter().flatten().all(|(_, from)| from[shard] >= self.large[shard]);
        if self.rng.chance(LARGE) && passed {
            (self.large[shard], self.before_large[shard]) = (offset, before);
        }
        if self.rng.chance(KEYS) {
            self.data.lanes[shard].ends = now + self.rng.between(LIFE / 4, LIFE);
        } else if self.data.lanes[shard].ends <= now {
            // Ended by the primary: a frame like any other.
            self.data.lanes[shard].ends = 0;
        }
        self.parked.ask(epoch, shard, offset, &mut self.rng);
    }

    pub(super) fn push_stream(&self, out: &mut Vec<Act>) {
        let last = self.data.last().offsets;
        for (peer, attached) in self.attached.iter().enumerate() {
            let Some((turn, from)) = *attached else { continue };
            if self.habits.is_none() {
                out.push(Act::Send(peer, Payload::Stream { turn, offsets: last }));
                continue;
            }
            for shard in 0..self.shards {
                let (large, head) = (self.large[shard], last[shard]);
                // It is never sent, and nothing behind it is: only a copy that has it helps.
                let stuck = large > from[shard];
                let upto = if stuck { self.before_large[shard] } else { head };
                let ends = self.data.lanes[shard].ends;
                let cut = self.cuts.into_iter().find(|(_, at)| at[shard] <= upto).unwrap_or_default();
                let frames = Frames { turn, shard, upto, ends, head, cut };
                out.push(Act::Send(peer, Payload::Frames(frames)));
            }
        }
    }

    /// Puts a cut with the next number into all streams, here and now. With several shards it is a frame of each.
    pub(super) fn cut(&mut self) {
        let (newest, before) = self.cuts[0];
        let several = self.shards > 1;
        if before != self.data.last().offsets || newest == 0 || several && self.rng.chance(IDLE_CUTS) {
            for lane in self.data.lanes.iter_mut().take(if several { self.shards } else { 0 }) {
                *lane.offset_mut() = lane.end().cut().offset;
            }
            self.cuts = [(newest + 1, self.data.last().offsets), self.cuts[0]];
        }
        self.data.set_cut(self.data.last().epoch, self.cuts[0]);
    }

    /// All shards hold nothing from here on, and their streams start anew.
    pub(super) fn flush(&mut self) {
        for (shard, lane) in self.data.lanes.iter_mut().enumerate() {
            let flushed = lane.end().flushed();
            *lane.offset_mut() = flushed.offset;
            (lane.ends, self.large[shard], self.backlog[shard]) = (0, 0, flushed.offset);
            self.ring.frames[shard].clear();
        }
    }

    /// A primary keeps so many frames of its own, and no more.
    pub(super) fn drop_frames(&mut self) {
        let Some(bound) = self.habits.and_then(|habits| habits.continues) else { return };
        for (kept, lane) in self.backlog.iter_mut().zip(&self.data.lanes) {
            *kept = (*kept).max(lane.end().offset.saturating_sub(4 * bound * WRITE));
        }
    }

    pub(super) fn receive(&mut self, now: u64, frames: Frames, out: &mut Vec<Act>) {
        let Frames { shard, upto, ends, head, cut, .. } = frames;
        // A stream that starts anew after a flush is another one.
        let at = Place { epoch: self.inbox.of, offset: self.inbox.upto[shard] };
        let there = Place { offset: upto, ..at };
        if self.continues() && there.last_flush() > at.last_flush() {
            out.push(Act::Note(format!("shard {shard} was flushed")));
            self.copy_again(now, false, out);
            return;
        }
        let inbox = &mut self.inbox;
        inbox.head[shard] = inbox.head[shard].max(head);
        if upto > inbox.upto[shard] {
            (inbox.upto[shard], inbox.ends[shard]) = (upto, ends);
            inbox.moved[shard] = now;
        } else if inbox.upto[shard] >= inbox.head[shard] {
            inbox.moved[shard] = now;
        }
        if cut.0 > inbox.cuts[shard].0 {
            inbox.cuts[shard] = cut;
        }
        if self.wrong(ServerMutation::AcknowledgesReceived)
            && let Some((epoch, primary)) = self.target
        {
            out.push(Act::Send(primary, Payload::Ack { epoch, offsets: self.inbox.upto }));
        }
    }

    /// Applies what came in, as far as there is room for it.
    pub(super) fn apply(&mut self, now: u64, low_memory: bool, out: &mut Vec<Act>) {
        if !self.joined {
            return;
        }
        self.end_keys(now);
        let behind = (0..self.shards).find(|shard| {
            self.inbox.head[*shard] > self.inbox.upto[*shard] && now > self.inbox.moved[*shard] + STALL
        });
        if let Some(shard) = behind
            && !self.wrong(ServerMutation::WaitsForStalled)
        {
            out.push(Act::Note(format!("shard {shard} stands still: copies")));
            self.copy_again(now, true, out);
            return;
        }
        for shard in 0..self.shards {
            let mine = self.data.lanes[shard].end();
            if self.inbox.upto[shard] <= mine.offset {
                self.inbox.applied[shard] = self.inbox.cuts[shard];
                continue;
            }
            // Every shard has a thread of its own.
            if self.shards > 1 && self.rng.chance(LATE) {
                continue;
            }
            let refused = low_memory && self.rng.chance(300);
            if refused && !self.wrong(ServerMutation::CountsRefused) {
                out.push(Act::Note(format!("shard {shard} refuses a frame: holds nothing, copies")));
                self.data.clear();
                self.log.clear();
                out.extend([Act::CopyLost, Act::Moved]);
                self.copy_again(now, true, out);
                return;
            }
            *self.data.lanes[shard].offset_mut() = self.inbox.upto[shard];
            self.keep_frames(shard, mine, Place { offset: self.inbox.upto[shard], ..mine });
            self.inbox.applied[shard] = self.inbox.cuts[shard];
            let lane = &mut self.data.lanes[shard];
            if refused {
                lane.odd ^= self.rng.next() | 1;
            } else if lane.odd == 0 || lane.ends != 0 {
                lane.ends = self.inbox.ends[shard];
            }
        }
        if let Some(cut) = self.inbox.applied[..self.shards].iter().min_by_key(|(number, _)| *number) {
            self.data.set_cut(self.inbox.of, *cut);
        }
    }

    /// Only the primary's stream ends a key. The wrong server does it by its own clock, which is fast or slow.
    fn end_keys(&mut self, now: u64) {
        if !self.wrong(ServerMutation::EndsKeys) {
            return;
        }
        for shard in 0..self.shards {
            let ends = self.data.lanes[shard].ends;
            if ends != 0 && ends <= now + self.rng.below(SKEW) {
                self.data.lanes[shard].ends = 0;
                self.data.lanes[shard].odd ^= ends;
            }
        }
    }

    /// Joins anew; `whole`: with a copy.
    pub(super) fn copy_again(&mut self, now: u64, whole: bool, out: &mut Vec<Act>) {
        self.turn += 1;
        (self.joined, self.whole) = (false, whole);
        self.forget_way();
        self.told = None;
        self.ask_to_join(now, out);
    }
}
