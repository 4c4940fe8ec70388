//! No shard waits for the disk under `appendfsync = "everysec"`: another thread syncs the logs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
// What a thread asks of the kernel is told by its `/proc`, in the numbers of that machine.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod common;

use common::Cluster;
use common::rolling::{all_hold_the_same, processes, write_many};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// `fsync` and `fdatasync`.
const SYNCS: [&str; 2] = if cfg!(target_arch = "x86_64") { ["74", "75"] } else { ["82", "83"] };
/// It is looked for so long at least: a log is synced every second.
const LOOKED_MIN: Duration = Duration::from_secs(4);
/// And at most, on a machine that has other work.
const LOOKED_MAX: Duration = Duration::from_secs(60);

/// The names of the threads that are in a sync just now.
fn in_sync(process: u32) -> Vec<String> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let syncs = |task: &std::path::Path| {
        // Both are gone with the thread.
        let call = std::fs::read_to_string(task.join("syscall")).ok()?;
        let name = std::fs::read_to_string(task.join("comm")).ok()?;
        SYNCS.contains(&call.split(' ').next()?).then(|| name.trim_end().to_owned())
    };
    tasks.flatten().filter_map(|task| syncs(&task.path())).collect()
}

fn no_shard_syncs_its_log(shards: u16) {
    let cluster = Cluster::new(3, shards);
    let (nodes, first) = processes(&cluster, 1_000);
    let (over, begun) = (AtomicBool::new(false), Instant::now());
    let seen: Vec<Mutex<BTreeSet<String>>> = nodes.iter().map(|_| Mutex::default()).collect();
    std::thread::scope(|scope| {
        for (node, seen) in nodes.iter().zip(&seen) {
            let (process, over) = (node.child.id(), &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let names = in_sync(process);
                    seen.lock().unwrap().extend(names);
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
        }
        let all_seen = || seen.iter().all(|seen| !seen.lock().unwrap().is_empty());
        while begun.elapsed() < LOOKED_MIN || begun.elapsed() < LOOKED_MAX && !all_seen() {
            write_many(&nodes[first], "k", 1_000);
        }
        over.store(true, Ordering::Relaxed);
    });
    let seen = seen.into_iter().map(|seen| seen.into_inner().unwrap());
    all_hold_the_same(&nodes, first);
    for (node, seen) in seen.enumerate() {
        // Shards have the process's name.
        assert!(!seen.iter().any(|name| name.starts_with("kevy")), "node {node}: {seen:?}");
        assert!(!seen.is_empty(), "node {node}: nobody has synced anything");
    }
}

#[test]
fn no_shard_syncs_its_log_while_clients_write() {
    no_shard_syncs_its_log(2);
}
