//! What servers say to each other, and what they want done.

use crate::ids::Epoch;
use crate::sim::data::{Beginning, Cut, Data, Offsets, Place, SHARDS};

/// What a primary says of its histories, shard by shard (C2).
#[derive(Debug, Clone)]
pub(in crate::sim) struct Way {
    pub(in crate::sim) turn: u64,
    pub(in crate::sim) epoch: Epoch,
    /// Where it is.
    pub(in crate::sim) ends: [Place; SHARDS],
    /// On which path it came there.
    pub(in crate::sim) paths: [Vec<Beginning>; SHARDS],
}

/// What servers say to each other.
#[derive(Debug, Clone)]
pub(in crate::sim) enum Payload {
    /// "Send me all you have, then the stream of this epoch", or, not `whole`, "how did you come there?"
    Join { epoch: Epoch, turn: u64, whole: bool },
    /// All there is.
    Snapshot { turn: u64, data: Box<Data> },
    /// The path to the history of this primary.
    Path(Box<Way>),
    /// "Give me the frames of this history behind `after`, up to there."
    Fetch { turn: u64, shard: usize, after: Place, upto: u64 },
    /// They are, up to there, and so many are not among them; `None`: this node does not have them.
    Given { turn: u64, shard: usize, after: Place, given: Option<(u64, u64)> },
    /// "Send me the stream of this epoch from here on."
    Attach { epoch: Epoch, turn: u64, offsets: Offsets },
    /// It comes; what ends when, there; and how many frames are left out.
    Attached { turn: u64, ends: [u64; SHARDS], lost: Offsets },
    /// "What was written behind these places while I load my copy?" (C14)
    Lacks { epoch: Epoch, turn: u64, after: Offsets },
    /// All up to here.
    Written(Written),
    /// What is between is not there any more.
    Gone { turn: u64 },
    /// The stream of all shards up to here.
    Stream { turn: u64, offsets: Offsets },
    /// The stream of one shard.
    Frames(Frames),
    /// A replica holds the stream of this epoch so far.
    Ack { epoch: Epoch, offsets: Offsets },
}

/// What a primary wrote while a replica loads a copy.
#[derive(Debug, Clone, Copy)]
pub(in crate::sim) struct Written {
    pub(in crate::sim) turn: u64,
    pub(in crate::sim) after: Offsets,
    pub(in crate::sim) upto: Offsets,
    pub(in crate::sim) ends: [u64; SHARDS],
    /// The newest cut that is among them.
    pub(in crate::sim) cut: Cut,
}

/// What a stream of one shard brings.
#[derive(Debug, Clone, Copy)]
pub(in crate::sim) struct Frames {
    pub(in crate::sim) turn: u64,
    pub(in crate::sim) shard: usize,
    /// All up to here.
    pub(in crate::sim) upto: u64,
    /// When the shard's key with an end ends, there.
    pub(in crate::sim) ends: u64,
    /// How far the primary itself is.
    pub(in crate::sim) head: u64,
    /// The newest cut that is among them.
    pub(in crate::sim) cut: Cut,
}

/// What a server wants done, in this order.
#[derive(Debug)]
pub(in crate::sim) enum Act {
    Send(usize, Payload),
    /// A snapshot came in: it takes a while to load.
    Load {
        turn: u64,
        data: Box<Data>,
    },
    /// It has joined the history of the primary that it was told to follow: it went on there, or has a copy.
    Joined {
        continued: bool,
    },
    /// A shard went on towards the history of this epoch.
    Continues(Epoch, usize),
    /// The position may have changed.
    Moved,
    /// A quorum holds the writes of this epoch up to here.
    Confirmed(Epoch, Offsets),
    /// A copy of what it held is gone, and it says so.
    CopyLost,
    /// For the trace.
    Note(String),
}
