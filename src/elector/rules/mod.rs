//! The rules of the protocol: what comes in, and what happens to the elector's parts then.

mod admission;
mod campaign;
mod decisions;
#[cfg(feature = "sim")]
mod digest;
mod epochs;
mod failback;
mod fitness;
mod getters;
mod handover;
mod heartbeat;
mod identity;
mod input;
mod judging;
mod link;
mod members;
mod office;
mod pause;
mod persist;
mod rank;
mod vote;
mod witnesses;

#[cfg(feature = "sim")]
pub use digest::{Rounds, digest_message};

/// A host that has not done what it was asked after this many election timeouts never will.
const HOST_TIMEOUTS: u32 = 5;

/// Who speaks in every second round only wants room for so many intervals in a lease, or in an election timeout.
const INTERVALS_OF_ROOM: u32 = 5;
