//! Nodes that tests make pages of.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use kevy_elect_plugin::host::Health;
use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId};
use kevy_elect_plugin::message::{Role, Standing};
use kevy_elect_plugin::plugin::{ElectSnapshot, PeerSnapshot};
use kevy_elect_plugin::position::Progress;
use std::time::Duration;

pub(super) fn at(stream_epoch: u64, offset: u64) -> Progress {
    Progress { stream_epoch: Epoch(stream_epoch), offset }
}

/// A replica of `a` in epoch 3, ten writes behind.
pub(super) fn behind() -> ElectSnapshot {
    let id = |name| NodeId::new(name).unwrap();
    let peer = PeerSnapshot {
        id: id("a"),
        up: true,
        silence: Some(Duration::from_millis(5)),
        role: Some(Role::Primary),
        epoch: Epoch(3),
        progress: at(3, 110),
        primary: Some(id("a")),
        health: Health::Good,
        linked: true,
        links: None,
    };
    ElectSnapshot {
        node: id("b"),
        incarnation: Incarnation(1),
        role: Role::Replica,
        epoch: Epoch(3),
        primary: Some(id("a")),
        standing: Standing::Member,
        progress: at(3, 100),
        writable: false,
        paused: false,
        lease: Duration::from_millis(960),
        lease_left: Duration::ZERO,
        fenced: None,
        peers: vec![peer],
        voters_reachable: 2,
        quorum: 2,
        why: "follows a".to_owned(),
        health: Health::Good,
        ailment: None,
    }
}
