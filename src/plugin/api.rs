//! An election plugin, as the server that hosts it sees it.

use super::snapshot::ElectSnapshot;
use crate::change::{ChangeRefused, MembersChange};
use crate::driver::Reign;
use crate::event::Event;
use crate::gate::WriteGate;
use crate::ids::{Epoch, NodeId};
use crate::membership::Membership;
use crate::pause::{Pause, PauseRefused};
use crate::position::Progress;
use crate::time::Duration;
use crate::transfer::TransferRefused;
use async_trait::async_trait;
use futures::stream::BoxStream;

/// An election plugin, as the server that hosts it sees it.
///
/// Everything but [`ElectPlugin::shutdown`] is cheap and may be called from any thread. Only
/// [`ElectPlugin::snapshot`], [`ElectPlugin::transfer`] and [`ElectPlugin::pause`] may wait, for an election that is at work just then.
#[async_trait]
pub trait ElectPlugin: Send + Sync + 'static {
    /// The replication source reports how far `shard` has come in the current stream: on a primary what it
    /// has written, on a replica what it has applied. Call it at least every tick; more often is cheap
    /// (one atomic store). With more than [`crate::ids::SHARDS_MAX`] shards the node neither votes nor stands, and
    /// says so ([`crate::event::EventKind::PositionRefused`]).
    fn on_offset(&self, shard: usize, offset: u64);

    /// From here on the host's data is the history of the primary of `epoch`, at these offsets: a promoted
    /// primary has started its stream, or a replica has loaded the snapshot or caught up. Never call it
    /// for a mere attempt to follow: an election would prefer data that is not there.
    fn on_joined(&self, epoch: Epoch, offsets: &[u64]);

    /// Whether a write may pass: ask before every write.
    fn write_gate(&self) -> &WriteGate;

    /// This node.
    fn node(&self) -> NodeId;

    /// How far the data goes, as the host has reported it, for the commands of clients. It never waits; `None` only where the host's thread that
    /// begins another history does not come to its end.
    fn progress(&self) -> Option<Progress>;

    /// Who reigns, for the commands of clients: a few atomics beside the gate. It never waits, whatever the election does
    /// meanwhile.
    fn reign(&self) -> Reign;

    /// What this node believes now, for people and metrics. Takes the election's lock.
    fn snapshot(&self) -> ElectSnapshot;

    /// Every decision from now on. A reader that falls behind by more than 1024 events loses the oldest.
    fn events(&self) -> BoxStream<'static, Event>;

    /// Begins to hand the office to `to`, or to the best replica, and gives the one that can take it. Writes go on until that
    /// one has nearly everything; then they are refused until it has everything, for an election timeout at most. `patience` is for
    /// how long it may take to come near. [`EventKind::TransferEnded`](crate::event::EventKind::TransferEnded) tells how
    /// it ended; if not with a new primary, this one goes on as before. Takes the election's lock.
    ///
    /// # Errors
    ///
    /// Why it does not begin. Nothing has changed then.
    fn transfer(&self, to: Option<NodeId>, patience: Duration) -> Result<NodeId, TransferRefused>;

    /// Pauses automatic elections in the whole cluster, or lets them go on, and gives the order as it is from now on in the vote record of
    /// this node, and soon of the others. It holds over restarts, until the next one. Fencing and planned transfers go on. Ask for it at
    /// any node that votes; [`ElectSnapshot::pause_agreed`] says when a quorum has it. Takes the election's lock.
    ///
    /// # Errors
    ///
    /// Why it is not taken. Nothing has changed then.
    fn pause(&self, paused: bool) -> Result<Pause, PauseRefused>;

    /// Begins to change who votes, by one voter, and gives the list that there will be. It is made once a quorum has the present list, and what was
    /// written until now, and whoever comes has caught up; `patience` is for how long that may take.
    /// [`EventKind::ChangeEnded`](crate::event::EventKind::ChangeEnded) tells how it ended;
    /// [`ElectSnapshot::membership`] who votes. Takes the election's lock.
    ///
    /// # Errors
    ///
    /// Why it does not begin. Nothing has changed then.
    fn change_members(&self, change: MembersChange, patience: Duration) -> Result<Membership, ChangeRefused>;

    /// Whether automatic elections are paused, as far as this node knows. Never waits.
    fn is_paused(&self) -> bool;

    /// Hands the office to the best replica, if there is one that can take it within an election timeout.
    fn step_down(&self);

    /// Fences, hands over where this node is primary, closes the links, ends the election. Returns when the election has
    /// ended, or was dropped.
    async fn shutdown(&self);
}

/// How many events a slow reader of [`ElectPlugin::events`] may fall behind.
pub(crate) const EVENT_BACKLOG: usize = 1024;
