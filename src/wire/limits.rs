//! Bounds of frames and of their fields.

use crate::ids::SHARDS_MAX;
use crate::position::OFFSET_MAX;

/// The longest frame. The largest message, an offer with all shards, is little more than half of it.
pub const FRAME_BYTES_MAX: usize = 4096;

/// The most elements in a frame: three times what any verb has now leaves room for newer minor versions.
pub(crate) const ELEMENTS_MAX: usize = 32;

/// The longest cluster name, in bytes.
pub(crate) const CLUSTER_BYTES_MAX: usize = 63;

/// The longest text of a `REFUSE`, in bytes; longer ones are cut.
pub(crate) const REFUSE_TEXT_BYTES_MAX: usize = 200;

/// The longest duration on the wire, in microseconds (2283 years). Longer ones are sent as this.
pub const DURATION_US_MAX: u64 = u64::MAX >> 8;

/// The highest sum of offsets that a heartbeat may carry.
pub const PROGRESS_OFFSET_MAX: u64 = OFFSET_MAX * SHARDS_MAX as u64;
