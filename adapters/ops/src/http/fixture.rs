//! Nodes that tests make pages of.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId};
use kevy_elect_plugin::message::{Role, Standing};
use kevy_elect_plugin::plugin::{ElectSnapshot, PeerSnapshot};
use kevy_elect_plugin::position::Progress;
use std::time::Duration;

pub(crate) fn at(stream_epoch: u64, offset: u64) -> Progress {
    Progress { stream_epoch: Epoch(stream_epoch), offset }
}

/// A replica of `a` in epoch 3, ten writes behind.
pub(crate) fn behind() -> ElectSnapshot {
    let id = |name| NodeId::new(name).unwrap();
    let members = ["a", "b", "c"].map(|name| Member::voter(id(name)));
    let mut peer = PeerSnapshot::new(id("a"));
    peer.up = true;
    peer.silence = Some(Duration::from_millis(5));
    peer.role = Some(Role::Primary);
    peer.epoch = Epoch(3);
    peer.progress = at(3, 110);
    peer.primary = Some(id("a"));
    peer.linked = true;
    let mut snapshot = ElectSnapshot::not_started(&Config::builder(id("b"), members).build().unwrap());
    snapshot.incarnation = Incarnation(1);
    snapshot.epoch = Epoch(3);
    snapshot.primary = Some(id("a"));
    snapshot.standing = Standing::Member;
    snapshot.progress = at(3, 100);
    snapshot.lease = Duration::from_millis(960);
    snapshot.peers = vec![peer];
    snapshot.voters_reachable = 2;
    snapshot.why = "follows a".to_owned();
    snapshot
}
