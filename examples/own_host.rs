//! A `ReplicationHost` of one's own: a log in memory that replicas copy.
//!
//! ```text
//! cargo run --example own_host
//! ```
//!
//! The network and the vote records are in memory: of the feature `test-util`, which is on in this repository's
//! tests and examples, and which a crate of yours
//! turns on for its own under `[dev-dependencies]`.
//!
//! The smallest server that can be steered. What matters in a real one is all here: writes ask the gate,
//! the position says whose history the data is, and `detach` stops acknowledging before a vote.

use async_trait::async_trait;
use kevy_elect_plugin::clock::SystemClock;
use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::host::{HostError, ReplicationHost};
use kevy_elect_plugin::ids::{Epoch, NodeId};
use kevy_elect_plugin::plugin::{ElectPlugin, QuorumParts, QuorumPlugin};
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::store::MemoryVoteStore;
use kevy_elect_plugin::transport::MemoryNetwork;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// A server whose data is a list of words.
struct Server {
    node: NodeId,
    plugin: Arc<QuorumPlugin>,
    /// The other servers: what would be sockets in earnest.
    cluster: Arc<OnceLock<Vec<Arc<Server>>>>,
    data: Mutex<Data>,
}

#[derive(Clone, Default)]
struct Data {
    words: Vec<String>,
    /// The epoch of the primary whose history `words` is, and how many of its words are in there.
    stream_epoch: Epoch,
    offset: u64,
    follows: Option<NodeId>,
}

impl Server {
    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client writes. Gives the number of replicas that have the word, or why it was refused.
    fn write(&self, word: &str) -> Result<usize, String> {
        self.plugin.write_gate().check().map_err(|denied| format!("{}: {denied:?}", self.node))?;
        let (epoch, offset) = {
            let mut data = self.data();
            data.words.push(word.to_owned());
            data.offset += 1;
            (data.stream_epoch, data.offset)
        };
        self.plugin.on_offset(0, offset);
        let others = self.cluster.get().into_iter().flatten().filter(|other| other.node != self.node);
        Ok(others.filter(|other| other.replicate(self.node, epoch, offset, word)).count())
    }

    /// The primary's stream: applied and acknowledged only while this server follows that primary.
    fn replicate(&self, from: NodeId, epoch: Epoch, offset: u64, word: &str) -> bool {
        let mut data = self.data();
        let next = data.follows == Some(from) && data.stream_epoch == epoch && data.offset + 1 == offset;
        if next {
            data.words.push(word.to_owned());
            data.offset = offset;
            self.plugin.on_offset(0, offset);
        }
        next
    }
}

#[async_trait]
impl ReplicationHost for Server {
    async fn promote(&self, epoch: Epoch) -> Result<(), HostError> {
        // A new stream begins, counted from zero: the epoch makes its offsets comparable.
        let mut data = self.data();
        data.follows = None;
        data.stream_epoch = epoch;
        data.offset = 0;
        self.plugin.on_joined(epoch, &[0]);
        Ok(())
    }

    async fn follow(&self, epoch: Epoch, primary: NodeId) -> Result<(), HostError> {
        let source = self.cluster.get().into_iter().flatten().find(|other| other.node == primary);
        let source = source.ok_or_else(|| HostError::new(format!("{primary} is not there")))?;
        // A full copy. Only now is this the primary's history, so only now is it told.
        let copy = source.data().clone();
        if copy.stream_epoch != epoch {
            return Err(HostError::new(format!("{primary} does not reign in epoch {epoch} yet")));
        }
        let offset = copy.offset;
        *self.data() = Data { follows: Some(primary), ..copy };
        self.plugin.on_joined(epoch, &[offset]);
        Ok(())
    }

    async fn detach(&self) -> Result<Position, HostError> {
        let mut data = self.data();
        data.follows = None;
        Ok(Position::single(data.stream_epoch, data.offset))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let ids = [NodeId::new("red")?, NodeId::new("green")?, NodeId::new("blue")?];
    let network = MemoryNetwork::builder(SystemClock::new(), 1, ids).build();
    let cluster = Arc::new(OnceLock::new());
    let executor = smol::LocalExecutor::new();
    let (mut servers, mut tasks) = (Vec::new(), Vec::new());
    for node in ids {
        let parts = QuorumParts {
            config: Config::builder(node, ids.map(Member::voter)).build()?,
            clock: Arc::new(SystemClock::new()),
            store: Arc::new(MemoryVoteStore::new()),
            transport: Arc::new(network.transport(node)),
            seed: servers.len() as u64,
        };
        let (_, election) = QuorumPlugin::start(parts, |plugin| {
            let (data, cluster) = (Mutex::default(), cluster.clone());
            servers.push(Arc::new(Server { node, plugin: plugin.clone(), cluster, data }));
            servers[servers.len() - 1].clone()
        });
        tasks.push(executor.spawn(election));
    }
    let _ = cluster.set(servers.clone());

    smol::block_on(executor.run(async {
        let first = confirmed(&servers, "one").await;
        println!("{} took \"one\", confirmed by a replica", servers[first].node);
        network.kill(servers[first].node);
        tasks.remove(first).cancel().await;
        let second = confirmed(&servers, "two").await;
        println!("{} took \"two\", and has {:?}", servers[second].node, servers[second].data().words);
        println!("the old one says: {:?}", servers[first].write("three"));
        assert_eq!(servers[second].data().words, ["one", "two"]);
    }));
    Ok(())
}

/// Writes until some server takes the word and a replica has it too.
async fn confirmed(servers: &[Arc<Server>], word: &str) -> usize {
    loop {
        let ready = |server: &Arc<Server>| {
            let node = server.node;
            server.plugin.write_gate().is_open()
                && servers.iter().any(|other| other.data().follows == Some(node))
        };
        match servers.iter().position(ready) {
            Some(at) if matches!(servers[at].write(word), Ok(1..)) => return at,
            _ => drop(smol::Timer::after(Duration::from_millis(1)).await),
        }
    }
}
