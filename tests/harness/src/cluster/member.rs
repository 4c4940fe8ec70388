//! One node, and what becomes of its process.

use super::setup::Place;
use crate::observe::Log;
use crate::ports::Ports;
use crate::verdict::Node;
use std::net::SocketAddr;
use std::process::Child;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// One node.
pub struct Member {
    /// `n1`.
    pub id: String,
    /// Its ports.
    pub ports: Ports,
    /// Where it lives.
    pub place: Place,
    /// What it says.
    pub log: Arc<Log>,
    /// Where it has a key: what the others know it by.
    pub(super) key: Option<String>,
    pub(super) process: Option<Child>,
    /// Redis' Sentinel: runs on whatever happens to the server.
    pub(super) companion: Option<Child>,
    pub(super) reader: Option<JoinHandle<()>>,
    /// By SIGSTOP.
    pub(super) stopped: bool,
}

impl Member {
    /// Where clients find it.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((self.place.address(), self.ports.client))
    }

    /// Where they ask for the primary of [`SENTINEL_NAME`](super::SENTINEL_NAME): its own port for that, or the Sentinel beside it.
    pub fn sentinel(&self) -> SocketAddr {
        let port = if self.companion.is_some() { self.ports.elect } else { self.ports.sentinel };
        SocketAddr::from((self.place.address(), port))
    }

    pub(super) fn new(node: usize, ports: Ports, place: Place) -> Self {
        let id = format!("n{}", node + 1);
        let log = Arc::default();
        Self {
            id,
            ports,
            place,
            log,
            key: None,
            process: None,
            companion: None,
            reader: None,
            stopped: false,
        }
    }
}

/// A process that ended although nobody here asked it to, and was started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// The node whose process it was.
    pub node: Node,
    /// When that was seen.
    pub at: Duration,
    /// "signal 9".
    pub status: String,
    /// Whether SIGKILL ended it: what the server's own watchdog does to a process that overslept its lease.
    pub killed: bool,
}

/// How a stopped process came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumption {
    /// It went on where it was.
    Continued,
    /// Its watchdog had ended it; a new process was started.
    StartedAgain,
}
