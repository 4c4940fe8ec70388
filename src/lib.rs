//! Decides which of several replicating servers may write, and fences the others.
//!
//! - [`plugin`]: what a server calls: [`plugin::ElectPlugin`] and its implementation [`plugin::QuorumPlugin`].
//! - [`host`]: what the plugin asks of the server: [`host::ReplicationHost`].
//! - [`gate`]: the one question of the write path: [`gate::WriteGate`].
//! - [`transport`], [`store`], [`clock`]: how messages travel, where votes are kept, what time it is; a trait and
//!   implementations each.
//! - [`elector`]: the decision itself, a pure state machine; [`wire`]: its messages as frames.
//! - For tests of a server that uses this crate, never for one that somebody relies on: feature `test-util` has a network and a
//!   vote record in memory, which can be as bad as real ones, and a clock that moves when it is told to
//!   (`transport::memory`, `store::MemoryVoteStore`, `clock::ManualClock`); feature `sim`, which implies it, whole clusters on
//!   virtual time, from one seed. Turn them on beside the tests:
//!
//! ```toml
//! [dev-dependencies]
//! kevy-elect-plugin = { version = "0.1", features = ["test-util"] }
//! ```
//!
//! One future does the work and nothing spawns, so any executor will do; examples run it on smol and on Tokio.
//! What is guaranteed, sentence by sentence: `docs/protocol.md`. The names that most programs need stand at the root.
//!
//! # What may grow
//!
//! Everything that this crate hands out and may extend is `#[non_exhaustive]`. Two kinds of types are not, on purpose. The messages'
//! contents ([`message`]), the vote record and the frames of the codec: whoever takes them apart, a codec or a fuzz target, has to
//! look at a new field, and the compiler says where. And [`QuorumParts`]: a node without one of its parts is none, so a new part must
//! not go unnoticed.
//!
//! # A server with elections
//!
//! ```
//! // Both of feature `test-util`: a real server has `FileVoteStore` and `TcpTransport` here.
//! use kevy_elect_plugin::store::MemoryVoteStore;
//! use kevy_elect_plugin::transport::MemoryNetwork;
//! use kevy_elect_plugin::{
//!     Config, ElectPlugin, Epoch, HostError, Member, NodeId, Position, QuorumParts, QuorumPlugin, ReplicationHost, SystemClock,
//! };
//! use std::sync::{Arc, Mutex};
//!
//! /// What replicates: here a number, and whose history it is of.
//! struct Server {
//!     plugin: Arc<QuorumPlugin>,
//!     data: Mutex<Position>,
//! }
//!
//! #[async_trait::async_trait]
//! impl ReplicationHost for Server {
//!     async fn promote(&self, epoch: Epoch) -> Result<(), HostError> {
//!         // Here a stream begins that the others can follow; from then on the data is of this history.
//!         *self.data.lock().unwrap() = Position::single(epoch, 0);
//!         self.plugin.on_joined(epoch, &[0]);
//!         Ok(())
//!     }
//!     async fn follow(&self, _epoch: Epoch, _primary: NodeId) -> Result<(), HostError> {
//!         // Here copying begins; `on_joined` is for the moment in which the primary's history is held.
//!         Ok(())
//!     }
//!     async fn detach(&self) -> Result<Position, HostError> {
//!         // Here acknowledging to the primary ends.
//!         Ok(self.data.lock().unwrap().clone())
//!     }
//! }
//!
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
//! let (plugin, election) = QuorumPlugin::start(parts, |plugin| {
//!     Arc::new(Server { plugin: plugin.clone(), data: Mutex::new(Position::NONE) })
//! });
//! // Poll `election` on the executor you have. Until then, and whenever this node is not the one that may write, the
//! // gate is shut:
//! assert!(plugin.write_gate().check().is_err());
//! # drop(election);
//! # Ok(())
//! # }
//! ```
//!
//! # A service without data
//!
//! One of several equal processes is to do something: hand out work, run a timetable. There is nothing to replicate, so who has been up
//! longest goes first ([`rank`]; sentences R1 to R10), under the same epochs, votes and leases as a server with data:
//!
//! ```
//! use kevy_elect_plugin::host::NoData;
//! use kevy_elect_plugin::rank::Rank;
//! # use kevy_elect_plugin::store::MemoryVoteStore;
//! # use kevy_elect_plugin::transport::MemoryNetwork;
//! # use kevy_elect_plugin::{Config, ElectPlugin, Member, NodeId, QuorumParts, QuorumPlugin, SystemClock};
//! # use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let ids = [NodeId::new("a")?, NodeId::new("b")?, NodeId::new("c")?];
//! # let node = ids[0];
//! # let network = MemoryNetwork::builder(SystemClock::new(), 1, ids).build();
//! let parts = QuorumParts {
//!     config: Config::builder(node, ids.map(Member::voter)).rank(Rank::Seniority).build()?,
//! #   clock: Arc::new(SystemClock::new()),
//! #   store: Arc::new(MemoryVoteStore::new()),
//! #   transport: Arc::new(network.transport(node)),
//! #   seed: 1,
//!     // clock, store, transport and seed as above
//! };
//! let (plugin, election) = QuorumPlugin::start(parts, |_| Arc::new(NoData::new()));
//! // Before each step: may this node still do it? And what it writes to gets the epoch with it.
//! if plugin.write_gate().check().is_ok() {
//!     let token = plugin.snapshot().epoch;
//! #   let _ = token;
//! }
//! # drop(election);
//! # Ok(())
//! # }
//! ```
//!
//! The gate alone is not enough for what happens elsewhere: between the question and the act the process can be stopped for as long as you
//! like. So whatever it writes to takes the epoch as a *fencing token*, and refuses one that is lower than the highest it has seen: example
//! `fencing_token`. Examples `service_smol` and `service_tokio` are whole services.
//!
//! # The decision alone
//!
//! Whoever brings a driver of their own keeps to the one rule of [`elector`]:
//!
//! ```
//! use kevy_elect_plugin::elector::{Elector, GateState, HostAction, HostReport, Output};
//! use kevy_elect_plugin::time::Instant;
//! use kevy_elect_plugin::{Config, Member, NodeId, Position};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = NodeId::new("n1")?;
//! let mut now = Instant::from_nanos(1);
//! let mut elector = Elector::new(Config::builder(node, [Member::voter(node)]).build()?, None, 1, 1, now);
//! while !matches!(elector.gate(), GateState::Open(_)) {
//!     while let Some(output) = elector.poll_output() {
//!         match output {
//!             // Save it; only when it is durable:
//!             Output::Persist(seq, _state) => elector.handle_persisted(now, seq),
//!             Output::Send(to, message) => println!("to {:?}: {message:?}", to.ids()),
//!             Output::Host(HostAction::Promote(epoch)) => elector.handle_host(now, HostReport::Promoted(epoch)),
//!             Output::Host(HostAction::Detach(seq)) => {
//!                 elector.handle_host(now, HostReport::Detached(seq, &Position::NONE));
//!             }
//!             Output::Host(action) => println!("server: {action:?}"),
//!             Output::Event(event) => println!("{event}"),
//!             other => println!("new: {other:?}"),
//!         }
//!     }
//!     // Here the gate is set to `elector.gate()`, before anything is sent.
//!     now = elector.next_timeout().unwrap_or(now).max(now);
//!     elector.handle_timeout(now);
//! }
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
pub use types::{
    bounds, change, config, event, fence, identity, ids, link, membership, message, pause, position, rank,
    state, time, transfer,
};
use types::{rng, terms, words};

#[doc(no_inline)]
pub use {
    clock::{Clock, SystemClock},
    config::{Config, Member},
    error::ElectError,
    event::Event,
    fence::{Denied, Health},
    gate::WriteGate,
    host::{HostError, ReplicationHost},
    ids::{Epoch, NodeId},
    plugin::{ElectPlugin, ElectSnapshot, Election, QuorumParts, QuorumPlugin, Reign},
    position::Position,
    store::{FileVoteStore, VoteStore},
    transport::{TcpTransport, Transport},
};
