//! Power cuts, on real processes and real disk images: each node keeps its data on an ext4 file system of its own, in a file
//! that is mounted, and that stops between two of its writes, with all that was not synced yet lost.
//!
//! Needs root, loop devices, `mkfs.ext4` and `perl`; so it runs only when asked to:
//! `cargo test --ignore-rust-version -p kevy-server --test power -- --ignored`. `POWER_ROUNDS` says how many rounds each
//! test does (1 without it). Where a file system cannot be mounted it fails.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::disk::Disk;
use common::process::{BIN, Process};
use common::{Cluster, Dir, until};
use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use rustix::process::Signal;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Nodes on disks of their own. Processes first: disks can be unmounted only after them.
struct Machine {
    nodes: Vec<Option<Process>>,
    disks: Vec<Disk>,
    cluster: Cluster,
    files: Dir,
    more: String,
    random: u64,
}

impl Machine {
    fn new(policy: &'static str, shards: u16, nodes: usize) -> Self {
        let (mut cluster, files) = (Cluster::new(nodes, shards), Dir::new());
        cluster.appendfsync = policy;
        let disk = |node: usize| Disk::new(48, files.0.join(format!("disk{node}")), &cluster.dirs[node].0);
        let disks = (0..nodes).map(disk).collect();
        let loss = if shards > 1 { "loss_policy = \"dominate\"\n" } else { "" };
        let more = format!("election_timeout_ms = 600\n{loss}");
        let random = std::process::id().into();
        let mut machine = Self { nodes: Vec::new(), disks, cluster, files, more, random };
        machine.nodes = (0..nodes).map(|node| Some(machine.process(node))).collect();
        machine
    }

    fn process(&self, node: usize) -> Process {
        drop(self.cluster.settings(node, &self.more));
        let config = self.cluster.dirs[node].0.join("kevy.toml");
        // Not on the node's disk: that may not take any more.
        let copy = self.files.0.join(format!("n{node}.toml"));
        std::fs::copy(config, &copy).unwrap();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.files.0.join(format!("n{node}.log")));
        let child = Command::new(BIN).arg("--config").arg(copy).stderr(log.unwrap()).spawn().unwrap();
        Process { child, port: self.cluster.ports[node] }
    }

    /// A number below `below`.
    fn draw(&mut self, below: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn count(&self) -> usize {
        self.disks.len()
    }

    fn kill(&mut self, node: usize) {
        if let Some(mut process) = self.nodes[node].take() {
            process.signal(Signal::KILL);
            process.wait();
        }
    }

    /// The power of a node goes: its disk stops, then its process.
    fn cut(&mut self, node: usize) {
        self.disks[node].cut();
        self.kill(node);
    }

    fn power_up(&mut self, node: usize) {
        self.disks[node].power_up();
    }

    fn start(&mut self, node: usize) {
        assert!(self.nodes[node].is_none());
        self.nodes[node] = Some(self.process(node));
    }

    /// Starts again what ended by itself, as a supervisor does: the watchdog ends a primary whose answers come too late.
    fn tend(&mut self) {
        for node in 0..self.count() {
            if self.nodes[node].as_mut().is_some_and(|process| process.child.try_wait().unwrap().is_some()) {
                self.nodes[node] = None;
                self.start(node);
            }
        }
    }

    /// Waits until everybody holds what the primary has.
    #[track_caller]
    fn whole(&mut self) -> usize {
        let replicas = self.count() as i64 - 1;
        until("all replicas follow", || {
            self.tend();
            (0..self.count()).find(|node| {
                let client = RespClient::connect("127.0.0.1", self.cluster.ports[*node]);
                client.is_ok_and(|mut client| confirmed(&mut client, "whole", replicas))
            })
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        const LINES: usize = 25;
        for node in (0..self.count()).filter(|_| std::thread::panicking()) {
            let log = std::fs::read(self.files.0.join(format!("n{node}.log"))).unwrap_or_default();
            let lines: Vec<_> = log.split(|byte| *byte == b'\n').collect();
            let asked = |line| self.nodes[node].as_ref().and_then(|node| node.ask(line));
            eprintln!("n{node}: {:?}\nwhat it said last:", asked("INFO replication"));
            for line in &lines[lines.len().saturating_sub(LINES)..] {
                eprintln!("    {}", String::from_utf8_lossy(line));
            }
        }
    }
}

/// Writes a key and has it confirmed by so many replicas.
fn confirmed(client: &mut RespClient, key: &str, replicas: i64) -> bool {
    let set = client.request_borrowed(&[b"SET", key.as_bytes(), b"v"]);
    let replicas_word = replicas.to_string();
    matches!(set, Ok(Reply::Simple(_)))
        && matches!(client.request_borrowed(&[b"WAIT", replicas_word.as_bytes(), b"1000"]), Ok(Reply::Int(n)) if n >= replicas)
}

/// Writes to whoever is primary, and notes which keys were confirmed.
fn write(ports: &[u16], name: &str, replicas: i64, stop: &AtomicBool, into: &Mutex<Vec<String>>) {
    let (mut at, mut client) = (0, None);
    for i in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let key = format!("{name}:{i}");
        if client.as_mut().is_some_and(|client| confirmed(client, &key, replicas)) {
            into.lock().unwrap().push(key);
            continue;
        }
        at = (at + 1) % ports.len();
        client = RespClient::connect("127.0.0.1", ports[at]).ok();
        std::thread::sleep(Duration::from_millis(5));
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn rounds() -> u64 {
    std::env::var("POWER_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap())
}

/// Rounds in which somebody writes and has it confirmed by so many replicas, `fail` breaks nodes meanwhile and starts them
/// again, and afterwards everything that was ever confirmed must be there, on the primary of then.
fn nothing_confirmed_is_lost(
    policy: &'static str,
    shards: u16,
    nodes: usize,
    replicas: i64,
    fail: impl Fn(&mut Machine, usize),
) {
    let mut machine = Machine::new(policy, shards, nodes);
    let all = Mutex::new(Vec::new());
    let begun = Instant::now();
    for round in 0..rounds() {
        let primary = machine.whole();
        let ports = machine.cluster.ports.clone();
        let (stop, before) = (AtomicBool::new(false), all.lock().unwrap().len());
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let name = format!("r{round}w{writer}");
                let (stop, all, ports) = (&stop, &all, &ports);
                scope.spawn(move || write(ports, &name, replicas, stop, all));
            }
            // Also if something fails here: the others would write for ever.
            let _stop = Stop(&stop);
            until("writes are confirmed", || {
                machine.tend();
                (all.lock().unwrap().len() > before + 20).then_some(())
            });
            std::thread::sleep(Duration::from_millis(machine.draw(300)));
            fail(&mut machine, primary);
        });
        let all = all.lock().unwrap();
        let gone = until("one primary is asked for all of them", || {
            let primary = machine.whole();
            missing(machine.cluster.ports[primary], &all)
        });
        assert_eq!(gone, Vec::<&String>::new(), "{policy}: confirmed writes are gone in round {round}");
        println!(
            "{policy}, {nodes} nodes, {shards} shards, round {round}: {} confirmed, none lost, {:.1} s",
            all.len() - before,
            begun.elapsed().as_secs_f64()
        );
    }
}

/// Those keys that a node does not have; `None`: it has gone away meanwhile.
fn missing(port: u16, keys: &[String]) -> Option<Vec<&String>> {
    let mut client = RespClient::connect("127.0.0.1", port).ok()?;
    let mut gone = Vec::new();
    for key in keys {
        match client.request_borrowed(&[b"GET", key.as_bytes()]).ok()? {
            Reply::Bulk(value) if value == b"v" => {}
            // It knows nothing yet, or no more.
            Reply::Error(_) => return None,
            _ => gone.push(key),
        }
    }
    Some(gone)
}

/// So many nodes as may be missing lose their power, any of them, and the primary is killed; all come back, in any order.
fn minority_and_primary(machine: &mut Machine, primary: usize) {
    let count = machine.count();
    let first = machine.draw(count as u64) as usize;
    let distance = 1 + machine.draw(count as u64 - 1) as usize;
    let cut: Vec<usize> = [first, (first + distance) % count].into_iter().take((count - 1) / 2).collect();
    for node in &cut {
        machine.cut(*node);
    }
    for node in &cut {
        machine.power_up(*node);
        if machine.draw(2) == 0 {
            // Back before the primary dies.
            machine.start(*node);
            let wait = machine.draw(1500);
            std::thread::sleep(Duration::from_millis(wait));
        }
    }
    machine.kill(primary);
    for node in &cut {
        if machine.nodes[*node].is_none() {
            machine.start(*node);
        }
    }
    if machine.nodes[primary].is_none() {
        let wait = machine.draw(2) * machine.draw(3000);
        std::thread::sleep(Duration::from_millis(wait));
        machine.start(primary);
    }
}

/// All nodes lose their power at once, and come back in any order.
fn everybody(machine: &mut Machine, _primary: usize) {
    for node in 0..machine.count() {
        machine.disks[node].cut();
    }
    for node in 0..machine.count() {
        machine.kill(node);
        machine.power_up(node);
    }
    let first = machine.draw(machine.count() as u64) as usize;
    for node in 0..machine.count() {
        machine.start((first + node) % machine.count());
        let wait = machine.draw(2) * machine.draw(500);
        std::thread::sleep(Duration::from_millis(wait));
    }
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn always_confirmed_by_a_quorum_survives_a_power_cut_of_any_node_and_a_kill_of_the_primary() {
    nothing_confirmed_is_lost("always", 1, 3, 1, minority_and_primary);
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn everysec_confirmed_by_all_survives_a_power_cut_of_any_node_and_a_kill_of_the_primary() {
    nothing_confirmed_is_lost("everysec", 1, 3, 2, minority_and_primary);
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn no_sync_confirmed_by_all_survives_a_power_cut_of_any_node_and_a_kill_of_the_primary() {
    nothing_confirmed_is_lost("no", 1, 3, 2, minority_and_primary);
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn always_confirmed_by_a_quorum_survives_a_power_cut_of_all() {
    nothing_confirmed_is_lost("always", 1, 3, 1, everybody);
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn always_confirmed_by_a_quorum_survives_a_power_cut_of_all_with_two_shards() {
    nothing_confirmed_is_lost("always", 2, 3, 1, everybody);
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn always_confirmed_by_a_quorum_of_five_survives_a_power_cut_of_any_two_and_a_kill_of_the_primary() {
    nothing_confirmed_is_lost("always", 1, 5, 2, minority_and_primary);
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn everysec_confirmed_by_all_of_five_survives_a_power_cut_of_any_two_and_a_kill_of_the_primary() {
    nothing_confirmed_is_lost("everysec", 2, 5, 4, minority_and_primary);
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn no_sync_confirmed_by_all_of_five_survives_a_power_cut_of_any_two_and_a_kill_of_the_primary() {
    nothing_confirmed_is_lost("no", 1, 5, 4, minority_and_primary);
}
