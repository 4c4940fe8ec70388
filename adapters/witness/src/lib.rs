//! A member of a cluster's elections that votes and holds no data.
//!
//! It reads the same `kevy.toml` as the servers. Nothing in it serves clients or stores what they write: it keeps its vote record,
//! and answers heartbeats and offers.

mod no_data;
mod run;

pub use run::run;
