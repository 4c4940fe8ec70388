//! A healthy primary on a machine that is slow: when its lease ends it fences itself, and its watchdog lets it live (F10).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{BIN, Process, primary};
use common::{Cluster, Dir, until};
use rustix::process::Signal;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// After the end of a lease no watchdog of these settings waits for longer.
const WATCHDOG_MAX: Duration = Duration::from_secs(2);
/// How long the pressure lasts.
const PRESSURE: Duration = Duration::from_secs(25);
/// As many as keep the processors of a small machine busy, and its disk.
const LOOPS: usize = 4;
const WRITERS: usize = 4;
const WRITTEN_BYTES: usize = 8 << 20;

/// Three nodes, and what their standard error is.
fn start(cluster: &Cluster, stderr: impl Fn() -> std::process::Stdio) -> Vec<Process> {
    let start = |node: usize| {
        drop(cluster.settings(node, ""));
        let config = cluster.dirs[node].0.join("kevy.toml");
        let child = Command::new(BIN).arg("--config").arg(config).stderr(stderr()).spawn().unwrap();
        Process { child, port: cluster.ports[node] }
    };
    (0..3).map(start).collect()
}

/// The others stand still until the primary's lease is over and longer than any watchdog waits. Says whether it lived.
fn outlives_its_lease(nodes: &mut [Process]) -> bool {
    let first = primary(nodes);
    let others = |signal| (0..3).filter(|node| *node != first).for_each(|node| nodes[node].signal(signal));
    others(Signal::STOP);
    until("it is fenced, or gone", || {
        let said = nodes[first].ask("SET k v");
        (said.as_deref() != Some("OK")).then_some(())
    });
    std::thread::sleep(WATCHDOG_MAX);
    others(Signal::CONT);
    nodes[first].child.try_wait().unwrap().is_none()
}

#[test]
fn a_primary_whose_log_is_stuck_outlives_its_lease() {
    let cluster = Cluster::new(3, 1);
    let (mut out, into) = std::io::pipe().unwrap();
    let mut nodes = start(&cluster, || into.try_clone().unwrap().into());
    // Read until they are settled; from then on by nobody.
    let mut said = [0; 1 << 16];
    rustix::fs::fcntl_setfl(&out, rustix::fs::OFlags::NONBLOCK).unwrap();
    primary(&nodes);
    while out.read(&mut said).is_ok() {}
    // Of its own, so that only this end does not wait.
    let path = format!("/proc/self/fd/{}", into.as_raw_fd());
    let own = File::options().write(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(path);
    let mut own = own.unwrap();
    while own.write(&[b'\n'; 512]).is_ok() {}
    assert!(outlives_its_lease(&mut nodes), "its watchdog ended it while it waited for its log");
    // With nobody to read, it elects and serves.
    primary(&nodes);
}

/// For the numbers: `cargo test --ignore-rust-version -p kevy-server --test busy -- --ignored --nocapture`. A thread that gets no
/// processor for a tenth of an election timeout can still be ended (see `limits.md`).
#[test]
#[ignore = "half a minute in which disk and processors are kept busy"]
fn a_primary_on_a_busy_machine_outlives_its_leases() {
    let (cluster, files) = (Cluster::new(3, 1), Dir::new());
    let log = || File::options().create(true).append(true).open(files.0.join("log")).unwrap().into();
    let mut nodes = start(&cluster, log);
    let (stop, mut leases, mut killed) = (AtomicBool::new(false), 0, 0);
    std::thread::scope(|scope| {
        for _ in 0..LOOPS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        for writer in 0..WRITERS {
            let (path, stop) = (files.0.join(format!("{writer}")), &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut file = File::create(&path).unwrap();
                    file.write_all(&vec![0; WRITTEN_BYTES]).unwrap();
                    file.sync_all().unwrap();
                }
            });
        }
        let begun = Instant::now();
        while begun.elapsed() < PRESSURE {
            leases += 1;
            if !outlives_its_lease(&mut nodes) {
                killed += 1;
                nodes.clear();
                nodes = start(&cluster, log);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("{leases} leases ended, and {killed} processes with them");
    assert!(leases >= 4 * (killed + 1), "{killed} of {leases}");
}
