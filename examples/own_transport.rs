//! A `Transport` of one's own: nodes in one process, linked by channels.
//!
//! ```text
//! cargo run --example own_transport
//! ```
//!
//! The vote records are in memory: of the feature `test-util`, which is on in this repository's tests and examples, and which a crate of yours
//! turns on for its own under `[dev-dependencies]`.
//!
//! Three nodes elect a primary; it is stopped in an orderly way and hands over. A transport has four jobs:
//! say who is linked, deliver what was sent, never block in `send`, and close.

use async_channel::{Receiver, Sender, unbounded};
use async_trait::async_trait;
use futures::{StreamExt, executor::LocalPool, task::LocalSpawnExt};
use kevy_elect_plugin::clock::SystemClock;
use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::host::NoData;
use kevy_elect_plugin::ids::{Incarnation, NodeId};
use kevy_elect_plugin::message::{Hello, Message};
use kevy_elect_plugin::plugin::{ElectPlugin, QuorumParts, QuorumPlugin};
use kevy_elect_plugin::store::MemoryVoteStore;
use kevy_elect_plugin::transport::{LinkEvent, SendError, Transport, TransportError, TransportEvent};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

/// One end of the network: a sender to every peer, and our own inbox.
struct Channels {
    node: NodeId,
    peers: BTreeMap<NodeId, Sender<TransportEvent>>,
    inbox: Receiver<TransportEvent>,
}

#[async_trait]
impl Transport for Channels {
    async fn run(&self, hello: Hello) -> Result<(), TransportError> {
        // Channels are always up: tell everybody which start of our process is on this end.
        let event = LinkEvent::Up { incarnation: hello.incarnation };
        for peer in self.peers.values() {
            let _ = peer.try_send(TransportEvent::Link { peer: self.node, event });
        }
        futures::future::pending().await
    }

    fn send(&self, to: NodeId, message: &Message) -> Result<(), SendError> {
        // In one process the "link" proves the sender by construction. Over a real network this is where
        // an identity has to be checked.
        let peer = self.peers.get(&to).ok_or(SendError::UnknownPeer(to))?;
        let event = TransportEvent::Message { from: self.node, message: message.clone() };
        peer.try_send(event).map_err(|_| SendError::NoLink(to))
    }

    async fn recv(&self) -> TransportEvent {
        match self.inbox.recv().await {
            Ok(event) => event,
            Err(_) => futures::future::pending().await,
        }
    }

    async fn close(&self) {
        self.inbox.close();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let ids = [NodeId::new("ada")?, NodeId::new("ben")?, NodeId::new("cyd")?];
    let (senders, mut inboxes): (Vec<_>, Vec<_>) = ids.iter().map(|_| unbounded()).unzip();

    let mut pool = LocalPool::new();
    let mut nodes = Vec::new();
    for (seed, node) in ids.into_iter().enumerate().rev() {
        let peers = ids.into_iter().zip(senders.iter().cloned()).filter(|(id, _)| *id != node).collect();
        let inbox = inboxes.pop().ok_or("one inbox per node")?;
        let parts = QuorumParts {
            config: Config::builder(node, ids.map(Member::voter)).build()?,
            clock: Arc::new(SystemClock::new()),
            store: Arc::new(MemoryVoteStore::new()),
            transport: Arc::new(Channels { node, peers, inbox }),
            seed: seed as u64,
        };
        let (plugin, election) = QuorumPlugin::start(parts, |_| Arc::new(NoData::new()));
        pool.spawner().spawn_local(async move {
            if let Err(error) = election.await {
                eprintln!("{error}");
            }
        })?;
        nodes.push(plugin);
    }
    nodes.reverse();

    let first = pool.run_until(primary(&nodes));
    println!("{} is primary in epoch {}", first.node, first.epoch);

    let old = nodes.iter().position(|node| node.snapshot().node == first.node).ok_or("it is one of them")?;
    let old = nodes.remove(old);
    pool.run_until(old.shutdown());
    let second = pool.run_until(primary(&nodes));
    println!("{} left; {} is primary in epoch {}", first.node, second.node, second.epoch);
    assert!(second.epoch > first.epoch && Incarnation(0) < second.incarnation);
    Ok(())
}

/// Waits until one of the nodes lets writes pass.
async fn primary(nodes: &[Arc<QuorumPlugin>]) -> kevy_elect_plugin::plugin::ElectSnapshot {
    let mut events = futures::stream::select_all(nodes.iter().map(|node| node.events()));
    loop {
        if let Some(node) = nodes.iter().find(|node| node.write_gate().is_open()) {
            return node.snapshot();
        }
        events.next().await;
    }
}
