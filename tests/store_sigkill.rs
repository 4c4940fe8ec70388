//! A process that saves votes is killed at random moments, hundreds of times over one record. What it has
//! acknowledged must be there afterwards: the last acknowledged record, or the one in flight after it.
//!
//! This proves the order of write, sync and acknowledgement. That the bytes also outlive the machine
//! rests on the syncs in between, which a killed process cannot test.

// Clippy knows only `#[test]` functions as tests, not the helpers beside them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures::executor::block_on;
use kevy_elect_plugin::store::{FileVoteStore, VoteStore};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

const KILLS: usize = 200;
const PATH: &str = "STORE_SIGKILL_TEST_PATH";
const SEED: &str = "STORE_SIGKILL_TEST_SEED";

/// The `n`th record of a sequence, which begins with its number: of all sizes, so that a mixture of two could not pass.
fn record(seed: u64, n: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let tail = (0..random.usize(0..=4000)).map(|_| random.u8(..));
    n.to_le_bytes().into_iter().chain(tail).collect()
}

fn number(record: &[u8]) -> u64 {
    u64::from_le_bytes(record[..8].try_into().unwrap())
}

/// The child: goes on where the record ends and acknowledges each save, until it is killed.
fn save_for_ever(path: &OsStr, seed: u64) -> ! {
    let store = FileVoteStore::open(path).unwrap();
    let mut n = block_on(store.load()).unwrap().map_or(0, |record| number(&record));
    let mut parent = std::io::stdout();
    loop {
        n += 1;
        block_on(store.save(&record(seed, n))).unwrap();
        // One write per line, and not through a buffer that would die with the process.
        parent.write_all(format!("\nack {n}\n").as_bytes()).unwrap();
        parent.flush().unwrap();
    }
}

#[test]
fn sigkill_at_any_moment_loses_no_acknowledged_vote() {
    if let (Some(path), Ok(seed)) = (std::env::var_os(PATH), std::env::var(SEED)) {
        save_for_ever(&path, seed.parse().unwrap());
    }
    let seed = std::env::var(SEED).map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("run again with {SEED}={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vote");
    let (mut newest, mut in_flight, mut torn) = (0, 0, 0);

    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sigkill_at_any_moment_loses_no_acknowledged_vote", "--nocapture"])
            .env(PATH, &path)
            .env(SEED, seed.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acks = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("ack ")?.parse::<u64>().ok());
        // Counted in acknowledgements, so that a slow disk gets as far; then in time, to hit any moment.
        let mut acknowledged = newest;
        for _ in 0..random.usize(1..=5) {
            acknowledged = acks.next().expect("the child saves until it is killed");
        }
        std::thread::sleep(Duration::from_micros(random.u64(0..3000)));
        child.kill().unwrap();
        acknowledged = acks.last().unwrap_or(acknowledged);
        let status = child.wait().unwrap();
        assert_eq!(status.code(), None, "kill {kill}: the child ended by itself: {status}");

        torn += usize::from(directory.path().join("vote.tmp").exists());
        // The lock went with the process: this open succeeds at once.
        let loaded = block_on(FileVoteStore::open(&path).unwrap().load()).unwrap().expect("a lost record");
        let n = number(&loaded);
        assert!(
            n == acknowledged || n == acknowledged + 1,
            "kill {kill}: acknowledged {acknowledged}, found {n}"
        );
        assert_eq!(loaded, record(seed, n), "kill {kill}: not a record that was ever saved");
        assert!(n > newest, "kill {kill}: nothing was saved between two kills");
        in_flight += usize::from(n > acknowledged);
        newest = n;
    }
    println!("{KILLS} kills, {newest} saves, {in_flight} found one ahead, {torn} left a temporary file");
}
