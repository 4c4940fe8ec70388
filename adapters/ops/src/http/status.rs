//! What this node believes, as JSON. Times in milliseconds.

use super::copying::Copying;
use super::pages::Pages;
use crate::members::Addresses;
use kevy_elect_plugin::plugin::{ElectSnapshot, PeerSnapshot};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) fn status(snapshot: &ElectSnapshot, pages: &Pages, copying: Option<Copying>) -> Value {
    let place = &pages.place;
    let own = place(snapshot.node);
    let peers: Vec<Value> =
        snapshot.peers.iter().map(|peer| of_peer(snapshot, peer, &place(peer.id))).collect();
    json!({
        "cluster": pages.cluster,
        "cluster_id": snapshot.cluster.map(|id| id.to_string()),
        "standing": snapshot.standing.as_str(),
        "version": env!("CARGO_PKG_VERSION"),
        "node": snapshot.node.as_str(),
        "kind": snapshot.kind.as_str(),
        "priority": snapshot.priority,
        "election": own.election,
        "clients": own.clients,
        "role": snapshot.role.as_str(),
        "epoch": snapshot.epoch.0,
        "primary": snapshot.primary.map(|id| id.to_string()),
        "writable": snapshot.writable,
        "fenced": snapshot.fenced.map(|reason| reason.as_str()),
        "paused": snapshot.paused,
        "pause": snapshot.pause.map(|order| order.to_string()),
        "pause_agreed": snapshot.pause_agreed,
        "lease_ms": ms(snapshot.lease),
        "lease_left_ms": ms(snapshot.lease_left),
        "stream_epoch": snapshot.progress.stream_epoch.0,
        "offset": snapshot.progress.offset,
        "lag": lag(snapshot),
        "copy": copying.map(|copying| copying.json()),
        "generation": snapshot.membership.generation.to_string(),
        "voters": snapshot.membership.list().split(',').collect::<Vec<_>>(),
        "voters_reachable": snapshot.voters_reachable,
        "quorum": snapshot.quorum,
        "incarnation": snapshot.incarnation.0,
        "health": snapshot.health.as_str(),
        "ailment": snapshot.ailment,
        "why": snapshot.why,
        "links": pages.links,
        "peers": peers,
        "transitions": pages.history.transitions(),
    })
}

fn of_peer(snapshot: &ElectSnapshot, peer: &PeerSnapshot, at: &Addresses) -> Value {
    json!({
        "id": peer.id.as_str(),
        "kind": peer.kind.as_str(),
        "priority": peer.priority,
        "election": at.election,
        "clients": at.clients,
        "up": peer.up,
        "linked": peer.linked,
        "link_out": peer.links.map(|links| links.out),
        "link_back": peer.links.map(|links| links.back),
        "silence_ms": peer.silence.map(ms),
        "role": peer.role.map(|role| role.as_str()),
        "epoch": peer.epoch.0,
        "primary": peer.primary.map(|id| id.to_string()),
        "stream_epoch": peer.progress.stream_epoch.0,
        "offset": peer.progress.offset,
        "lag": behind(snapshot, peer),
        "health": peer.health.as_str(),
        "cluster_id": peer.cluster.map(|id| id.to_string()),
        "foreign": peer.foreign,
        "differs": peer.differs,
    })
}

/// How many writes this node is behind its primary, as far as that told; `None` where their histories
/// differ, so that no number says it.
pub(super) fn lag(snapshot: &ElectSnapshot) -> Option<u64> {
    let primary = snapshot.primary?;
    if primary == snapshot.node {
        return Some(0);
    }
    let primary = snapshot.peers.iter().find(|peer| peer.id == primary)?;
    (primary.progress.stream_epoch == snapshot.progress.stream_epoch)
        .then(|| primary.progress.offset.saturating_sub(snapshot.progress.offset))
}

/// The same of a peer.
fn behind(snapshot: &ElectSnapshot, peer: &PeerSnapshot) -> Option<u64> {
    let primary = snapshot.primary?;
    let ahead = match primary == snapshot.node {
        true => snapshot.progress,
        false => snapshot.peers.iter().find(|peer| peer.id == primary)?.progress,
    };
    (ahead.stream_epoch == peer.progress.stream_epoch)
        .then(|| ahead.offset.saturating_sub(peer.progress.offset))
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
