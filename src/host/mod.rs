//! The server that replicates: what the plugin asks of it.

mod api;
pub mod gate;
mod no_data;

pub use crate::fence::{FenceReason, Health};
pub use api::{HostError, ReplicationHost};
pub use no_data::NoData;
