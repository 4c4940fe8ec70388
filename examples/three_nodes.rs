//! Three nodes in memory: an election, a cut network, a killed primary.
//!
//! ```text
//! cargo run --example three_nodes
//! ```
//!
//! The network and the vote records are in memory: of the feature `test-util`, which is on in this repository's
//! tests and examples, and which a crate of yours
//! turns on for its own under `[dev-dependencies]`.
//!
//! The nodes are the real thing; only the network between them is in memory, so that it can be cut.

use futures::StreamExt;
use kevy_elect_plugin::clock::SystemClock;
use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::host::NoData;
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::plugin::{ElectPlugin, QuorumParts, QuorumPlugin};
use kevy_elect_plugin::store::MemoryVoteStore;
use kevy_elect_plugin::transport::MemoryNetwork;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Node = (Arc<QuorumPlugin>, smol::Task<()>);

fn main() -> Result<(), Box<dyn Error>> {
    let ids = [NodeId::new("n1")?, NodeId::new("n2")?, NodeId::new("n3")?];
    let network = MemoryNetwork::builder(SystemClock::new(), 1, ids).build();
    let executor = smol::LocalExecutor::new();
    let start = Instant::now();

    let mut nodes: Vec<Node> = Vec::new();
    for node in ids {
        let parts = QuorumParts {
            // A tenth of the usual times, so that the example does not make you wait.
            config: Config::builder(node, ids.map(Member::voter))
                .heartbeat_interval(Duration::from_millis(10))
                .election_timeout(Duration::from_millis(100))
                .build()?,
            clock: Arc::new(SystemClock::new()),
            store: Arc::new(MemoryVoteStore::new()),
            transport: Arc::new(network.transport(node)),
            seed: nodes.len() as u64,
        };
        let (plugin, election) = QuorumPlugin::start(parts, |_| Arc::new(NoData::new()));
        let mut events = plugin.events();
        let story = async move {
            while let Some(event) = events.next().await {
                println!("{:>8.1} ms  {node}  {event}", start.elapsed().as_secs_f64() * 1e3);
            }
        };
        let task = executor.spawn(async move {
            futures::future::select(election, Box::pin(story)).await;
        });
        nodes.push((plugin, task));
    }

    smol::block_on(executor.run(async {
        let first = writable(&nodes, None).await;
        println!("--- {first} may write; its network is cut");
        network.partition(&[first], &others(&ids, first));
        let second = writable(&nodes, Some(first)).await;
        println!("--- {second} may write; the network is whole again");
        network.heal_all();
        smol::Timer::after(Duration::from_millis(50)).await;
        println!("--- {second} is killed");
        network.kill(second);
        if let Some(at) = nodes.iter().position(|(plugin, _)| plugin.snapshot().node == second) {
            nodes.remove(at).1.cancel().await;
        }
        let third = writable(&nodes, Some(second)).await;
        println!("--- {third} may write");
    }));
    Ok(())
}

/// Waits until a node other than `not` may write.
async fn writable(nodes: &[Node], not: Option<NodeId>) -> NodeId {
    loop {
        let open = nodes.iter().find(|(plugin, _)| plugin.write_gate().is_open());
        match open.map(|(plugin, _)| plugin.snapshot().node) {
            Some(node) if Some(node) != not => return node,
            _ => drop(smol::Timer::after(Duration::from_millis(1)).await),
        }
    }
}

fn others(ids: &[NodeId], not: NodeId) -> Vec<NodeId> {
    ids.iter().copied().filter(|id| *id != not).collect()
}
