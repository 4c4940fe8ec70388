//! The whole stack, simulated: on every node the real [`QuorumPlugin`](crate::plugin::QuorumPlugin) with its driver, over the real
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
mod foreign_host;
mod host;
mod judge;
mod lies;
mod links;
mod net;
mod server;
mod state;
mod store;
mod transport;
mod watch;
mod world;

pub use foreign_host::Seat;

use super::outcome::{Outcome, shrink_with};
use super::plan::Plan;
use crate::host::ReplicationHost;
use std::sync::Arc;
use world::World;

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
    shrink_with(plan, |plan| run(plan, false))
}
