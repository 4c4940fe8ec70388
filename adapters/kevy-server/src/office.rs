//! What the server asks the election, and tells it.

use kevy_elect_ops::members::{Addresses, MemberList};
use kevy_elect_plugin::change::{ChangeRefused, MembersChange};
use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId};
use kevy_elect_plugin::membership::Membership;
use kevy_elect_plugin::pause::{Pause, PauseRefused};
use kevy_elect_plugin::plugin::{Denied, ElectPlugin};
use kevy_elect_plugin::transfer::TransferRefused;
use std::sync::Arc;
use std::time::Duration;

/// The plugin as the write path and the replication source see it. A trait of its own, so that tests can
/// stand in for the election.
pub trait Office: Send + Sync + 'static {
    /// Whether a write may pass now. Asked before every write.
    fn check(&self) -> Result<(), Denied>;
    /// Whether one may pass that belongs to what began while writes could.
    fn check_begun(&self) -> Result<(), Denied> {
        self.check()
    }
    /// Who reigns, as far as this node knows. Asked by commands of clients, so it must not wait.
    fn standing(&self) -> Standing;
    /// Whether the primary has told of more than this node holds. Asked about ten times a second.
    fn is_behind(&self) -> bool {
        false
    }
    /// `shard` has come to `offset` in the history that this node holds.
    fn on_offset(&self, shard: usize, offset: u64);
    /// This node holds the history of the primary of `epoch`, all shards at `offsets`: from now on, or it has come so far in it.
    fn on_joined(&self, epoch: Epoch, offsets: &[u64]);
    /// An operator wants another node to have this node's office; gives the one that is to take over.
    fn transfer(&self, to: Option<NodeId>, patience: Duration) -> Result<NodeId, TransferRefused> {
        let _ = (to, patience);
        Err(TransferRefused::NotPrimary { primary: self.standing().of })
    }
    /// An operator wants one voter more, or one less; gives the list that there is to be.
    fn change_members(&self, change: MembersChange, patience: Duration) -> Result<Membership, ChangeRefused> {
        let _ = (change, patience);
        Err(ChangeRefused::NotPrimary { primary: self.standing().of })
    }
    /// Who is in the cluster and who votes, of members that are where `place` says.
    fn members(&self, place: &dyn Fn(NodeId) -> Addresses) -> Option<MemberList> {
        let _ = place;
        None
    }
    /// An operator pauses automatic elections in the whole cluster, or lets them go on; gives the order.
    fn pause(&self, paused: bool) -> Result<Pause, PauseRefused> {
        let _ = paused;
        Err(PauseRefused::NoVote)
    }
    /// The last such order, and whether a quorum has it.
    fn paused(&self) -> (Option<Pause>, bool) {
        (None, false)
    }
    /// Whether automatic elections are paused. Asked by commands of clients, so it must not wait.
    fn is_paused(&self) -> bool {
        false
    }
    /// What this node holds, as the election is told. Asked by commands of clients, so it must not wait.
    fn progress(&self) -> Option<Progress> {
        None
    }
}

/// What a node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The node's id.
    pub node: NodeId,
    /// The epoch of the primary whose history it holds.
    pub stream_epoch: Epoch,
    /// How far, all shards together.
    pub offset: u64,
}

/// Who reigns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether this node is the primary.
    pub primary: bool,
    /// This node's epoch.
    pub epoch: Epoch,
    /// The primary, where one is known.
    pub of: Option<NodeId>,
}

/// An [`Office`] that is a plugin.
#[derive(Clone)]
pub struct PluginOffice(pub Arc<dyn ElectPlugin>);

impl Office for PluginOffice {
    fn check(&self) -> Result<(), Denied> {
        self.0.write_gate().check()
    }

    fn check_begun(&self) -> Result<(), Denied> {
        self.0.write_gate().check_begun()
    }

    fn standing(&self) -> Standing {
        let reign = self.0.reign();
        Standing { primary: reign.own, epoch: reign.epoch, of: reign.primary }
    }

    fn is_behind(&self) -> bool {
        let snapshot = self.0.snapshot();
        let primary = snapshot.peers.iter().find(|peer| Some(peer.id) == snapshot.primary);
        primary.is_some_and(|primary| {
            primary.progress.stream_epoch == snapshot.progress.stream_epoch
                && primary.progress.offset > snapshot.progress.offset
        })
    }

    fn on_offset(&self, shard: usize, offset: u64) {
        self.0.on_offset(shard, offset);
    }

    fn on_joined(&self, epoch: Epoch, offsets: &[u64]) {
        self.0.on_joined(epoch, offsets);
    }

    fn transfer(&self, to: Option<NodeId>, patience: Duration) -> Result<NodeId, TransferRefused> {
        self.0.transfer(to, patience)
    }

    fn change_members(&self, change: MembersChange, patience: Duration) -> Result<Membership, ChangeRefused> {
        self.0.change_members(change, patience)
    }

    fn members(&self, place: &dyn Fn(NodeId) -> Addresses) -> Option<MemberList> {
        let snapshot = self.0.snapshot();
        // Before the vote record is read there is only what the file says, and that does not count (M1). Who has read it has a number.
        (snapshot.incarnation != Incarnation(0)).then(|| MemberList::of(&snapshot, place))
    }

    fn pause(&self, paused: bool) -> Result<Pause, PauseRefused> {
        self.0.pause(paused)
    }

    fn paused(&self) -> (Option<Pause>, bool) {
        let snapshot = self.0.snapshot();
        (snapshot.pause, snapshot.pause_agreed)
    }

    fn is_paused(&self) -> bool {
        self.0.is_paused()
    }

    fn progress(&self) -> Option<Progress> {
        let progress = self.0.progress()?;
        Some(Progress { node: self.0.node(), stream_epoch: progress.stream_epoch, offset: progress.offset })
    }
}
