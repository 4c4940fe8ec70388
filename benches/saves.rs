//! How long saving a vote takes, in place and by a new file for each save as the releases before did it, in turns within
//! one run: `cargo bench --bench saves [-- SAVES]`. On a quiet machine, beside busy loops (one for each processor and one more), beside
//! as many that write and sync files of their own on the same disk, and beside both. Prints the table of `docs/evidence/saves.md`.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up must not go on")]

use futures::executor::block_on;
use kevy_elect_plugin::store::{FileVoteStore, VoteStore};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SAVES: usize = 300;
const RECORD: &[u8] = &[b'v'; 130];
/// Votes come seconds apart: so does the disk's rest between two saves, in small.
const PAUSE: Duration = Duration::from_millis(5);
/// What a busy disk is given to sync at a time.
const BLOCK_BYTES: usize = 256 << 10;

fn main() {
    let saves = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(SAVES);
    let directory = tempfile::Builder::new().prefix("saves-").tempdir_in(".").unwrap();
    let loops = std::thread::available_parallelism().unwrap().get() + 1;
    println!("{saves} saves each, in turns, in {}\n", fs::canonicalize(directory.path()).unwrap().display());
    println!(
        "| beside | in place: median | 99 % | worst | new file: median | 99 % | worst | times as long: median | 99 % |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (beside, computing, syncing) in [
        ("nothing".to_owned(), 0, 0),
        (format!("{loops} busy loops"), loops, 0),
        (format!("{loops} that sync files"), 0, loops),
        (format!("{loops} of each"), loops, loops),
    ] {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            (0..computing).for_each(|_| _ = scope.spawn(|| compute(&stop)));
            for number in 0..syncing {
                let (stop, path) = (&stop, directory.path().join(format!("busy{number}")));
                scope.spawn(move || sync(stop, &path));
            }
            measure(&beside, saves, directory.path());
            stop.store(true, Ordering::Relaxed);
        });
    }
}

fn measure(beside: &str, saves: usize, directory: &Path) {
    let store = FileVoteStore::open(directory.join("vote")).unwrap();
    block_on(store.save(RECORD)).unwrap();
    let (mut in_place, mut renamed) = (Vec::new(), Vec::new());
    for _ in 0..saves {
        in_place.push(timed(|| block_on(store.save(RECORD)).unwrap()));
        std::thread::sleep(PAUSE);
        renamed.push(timed(|| block_on(new_file(directory))));
        std::thread::sleep(PAUSE);
    }
    let (in_place, renamed) = (Times::of(in_place), Times::of(renamed));
    let longer = |of: fn(&Times) -> f64| of(&renamed) / of(&in_place);
    println!(
        "| {beside} | {in_place} | {renamed} | {:.1} | {:.1} |",
        longer(|times| times.median),
        longer(|times| times.hundredth)
    );
}

/// As the releases before: a new file beside the old one, synced, renamed over it, and the directory synced.
async fn new_file(directory: &Path) {
    let directory = directory.to_owned();
    blocking::unblock(move || {
        let (temp, path) = (directory.join("old.tmp"), directory.join("old"));
        let mut file = File::create_new(&temp).unwrap();
        file.write_all(RECORD).unwrap();
        file.sync_all().unwrap();
        fs::rename(&temp, &path).unwrap();
        File::open(&directory).unwrap().sync_all().unwrap();
    })
    .await;
}

fn compute(stop: &AtomicBool) {
    let mut turn = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        turn = std::hint::black_box(turn.wrapping_mul(31).wrapping_add(1));
    }
}

fn sync(stop: &AtomicBool, path: &Path) {
    let block = vec![7; BLOCK_BYTES];
    while !stop.load(Ordering::Relaxed) {
        let mut file = File::create(path).unwrap();
        file.write_all(&block).unwrap();
        file.sync_all().unwrap();
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// In milliseconds.
struct Times {
    median: f64,
    hundredth: f64,
    worst: f64,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        Self { median: at(0.5), hundredth: at(0.99), worst: at(1.0) }
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ms | {:.2} ms | {:.2} ms", self.median, self.hundredth, self.worst)
    }
}
