//! A keyspace that a primary writes anew while clients write: what stands beside it is where the shard was at its last tick, and the data is
//! further on. Whoever takes that for the place of the data fetches again what it has, and does it twice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::{Cluster, Node, until};
use kevy_elect_plugin::host::FenceReason;
use kevy_persist::layout;
use kevy_resp_client::RespClient;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Of one batch.
const BATCH: usize = 2_000;
/// Longer than anything hurries a shard.
const HURRIED: Duration = Duration::from_millis(1500);

/// A client that counts without a pause.
struct Counting {
    over: Arc<AtomicBool>,
    batches: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Counting {
    fn start(port: u16) -> Self {
        let (over, batches) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, counts) = (Arc::clone(&over), Arc::clone(&batches));
        let thread = std::thread::spawn(move || {
            let mut client = RespClient::connect("127.0.0.1", port).unwrap();
            let batch = "INCR counter\r\n".repeat(BATCH);
            while !ends.load(Ordering::Relaxed) {
                client.pipeline_raw(batch.as_bytes(), BATCH).unwrap();
                counts.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { over, batches, thread }
    }

    /// Waits until it has counted so many batches more.
    fn goes_on(&self, batches: u64, what: &str) {
        let until_there = self.batches.load(Ordering::Relaxed) + batches;
        until(what, || (self.batches.load(Ordering::Relaxed) >= until_there).then_some(()));
    }

    fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

fn file(path: &Path) -> Option<(u64, i64)> {
    std::fs::metadata(path).ok().map(|data| (data.ino(), data.mtime_nsec()))
}

fn copies(node: &Node) -> String {
    let info = node.client().ask("INFO replication");
    info.lines().find_map(|line| line.strip_prefix("elect_copies:")).unwrap().trim().to_owned()
}

/// A primary writes its keyspace anew while somebody counts; another node takes over, and the first one is started again from what it wrote. Gives
/// how many copies it took.
fn returns_after(command: &str, logs: bool) -> String {
    let mut cluster = Cluster::new(2, 1);
    cluster.aof = logs;
    let (a, b) = (cluster.start(0), cluster.start(1));
    a.promote(3);
    b.follow(3, &a);
    b.wait_joined(3);
    let counting = Counting::start(a.port);
    // Shards that have just taken up an office tick often for a while: then what they say of their streams is hardly ever behind.
    let promoted = Instant::now();
    while promoted.elapsed() < HURRIED {
        counting.goes_on(3, "it counts");
    }
    let dir = &cluster.dirs[0].0;
    let path = if logs { layout::aof_path(dir, 0) } else { layout::snapshot_path(dir, 0) };
    let before = file(&path).map(|(number, _)| number);
    assert!(a.client().ask(command).starts_with('+'));
    until("it is written", || (file(&path).map(|(number, _)| number) != before).then_some(()));
    counting.goes_on(3, "it counts on");
    counting.stop();
    until("the replica has all of it", || (a.client().ask("WAIT 1 5000") == ":1").then_some(()));
    a.fence(FenceReason::StepDown);
    b.host.detach();
    b.promote(4);
    let counted = b.client().ask("GET counter");
    a.stop();
    let a = cluster.start(0);
    a.follow(4, &b);
    a.wait_joined(4);
    assert_eq!(b.client().ask("SET last 1"), "+OK");
    until("it has all", || (b.client().ask("WAIT 1 5000") == ":1").then_some(()));
    common::until_reads(&a, "last", "1");
    assert_eq!(a.client().ask("GET counter"), counted, "{command}: nothing is done twice");
    copies(&a)
}

#[test]
fn whoever_wrote_its_log_anew_while_clients_wrote_continues() {
    assert_eq!(returns_after("BGREWRITEAOF", true), "0");
}

#[test]
fn a_snapshot_that_was_written_while_clients_wrote_is_of_no_certain_place() {
    // Where this machine let the client wait from a tick until the snapshot was taken, its place is certain.
    assert!((0..5).any(|_| returns_after("BGSAVE", false) == "1"), "its place was taken for certain");
}
