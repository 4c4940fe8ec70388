//! Decides which of several replicating servers may write, and fences the others.
//!
//! - [`plugin`]: what a server calls: [`plugin::ElectPlugin`] and its implementation [`plugin::QuorumPlugin`].
//! - [`host`]: what the plugin asks of the server: [`host::ReplicationHost`].
//! - [`gate`]: the one question of the write path: [`gate::WriteGate`].
//! - [`transport`], [`store`], [`clock`]: how messages travel, where votes are kept, what time it is; a trait and
//!   implementations each.
//! - [`elector`]: the decision itself, a pure state machine; [`wire`]: its messages as frames.
//! - `sim` (feature `sim`): whole clusters on virtual time, from one seed.
//!
//! One future does the work and nothing spawns, so any executor will do; examples run it on smol and on Tokio.
//! What is guaranteed, sentence by sentence: `docs/protocol.md`.
//!
//! ```
//! use kevy_elect_plugin::clock::SystemClock;
//! use kevy_elect_plugin::config::{Config, Member};
//! use kevy_elect_plugin::ids::NodeId;
//! use kevy_elect_plugin::plugin::{ElectPlugin, QuorumParts, QuorumPlugin};
//! use kevy_elect_plugin::store::MemoryVoteStore;
//! use kevy_elect_plugin::transport::MemoryNetwork;
//! use std::sync::Arc;
//!
//! # use kevy_elect_plugin::{host::{HostError, ReplicationHost}, ids::Epoch, position::Position};
//! # struct NoData;
//! # #[async_trait::async_trait]
//! # impl ReplicationHost for NoData {
//! #     async fn promote(&self, _: Epoch) -> Result<(), HostError> { Ok(()) }
//! #     async fn follow(&self, _: Epoch, _: NodeId) -> Result<(), HostError> { Ok(()) }
//! #     async fn detach(&self) -> Result<Position, HostError> { Ok(Position::NONE) }
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = NodeId::new("n1")?;
//! let network = MemoryNetwork::builder(SystemClock::new(), 1, [node]).build();
//! let parts = QuorumParts {
//!     config: Config::builder(node, [Member::voter(node)]).build()?,
//!     clock: Arc::new(SystemClock::new()),
//!     store: Arc::new(MemoryVoteStore::new()),
//!     transport: Arc::new(network.transport(node)),
//!     seed: 1,
//! };
//! let (plugin, election) = QuorumPlugin::start(parts, |_plugin| Arc::new(NoData));
//! // Poll `election` on the executor you have. Until then, and whenever this node is not the one that may write, the
//! // gate is shut:
//! assert!(plugin.write_gate().check().is_err());
//! # Ok(())
//! # }
//! ```

pub mod clock;
mod driver;
pub mod elector;
pub mod error;
pub mod host;
pub mod plugin;
#[cfg(feature = "sim")]
pub mod sim;
pub mod store;
pub mod transport;
mod types;
pub mod wire;

pub use host::gate;
pub use types::{bounds, config, event, fence, ids, link, message, position, state, time};
use types::{rng, words};
