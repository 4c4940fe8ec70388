//! A plain service without data, on smol: of three nodes the one that has been up longest does the work, until it goes.
//!
//! ```text
//! cargo run --example service_smol
//! ```
//!
//! The whole of it is `main`, in less than 40 lines. Three nodes in one process, so that the example can end by itself; over real TCP, with vote records on disk. `service_tokio` is the same on Tokio.

use futures::future::ready;
use futures::stream::{StreamExt, select_all};
use kevy_elect_plugin::event::EventKind;
use kevy_elect_plugin::host::NoData;
use kevy_elect_plugin::rank::Rank;
use kevy_elect_plugin::{
    Config, ElectPlugin, FileVoteStore, Member, NodeId, QuorumParts, QuorumPlugin, SystemClock, TcpTransport,
};
use std::{error::Error, net::TcpListener, sync::Arc};

fn main() -> Result<(), Box<dyn Error>> {
    let ids = [NodeId::new("a")?, NodeId::new("b")?, NodeId::new("c")?];
    let doors = ids.iter().map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let places = doors.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    let (executor, directory, mut nodes) = (smol::LocalExecutor::new(), tempfile::tempdir()?, Vec::new());
    for (node, door) in ids.into_iter().zip(doors) {
        let mut transport = TcpTransport::with_listener(door);
        for (peer, place) in ids.into_iter().zip(&places).filter(|(peer, _)| *peer != node) {
            transport = transport.peer(peer, place.to_string());
        }
        let parts = QuorumParts {
            config: Config::builder(node, ids.map(Member::voter)).rank(Rank::Seniority).build()?,
            clock: Arc::new(SystemClock::new()),
            store: Arc::new(FileVoteStore::open(directory.path().join(node.as_str()))?),
            transport: Arc::new(transport.build()),
            seed: nodes.len() as u64,
        };
        let (plugin, election) = QuorumPlugin::start(parts, |_| Arc::new(NoData::new()));
        executor.spawn(election).detach();
        nodes.push(plugin);
    }
    let events = select_all(nodes.iter().map(|node| node.events()));
    let mut begins = events.filter(|event| ready(matches!(event.kind, EventKind::Writable { .. })));
    let working = || nodes.iter().find(|node| node.write_gate().is_open()).ok_or("nobody works");
    smol::block_on(executor.run(async {
        let event = begins.next().await.ok_or("no event")?;
        println!("{} works in epoch {}", working()?.snapshot().node, event.epoch);
        working()?.shutdown().await;
        let event = begins.next().await.ok_or("no event")?;
        println!("{} took over in epoch {}", working()?.snapshot().node, event.epoch);
        Ok(())
    }))
}
