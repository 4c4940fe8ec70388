//! Nodes on disks of their own.

use super::common::disk::Disk;
use super::common::process::{BIN, Process};
use super::common::{Cluster, Dir, until};
use super::writers::confirmed;
use kevy_resp_client::RespClient;
use rustix::process::Signal;
use std::fs::File;
use std::process::Command;

/// Instead of a policy: `aof = false`.
pub(crate) const NO_LOG: &str = "none";

/// Nodes on disks of their own. Processes first: disks can be unmounted only after them.
pub(crate) struct Machine {
    pub(crate) nodes: Vec<Option<Process>>,
    pub(crate) disks: Vec<Disk>,
    pub(crate) cluster: Cluster,
    files: Dir,
    more: String,
    random: u64,
}

impl Machine {
    /// `policy` is `appendfsync`, or `none` for nodes without a log.
    pub(crate) fn new(policy: &'static str, shards: u16, nodes: usize) -> Self {
        let (mut cluster, files) = (Cluster::new(nodes, shards), Dir::new());
        match policy {
            NO_LOG => cluster.aof = false,
            policy => cluster.appendfsync = policy,
        }
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
    pub(crate) fn draw(&mut self, below: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    pub(crate) fn count(&self) -> usize {
        self.disks.len()
    }

    pub(crate) fn kill(&mut self, node: usize) {
        if let Some(mut process) = self.nodes[node].take() {
            process.signal(Signal::KILL);
            process.wait();
        }
    }

    /// The power of a node goes: its disk stops, then its process.
    pub(crate) fn cut(&mut self, node: usize) {
        self.disks[node].cut();
        self.kill(node);
    }

    pub(crate) fn power_up(&mut self, node: usize) {
        self.disks[node].power_up();
    }

    pub(crate) fn start(&mut self, node: usize) {
        assert!(self.nodes[node].is_none());
        self.nodes[node] = Some(self.process(node));
    }

    /// Starts again what ended by itself, as a supervisor does: the watchdog ends a primary whose answers come too late.
    pub(crate) fn tend(&mut self) {
        for node in 0..self.count() {
            if self.nodes[node].as_mut().is_some_and(|process| process.child.try_wait().unwrap().is_some()) {
                self.nodes[node] = None;
                self.start(node);
            }
        }
    }

    /// All who run are killed at once; the disks are whole.
    pub(crate) fn kill_all(&mut self) {
        for process in self.nodes.iter().flatten() {
            process.signal(Signal::KILL);
        }
        (0..self.count()).for_each(|node| self.kill(node));
    }

    /// The same, but nobody is elected between two of them, however busy the machine: this one, which reigns, is the last.
    pub(crate) fn kill_all_and_last(&mut self, primary: usize) {
        for process in self
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(node, process)| process.as_ref().filter(|_| node != primary))
        {
            process.signal(Signal::KILL);
        }
        self.kill_all();
    }

    /// The power of all goes at once.
    pub(crate) fn cut_all(&mut self) {
        self.disks.iter().for_each(Disk::cut);
        for node in 0..self.count() {
            self.kill(node);
            self.power_up(node);
        }
    }

    /// Who does not run starts again, in any order.
    pub(crate) fn start_all(&mut self) {
        let first = self.draw(self.count() as u64) as usize;
        let count = self.count();
        for node in (0..count).map(|node| (first + node) % count) {
            if self.nodes[node].is_none() {
                self.start(node);
                let wait = self.draw(2) * self.draw(500);
                std::thread::sleep(std::time::Duration::from_millis(wait));
            }
        }
    }

    /// All that is in the file system of a node reaches its disk, as the system sees to within half a minute.
    pub(crate) fn write_back(&self, node: usize) {
        rustix::fs::syncfs(File::open(&self.cluster.dirs[node].0).unwrap()).unwrap();
    }

    /// Waits until everybody who was not left dead holds what the primary has.
    #[track_caller]
    pub(crate) fn whole(&mut self) -> usize {
        let replicas = self.nodes.iter().flatten().count() as i64 - 1;
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
