//! What only a vote record in a file can do wrong: damage, locks, directories, disks that refuse.

// Clippy knows only `#[test]` functions as tests, not the helpers beside them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures::executor::block_on;
use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId};
use kevy_elect_plugin::message::Standing;
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::store::{
    FileVoteStore, HardState, StoreError, VoteStore, decode_position, decode_vote, encode_position,
    encode_vote,
};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

fn state(epoch: u64) -> HardState {
    HardState {
        epoch: Epoch(epoch),
        voted_for: Some(NodeId::new("n2").unwrap()),
        standing: Standing::Member,
        incarnation: Incarnation(9),
        identity: None,
        members: None,
        promise: kevy_elect_plugin::time::Duration::from_secs(1),
        pause: None,
        floor: kevy_elect_plugin::position::Progress::NONE,
        position: Position::NONE,
    }
}

/// The thread that did the last save of a store that is gone may hold its file for a moment longer.
fn open(path: &Path) -> FileVoteStore {
    for _ in 0..1_000_000 {
        match FileVoteStore::open(path) {
            Err(StoreError::Locked { .. }) => std::thread::yield_now(),
            store => return store.unwrap(),
        }
    }
    panic!("{} stays locked", path.display())
}

fn load(store: &FileVoteStore) -> Result<Option<HardState>, StoreError> {
    Ok(block_on(store.load())?.map(|record| decode_vote(&record).unwrap()))
}

fn save(store: &FileVoteStore, epoch: u64) -> Result<(), StoreError> {
    block_on(store.save(&encode_vote(&state(epoch)).unwrap()))?;
    copied(store.path());
    Ok(())
}

/// Waits until both slots have the record: the copy is made when the save has been answered.
fn copied(path: &Path) {
    for _ in 0..1_000_000 {
        match fs::read(path) {
            Ok(bytes) if bytes.len() == 2 * SLOT && bytes[..SLOT] != bytes[SLOT..] => {
                std::thread::yield_now()
            }
            _ => return,
        }
    }
    panic!("the two slots of {} differ", path.display());
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[track_caller]
fn assert_corrupt(store: &FileVoteStore, what: &str) {
    match load(store) {
        Err(StoreError::Corrupt { path, reason }) => {
            assert!(path.ends_with("vote") && !reason.is_empty(), "{what}: {path:?} {reason:?}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

/// The bytes of a slot, and of a sector of an old disk.
const SLOT: usize = 4096;
const SECTOR: usize = 512;

/// A record that fills several sectors, as that of a position does.
fn long(n: u8) -> Vec<u8> {
    vec![b'a' + n; 3 * SECTOR]
}

/// What loading a file with these bytes gives.
fn loaded(path: &Path, bytes: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    fs::write(path, bytes).unwrap();
    block_on(open(path).load())
}

/// The file before and after the save of the second record, as it is at the moment in which the save returns: what is
/// copied to the other slot afterwards is not synced.
fn images(path: &Path, old: &[u8], new: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let store = open(path);
    block_on(store.save(b"before")).unwrap();
    block_on(store.save(old)).unwrap();
    copied(path);
    let before = fs::read(path).unwrap();
    block_on(store.save(new)).unwrap();
    copied(path);
    let mut after = fs::read(path).unwrap();
    // Saves alternate: the third is in the first slot. The copy in the second may not be on the disk.
    after[SLOT..].copy_from_slice(&before[SLOT..]);
    (before, after)
}

#[test]
fn an_interrupted_save_leaves_the_old_record_or_the_new_one_whichever_sectors_were_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vote");
    let sectors = SLOT / SECTOR;
    for (old, new) in [(long(0), long(1)), (long(0), b"short".to_vec()), (b"short".to_vec(), long(1))] {
        let (before, after) = images(&path, &old, &new);
        for written in 0_u32..1 << sectors {
            // In any order, so any of them may be the ones that are there.
            let mut torn = before.clone();
            for sector in (0..sectors).filter(|sector| written & 1 << sector != 0) {
                let bytes = sector * SECTOR..(sector + 1) * SECTOR;
                torn[bytes.clone()].copy_from_slice(&after[bytes]);
            }
            let found = loaded(&path, &torn).unwrap().unwrap();
            assert!(found == old || found == new, "sectors {written:#b} gave {} bytes", found.len());
            if written + 1 == 1 << sectors {
                assert_eq!(found, new, "all that was acknowledged is there");
            }
        }
        for length in (0..SLOT).step_by(61) {
            let short = [&after[..length], &before[length..]].concat();
            let found = loaded(&path, &short).unwrap().unwrap();
            assert!(found == old || found == new, "{length} bytes gave {} bytes", found.len());
        }
    }
}

/// After a save that was torn the next ones are as safe as ever.
#[test]
fn a_torn_slot_is_written_again_and_the_good_one_kept_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vote");
    let (before, _) = images(&path, &long(0), &long(1));
    let mut torn = before.clone();
    torn[..SLOT].fill(b'x');
    fs::write(&path, &torn).unwrap();
    let store = open(&path);
    assert_eq!(block_on(store.load()).unwrap(), Some(long(0)));
    block_on(store.save(&long(2))).unwrap();
    copied(&path);
    let after = fs::read(&path).unwrap();
    let mut lost = after.clone();
    // As if the copy in the second slot had not reached the disk.
    lost[SLOT..].copy_from_slice(&before[SLOT..]);
    drop(store);
    assert_eq!(loaded(&path, &lost).unwrap(), Some(long(2)));
    lost[..SLOT].fill(0);
    assert_eq!(loaded(&path, &lost).unwrap(), Some(long(0)), "the slot that was good stayed so");
}

/// Damage to one slot never brings an older vote back: the other one has the newest, too.
#[test]
fn no_flipped_bit_gives_an_older_record_and_none_in_both_slots_gives_any() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vote");
    let store = open(&path);
    for epoch in 5..8 {
        save(&store, epoch).unwrap();
    }
    drop(store);
    let good = fs::read(&path).unwrap();
    assert_eq!(good.len(), 2 * SLOT);
    let store = open(&path);
    let used = good.iter().position(|byte| *byte == 0).unwrap();
    for at in 0..used {
        for mask in (0..8).map(|bit| 1 << bit).chain([0xff]) {
            let mut bad = good.clone();
            bad[at] ^= mask;
            fs::write(&path, &bad).unwrap();
            assert_eq!(load(&store).unwrap(), Some(state(7)), "byte {at} xor {mask:#04x} of the first slot");
            bad[at] ^= mask;
            bad[at + SLOT] ^= mask;
            fs::write(&path, &bad).unwrap();
            assert_eq!(load(&store).unwrap(), Some(state(7)), "byte {at} xor {mask:#04x} of the second slot");
            bad[at] ^= mask;
            fs::write(&path, &bad).unwrap();
            assert_corrupt(&store, &format!("byte {at} xor {mask:#04x} of both"));
        }
    }
    for length in (0..used).chain([SLOT - 1, SLOT, SLOT + used, 2 * SLOT - 1]) {
        fs::write(&path, &good[..length]).unwrap();
        assert_corrupt(&store, &format!("cut to {length} bytes"));
    }
    for tail in [vec![0], good.clone(), vec![b'k'; 1 << 20]] {
        fs::write(&path, [&good[..], &tail].concat()).unwrap();
        assert_corrupt(&store, "too long");
    }
    fs::write(&path, vec![0; 2 * SLOT]).unwrap();
    assert_corrupt(&store, "zeros");
    fs::write(&path, &good).unwrap();
    assert_eq!(load(&store).unwrap(), Some(state(7)), "the undamaged record still loads");
}

#[test]
fn two_slots_of_one_number_that_differ_are_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vote");
    let first = |epoch| {
        fs::remove_file(&path).unwrap_or_default();
        save(&open(&path), epoch).unwrap();
        fs::read(&path).unwrap()
    };
    let (one, other) = (first(1), first(2));
    fs::write(&path, [&one[..SLOT], &other[SLOT..]].concat()).unwrap();
    assert_corrupt(&open(&path), "two first records");
}

/// A save in place: the file, its length and its directory stay what they are.
#[test]
fn only_the_first_save_makes_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vote");
    let store = open(&path);
    save(&store, 1).unwrap();
    let identity = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        (metadata.ino(), metadata.len())
    };
    let (file, directory_changed) =
        (identity(&path), fs::metadata(directory.path()).unwrap().modified().unwrap());
    for epoch in 2..10 {
        save(&store, epoch).unwrap();
    }
    drop(store);
    // Also the saves of the next process.
    let store = open(&path);
    assert_eq!(load(&store).unwrap(), Some(state(9)));
    save(&store, 10).unwrap();
    assert_eq!(identity(&path), file);
    assert_eq!(load(&open_again(store, &path)).unwrap(), Some(state(10)));
    let changed = fs::metadata(directory.path()).unwrap().modified().unwrap();
    assert_eq!(changed, directory_changed, "no name came or went");
}

fn open_again(store: FileVoteStore, path: &Path) -> FileVoteStore {
    drop(store);
    open(path)
}

/// Somebody put another file in the place of the one that is open: a save into the old one would be lost.
#[test]
fn a_save_goes_to_the_file_that_a_restart_finds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vote");
    let store = open(&path);
    save(&store, 1).unwrap();
    let copy = directory.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
    save(&store, 2).unwrap();
    fs::remove_file(&path).unwrap();
    save(&store, 3).unwrap();
    assert_eq!(load(&open_again(store, &path)).unwrap(), Some(state(3)));
}

/// A process that has no file descriptor left can still vote.
#[test]
fn a_save_in_place_opens_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vote");
    let store = open(&path);
    save(&store, 1).unwrap();
    // A directory in the way of the next file, which a save in place does not need.
    fs::create_dir_all(directory.path().join("vote.tmp/x")).unwrap();
    save(&store, 2).unwrap();
    assert_eq!(load(&store).unwrap(), Some(state(2)));
}

/// The record as the release before the slots wrote it.
const OLDER: &str = "kevy-elect-vote 1\nepoch 42\nvoted_for \"n2\"\nstanding member\n\
                     incarnation 1763712000123\nstream_epoch 41\noffsets 1000,2000\ncrc 87ad6dec\n";

#[test]
fn a_record_of_the_release_before_the_slots_is_read_and_replaced_by_the_first_save() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vote");
    fs::write(&path, OLDER).unwrap();
    let store = open(&path);
    let found = load(&store).unwrap().unwrap();
    assert_eq!((found.epoch, found.position.offsets()), (Epoch(42), &[1000, 2000][..]));
    assert_eq!(fs::read_to_string(&path).unwrap(), OLDER, "reading replaces nothing");
    save(&store, 43).unwrap();
    assert_eq!(load(&open_again(store, &path)).unwrap(), Some(state(43)));
}

#[test]
fn a_damaged_record_of_the_release_before_the_slots_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vote");
    for length in 0..OLDER.len() {
        fs::write(&path, &OLDER[..length]).unwrap();
        let found = block_on(open(&path).load());
        assert!(
            !found.is_ok_and(|record| record.is_none_or(|record| decode_vote(&record).is_ok())),
            "{length}"
        );
    }
}

#[test]
fn positions_have_a_file_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vote");
    let store = open(&path);
    assert_eq!(block_on(store.load_position()).unwrap(), None);
    save(&store, 1).unwrap();
    let position = Position::new(Epoch(3), &[100, 2000]).unwrap();
    block_on(store.save_position(&encode_position(&position).unwrap())).unwrap();
    assert_eq!(names(directory.path()), ["vote", "vote.lock", "vote.position"]);
    let store = open_again(store, &path);
    let found = block_on(store.load_position()).unwrap().unwrap();
    assert_eq!(decode_position(&found).unwrap(), position);
    assert_eq!(load(&store).unwrap(), Some(state(1)));
}

#[test]
fn a_record_that_does_not_fit_is_not_saved() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("vote"));
    save(&store, 1).unwrap();
    let error = block_on(store.save(&[b'x'; SLOT])).unwrap_err();
    assert!(matches!(error, StoreError::Unstorable { .. }), "{error:?}");
    assert_eq!(load(&store).unwrap(), Some(state(1)));
}

/// What `docs/runbooks.md` says, and nothing that brings an older vote back.
#[test]
fn a_damaged_record_advises_what_the_runbook_does() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vote");
    fs::write(&path, "rubbish").unwrap();
    let text = load(&open(&path)).unwrap_err().to_string();
    let advice = "estore nothing from a backup";
    let runbook = include_str!("../docs/runbooks.md");
    assert!(text.contains(advice) && runbook.contains(advice), "{text}");
    for words in
        ["whole data directory", "one node at a time", "others form a quorum", "comes back as a new node"]
    {
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(one_line(&text).contains(words) && one_line(runbook).contains(words), "{words}: {text}");
    }
    assert!(!text.contains("from a copy"), "{text}");
}

#[test]
fn a_record_is_locked_while_its_store_lives() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vote");
    let first = open(&path);
    save(&first, 1).unwrap();
    let error = FileVoteStore::open(&path).unwrap_err();
    assert!(matches!(&error, StoreError::Locked { path: named } if *named == path), "{error:?}");
    drop(first);
    assert_eq!(load(&open(&path)).unwrap(), Some(state(1)));
}

#[test]
fn a_refused_second_open_leaves_the_first_ones_files_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vote");
    let _first = open(&path);
    // As if the first store were in the middle of a save.
    fs::write(directory.path().join("vote.tmp"), "half a rec").unwrap();
    FileVoteStore::open(&path).unwrap_err();
    assert_eq!(names(directory.path()), ["vote.lock", "vote.tmp"]);
}

#[test]
fn the_remains_of_an_interrupted_save_are_removed_and_never_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vote");
    let store = open(&path);
    save(&store, 1).unwrap();
    drop(store);
    fs::write(directory.path().join("vote.tmp"), "kevy-elect-vote 1\nepoch 99").unwrap();
    let store = open(&path);
    assert_eq!(load(&store).unwrap(), Some(state(1)));
    assert_eq!(names(directory.path()), ["vote", "vote.lock"]);
    save(&store, 2).unwrap();
    assert_eq!(names(directory.path()), ["vote", "vote.lock"], "a save leaves nothing behind");
}

#[test]
fn a_link_in_the_place_of_the_temporary_file_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (path, precious) = (directory.path().join("vote"), directory.path().join("precious"));
    fs::write(&precious, "data").unwrap();
    let store = open(&path);
    symlink(&precious, directory.path().join("vote.tmp")).unwrap();
    save(&store, 1).unwrap();
    assert_eq!(fs::read_to_string(&precious).unwrap(), "data");
}

#[test]
fn one_missing_directory_is_created_for_its_owner_alone_and_two_are_an_error() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("elect");
    let store = open(&directory.join("vote"));
    save(&store, 1).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("vote")), 0o600);

    let error = FileVoteStore::open(parent.path().join("a/b/vote")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("a/b/vote") && text.contains("create its directory"), "{text}");
    assert_eq!(names(parent.path()), ["elect"]);
}

#[test]
fn what_is_not_a_regular_file_is_refused_without_waiting_or_following() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("directory")).unwrap();
    symlink(at("elsewhere"), at("link")).unwrap();
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    for name in ["directory", "link", "pipe"] {
        let text = load(&open(&at(name))).unwrap_err().to_string();
        assert!(text.contains(name) && text.contains("not a regular file"), "{text}");
    }
    assert!(Command::new("mkfifo").arg(at("vote.lock")).status().unwrap().success());
    let error = FileVoteStore::open(at("vote")).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
    for nameless in ["/", "..", ""] {
        let error = FileVoteStore::open(nameless).unwrap_err();
        assert!(matches!(error, StoreError::Io { action: "open", .. }), "{nameless:?}: {error:?}");
    }
}

#[test]
fn a_rename_that_fails_leaves_no_temporary_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vote");
    let store = open(&path);
    fs::create_dir_all(path.join("in the way")).unwrap();
    let error = save(&store, 1).unwrap_err();
    assert!(matches!(error, StoreError::Io { action: "rename the new one to", .. }), "{error:?}");
    assert_eq!(names(directory.path()), ["vote", "vote.lock"]);
}

#[test]
fn a_vanished_directory_is_an_error_of_the_save() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("elect");
    let store = open(&directory.join("vote"));
    fs::remove_dir_all(&directory).unwrap();
    let error = save(&store, 1).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
}

const FULL_DISK: &str = "STORE_FILE_TEST_FULL_DISK";

/// A disk that takes no more bytes, as a full one: the test runs itself again under a file size limit of
/// zero. Needs neither root nor a file system of its own.
#[test]
fn a_disk_that_takes_no_more_bytes_leaves_the_old_record() {
    if let Some(path) = std::env::var_os(FULL_DISK) {
        let store = open(path.as_ref());
        let error = save(&store, 2).unwrap_err();
        assert!(matches!(error, StoreError::Io { action: "write", .. }), "{error:?}");
        assert_eq!(load(&store).unwrap(), Some(state(1)), "in the process whose save failed");
        // The parent looks for this: proof that all of the above ran.
        println!("refused: {error}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vote");
    save(&open(&path), 1).unwrap();
    let child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_disk_that_takes_no_more_bytes_leaves_the_old_record", "--nocapture"])
        .env(FULL_DISK, &path)
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && output.contains("refused: vote record"), "{child:?}");
    assert_eq!(names(directory.path()), ["vote", "vote.lock"]);
    let store = open(&path);
    assert_eq!(load(&store).unwrap(), Some(state(1)));
    save(&store, 3).unwrap();
}
