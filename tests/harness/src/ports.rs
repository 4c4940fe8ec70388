//! Free loopback ports for one node.

use std::io;
use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

/// Client ports are taken from here. kevy's replication listeners are 10 000 above; both ranges end below
/// Linux' ephemeral ports, where any outgoing connection may sit, and where a client that dials a port
/// nobody listens on can even connect to itself.
const FIRST: u16 = 11_000;
const LAST: u16 = 22_000;
/// kevy's rule.
const REPLICATION_OFFSET: u16 = 10_000;
/// Between the client ports of two nodes: room for the ports beside it and for one per shard above it.
const STRIDE: u16 = 128;

/// The ports of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// For clients.
    pub client: u16,
    /// For elections.
    pub elect: u16,
    /// For `/metrics` and `/status`.
    pub http: u16,
    /// For clients that speak Sentinel's protocol.
    pub sentinel: u16,
    /// The first of one per shard.
    pub replication: u16,
}

impl Ports {
    const fn from_base(base: u16) -> Self {
        let replication = base + REPLICATION_OFFSET;
        Self { client: base, elect: base + 1, http: base + 2, sentinel: base + 3, replication }
    }

    fn all(self, threads: usize) -> impl Iterator<Item = u16> {
        let shards = (0..threads as u16).map(move |shard| self.replication + shard);
        [self.client, self.elect, self.http, self.sentinel].into_iter().chain(shards)
    }
}

/// Ports for `nodes` nodes that nobody listens on now. Somebody may a moment later: whoever starts a
/// server with them must be ready to try again.
pub fn free(nodes: usize, threads: usize) -> io::Result<Vec<Ports>> {
    let blocks = (LAST - FIRST) / STRIDE;
    // Two demos at one time should not look at the same blocks in the same order.
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    let start = ((nanos >> 4) ^ std::process::id()) % u32::from(blocks);
    let found: Vec<_> = (0..blocks)
        .map(|n| FIRST + (start as u16 + n) % blocks * STRIDE)
        .map(Ports::from_base)
        .filter(|ports| ports.all(threads).all(is_free))
        .take(nodes)
        .collect();
    if found.len() == nodes {
        return Ok(found);
    }
    Err(io::Error::other(format!("fewer than {nodes} free blocks of ports between {FIRST} and {LAST}")))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_never_share_a_port_and_stay_below_the_ephemeral_range() {
        let threads = 64;
        let nodes = free(3, threads).unwrap();
        let mut all: Vec<_> = nodes.iter().flat_map(|ports| ports.all(threads)).collect();
        assert_eq!(all.len(), 3 * (4 + threads));
        assert!(all.iter().all(|port| *port < 32_768));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 3 * (4 + threads));
    }

    #[test]
    fn a_block_with_a_port_in_use_is_not_free() {
        // Somebody else may be looking at the port just now.
        let (taken, _listener) = std::iter::repeat_with(|| free(1, 1).unwrap()[0])
            .find_map(|taken| Some((taken, TcpListener::bind(("127.0.0.1", taken.elect)).ok()?)))
            .unwrap();
        assert!(!taken.all(1).all(is_free));
    }
}
