//! The settings of an election, as operators write them. Everything is checked before anything is opened: a start that is
//! refused changes nothing.
//!
//! ```text
//! document.rs   a file, and the line of each key      error.rs   what is wrong where
//! section.rs    `[elect]`: keys, types, suggestions
//! election.rs   what that amounts to for any host     watchdog.rs
//! members.rs    what each member is for           sentinel.rs   where clients ask for the primary
//! kevy          kevy.toml as a whole, and what contradicts an election in it (feature `kevy`)
//! ```

mod document;
mod election;
mod error;
#[cfg(feature = "kevy")]
mod kevy;
#[cfg(feature = "kevy")]
mod members;
mod secret;
mod section;
#[cfg(feature = "kevy")]
mod sentinel;
mod watchdog;

pub use document::Document;
pub use election::{Election, Host};
pub use error::SetupError;
#[cfg(feature = "kevy")]
pub use kevy::{DataNode, ElectSettings, Links, Origin, Peer, Settings};
pub use secret::Secret;
pub use section::{ElectSection, KEYS, SECTION};
#[cfg(feature = "kevy")]
pub use sentinel::{SentinelAddresses, SentinelSettings};
