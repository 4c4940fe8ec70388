//! A leader among workers, and what it writes to: a store that checks a fencing token.
//!
//! ```text
//! cargo run --example fencing_token
//! ```
//!
//! The leader asks its gate before it writes. But a process can be stopped between the question and the write, for as long as you like, and
//! another one leads meanwhile. So every write carries the epoch in which its leader was elected, and the store refuses an epoch that is lower
//! than the highest it has seen. Epochs only grow, each has one leader at most, and no clock is compared.
//!
//! The network and the vote records are in memory: of the feature `test-util`, which is on in this repository's
//! tests and examples, and which a crate of yours
//! turns on for its own under `[dev-dependencies]`.

use kevy_elect_plugin::host::NoData;
use kevy_elect_plugin::rank::Rank;
use kevy_elect_plugin::store::MemoryVoteStore;
use kevy_elect_plugin::transport::MemoryNetwork;
use kevy_elect_plugin::{Config, ElectPlugin, Epoch, Member, NodeId, QuorumParts, QuorumPlugin, SystemClock};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What the leader writes to. It could be a table with a column for the token, or a file server.
#[derive(Default)]
struct Store(Mutex<(Epoch, Vec<String>)>);

impl Store {
    /// Takes a line of whoever was elected last, as far as this store has heard.
    fn write(&self, token: Epoch, line: &str) -> Result<(), String> {
        let mut store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if token < store.0 {
            return Err(format!("token {token} is stale: {} has written", store.0));
        }
        store.0 = token;
        store.1.push(line.to_owned());
        Ok(())
    }
}

/// A worker has no data of its own; it counts the jobs that it has done, which decides among workers that are as old as each other.
type Node = (NodeId, Arc<QuorumPlugin>, Arc<NoData>);

fn main() -> Result<(), Box<dyn Error>> {
    let ids = [NodeId::new("w1")?, NodeId::new("w2")?, NodeId::new("w3")?];
    let network = MemoryNetwork::builder(SystemClock::new(), 1, ids).build();
    let executor = smol::LocalExecutor::new();
    let mut nodes: Vec<Node> = Vec::new();
    for node in ids {
        let parts = QuorumParts {
            // A tenth of the usual times, so that the example does not make you wait.
            config: Config::builder(node, ids.map(Member::voter))
                .rank(Rank::Seniority)
                .heartbeat_interval(Duration::from_millis(10))
                .election_timeout(Duration::from_millis(100))
                .build()?,
            clock: Arc::new(SystemClock::new()),
            store: Arc::new(MemoryVoteStore::new()),
            transport: Arc::new(network.transport(node)),
            seed: nodes.len() as u64,
        };
        let worker = Arc::new(NoData::new());
        let (plugin, election) = QuorumPlugin::start(parts, |_| worker.clone());
        executor.spawn(election).detach();
        nodes.push((node, plugin, worker));
    }
    let store = Store::default();
    smol::block_on(executor.run(async {
        let (old, old_token) = lead(&nodes, None).await?;
        store.write(old_token, "one")?;
        nodes[old].2.worked(1);
        println!("{} leads, and wrote with token {old_token}", nodes[old].0);

        // It has asked its gate, and is about to write. It is not heard any more, and the others go on.
        let others: Vec<_> = ids.into_iter().filter(|id| *id != nodes[old].0).collect();
        network.partition(&[nodes[old].0], &others);
        let (new, new_token) = lead(&nodes, Some(old)).await?;
        store.write(new_token, "two")?;
        println!("{} leads, and wrote with token {new_token}", nodes[new].0);

        let late = store.write(old_token, "three");
        println!("{} writes at last: {late:?}", nodes[old].0);
        let gate = nodes[old].1.write_gate().check();
        let kept = store.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
        if late.is_ok() || gate.is_ok() || kept != ["one", "two"] {
            return Err(format!("a stale leader wrote: {late:?}, {gate:?}, {kept:?}").into());
        }
        Ok(())
    }))
}

/// Waits until a worker other than `not` may lead; gives it and its token.
async fn lead(nodes: &[Node], not: Option<usize>) -> Result<(usize, Epoch), Box<dyn Error>> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        // The token first: should another one be elected in between, this one is too low, and harms nobody.
        let leads =
            nodes.iter().map(|(_, plugin, _)| (plugin.snapshot().epoch, plugin.write_gate().is_open()));
        let open = leads.enumerate().find(|(at, (_, open))| *open && Some(*at) != not);
        if let Some((at, (token, _))) = open {
            return Ok((at, token));
        }
        smol::Timer::after(Duration::from_millis(1)).await;
    }
    Err("nobody leads".into())
}
