//! A node's keys folded into a few numbers, and the walk over its shards.

use crate::client::Node;
use crate::record::{self, Record};
use crate::{CompareError, Walk};
use std::collections::BTreeMap;
use std::time::Duration;

/// Keys in a bucket, on average.
const BUCKET_KEYS: u64 = 64;
/// Buckets at least and at most, as powers of two: 16 KiB and 16 MiB of memory for a node.
const BITS: std::ops::RangeInclusive<u32> = 10..=20;
/// A shard's table grows a few times while it is walked over; more is a load that nothing can be compared under.
const ANEW_MAX: usize = 20;
/// Bytes of a brief record.
const BRIEF: usize = 24;

/// How many bits of a key's hash name its bucket.
pub(crate) fn bits(keys: u64) -> u32 {
    (keys / BUCKET_KEYS).checked_ilog2().unwrap_or(0).clamp(*BITS.start(), *BITS.end())
}

/// All keys of a node.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fold {
    buckets: Vec<[u64; 2]>,
    pub(crate) keys: u64,
}

impl Fold {
    fn new(bits: u32) -> Self {
        Self { buckets: vec![[0; 2]; 1 << bits], keys: 0 }
    }

    /// Adds a key. Its deadline is taken on two grids, shifted by half a step: nodes keep deadlines on their own clocks,
    /// some milliseconds apart, and what lies at an edge of one grid lies in the middle of the other.
    fn add(&mut self, hash: u64, digest: u64, deadline_ms: u64, step_ms: u64) {
        let bits = self.buckets.len().ilog2();
        let bucket = &mut self.buckets[(hash >> (64 - bits)) as usize];
        for (sum, shift) in bucket.iter_mut().zip([0, step_ms / 2]) {
            let step = if deadline_ms == 0 { 0 } else { 1 + (deadline_ms + shift) / step_ms };
            *sum = sum.wrapping_add(mix(hash, mix(digest, step)));
        }
        self.keys += 1;
    }

    fn merge(&mut self, other: &Self) {
        for (sums, more) in self.buckets.iter_mut().zip(&other.buckets) {
            for (sum, more) in sums.iter_mut().zip(more) {
                *sum = sum.wrapping_add(*more);
            }
        }
        self.keys += other.keys;
    }

    /// The buckets in which they differ.
    pub(crate) fn differing(&self, other: &Self) -> Vec<u32> {
        let pairs = self.buckets.iter().zip(&other.buckets).zip(0..);
        pairs.filter(|((a, b), _)| a[0] != b[0] && a[1] != b[1]).map(|(_, bucket)| bucket).collect()
    }
}

/// Folds all shards of a node.
pub(crate) fn fold(node: &mut Node, walk: &Walk, slack: Duration) -> Result<Fold, CompareError> {
    let step_ms = u64::try_from(slack.as_millis()).unwrap_or(u64::MAX / 4).max(2);
    let mut whole = Fold::new(walk.bits);
    for shard in 0..walk.shards {
        let mut of_shard = Fold::new(walk.bits);
        walk_shard(node, shard, walk, None, |records| match records {
            None => {
                of_shard = Fold::new(walk.bits);
                Some(())
            }
            Some(records) => {
                let (records, rest) = records.as_chunks::<BRIEF>();
                for record in records {
                    let number = |at: usize| record[at..].first_chunk().map_or(0, |n| u64::from_le_bytes(*n));
                    of_shard.add(number(0), number(8), number(16), step_ms);
                }
                rest.is_empty().then_some(())
            }
        })?;
        whole.merge(&of_shard);
    }
    Ok(whole)
}

/// Every key of a node that is in one of `buckets`, with its shard.
pub(crate) fn keys_in(
    node: &mut Node,
    walk: &Walk,
    buckets: &[u32],
) -> Result<BTreeMap<Vec<u8>, (usize, Record)>, CompareError> {
    let buckets: Vec<u8> = buckets.iter().flat_map(|bucket| bucket.to_le_bytes()).collect();
    let mut all = BTreeMap::new();
    for shard in 0..walk.shards {
        let mut of_shard = BTreeMap::new();
        walk_shard(node, shard, walk, Some(&buckets), |records| match records {
            // Keys that come twice do no harm here.
            None => Some(()),
            Some(records) => record::parse(records, &mut of_shard),
        })?;
        all.extend(of_shard.into_iter().map(|(key, record)| (key, (shard, record))));
    }
    Ok(all)
}

/// Walks over a shard; `take` gets the records of each slice, and `None` when all that it got does not count.
fn walk_shard(
    node: &mut Node,
    shard: usize,
    walk: &Walk,
    buckets: Option<&[u8]>,
    mut take: impl FnMut(Option<&[u8]>) -> Option<()>,
) -> Result<(), CompareError> {
    let (mut cursor, mut anew) = (0, 0);
    loop {
        let slice = node.scan(shard, cursor, walk.cutoff, buckets.map(|buckets| (walk.bits, buckets)))?;
        if slice.anew {
            anew += 1;
            if anew > ANEW_MAX {
                return Err(
                    node.failed(format!("gets new keys so fast that shard {shard} cannot be walked over"))
                );
            }
        }
        let taken = if slice.anew { take(None) } else { take(Some(&slice.records)) };
        taken.ok_or_else(|| node.failed("sends records that are cut".to_owned()))?;
        cursor = slice.next;
        if cursor == 0 && !slice.anew {
            return Ok(());
        }
    }
}

/// Sums of these are as good as random: a bit of either number changes all bits.
fn mix(a: u64, b: u64) -> u64 {
    let mut x = a ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(keys: impl IntoIterator<Item = (u64, u64, u64)>) -> Fold {
        let mut fold = Fold::new(10);
        keys.into_iter().for_each(|(key, digest, deadline)| fold.add(mix(key, 1), digest, deadline, 1000));
        fold
    }

    #[test]
    fn the_order_does_not_matter_and_every_key_does() {
        let keys = || (0..10_000).map(|key| (key, mix(key, 2), 0));
        let all = of(keys());
        assert_eq!(all, of(keys().rev()));
        assert_eq!(all.differing(&of(keys())), []);
        assert_eq!(all.differing(&of(keys().skip(1))), [(mix(0, 1) >> 54) as u32]);
        let changed = keys().map(|(key, digest, _)| (key, digest + u64::from(key == 7), 0));
        assert_eq!(all.differing(&of(changed)), [(mix(7, 1) >> 54) as u32]);
        // A key twice is not no key.
        assert_eq!(of([(1, 2, 0), (1, 2, 0)]).differing(&of([])), [(mix(1, 1) >> 54) as u32]);
    }

    #[test]
    fn ends_some_milliseconds_apart_are_one_and_a_step_apart_are_two() {
        for deadline in (1_000_000..1_002_000).step_by(7) {
            let here = of([(1, 2, deadline)]);
            assert_eq!(here.differing(&of([(1, 2, deadline + 3)])), [], "{deadline}");
            assert_ne!(here.differing(&of([(1, 2, deadline + 1000)])), [], "{deadline}");
            assert_ne!(here.differing(&of([(1, 2, 0)])), [], "{deadline}");
        }
    }

    #[test]
    fn a_node_takes_bounded_memory_however_many_keys_it_has() {
        assert_eq!((bits(0), bits(1_000_000), bits(u64::MAX)), (10, 13, 20));
    }
}
