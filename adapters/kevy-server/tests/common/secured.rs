//! Servers with keys, as processes.

use super::Cluster;
use super::process::{BIN, Process};
use kevy_elect_noise::{PrivateKey, PublicKey};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a node has in its file beside what every node has. Nobody loses the office because this machine has other work.
const MORE: &str = "http = \"127.0.0.1:0\"\nheartbeat_interval_ms = 50\nelection_timeout_ms = 5000\n";

/// Servers that have keys.
pub struct Secured {
    pub cluster: Cluster,
    /// Of each node: the file, and what its peers accept.
    pub keys: Vec<(PathBuf, Vec<PublicKey>)>,
}

impl Secured {
    pub fn new(shards: u16) -> Self {
        Self::of(Cluster::new(3, shards))
    }

    pub fn of(cluster: Cluster) -> Self {
        let keys = cluster.dirs.iter().map(|dir| {
            let file = dir.0.join("key");
            let public = keygen(&file);
            (file, vec![public])
        });
        let keys = keys.collect();
        Self { cluster, keys }
    }

    pub fn write(&self, node: usize) -> PathBuf {
        self.write_with(node, MORE)
    }

    /// Writes the node's file.
    pub fn write_with(&self, node: usize, more: &str) -> PathBuf {
        drop(self.cluster.settings(node, more));
        let file = self.cluster.dirs[node].0.join("kevy.toml");
        let listed = self
            .keys
            .iter()
            .enumerate()
            .flat_map(|(node, (_, keys))| keys.iter().map(move |key| format!("\"n{node}={key}\"")));
        let listed = listed.collect::<Vec<_>>().join(", ");
        let head = format!(
            "[secure]\nprivate_key_file = \"{}\"\n[cluster]\nsecure = true\npeer_keys = [{listed}]\n",
            self.keys[node].0.display()
        );
        let text = fs::read_to_string(&file).unwrap().replace("[cluster]\n", &head);
        fs::write(&file, text).unwrap();
        file
    }

    pub fn start(&self, node: usize) -> Process {
        Process::start_file(&self.write(node), self.cluster.ports[node])
    }

    pub fn start_all(&self) -> Vec<Process> {
        (0..self.keys.len()).map(|node| self.start(node)).collect()
    }

    pub fn log(&self, node: usize) -> String {
        fs::read_to_string(self.cluster.dirs[node].0.join("log")).unwrap()
    }

    /// The secret of a node, for whoever has taken it.
    pub fn private(&self, node: usize) -> [u8; 32] {
        *PrivateKey::load(&self.keys[node].0).unwrap().expose()
    }

    pub fn public(&self, node: usize) -> [u8; 32] {
        *self.keys[node].1[0].as_bytes()
    }

    pub fn stream(&self, node: usize) -> SocketAddr {
        ([127, 0, 0, 1], self.cluster.ports[node] + 10_000).into()
    }
}

/// As `kevy-server keygen` makes one.
pub fn keygen(file: &Path) -> PublicKey {
    let said = Command::new(BIN).arg("keygen").arg(file).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    let public: PublicKey = String::from_utf8(said.stdout).unwrap().parse().unwrap();
    assert_eq!(PrivateKey::load(file).unwrap().public(), public);
    public
}
