//! The real kevy 7 with the election plugin inside.
//!
//! ```text
//!   clients ──► commands ──► kevy           clients/commands: kevy's commands behind the write gate
//!                  │           ▲  frames
//!                  ▼           │
//!               shards ◄──── link ──► primary   follow/: one stream per shard
//!                  │           ▲
//!                  ▼           │
//!   plugin ◄──► office       host ◄── plugin    host: promote, follow, detach
//! ```
//!
//! ```text
//! clients        what clients may do, and what is streamed and logged of it
//! position       what this node's data is, told from the data itself; with several shards, cuts through all of them
//! follow         following a primary: one stream for each shard
//! continuation   going on in a new primary's history without a copy
//! confirm        who waits for a confirmation, and whose acknowledgements count
//! fitness        whether this server is fit to hold the office, and what happens when it is not
//! shards         what the threads of kevy and the host tell each other
//! host           what the plugin asks of it: promote, follow, detach, fence
//! process        its start, its ports, its clock, its end
//! ```
//!
//! A shard is a thread of kevy; it reports through the hooks of its commands and takes orders from a few
//! atomics. Nothing of the election runs on it.

mod clients;
mod confirm;
mod continuation;
mod fitness;
mod follow;
pub mod host;
pub mod office;
mod position;
mod process;
mod shards;

use kevy_elect_ops::{config, ending, inline};

pub use process::cli;
pub use process::run::run;
pub use process::serve::{ServeError, Server, Stopper};
