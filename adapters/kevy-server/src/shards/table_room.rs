//! Room in a shard's table before very many keys come into it.
//!
//! A snapshot, and a log that was written anew, list their keys in the order in which a table had them. kevy 7.0.0 looks for a
//! free place step by step from where a key's hash points to, and its hash is the same everywhere. So in a table that has yet to grow these
//! keys pile up, one behind the other: with five million of them a start took minutes instead of seconds. In a table that has
//! room for all of them from the beginning they do not. kevy has no call for that, but a table keeps its room when what is in it is deleted.

use super::Shards;
use kevy_rt::Store;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::Ordering;

/// Fewer keys do not pile up noticeably.
const KEYS_MIN: u64 = 100_000;
/// More than this is made no room for: it would be more than a table has that fills a machine's memory.
const KEYS_MAX: u64 = 1 << 32;
/// Keys that are deleted at once.
const BATCH: u64 = 1024;

impl Shards {
    /// So many keys are on their way into the shard.
    pub(crate) fn expect_keys(&self, shard: usize, keys: u64) {
        self.shards[shard].expected_keys.store(keys, Ordering::Release);
    }

    /// Makes room for the keys that are expected; by the shard's thread.
    pub(super) fn make_room(&self, shard: usize, store: &mut Store) {
        let keys = self.shards[shard].expected_keys.swap(0, Ordering::AcqRel);
        if (KEYS_MIN..KEYS_MAX).contains(&keys) {
            grow(store, keys);
        }
    }

    /// The first record of the shard's log is about to be applied: all that it was written anew with follows.
    pub(super) fn make_room_for_log(&self, shard: usize, store: &mut Store) {
        if self.shards[shard].roomy.swap(true, Ordering::AcqRel) {
            return;
        }
        // What cannot be read here cannot be read by kevy either, which says so.
        let keys = self.disk().filter(|disk| disk.logs).and_then(|disk| disk.keys_in_base(shard).ok());
        self.expect_keys(shard, keys.unwrap_or(0));
        self.make_room(shard, store);
    }
}

/// Lets the table grow until it has room for so many keys. What is in it stays.
fn grow(store: &mut Store, keys: u64) {
    let was_empty = store.dbsize() == 0;
    let missing = keys.saturating_sub(store.dbsize() as u64);
    // Nobody else's keys are called like that.
    let nobodys = RandomState::new().build_hasher().finish().to_le_bytes();
    let key = |number: u64| [nobodys, number.to_le_bytes()].concat();
    for number in 0..missing {
        store.load_str(key(number), Vec::new(), None);
    }
    if was_empty {
        store.flushall();
        return;
    }
    for from in (0..missing).step_by(BATCH as usize) {
        let keys: Vec<Vec<u8>> = (from..missing.min(from + BATCH)).map(key).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        store.del(&keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// The order in which a table has its keys.
    fn listed(keys: u64) -> Vec<Vec<u8>> {
        let mut store = Store::new();
        (0..keys).for_each(|number| store.load_str(number.to_string().into_bytes(), b"v".to_vec(), None));
        store.collect_keys(None, None)
    }

    fn load(store: &mut Store, keys: &[Vec<u8>]) -> Duration {
        let begun = Instant::now();
        keys.iter().for_each(|key| store.load_str(key.clone(), b"v".to_vec(), None));
        begun.elapsed()
    }

    /// Fails once kevy's tables do without.
    #[test]
    fn what_another_table_lists_does_not_pile_up_where_there_is_room() {
        // Between two sizes of a table, where it is worst.
        let keys = listed(150_000);
        let (mut roomy, mut small) = (Store::new(), Store::new());
        grow(&mut roomy, keys.len() as u64);
        assert!(roomy.dbsize() == 0);
        let (with, without) = (load(&mut roomy, &keys), load(&mut small, &keys));
        assert_eq!((roomy.dbsize(), small.dbsize()), (keys.len(), keys.len()));
        assert!(with * 2 < without, "{with:?} with room, {without:?} without");
    }

    #[test]
    fn what_is_in_the_table_stays() {
        let mut store = Store::new();
        store.load_str(b"k".to_vec(), b"v".to_vec(), None);
        grow(&mut store, 10_000);
        assert_eq!((store.dbsize(), store.exists(&[b"k"])), (1, 1));
    }
}
