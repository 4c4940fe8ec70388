//! Streams of one shard each: what is sent, received, applied and acknowledged.

use super::{Act, Frames, Payload, Server, ServerMutation};
use crate::sim::clock::MS;
use crate::sim::data::{Cut, Data, Offsets, SHARDS};

/// A replica that is behind, and to which nothing comes for so long, copies.
const STALL: u64 = 1_000 * MS;
/// How many writes in a thousand are too large for the stream.
const LARGE: u64 = 4;
/// How many writes in a thousand set a key that ends, or make it last longer.
const KEYS: u64 = 200;
/// How often in a thousand turns a shard does not get to what came in for it.
const LATE: u64 = 700;
/// The longest life of such a key.
const LIFE: u64 = 1_500 * MS;
/// By how much the clock of a replica may show another time of day.
const SKEW: u64 = 800 * MS;

/// What came in and waits to be applied, per shard.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Inbox {
    upto: Offsets,
    ends: [u64; SHARDS],
    /// How far the primary is, as it said.
    head: Offsets,
    /// When something last came.
    moved: [u64; SHARDS],
    /// The newest cut that came, on each shard, and the newest that is applied there.
    cuts: [Cut; SHARDS],
    applied: [Cut; SHARDS],
}

impl Inbox {
    /// Where a copy leaves off.
    pub(super) fn new(data: &Data, now: u64) -> Self {
        let upto = data.last().offsets;
        let cuts = [data.cut; SHARDS];
        Self { upto, ends: data.ends, head: upto, moved: [now; SHARDS], cuts, applied: cuts }
    }
}

impl Server {
    /// What a client's write is: some are too large for the stream, some set a key that ends.
    pub(super) fn wish(&mut self, now: u64, epoch: crate::ids::Epoch, shard: usize, offset: u64) {
        // A replica that has not got over the last one yet stands there, and not at a later one.
        let passed = self.attached.iter().flatten().all(|(_, from)| from[shard] >= self.large[shard]);
        if self.rng.chance(LARGE) && passed {
            self.large[shard] = offset;
        }
        if self.rng.chance(KEYS) {
            self.data.ends[shard] = now + self.rng.between(LIFE / 4, LIFE);
        } else if self.data.ends[shard] != 0 && self.data.ends[shard] <= now {
            // Ended by the primary: a frame like any other.
            self.data.ends[shard] = 0;
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
                let upto = if stuck { large - 1 } else { head };
                let ends = self.data.ends[shard];
                let cut = self.cuts.into_iter().find(|(_, at)| at[shard] <= upto).unwrap_or_default();
                let frames = Frames { turn, shard, upto, ends, head, cut };
                out.push(Act::Send(peer, Payload::Frames(frames)));
            }
        }
    }

    /// Puts a cut with the next number into all streams, here and now.
    pub(super) fn cut(&mut self) {
        let at = self.data.last().offsets;
        let (newest, before) = self.cuts[0];
        if before != at || newest == 0 {
            self.cuts = [(newest + 1, at), self.cuts[0]];
        }
        self.data.cut = self.cuts[0];
    }

    pub(super) fn receive(&mut self, now: u64, frames: Frames, out: &mut Vec<Act>) {
        let Frames { shard, upto, ends, head, cut, .. } = frames;
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
            self.copy_again(now, out);
            return;
        }
        for shard in 0..self.shards {
            let mine = &mut self.data.last_mut().offsets[shard];
            if self.inbox.upto[shard] <= *mine {
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
                self.copy_again(now, out);
                return;
            }
            *self.offset_mut(shard) = self.inbox.upto[shard];
            self.inbox.applied[shard] = self.inbox.cuts[shard];
            if refused {
                self.data.odd[shard] ^= self.rng.next() | 1;
            } else if self.data.odd[shard] == 0 || self.data.ends[shard] != 0 {
                self.data.ends[shard] = self.inbox.ends[shard];
            }
        }
        if let Some(cut) = self.inbox.applied[..self.shards].iter().min_by_key(|(number, _)| *number) {
            self.data.cut = *cut;
        }
    }

    fn offset_mut(&mut self, shard: usize) -> &mut u64 {
        &mut self.data.last_mut().offsets[shard]
    }

    /// Only the primary's stream ends a key. The wrong server does it by its own clock, which is fast or slow.
    fn end_keys(&mut self, now: u64) {
        if !self.wrong(ServerMutation::EndsKeys) {
            return;
        }
        for shard in 0..self.shards {
            let ends = self.data.ends[shard];
            if ends != 0 && ends <= now + self.rng.below(SKEW) {
                self.data.ends[shard] = 0;
                self.data.odd[shard] ^= ends;
            }
        }
    }

    /// Asks for everything anew.
    fn copy_again(&mut self, now: u64, out: &mut Vec<Act>) {
        self.turn += 1;
        self.joined = false;
        self.told = None;
        self.ask_to_join(now, out);
    }
}
