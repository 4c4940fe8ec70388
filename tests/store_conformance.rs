//! What every vote store must do: one suite over `dyn VoteStore`, run for each implementation on each way
//! of polling. What only the file can do wrong is in `store_file.rs`.

// Clippy knows only `#[test]` functions as tests, not the helpers beside them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures::executor::block_on;
use futures::future::FutureExt;
use kevy_elect_plugin::ids::{EPOCH_MAX, Epoch, Incarnation, NodeId};
use kevy_elect_plugin::message::Standing;
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::store::{
    FileVoteStore, Hang, HardState, MemoryVoteStore, StoreError, VoteStore, decode_vote, encode_vote,
};
use std::sync::Arc;
use std::time::Duration;

/// Far above what is ever needed, so that only a hang hits it.
const PATIENCE: Duration = Duration::from_secs(60);

/// One place where a record is kept, by a store that can be stopped and started.
trait Place {
    /// Starts a store on the place. The one before has been dropped.
    fn start(&self) -> Arc<dyn VoteStore>;
    /// Makes saves fail, or no longer.
    fn set_broken(&self, broken: bool);
    /// Leaves a damaged record behind.
    fn damage(&self);
}

struct InMemory(MemoryVoteStore);

impl Place for InMemory {
    fn start(&self) -> Arc<dyn VoteStore> {
        Arc::new(self.0.clone())
    }
    fn set_broken(&self, broken: bool) {
        self.0.fail_next(if broken { u32::MAX } else { 0 });
    }
    fn damage(&self) {
        self.0.damage();
    }
}

struct InFile(tempfile::TempDir);

impl Place for InFile {
    fn start(&self) -> Arc<dyn VoteStore> {
        // An abandoned save of the store before may hold the lock for the length of one write, and of one sync.
        let begun = std::time::Instant::now();
        while begun.elapsed() < PATIENCE {
            match FileVoteStore::open(self.0.path().join("vote")) {
                Err(StoreError::Locked { .. }) => std::thread::sleep(Duration::from_millis(1)),
                opened => return Arc::new(opened.unwrap()),
            }
        }
        panic!("the lock of a dropped store was never released");
    }
    fn set_broken(&self, broken: bool) {
        // Another file in the place of the one that is open, and a directory in the way of a new one, stop even root.
        let (blocked, temp) = (self.0.path().join("vote.tmp/x"), self.0.path().join("vote.tmp"));
        if broken {
            let (path, copy) = (self.0.path().join("vote"), self.0.path().join("copy"));
            std::fs::copy(&path, &copy).unwrap();
            std::fs::rename(&copy, &path).unwrap();
            std::fs::create_dir_all(blocked).unwrap();
        } else {
            std::fs::remove_dir_all(temp).unwrap();
        }
    }
    fn damage(&self) {
        let path = self.0.path().join("vote");
        let mut record = std::fs::read(&path).unwrap_or_default();
        // Both copies.
        for copy in record.chunks_mut(4096) {
            copy[80] ^= 1;
        }
        std::fs::write(path, record).unwrap();
    }
}

macro_rules! suite {
    ($($name:ident)*) => {
        mod memory { $(#[test] fn $name() { super::$name(&super::InMemory(Default::default())); })* }
        mod file { $(#[test] fn $name() { super::$name(&super::InFile(tempfile::tempdir().unwrap())); })* }
    };
}

suite! {
    a_new_store_has_no_record
    what_was_saved_is_loaded_now_and_after_a_restart
    the_newest_save_wins
    any_bytes_are_kept_as_they_are
    a_failed_save_leaves_the_old_state
    an_abandoned_save_takes_effect_before_later_calls_or_never
    a_damaged_record_is_an_error_and_never_a_missing_one
    an_empty_record_is_damaged_and_not_missing
    a_save_after_damage_repairs_the_record
    calls_work_from_any_thread_and_executor
}

fn state(n: u64) -> HardState {
    HardState {
        epoch: Epoch(n),
        voted_for: Some(NodeId::new(&format!("n{n}")).unwrap()),
        standing: Standing::Member,
        incarnation: Incarnation(n),
        identity: None,
        members: None,
        promise: kevy_elect_plugin::time::Duration::from_secs(1),
        pause: None,
        floor: kevy_elect_plugin::position::Progress::NONE,
        position: Position::NONE,
    }
}

fn load(store: &Arc<dyn VoteStore>) -> Result<Option<HardState>, StoreError> {
    let damaged = |reason: String| StoreError::Corrupt { path: store.place(), reason };
    let record = block_on(store.load())?;
    record.map(|record| decode_vote(&record).map_err(|error| damaged(error.to_string()))).transpose()
}

fn bytes(state: &HardState) -> Vec<u8> {
    encode_vote(state).unwrap()
}

fn save(store: &Arc<dyn VoteStore>, state: &HardState) -> Result<(), StoreError> {
    block_on(store.save(&bytes(state)))
}

fn a_new_store_has_no_record(place: &dyn Place) {
    assert_eq!(load(&place.start()).unwrap(), None);
    assert_eq!(load(&place.start()).unwrap(), None, "loading must not make a record");
}

fn what_was_saved_is_loaded_now_and_after_a_restart(place: &dyn Place) {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..100 {
        let voted_for = match random.u8(0..4) {
            0 => None,
            1 => Some(NodeId::new("none").unwrap()),
            _ => {
                let id: String = (0..random.usize(1..=63)).map(|_| random.alphanumeric()).collect();
                Some(NodeId::new(&id).unwrap())
            }
        };
        let saved = HardState {
            epoch: Epoch(random.u64(..=EPOCH_MAX.0)),
            voted_for,
            standing: if random.bool() { Standing::Member } else { Standing::New },
            incarnation: Incarnation(random.u64(..)),
            identity: None,
            members: None,
            promise: kevy_elect_plugin::time::Duration::from_secs(1),
            pause: None,
            floor: kevy_elect_plugin::position::Progress::NONE,
            position: Position::NONE,
        };
        let store = place.start();
        save(&store, &saved).unwrap();
        assert_eq!(load(&store).unwrap().as_ref(), Some(&saved));
        drop(store);
        assert_eq!(load(&place.start()).unwrap(), Some(saved));
    }
}

fn the_newest_save_wins(place: &dyn Place) {
    let store = place.start();
    // Not in the order of their epochs: the store keeps what it is given and judges nothing.
    for n in [5, 3, 9, 1] {
        save(&store, &state(n)).unwrap();
    }
    assert_eq!(load(&store).unwrap(), Some(state(1)));
}

/// A store looks into nothing that it keeps: what a later release adds to the record is kept by stores of today.
fn any_bytes_are_kept_as_they_are(place: &dyn Place) {
    let mut random = fastrand::Rng::with_seed(3);
    for length in [1, 2, 100, 511, 512, 513, 4000] {
        let record: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        block_on(place.start().save(&record)).unwrap();
        block_on(place.start().save_position(&record[1..])).unwrap();
        assert_eq!(block_on(place.start().load()).unwrap(), Some(record.clone()));
        assert_eq!(block_on(place.start().load_position()).unwrap(), Some(record[1..].to_vec()));
    }
}

fn a_failed_save_leaves_the_old_state(place: &dyn Place) {
    let store = place.start();
    save(&store, &state(1)).unwrap();
    for n in 2..5 {
        place.set_broken(true);
        let error = save(&store, &state(n)).unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
        assert_eq!(load(&store).unwrap(), Some(state(1)));
    }
    place.set_broken(false);
    drop(store);
    let store = place.start();
    assert_eq!(load(&store).unwrap(), Some(state(1)));
    save(&store, &state(5)).unwrap();
    assert_eq!(load(&store).unwrap(), Some(state(5)), "a failure is not for ever");
}

fn an_abandoned_save_takes_effect_before_later_calls_or_never(place: &dyn Place) {
    let store = place.start();
    save(&store, &state(1)).unwrap();
    let mut newest = 1;
    for round in 1..200 {
        // Polled once, so that it has begun, then dropped; several in a row, so that they queue up.
        for abandoned in 0..round % 4 {
            let _ = store.save(&bytes(&state(1_000 + abandoned))).now_or_never();
        }
        if round % 2 == 0 {
            let loaded = load(&store).unwrap().unwrap();
            assert!(
                loaded == state(newest) || loaded.epoch >= Epoch(1_000),
                "neither old nor new: {loaded:?}"
            );
            assert_eq!(load(&store).unwrap(), Some(loaded), "an abandoned save overtook a later load");
        }
        newest = 1 + round;
        save(&store, &state(newest)).unwrap();
        for _ in 0..3 {
            assert_eq!(load(&store).unwrap(), Some(state(newest)), "an abandoned save overtook a later one");
        }
    }
    drop(store);
    assert_eq!(load(&place.start()).unwrap(), Some(state(newest)));
}

fn a_damaged_record_is_an_error_and_never_a_missing_one(place: &dyn Place) {
    let store = place.start();
    save(&store, &state(1)).unwrap();
    // A file gets its second copy after the save is answered, and a load waits for that: damage before it would be mended.
    assert_eq!(load(&store).unwrap(), Some(state(1)));
    place.damage();
    for _ in 0..2 {
        let error = load(&store).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    }
    drop(store);
    let text = load(&place.start()).unwrap_err().to_string();
    assert!(text.contains("checksum") && text.contains("must not vote"), "{text}");
}

fn an_empty_record_is_damaged_and_not_missing(place: &dyn Place) {
    place.damage();
    let error = load(&place.start()).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { reason, .. } if reason == "it is empty"), "{error:?}");
}

fn a_save_after_damage_repairs_the_record(place: &dyn Place) {
    let store = place.start();
    save(&store, &state(1)).unwrap();
    place.damage();
    save(&store, &state(2)).unwrap();
    assert_eq!(load(&store).unwrap(), Some(state(2)));
}

fn calls_work_from_any_thread_and_executor(place: &dyn Place) {
    let store = place.start();
    let other = store.clone();
    std::thread::spawn(move || save(&other, &state(1)).unwrap()).join().unwrap();
    let mut pool = futures::executor::LocalPool::new();
    pool.run_until(store.save(&bytes(&state(2)))).unwrap();
    assert_eq!(async_io::block_on(store.load()).unwrap(), Some(bytes(&state(2))));
}

#[test]
fn a_memory_store_hangs_where_it_is_told_to() {
    for (place, kept) in [(Hang::Before, 1), (Hang::After, 2)] {
        let store = MemoryVoteStore::new();
        block_on(store.save(&bytes(&state(1)))).unwrap();
        store.hang(place);
        assert!(store.save(&bytes(&state(2))).now_or_never().is_none());
        assert_eq!(block_on(store.load()).unwrap(), Some(bytes(&state(kept))), "abandoned: {place:?}");

        let new = bytes(&state(3));
        let mut hanging = store.save(&new);
        assert!((&mut hanging).now_or_never().is_none());
        assert_eq!((store.hanging(), store.saves()), (1, 1));
        store.release();
        hanging.now_or_never().unwrap().unwrap();
        assert_eq!((store.hanging(), store.saves()), (0, 2));
        assert_eq!(block_on(store.load()).unwrap(), Some(bytes(&state(3))));
    }
}

#[test]
fn a_hanging_save_wakes_the_task_that_waits_for_it() {
    let store = MemoryVoteStore::new();
    store.hang(Hang::Before);
    let releaser = store.clone();
    let saved = std::thread::spawn(move || block_on(store.save(&bytes(&state(1)))));
    while releaser.hanging() == 0 {
        std::thread::yield_now();
    }
    releaser.release();
    saved.join().unwrap().unwrap();
    assert_eq!(releaser.saves(), 1);
}

#[test]
fn a_memory_store_fails_as_often_as_it_is_told_to() {
    let store = MemoryVoteStore::new();
    store.fail_next(2);
    let results: Vec<bool> = (0..4).map(|n| block_on(store.save(&bytes(&state(n)))).is_ok()).collect();
    assert_eq!(results, [false, false, true, true]);
    assert_eq!(store.saves(), 2);
    store.wipe();
    assert_eq!(block_on(store.load()).unwrap(), None);
}
