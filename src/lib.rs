//! Election plugin (work in progress).
pub mod clock;
pub mod config;
pub mod error;
pub mod event;
pub mod host;
pub mod ids;
pub mod message;
pub mod plugin;
pub mod position;
pub mod store;
pub mod time;
pub mod transport;
pub mod wire;
