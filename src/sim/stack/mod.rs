//! The whole stack, simulated: on every node the real [`QuorumPlugin`] with its driver, over the real
//! [`crate::transport::MemoryTransport`], polled by one thread on virtual time.
//!
//! The plans, faults and invariants are those of [`super::run`], where the elector alone is under test; here
//! everything between it and the server is, too: that saves are waited for, that the gate is set before
//! anything is sent, that the host's calls are made, cancelled and answered in order, that links are told of
//! as they are. One seed draws everything, also which of the futures that are ready is polled next. Time jumps
//! to the next timer; there is no thread and no wall clock. The same seed gives the same run on every machine.
//!
//! [`run`] has a model of kevy's replication as the host. [`run_hosts`] runs hosts of your own: what then is
//! judged is everything but the data (S1, S2 and S3), which only the model shows.
//!
//! ```
//! use async_trait::async_trait;
//! use kevy_elect_plugin::host::{HostError, ReplicationHost};
//! use kevy_elect_plugin::ids::{Epoch, NodeId};
//! use kevy_elect_plugin::plugin::ElectPlugin;
//! use kevy_elect_plugin::position::Position;
//! use kevy_elect_plugin::sim::{Plan, Profile, stack};
//! use std::sync::Arc;
//!
//! /// A server that holds nothing, so everybody may become primary.
//! struct Empty(stack::Seat);
//!
//! #[async_trait]
//! impl ReplicationHost for Empty {
//!     async fn promote(&self, epoch: Epoch) -> Result<(), HostError> {
//!         if let Some(plugin) = self.0.plugin() {
//!             plugin.on_joined(epoch, &[0]);
//!         }
//!         Ok(())
//!     }
//!     async fn follow(&self, epoch: Epoch, _: NodeId) -> Result<(), HostError> {
//!         self.promote(epoch).await
//!     }
//!     async fn detach(&self) -> Result<Position, HostError> {
//!         Ok(Position::NONE)
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let profile = Profile::named("crash").ok_or("no such profile")?;
//! for seed in 0..3 {
//!     let outcome = stack::run_hosts(&Plan::draw(seed, 3, profile), false, |seat| Arc::new(Empty(seat)));
//!     assert_eq!(outcome.violation, None, "seed {seed}");
//! }
//! # Ok(())
//! # }
//! ```

mod clock;
mod disk;
mod event;
mod executor;
mod faults;
mod host;
mod judge;
mod links;
mod net;
mod server;
mod state;
mod store;
mod transport;
mod watch;
mod world;

use super::{Outcome, Plan};
use crate::clock::Clock;
use crate::host::ReplicationHost;
use crate::ids::NodeId;
use crate::plugin::QuorumPlugin;
use futures::future::{BoxFuture, FutureExt};
use std::fmt;
use std::sync::{Arc, Weak};
use world::World;

type MakeHost<'a> = Box<dyn FnMut(Seat) -> Arc<dyn ReplicationHost> + 'a>;

/// Runs a plan to its end, or to the first violation, with a model of kevy as the host.
pub fn run(plan: &Plan, traced: bool) -> Outcome {
    World::new(plan, traced, None).run()
}

/// Runs a plan with hosts of your own. `make` is called at every start of a process; what a host keeps over a
/// restart of its process has to be kept by `make`. The plan's slow, failing and hanging hosts are made around
/// them.
pub fn run_hosts(plan: &Plan, traced: bool, make: impl FnMut(Seat) -> Arc<dyn ReplicationHost>) -> Outcome {
    World::new(plan, traced, Some(Box::new(make))).run()
}

/// Leaves out faults as long as the same invariant is still violated.
pub fn shrink(plan: &Plan) -> Plan {
    super::shrink_with(plan, |plan| run(plan, false))
}

/// Where a host of your own runs: one process of one simulated node.
pub struct Seat {
    node: usize,
    id: NodeId,
    clock: Arc<dyn Clock>,
    plugin: Weak<QuorumPlugin>,
    scene: state::Scene,
}

impl Seat {
    fn new(
        node: usize,
        id: NodeId,
        clock: Arc<dyn Clock>,
        plugin: &Arc<QuorumPlugin>,
        scene: state::Scene,
    ) -> Self {
        Self { node, id, clock, plugin: Arc::downgrade(plugin), scene }
    }

    /// The node's number, from zero.
    pub fn number(&self) -> usize {
        self.node
    }

    /// The node.
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
