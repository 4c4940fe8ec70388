//! The vote store: where a node keeps what it must not forget.
//!
//! A store keeps bytes and looks into none of them: [`encode_vote`] and the others make them, so a field that is added
//! to the record cannot be lost by a store that was written before.

mod api;
mod file;
#[cfg(feature = "test-util")]
mod memory;
mod record;
mod slots;

pub use crate::state::HardState;
pub use api::{StoreError, VoteStore};
pub use file::FileVoteStore;
#[cfg(feature = "test-util")]
pub use memory::{Hang, MemoryVoteStore};
pub use record::{RangeError, RecordError, decode_position, decode_vote, encode_position, encode_vote};
