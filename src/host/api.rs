//! What a host is.

use crate::fence::{FenceReason, Health};
use crate::ids::{ClusterId, Epoch, NodeId};
use crate::position::Position;
use crate::time::Instant;
use async_trait::async_trait;

/// A server whose replication the plugin steers. All calls come from the driver's task; a slow call
/// delays no heartbeat and no vote, because the driver polls it beside everything else.
///
/// Calls do not overlap, with two exceptions: [`ReplicationHost::detach`] can come at any time, and a `fence` or
/// `resume` that still runs goes on beside the next `promote` or `follow`, which does not wait for it. A newer
/// `promote`, `follow` or `fence` cancels (drops) an older `promote` or `follow` that still runs, and `detach` an older
/// `follow`; an implementation that works on another thread, or in another process, must let the newest call win.
#[async_trait]
pub trait ReplicationHost: Send + Sync + 'static {
    /// Called once, before this node joins the cluster: waits until the data on disk is loaded and says
    /// how far it goes. `last` is the position that the vote record holds: a host that lost nothing since
    /// answers with it; one that came up empty answers [`Position::NONE`], and is then never elected while
    /// a reachable voter has data.
    async fn start(&self, last: Option<Position>) -> Result<Position, HostError> {
        Ok(last.unwrap_or(Position::NONE))
    }

    /// The id of the cluster whose data this is, as the data itself says. Asked once, after [`ReplicationHost::start`]: a node that lost its
    /// vote record knows by it where it belongs, and no other cluster's history takes the place of its data.
    fn cluster(&self) -> Option<ClusterId> {
        None
    }

    /// This node belongs to that cluster for good: to be kept in the data, for [`ReplicationHost::cluster`]. Told at every start, and when it
    /// is settled. Must not block.
    fn belongs(&self, cluster: ClusterId) {
        let _ = cluster;
    }

    /// These nodes vote from here on: only their acknowledgements confirm anything, and where this node is none of them it gives none. Told at every
    /// start, and when it changes. Must not block.
    fn voters(&self, voters: &[NodeId]) {
        let _ = voters;
    }

    /// Become the primary of `epoch`: stop following, start a new stream. Returns when writes can be
    /// served. The plugin opens the write gate afterwards, not before; the position is then
    /// `(epoch, what the stream counts from)`, reported through [`crate::plugin::ElectPlugin::on_joined`].
    async fn promote(&self, epoch: Epoch) -> Result<(), HostError>;

    /// Follow `primary`, which reigns in `epoch`. Returns when the host has begun to; the history counts
    /// as held only once the host calls [`crate::plugin::ElectPlugin::on_joined`]. A former primary begins once it has counted what it
    /// wrote, as for [`ReplicationHost::fence`]: from then on what it said counts as all that it has.
    async fn follow(&self, epoch: Epoch, primary: NodeId) -> Result<(), HostError>;

    /// Acknowledge nothing more to the primary now followed and say exactly how far the data goes.
    ///
    /// Called before this node votes. When it returns, no acknowledgement leaves this node any more, and
    /// the returned position covers every one that did: so a write that a quorum confirmed is seen by the
    /// vote. Ends with the next `follow`.
    ///
    /// The vote waits for the answer, nothing else does. A host in this process takes a lock for microseconds and
    /// answers without waiting for anything: then no time is lost. One in another process has a quarter of an election
    /// timeout; a call whose answer comes too late, or has become useless, is dropped, and an error gives no vote.
    async fn detach(&self) -> Result<Position, HostError>;

    /// Writes are refused from now on: the gate is already shut. Returns once every write that passed it
    /// before is counted in the offsets reported through [`crate::plugin::ElectPlugin::on_offset`]: a former
    /// primary does not vote, and hands over to nobody, before it knows how much it has. A host that
    /// reports each write as it takes it need not do anything.
    async fn fence(&self, epoch: Epoch, reason: FenceReason) -> Result<(), HostError> {
        let _ = (epoch, reason);
        Ok(())
    }

    /// Writes may pass until `until`. Called before the gate opens for that long; earlier than the time before when a
    /// voter's link ended, so that what it promised counts no more. A host with a watchdog, which ends the process if
    /// it does not run any more, sets it here. It stands down once [`ReplicationHost::fence`] was called and no write that passed before is still unanswered.
    /// Must not block.
    fn lease_renewed(&self, until: Instant) {
        let _ = until;
    }

    /// Writes pass again in the same reign: the opposite of [`ReplicationHost::fence`].
    async fn resume(&self, epoch: Epoch) -> Result<(), HostError> {
        let _ = epoch;
        Ok(())
    }

    /// Whether this node can serve as primary. Asked at least once every heartbeat interval; must not block.
    ///
    /// An unfit primary hands over to a fit node, an unfit replica leaves the office to fit ones. So a host that is
    /// unfit now and then has to say so for longer than that, or the office goes to and fro.
    fn health(&self) -> Health {
        Health::Good
    }

    /// Whether the server answers at the moment, so that this node, if it were elected now, would be promoted soon. While it does not it asks
    /// for no votes; an office that it has is for [`ReplicationHost::health`] to judge. Asked right after that, and before this node
    /// asks for votes; must not block.
    fn answers(&self) -> bool {
        true
    }

    /// Whether clients are in the middle of something that ends better before writes are refused, such as a transaction. Asked often
    /// while an office is to be handed over, which waits for this a quarter of an election timeout at most; must not block.
    fn is_busy(&self) -> bool {
        false
    }

    /// How much work this node has recorded: jobs done, commands seen, whatever its service counts. Asked at every heartbeat interval
    /// where rank is by seniority, and decides between nodes that have been up for as long; must not block.
    fn work(&self) -> u64 {
        0
    }

    /// What is wrong while [`ReplicationHost::health`] is not good: one sentence for people, without its full stop.
    fn ailment(&self) -> Option<String> {
        None
    }
}

/// Why a host could not do what it was asked. Told to the operator as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HostError(pub String);

impl HostError {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
