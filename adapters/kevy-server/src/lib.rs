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
//! ```text
//! what clients may do       commands, verdict, harmless, hello, replies, browser, bounds, scripts, effects, record, expiry
//! what the data is          marks, ledger, tag, disk, witness, digest        several shards: cuts
//! following a primary       fleet, link, session, feed, catch_up, stall, addresses
//! going on without a copy   path, history, resume, ring, gather, pins, and shards/passage, shards/turns
//! who waits and who counts  waits, names, connections, sink
//! fit or not                watch, probe, pulse, burn, descriptors, guard, companion
//! the process               run, serve, cli, ports, reactor, clock, sentinel
//! ```
//!
//! A shard is a thread of kevy; it reports through the hooks of its commands and takes orders from a few
//! atomics. Nothing of the election runs on it.

mod addresses;
mod bounds;
mod browser;
mod burn;
mod catch_up;
pub mod cli;
mod clock;
pub mod commands;
mod companion;
mod connections;
mod cuts;
mod descriptors;
mod digest;
mod disk;
mod effects;
mod expiry;
mod feed;
mod fleet;
mod gather;
mod guard;
mod harmless;
mod hello;
mod history;
pub mod host;
mod ledger;
mod link;
mod marks;
mod names;
pub mod office;
mod path;
mod pins;
mod ports;
mod probe;
mod pulse;
pub mod reactor;
mod record;
pub mod replies;
mod resume;
mod ring;
mod run;
mod scripts;
mod sentinel;
mod serve;
mod session;
pub mod shards;
mod sink;
mod stall;
mod tag;
mod verdict;
mod waits;
mod watch;
mod witness;

use kevy_elect_ops::{config, ending, inline};

pub use run::run;
pub use serve::{ServeError, Server, Stopper};
