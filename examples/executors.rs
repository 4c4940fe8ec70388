//! The same node on smol and on Tokio, over real TCP.
//!
//! ```text
//! cargo run --example executors
//! ```
//!
//! The vote record is in memory: of the feature `test-util`, which is on in this repository's tests and examples, and which a crate of yours
//! turns on for its own under `[dev-dependencies]`.

use futures::StreamExt;
use futures::future::BoxFuture;
use kevy_elect_plugin::clock::SystemClock;
use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::event::EventKind;
use kevy_elect_plugin::host::NoData;
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::plugin::{ElectPlugin, Election, QuorumParts, QuorumPlugin};
use kevy_elect_plugin::store::MemoryVoteStore;
use kevy_elect_plugin::transport::TcpTransport;
use std::error::Error;
use std::net::TcpListener;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    on("smol", |run, ended| {
        let executor = smol::LocalExecutor::new();
        executor.spawn(run).detach();
        smol::block_on(executor.run(ended));
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    on("Tokio", |run, ended| {
        runtime.spawn(run);
        runtime.block_on(ended);
    })
}

/// Starts two nodes: one on the executor in question, one on a thread of its own. They need each other.
fn on(
    name: &'static str,
    execute: impl FnOnce(Election, BoxFuture<'static, ()>),
) -> Result<(), Box<dyn Error>> {
    let ids = [NodeId::new("left")?, NodeId::new("right")?];
    let (left, right) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let (left_address, right_address) = (left.local_addr()?.to_string(), right.local_addr()?.to_string());
    let node = |id: NodeId, listener: TcpListener, peer: NodeId, address: String| {
        let parts = QuorumParts {
            config: Config::builder(id, ids.map(Member::voter)).build()?,
            clock: Arc::new(SystemClock::new()),
            store: Arc::new(MemoryVoteStore::new()),
            transport: Arc::new(TcpTransport::with_listener(listener).peer(peer, address).build()),
            seed: 1,
        };
        Ok::<_, Box<dyn Error>>(QuorumPlugin::start(parts, |_| Arc::new(NoData::new())))
    };
    let (left, run) = node(ids[0], left, ids[1], right_address)?;
    let (right, other) = node(ids[1], right, ids[0], left_address)?;

    let mut events = left.events();
    let thread = std::thread::spawn(move || futures::executor::block_on(other));
    execute(
        run,
        Box::pin(async move {
            while let Some(event) = events.next().await {
                if let EventKind::PrimaryChanged { primary: Some(primary) } = event.kind {
                    println!("on {name}: {primary} is primary in epoch {}", event.epoch);
                    break;
                }
            }
            left.shutdown().await;
            right.shutdown().await;
        }),
    );
    thread.join().map_err(|_| "the other node's thread panicked")??;
    Ok(())
}
