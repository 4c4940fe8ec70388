//! How long saving a vote takes, in place and by a new file for each save as the releases before did it, in turns within
//! one run: `cargo bench --bench saves [-- SAVES]`. Once on a quiet machine and once beside busy loops, one for each
//! processor and one more, half of which write and sync files of their own.

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

fn main() {
    let saves = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(SAVES);
    let directory = tempfile::Builder::new().prefix("saves-").tempdir_in(".").unwrap();
    println!("{saves} saves each, in {}", fs::canonicalize(directory.path()).unwrap().display());
    println!("{:<28}{:>10}{:>10}{:>10}{:>10}", "", "median", "90 %", "99 %", "worst");
    measure("quiet", saves, directory.path());
    let (stop, loops) = (AtomicBool::new(false), std::thread::available_parallelism().unwrap().get() + 1);
    std::thread::scope(|scope| {
        for number in 0..loops {
            let (stop, path) = (&stop, directory.path().join(format!("busy{number}")));
            scope.spawn(move || busy(stop, (number % 2 == 0).then_some(&path)));
        }
        measure(&format!("{loops} busy loops"), saves, directory.path());
        stop.store(true, Ordering::Relaxed);
    });
}

fn measure(when: &str, saves: usize, directory: &Path) {
    let store = FileVoteStore::open(directory.join("vote")).unwrap();
    block_on(store.save(RECORD)).unwrap();
    let (mut in_place, mut renamed) = (Vec::new(), Vec::new());
    for _ in 0..saves {
        in_place.push(timed(|| block_on(store.save(RECORD)).unwrap()));
        std::thread::sleep(PAUSE);
        renamed.push(timed(|| block_on(blocking(directory))));
        std::thread::sleep(PAUSE);
    }
    show(&format!("{when}, in place"), in_place);
    show(&format!("{when}, new file"), renamed);
}

/// As the releases before: a new file beside the old one, synced, renamed over it, and the directory synced.
async fn blocking(directory: &Path) {
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

fn busy(stop: &AtomicBool, file: Option<&std::path::PathBuf>) {
    let (block, mut turn) = (vec![7; 256 << 10], 0_u64);
    while !stop.load(Ordering::Relaxed) {
        turn = std::hint::black_box(turn.wrapping_mul(31).wrapping_add(1));
        if let Some(path) = file
            && turn.is_multiple_of(4096)
        {
            let mut file = File::create(path).unwrap();
            file.write_all(&block).unwrap();
            file.sync_all().unwrap();
        }
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let [median, tenth, hundredth, worst] = [0.5, 0.9, 0.99, 1.0].map(at);
    println!("{what:<28}{median:>7.2} ms{tenth:>7.2} ms{hundredth:>7.2} ms{worst:>7.2} ms");
}
