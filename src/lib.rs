//! Election plugin (work in progress).
pub mod clock;
pub mod config;
mod driver;
pub mod elector;
pub mod error;
pub mod event;
pub mod fence;
pub mod gate;
pub mod host;
pub mod ids;
pub mod link;
pub mod message;
pub mod plugin;
pub mod position;
#[cfg(feature = "sim")]
pub mod sim;
pub mod state;
pub mod store;
pub mod time;
pub mod transport;
pub mod wire;
