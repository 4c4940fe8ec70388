//! What a server keeps of streams, continuations and waiting clients.

use super::act::{Act, Way};
use crate::ids::Epoch;
use crate::sim::data::{Beginning, Cut, Data, Offsets, Place, SHARDS, WRITE};
use crate::sim::rng::Rng;
use std::collections::VecDeque;

/// An order to one shard, in the way of frames (C7): its data, which is at `meant`, is now at `to`.
#[derive(Debug, Clone)]
pub(super) struct Order {
    /// The history that is joined in the end.
    pub(super) joins: Epoch,
    pub(super) meant: Place,
    pub(super) to: Place,
    /// The path to a history that begins.
    pub(super) path: Vec<Beginning>,
    /// Frames that are not among those that were fetched.
    pub(super) lost: u64,
    /// Carried out wherever the data is.
    pub(super) unchecked: bool,
}

/// What a shard has to do next.
pub(super) enum Next {
    /// It is in the history of the primary.
    Nothing,
    /// It is where that history begins on the path.
    Pass(Epoch),
    /// It lacks the frames up to this offset.
    Fetch(u64),
    Copy(&'static str),
}

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Continuation {
    pub(super) way: Option<Way>,
    pub(super) orders: [Option<Order>; SHARDS],
    pub(super) asked_at: [u64; SHARDS],
    pub(super) tries: [usize; SHARDS],
    pub(super) attach_at: u64,
    /// A copy has come, and not every shard has put it in place.
    pub(super) copying: bool,
    pub(super) copy: Option<Box<Data>>,
    /// What was written meanwhile (C14).
    pub(super) spool: Option<Spool>,
    /// The copy is in place, and it goes on from there.
    pub(super) copied: bool,
}

/// What a node fetches beside a copy: from the place of the copy on, without a gap.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spool {
    pub(super) upto: Offsets,
    pub(super) ends: [u64; SHARDS],
    pub(super) cut: Cut,
    /// Frames that are not among them.
    pub(super) lost: Offsets,
    /// Nothing has come yet.
    pub(super) first: bool,
    pub(super) asked_at: u64,
}

/// A replica that copies: when it last asked, and up to where it has all.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fetching {
    pub(super) seen_at: u64,
    pub(super) upto: Offsets,
}

/// The last frames that a server received, each with its place (C6), for peers that lack them.
#[derive(Debug, Clone, Default)]
pub(super) struct Ring {
    pub(super) frames: [VecDeque<Place>; SHARDS],
    /// Up to where the wrong server takes the end of its log to go.
    pub(super) miscounted: [Place; SHARDS],
}

impl Ring {
    /// How many of the writes behind `after`, up to `upto`, are not here.
    pub(super) fn lacks(&self, shard: usize, after: Place, upto: u64) -> u64 {
        let wanted = |place: &&Place| {
            let is_write = place.offset.is_multiple_of(WRITE);
            is_write && place.epoch == after.epoch && place.offset > after.offset && place.offset <= upto
        };
        (upto / WRITE)
            .saturating_sub(after.offset / WRITE)
            .saturating_sub(self.frames[shard].iter().filter(wanted).count() as u64)
    }
}

/// What came in and waits to be applied, per shard.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Inbox {
    /// The history that it is of.
    pub(super) of: Epoch,
    pub(super) upto: Offsets,
    pub(super) ends: [u64; SHARDS],
    /// How far the primary is, as it said.
    pub(super) head: Offsets,
    /// When something last came.
    pub(super) moved: [u64; SHARDS],
    /// The newest cut that came, on each shard, and the newest that is applied there.
    pub(super) cuts: [Cut; SHARDS],
    pub(super) applied: [Cut; SHARDS],
}

impl Inbox {
    /// Where a copy leaves off.
    pub(super) fn new(data: &Data, now: u64) -> Self {
        let (of, upto) = (data.last().epoch, data.last().offsets);
        let cuts = [if data.cut_in == of { data.cut } else { Cut::default() }; SHARDS];
        let ends = data.lanes.each_ref().map(|lane| lane.ends);
        Self { of, upto, ends, head: upto, moved: [now; SHARDS], cuts, applied: cuts }
    }
}

/// The most clients that wait at one server.
const PARKED_MAX: usize = 4;

/// Clients that asked for a write to be confirmed: the reign in which they asked, the shard, the offset.
#[derive(Debug, Default)]
pub(super) struct Parked(Vec<(Epoch, usize, u64)>);

impl Parked {
    pub(super) fn ask(&mut self, epoch: Epoch, shard: usize, offset: u64, rng: &mut Rng) {
        if self.0.len() < PARKED_MAX && rng.chance(300) {
            self.0.push((epoch, shard, offset));
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Those whose write is among what was confirmed.
    pub(super) fn answer(&mut self, confirmed: &Offsets, out: &mut Vec<Act>) {
        self.0.retain(|(epoch, shard, offset)| {
            let waits = confirmed[*shard] < *offset;
            if !waits {
                let mut offsets = [0; SHARDS];
                offsets[*shard] = *offset;
                out.push(Act::Confirmed(*epoch, offsets));
            }
            waits
        });
    }
}
