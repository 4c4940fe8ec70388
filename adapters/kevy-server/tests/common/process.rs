//! Real processes.

use super::{Cluster, until};
use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

pub const BIN: &str = env!("CARGO_BIN_EXE_kevy-server");

/// The test that is a witness, and where its file is said.
pub const WITNESS: &str = "acts_as_the_witness";

pub struct Process {
    pub child: Child,
    pub port: u16,
}

impl Process {
    pub fn start(cluster: &Cluster, node: usize, more: &str) -> Self {
        // Writes the node's file.
        drop(cluster.settings(node, more));
        Self::start_file(&cluster.dirs[node].0.join("kevy.toml"), cluster.ports[node])
    }

    /// Starts the three nodes of a cluster.
    pub fn start_three(cluster: &Cluster, more: &str) -> Vec<Self> {
        (0..3).map(|node| Self::start(cluster, node, more)).collect()
    }

    /// Starts the server of this file, whose log is beside it.
    pub fn start_file(file: &Path, port: u16) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(file.with_file_name("log"));
        let mut command = Command::new(BIN);
        // As users start it: it sees to the rest itself.
        command.env_remove("KEVY_IO_URING").env_remove("KEVY_AOF_OFFLOAD");
        let child = command.arg("--config").arg(file).stderr(log.unwrap()).spawn().unwrap();
        Self { child, port }
    }

    /// Starts this test program again as the witness of `cluster`: its test [`WITNESS`] is that.
    pub fn start_witness(cluster: &Cluster, more: &str) -> Self {
        let node = cluster.witness.unwrap();
        drop(cluster.settings(node, more));
        let file = cluster.dirs[node].0.join("kevy.toml");
        let log = OpenOptions::new().create(true).append(true).open(file.with_file_name("log"));
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", WITNESS, "--ignored", "--nocapture"]).env(WITNESS, file);
        let child = command.stdout(Stdio::null()).stderr(log.unwrap()).spawn().unwrap();
        Self { child, port: 0 }
    }

    pub fn ask(&self, line: &str) -> Option<String> {
        let mut client = RespClient::connect("127.0.0.1", self.port).ok()?;
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        match client.request_borrowed(&words).ok()? {
            Reply::Simple(text) | Reply::Bulk(text) => Some(String::from_utf8_lossy(&text).into_owned()),
            Reply::Error(text) => Some(format!("-{}", String::from_utf8_lossy(&text))),
            Reply::Int(n) => Some(n.to_string()),
            _ => None,
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The names of its threads but kevy's own (its shards have the process's name, the kernel's workers for them
    /// begin with `iou-`) and the streams of a replica, of which kevy has one per shard as well.
    pub fn threads_beside_kevys(&self) -> Vec<String> {
        const KEVYS: [&str; 3] = ["kevy-", "iou-", "stream-"];
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let mut names: Vec<String> = tasks
            // One that has ended meanwhile has no name any more.
            .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok())
            .map(|name| name.trim_end().to_owned())
            .filter(|name| !KEVYS.iter().any(|kevys| name.starts_with(kevys)))
            .collect();
        names.sort();
        names
    }

    pub fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        until("the process ends", || child.try_wait().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The node that takes writes.
#[track_caller]
pub fn primary(nodes: &[Process]) -> usize {
    until("a node takes writes", || {
        nodes.iter().position(|node| node.ask("SET probe 1").as_deref() == Some("OK"))
    })
}

/// Writes until two replicas have confirmed it.
#[track_caller]
pub fn confirmed(node: &Process, write: &str) {
    until("both replicas confirm", || {
        node.ask(write)?;
        (node.ask("WAIT 2 1000")? == "2").then_some(())
    });
}
