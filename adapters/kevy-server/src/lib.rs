//! The real kevy 7 with the election plugin inside.

pub mod cli;
pub mod commands;
pub mod config;
mod fleet;
pub mod host;
mod link;
pub mod office;
mod pulse;
pub mod replies;
mod serve;
pub mod shards;
mod tag;

pub use serve::{ServeError, Server, Stopper};
