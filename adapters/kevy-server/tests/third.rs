//! A quorum of electors and one fit server are up, whatever ails the third: the primary is killed, and the fit one takes over.
//! Three real processes. The third is first in line (the lowest id of the two, with equal data), so its ailment decides.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{BIN, Process, confirmed, primary};
use common::rolling::PATIENT;
use common::{Cluster, Dir, until};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What a failover may take on a busy machine.
const FAILOVER: Duration = Duration::from_secs(15);

/// Three nodes with their logs elsewhere: the disk of one will be full.
struct Scene {
    nodes: Vec<Process>,
    _disks: Vec<Disk>,
    cluster: Cluster,
    logs: Dir,
    first: usize,
    /// The one that will be ill, and the one that stays well.
    third: usize,
    fit: usize,
}

impl Scene {
    fn new(appendfsync: &'static str, more: &str) -> Self {
        let (mut cluster, logs) = (Cluster::new(3, 1), Dir::new());
        cluster.appendfsync = appendfsync;
        let disks = cluster.dirs.iter().map(|dir| Disk::mount(&dir.0)).collect();
        let start = |node: usize| {
            drop(cluster.settings(node, more));
            let log = std::fs::File::create(logs.0.join(format!("n{node}"))).unwrap();
            let file = cluster.dirs[node].0.join("kevy.toml");
            let child = Command::new(BIN).arg("--config").arg(file).stderr(log).spawn().unwrap();
            Process { child, port: cluster.ports[node] }
        };
        let nodes: Vec<Process> = (0..3).map(start).collect();
        let first = primary(&nodes);
        confirmed(&nodes[first], "SET k v");
        let mut others = (0..3).filter(|node| *node != first);
        let (third, fit) = (others.next().unwrap(), others.next().unwrap());
        Self { nodes, _disks: disks, cluster, logs, first, third, fit }
    }

    /// Kills the primary; the fit one has to take writes soon after.
    fn fails_over(&mut self) {
        let lives = |process: &mut Process| process.child.try_wait().unwrap().is_none();
        assert!(lives(&mut self.nodes[self.third]), "no quorum of electors is up");
        let first = &mut self.nodes[self.first];
        first.signal(Signal::KILL);
        first.wait();
        let begun = Instant::now();
        until("the fit one takes writes", || {
            (self.nodes[self.fit].ask("SET k w").as_deref() == Some("OK")).then_some(())
        });
        let took = begun.elapsed();
        assert!(took < FAILOVER, "{took:?}");
    }

    fn said(&self, node: usize) -> String {
        std::fs::read_to_string(self.logs.0.join(format!("n{node}"))).unwrap()
    }
}

/// A mounted file system of a few megabytes, gone with its owner.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Self {
        let to = at.to_str().unwrap();
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "none", to]).status();
        assert!(status.unwrap().success(), "cannot mount {to}");
        Self(at.to_owned())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for node in (0..3).filter(|_| std::thread::panicking()) {
            eprintln!("what n{node} said:\n{}", self.said(node));
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// The disk of the third is full, and it is sent more than fits.
fn full_disk(appendfsync: &'static str) {
    let mut scene = Scene::new(appendfsync, PATIENT);
    let mut file = std::fs::File::create(scene.cluster.dirs[scene.third].0.join("something-else")).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
    let value = "x".repeat(50_000);
    for i in 0..40 {
        assert_eq!(scene.nodes[scene.first].ask(&format!("SET big{} {value}", i % 4)).as_deref(), Some("OK"));
    }
    until("the fit one holds it", || (scene.nodes[scene.first].ask("WAIT 1 1000")? != "0").then_some(()));
    scene.fails_over();
}

#[test]
#[ignore = "needs root, to mount small file systems"]
fn the_disk_of_the_third_is_full_with_everysec() {
    full_disk("everysec");
}

#[test]
#[ignore = "needs root, to mount small file systems"]
fn the_disk_of_the_third_is_full_with_always() {
    full_disk("always");
}

#[test]
#[ignore = "needs root, to mount small file systems"]
fn the_third_has_no_descriptor_left() {
    // So long that no failover can have waited for it: the third has to see for itself that the primary is dead (T34).
    let mut scene = Scene::new("everysec", "election_timeout_ms = 20000\n");
    take_descriptors(&scene.nodes[scene.third]);
    scene.fails_over();
}

/// From now on it can open nothing.
fn take_descriptors(process: &Process) {
    let none = Rlimit { current: Some(1), maximum: Some(1) };
    prlimit(Some(Pid::from_child(&process.child)), Resource::Nofile, none).unwrap();
}

#[test]
#[ignore = "needs root, to mount small file systems"]
fn the_primary_has_no_descriptor_left() {
    let scene = Scene::new("everysec", PATIENT);
    take_descriptors(&scene.nodes[scene.first]);
    until("a fit one takes writes", || {
        let others = [scene.third, scene.fit];
        others.into_iter().find(|node| scene.nodes[*node].ask("SET k w").as_deref() == Some("OK"))
    });
}

#[test]
#[ignore = "needs root, to mount small file systems"]
fn a_shard_of_the_third_hangs() {
    let mut scene = Scene::new("always", "[lua]\ntime_limit_ms = 0\n");
    let mut script = TcpStream::connect(("127.0.0.1", scene.nodes[scene.third].port)).unwrap();
    script.write_all(b"*3\r\n$7\r\nEVAL_RO\r\n$17\r\nwhile true do end\r\n$1\r\n0\r\n").unwrap();
    until("it hangs", || {
        let mut probe = TcpStream::connect(("127.0.0.1", scene.nodes[scene.third].port)).unwrap();
        probe.write_all(b"PING\r\n").unwrap();
        probe.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        probe.read(&mut [0; 16]).is_err().then_some(())
    });
    scene.fails_over();
}
