//! Where a host runs that is not the simulator's own.

use super::state::Scene;
use crate::clock::Clock;
use crate::host::ReplicationHost;
use crate::ids::NodeId;
use crate::plugin::QuorumPlugin;
use futures::future::{BoxFuture, FutureExt};
use std::fmt;
use std::sync::{Arc, Weak};

/// Makes a host for every start of a process.
pub(super) type MakeHost<'a> = Box<dyn FnMut(Seat) -> Arc<dyn ReplicationHost> + 'a>;

/// Where a host of your own runs: one process of one simulated node.
pub struct Seat {
    node: usize,
    id: NodeId,
    clock: Arc<dyn Clock>,
    plugin: Weak<QuorumPlugin>,
    scene: Scene,
}

impl Seat {
    pub(super) fn new(
        node: usize,
        id: NodeId,
        clock: Arc<dyn Clock>,
        plugin: &Arc<QuorumPlugin>,
        scene: Scene,
    ) -> Self {
        Self { node, id, clock, plugin: Arc::downgrade(plugin), scene }
    }

    /// The node's number, from zero.
    pub fn number(&self) -> usize {
        self.node
    }

    /// The node's id.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The node's clock: the only one that a host may use here.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// The plugin that steers the host; `None` once the process is gone.
    pub fn plugin(&self) -> Option<Arc<QuorumPlugin>> {
        self.plugin.upgrade()
    }

    /// Has a future polled beside the driver, until the process dies.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let work: BoxFuture<'static, ()> = work.boxed();
        self.scene.with(|state| state.spawned.push((self.node, work)));
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("node", &self.id).finish_non_exhaustive()
    }
}
