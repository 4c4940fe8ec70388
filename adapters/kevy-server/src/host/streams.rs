//! How the streams that are followed are doing: said once, measured, and told to clients that ask.

use super::{KevyHost, Role};
use crate::clients::replies::{Source, Upstream};
use crate::follow::link::{Arriving, Look};
use crate::follow::stall;
use kevy_elect_ops::config::DataNode;
use kevy_elect_ops::http::{Copying, Phase};
use kevy_elect_ops::members::Addresses;
use kevy_elect_plugin::ids::NodeId;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl KevyHost {
    /// Looks whether the primary has more than this node while nothing comes: says so, and has it fetched. The election's thread does
    /// that between two heartbeats, so it waits for no thread that moves data (C17).
    pub(super) fn look_at_streams(&self) {
        // Somebody steers just now: the next look is a heartbeat away.
        let Ok(state) = self.state.try_lock() else { return };
        let (mut stalled, mut copy) = (None, None);
        if let Role::Replica(fleet, _) = &state.role {
            let fleet = Arc::clone(fleet);
            drop(state);
            let behind = self.shards.office().is_some_and(|office| office.is_behind());
            let Some(looks) = fleet.glance(behind) else { return };
            copy = copying(&looks);
            stalled = looks.into_iter().filter_map(|look| look.stalled).max();
        }
        let (bytes, rate) = copy.map_or((0, 0), |copy| (copy.bytes, copy.rate()));
        metrics::gauge!("kevy_server_copy_bytes").set(bytes as f64);
        metrics::gauge!("kevy_server_copy_rest_bytes")
            .set(copy.and_then(|copy| copy.rest()).unwrap_or(0) as f64);
        metrics::gauge!("kevy_server_copy_bytes_per_second").set(rate as f64);
        if let Some(bytes) = self.shards.try_kept_bytes() {
            metrics::gauge!("kevy_server_kept_bytes").set(bytes as f64);
        }
        metrics::gauge!("kevy_server_stream_stalled_seconds").set(stalled.unwrap_or_default().as_secs_f64());
        let says = stalled.is_some_and(|stalled| stalled >= stall::SAID_AFTER);
        if self.said_stalled.swap(says, Ordering::Relaxed) == says {
            return;
        }
        match says {
            true => log::warn!(
                "this replica is behind its primary and has received nothing for {} s; INFO replication says why",
                stall::SAID_AFTER.as_secs()
            ),
            false => log::info!("this replica receives again what its primary has, or follows another one"),
        }
    }
}

/// The copies that come in, as one.
fn copying(looks: &[Look]) -> Option<Copying> {
    let copies: Vec<Arriving> = looks.iter().filter_map(|look| look.copy).collect();
    let begun = copies.iter().map(|copy| copy.begun).min()?;
    let bytes = copies.iter().map(|copy| copy.bytes).sum();
    // Of shards that do not copy yet nothing is known.
    let known = copies.len() == looks.len() && copies.iter().all(|copy| copy.about > 0 || copy.whole);
    let about = known.then(|| {
        copies.iter().map(|copy| if copy.whole { copy.bytes } else { copy.about.max(copy.bytes) }).sum()
    });
    let phase = match bytes {
        _ if copies.iter().all(|copy| copy.whole) => Phase::Loaded,
        0 => Phase::Prepared,
        _ => Phase::Received,
    };
    Some(Copying { phase, bytes, about, took: begun.elapsed() })
}

impl Source for KevyHost {
    fn node(&self) -> NodeId {
        self.settings().config.node()
    }

    fn node_at(&self, host: &str, port: u16) -> Option<NodeId> {
        let there = |peer: &&DataNode| peer.host == host && peer.client_port == port;
        self.settings().data_nodes.iter().find(there).map(|peer| peer.id)
    }

    fn address_of(&self, node: NodeId) -> Option<(String, u16)> {
        self.settings().data_node(node).map(|peer| (peer.host.clone(), peer.client_port))
    }

    fn place(&self, node: NodeId) -> Addresses {
        self.settings().place(node)
    }

    fn stands_still(&self) -> bool {
        self.said_stalled.load(Ordering::Relaxed)
    }

    fn upstream(&self) -> Upstream {
        let (state, settings) = (self.state(), self.settings());
        let Role::Replica(fleet, _) = &state.role else {
            let known = self.shards.standing().of.and_then(|id| settings.data_node(id));
            let (host, port) = known.map(|peer| (peer.host.clone(), peer.client_port)).unwrap_or_default();
            return Upstream { host, port, ..Upstream::default() };
        };
        let fleet = Arc::clone(fleet);
        drop(state);
        let looks = fleet.look();
        let copy = copying(&looks);
        let peer = settings.data_node(fleet.primary());
        let stalled = looks.iter().filter_map(|look| look.stalled).max();
        let stalled = stalled.filter(|stalled| *stalled >= stall::SAID_AFTER);
        let stands =
            stalled.map(|s| format!("behind the primary and received nothing for {} s", s.as_secs()));
        let troubles = stands.into_iter().chain(looks.iter().find_map(|look| look.trouble.clone()));
        Upstream {
            host: peer.map(|peer| peer.host.clone()).unwrap_or_default(),
            port: peer.map(|peer| peer.client_port).unwrap_or_default(),
            up: stalled.is_none() && looks.iter().all(|look| look.up),
            stalled,
            silent_seconds: looks.iter().map(|look| look.silence.as_secs()).max().unwrap_or_default(),
            offset: looks.iter().map(|look| look.reached.next).sum(),
            trouble: troubles.collect::<Vec<_>>().join(": "),
            copy,
            token: looks
                .iter()
                .map(|look| if look.readable { look.reached.generation } else { 0 })
                .zip(looks.iter().map(|look| look.reached.next))
                .collect(),
        }
    }
}
