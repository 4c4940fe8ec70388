//! `ELECT HISTORY` and `ELECT FRAMES`: what a node tells those who are about to follow it, so that they need no copy.
//!
//! | command | answer |
//! |---|---|
//! | `ELECT HISTORY shard` | its epoch (0: it does not reign), flushes, number of shards, and where histories began |
//! | `ELECT OWN shard` | the epoch and flushes of its own stream, the last one: `FEED.READ` has that, if it still has it |
//! | `ELECT TRAIL shard next bytes` | 1: it is known that who asks has the stream before `next`, frames of so many bytes (0: not known); 2^64 - 1: it fetches no more |
//! | `ELECT COPY shard node` | about how many bytes a copy has (1 at least), if this node may copy now; 0 while another one does |
//! | `ELECT FRAMES shard epoch flushes offset count` | frames of that history that it received, as `FEED.READ` answers |
//!
//! They change no data. Only members are answered, by what stands behind each question (see `passes.rs`); whoever else asks is told `NOPERM`.

use crate::position::digest::VERB;
use crate::position::marks::Place;
use crate::shards::Shards;
use kevy_elect_plugin::ids::Epoch;
use kevy_resp::{encode_bulk, encode_error};
use kevy_rt::Store;
use kevy_store::ENTRY_OVERHEAD;
use std::sync::Arc;

pub(crate) const HISTORY: &str = "HISTORY";
pub(crate) const FRAMES: &str = "FRAMES";
pub(crate) const OWN: &str = "OWN";
pub(crate) const COPY: &str = "COPY";
pub(crate) const TRAIL: &str = "TRAIL";

/// What a key of usual length, and what surrounds it and its value, take in a copy.
const KEY_BYTES: u64 = 32;

/// Whether `argv` is for this module.
pub(crate) fn is_ours(argv: &[Vec<u8>]) -> bool {
    let is = |i: usize, word: &[u8]| argv.get(i).is_some_and(|there| there.eq_ignore_ascii_case(word));
    is(0, VERB) && [HISTORY, FRAMES, OWN, COPY, TRAIL].iter().any(|word| is(1, word.as_bytes()))
}

/// The shard that answers.
pub(crate) fn target(argv: &[Vec<u8>], shards: usize) -> usize {
    number(argv, 2).and_then(|shard| usize::try_from(shard).ok()).filter(|shard| *shard < shards).unwrap_or(0)
}

/// The whole answer, made on the shard that [`target`] named.
pub(crate) fn answer(shards: &Arc<Shards>, store: &Store, argv: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let Some((asker, argv)) = shards.member_passes().and_then(|passes| passes.question(argv)) else {
        encode_error(
            &mut out,
            "NOPERM only members of this cluster may ask that, and each question has to prove it",
        );
        return out;
    };
    let shard = number(argv, 2).and_then(|shard| usize::try_from(shard).ok());
    let Some(shard) = shard.filter(|shard| *shard < shards.count()) else {
        encode_error(
            &mut out,
            "ERR use ELECT HISTORY shard or ELECT FRAMES shard epoch flushes offset count",
        );
        return out;
    };
    let numbers: Option<Vec<u64>> = (3..7).map(|i| number(argv, i)).collect();
    if argv[1].eq_ignore_ascii_case(COPY.as_bytes()) {
        // Not for whom it says: for whom it is.
        let may = shards.may_copy(asker.as_str());
        kevy_resp::encode_integer(&mut out, if may { copy_bytes(store) } else { 0 });
        return out;
    }
    if argv[1].eq_ignore_ascii_case(OWN.as_bytes()) {
        let (epoch, flushes) = shards.own_stream(shard);
        encode_bulk(&mut out, format!("{} {flushes}", epoch.0).as_bytes());
        return out;
    }
    if argv[1].eq_ignore_ascii_case(TRAIL.as_bytes()) {
        if let (Some(next), Some(bytes)) = (number(argv, 3), number(argv, 4)) {
            shards.note_follower(shard, asker.as_str(), (next < u64::MAX).then_some(next), bytes);
        }
        kevy_resp::encode_integer(&mut out, 1);
        return out;
    }
    match (argv.len(), numbers.as_deref()) {
        (3, _) => encode_bulk(&mut out, shards.told(shard).write().as_bytes()),
        (7, Some(&[epoch, flushes, offset, count])) => {
            let from = Place { epoch: Epoch(epoch), flushes, offset };
            let count = usize::try_from(count).unwrap_or(usize::MAX).max(1);
            match shards.kept(shard, from, count) {
                Some(frames) => return frames,
                // As kevy says it of its own.
                None => encode_error(&mut out, "FEEDRESYNC this frame is not kept"),
            }
        }
        _ => encode_error(&mut out, "ERR wrong number of arguments, or one is no number"),
    }
    out
}

/// How large a copy of these keys becomes, about: kevy tells nobody before it is made.
fn copy_bytes(store: &Store) -> i64 {
    let keys = store.dbsize() as u64;
    let values = store.used_memory().saturating_sub(keys.saturating_mul(ENTRY_OVERHEAD));
    let bytes = values.saturating_add(keys.saturating_mul(KEY_BYTES));
    i64::try_from(bytes).unwrap_or(i64::MAX).max(1)
}

fn number(argv: &[Vec<u8>], i: usize) -> Option<u64> {
    crate::position::marks::number_of(argv.get(i)?)
}
