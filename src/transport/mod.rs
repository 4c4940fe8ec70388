//! Transports: how messages get from node to node.
//!
//! A transport says who speaks, keeps links up, and says when they go down and how. It may lose, delay, duplicate and reorder
//! messages; it must not invent them.

mod api;
pub mod greeting;
mod inbox;
mod incoming;
mod links;
#[cfg(feature = "test-util")]
pub mod memory;
mod outbox;
mod retry;
pub mod session;
pub mod tcp;
mod wakes;

pub use crate::link::LinkEvent;
pub use api::{
    Directions, RefuseReason, SendError, Transport, TransportError, TransportEvent, TransportStats,
};
pub use inbox::{INBOX_EVENTS_MAX, REFUSALS_QUEUED_MAX};
#[cfg(feature = "test-util")]
pub use memory::{MemoryNetwork, MemoryTransport};
pub use tcp::TcpTransport;
