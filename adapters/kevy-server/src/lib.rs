//! The real kevy 7 with the election plugin inside.
//!
//! ```text
//!   clients ──► commands ──► kevy           commands.rs: kevy's commands behind the write gate
//!                  │           ▲  frames
//!                  ▼           │
//!               shards ◄──── link ──► primary   link.rs, fleet.rs: one stream per shard
//!                  │           ▲
//!                  ▼           │
//!   plugin ◄──► office       host ◄── plugin    host.rs: promote, follow, detach
//! ```
//!
//! A shard is a thread of kevy; it reports through the hooks of its commands and takes orders from a few
//! atomics. Nothing of the election runs on it.

pub mod cli;
pub mod commands;
pub mod config;
mod disk;
mod ending;
mod fleet;
mod guard;
pub mod host;
mod http;
mod inline;
mod ledger;
mod link;
mod marks;
pub mod office;
mod pulse;
pub mod replies;
mod run;
mod serve;
mod session;
pub mod shards;
mod signals;
mod tag;
mod witness;

pub use run::run;
pub use serve::{ServeError, Server, Stopper};
