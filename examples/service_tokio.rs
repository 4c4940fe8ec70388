//! A plain service without data, on Tokio: of three nodes the one that has been up longest does the work, until it goes.
//!
//! ```text
//! cargo run --example service_tokio
//! ```
//!
//! Three nodes in one process, so that the example can end by itself; over real TCP, with vote records on disk. `service_smol` is the same on smol.

use futures::StreamExt;
use kevy_elect_plugin::event::EventKind;
use kevy_elect_plugin::host::NoData;
use kevy_elect_plugin::rank::Rank;
use kevy_elect_plugin::{
    Config, ElectPlugin, FileVoteStore, Member, NodeId, QuorumParts, QuorumPlugin, SystemClock, TcpTransport,
};
use std::{error::Error, net::TcpListener, sync::Arc};

fn main() -> Result<(), Box<dyn Error>> {
    let ids = [NodeId::new("a")?, NodeId::new("b")?, NodeId::new("c")?];
    let mut listeners = Vec::new();
    for id in ids {
        listeners.push((id, TcpListener::bind("127.0.0.1:0")?));
    }
    let addresses: Vec<_> = listeners.iter().flat_map(|(id, l)| Some((*id, l.local_addr().ok()?))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let directory = tempfile::tempdir()?;
    let mut nodes = Vec::new();
    for (node, listener) in listeners {
        let mut transport = TcpTransport::with_listener(listener);
        for (peer, address) in addresses.iter().filter(|(peer, _)| *peer != node) {
            transport = transport.peer(*peer, address.to_string());
        }
        let parts = QuorumParts {
            config: Config::builder(node, ids.map(Member::voter)).rank(Rank::Seniority).build()?,
            clock: Arc::new(SystemClock::new()),
            store: Arc::new(FileVoteStore::open(directory.path().join(node.as_str()))?),
            transport: Arc::new(transport.build()),
            seed: nodes.len() as u64,
        };
        let (plugin, election) = QuorumPlugin::start(parts, |_| Arc::new(NoData::new()));
        let events = plugin.events();
        runtime.spawn(election);
        nodes.push((
            plugin,
            events.filter(|e| futures::future::ready(matches!(e.kind, EventKind::Writable { .. }))),
        ));
    }
    runtime.block_on(async {
        let (first, _, _) =
            futures::future::select_all(nodes.iter_mut().map(|(_, works)| works.next())).await;
        let (plugin, _) = nodes
            .remove(nodes.iter().position(|(node, _)| node.write_gate().is_open()).ok_or("nobody works")?);
        println!("{} works in epoch {}", plugin.snapshot().node, first.ok_or("no event")?.epoch);
        plugin.shutdown().await;
        let (second, _, _) =
            futures::future::select_all(nodes.iter_mut().map(|(_, works)| works.next())).await;
        let next = nodes.iter().find(|(node, _)| node.write_gate().is_open()).ok_or("nobody took over")?;
        println!("{} took over in epoch {}", next.0.snapshot().node, second.ok_or("no event")?.epoch);
        Ok(())
    })
}
