//! How servers are run, and where.

use std::net::Ipv4Addr;
use std::path::PathBuf;

/// How the servers are run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The binary.
    pub server: PathBuf,
    /// What kind of server that is.
    pub system: System,
    /// Whether anybody decides who is primary; without, the first node is and stays it.
    pub elections: bool,
    /// Whether clients can ask every node of the plugin where the primary is, as they ask Sentinels.
    pub sentinel: bool,
    /// Whether a node of the plugin that overslept its lease is ended, as it is by default.
    pub watchdog: bool,
    /// Whether links and streams of the plugin prove who speaks, by keys that are made for the cluster.
    pub secure: bool,
    /// How many shards each server has.
    pub threads: usize,
    /// Where the nodes live; as many as there are places.
    pub places: Vec<Place>,
}

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum System {
    /// kevy with the plugin.
    Plugin,
    /// An unmodified kevy.
    Stock,
    /// Redis, with one Sentinel beside each server.
    Redis {
        /// The Sentinel's binary.
        sentinel: PathBuf,
    },
}

/// Where a node lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On 127.0.0.1, on ports that are free.
    Loopback,
    /// In a network namespace of its own that somebody has made, under an address of its own.
    Namespace {
        /// As `ip netns` knows it.
        name: String,
        /// Its address there.
        address: Ipv4Addr,
        /// A directory for its vote record, perhaps on a disk of its own; `None`: below the data directory.
        votes: Option<PathBuf>,
    },
}

impl Place {
    pub(super) const fn address(&self) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST,
            Self::Namespace { address, .. } => *address,
        }
    }
}
