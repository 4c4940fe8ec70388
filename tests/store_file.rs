//! What only a vote record in a file can do wrong: damage, locks, directories, disks that refuse.

// Clippy knows only `#[test]` functions as tests, not the helpers beside them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures::executor::block_on;
use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId};
use kevy_elect_plugin::message::Standing;
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::store::{FileVoteStore, HardState, StoreError, VoteStore};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

fn state(epoch: u64) -> HardState {
    HardState {
        epoch: Epoch(epoch),
        voted_for: Some(NodeId::new("n2").unwrap()),
        standing: Standing::Member,
        incarnation: Incarnation(9),
        position: Position::new(Epoch(3), &[100, 2000]).unwrap(),
    }
}

fn open(path: &Path) -> FileVoteStore {
    FileVoteStore::open(path).unwrap()
}

fn load(store: &FileVoteStore) -> Result<Option<HardState>, StoreError> {
    block_on(store.load())
}

fn save(store: &FileVoteStore, epoch: u64) -> Result<(), StoreError> {
    block_on(store.save(&state(epoch)))
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

#[test]
fn no_flipped_bit_and_no_truncation_gives_a_state() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vote");
    let store = open(&path);
    save(&store, 7).unwrap();
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        // Each single bit, and the whole byte.
        for mask in (0..8).map(|bit| 1 << bit).chain([0xff]) {
            let mut bad = good.clone();
            bad[at] ^= mask;
            fs::write(&path, bad).unwrap();
            assert_corrupt(&store, &format!("byte {at} xor {mask:#04x}"));
        }
    }
    for length in 0..good.len() {
        fs::write(&path, &good[..length]).unwrap();
        assert_corrupt(&store, &format!("cut to {length} bytes"));
        // What some file systems leave after a power cut: the length is right, the tail never arrived.
        let mut zeros = good[..length].to_vec();
        zeros.resize(good.len(), 0);
        fs::write(&path, zeros).unwrap();
        assert_corrupt(&store, &format!("zeros from byte {length}"));
    }
    for tail in ["\n", " ", "\0", "crc 00000000\n"] {
        fs::write(&path, [&good, tail.as_bytes()].concat()).unwrap();
        assert_corrupt(&store, &format!("followed by {tail:?}"));
    }
    fs::write(&path, good.repeat(2)).unwrap();
    assert_corrupt(&store, "twice");
    fs::write(&path, vec![b'k'; 1 << 20]).unwrap();
    assert_corrupt(&store, "a megabyte");
    fs::write(&path, &good).unwrap();
    assert_eq!(load(&store).unwrap(), Some(state(7)), "the undamaged record still loads");
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
