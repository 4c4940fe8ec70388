//! What can be wrong with a frame.

use super::limits::{ELEMENTS_MAX, FRAME_BYTES_MAX};
use std::fmt;

/// Why bytes are not a frame. The peer is at fault, and nothing after them can be read: the link ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A frame starts with `*`.
    #[error("a frame starts with byte {found:#04x}; '*' was expected")]
    NotAnArray {
        /// What stands there.
        found: u8,
    },
    /// An element starts with `$`.
    #[error("element {element} starts with byte {found:#04x}; '$' was expected")]
    NotABulkString {
        /// Which element, from 0.
        element: usize,
        /// What stands there.
        found: u8,
    },
    /// A count or a length is not a plain decimal number.
    #[error("byte {at} of a frame: {fault} in a length")]
    Length {
        /// Where the number starts.
        at: usize,
        /// What is wrong with it.
        fault: NumberFault,
    },
    /// A line or an element does not end with CR LF.
    #[error("byte {at} of a frame is {found:#04x}; CR LF was expected")]
    NoLineEnd {
        /// How many bytes of the frame are before it.
        at: usize,
        /// What stands there.
        found: u8,
    },
    /// Longer than [`FRAME_BYTES_MAX`], by what its lengths announce.
    #[error("a frame announces at least {bytes} bytes; at most {FRAME_BYTES_MAX} are read")]
    TooLarge {
        /// How long it would be at least.
        bytes: usize,
    },
    /// No elements, or more than are read.
    #[error("a frame announces {elements} elements; 1 to {ELEMENTS_MAX} are read")]
    Elements {
        /// How many.
        elements: usize,
    },
    /// A verb without one of its fields.
    #[error("{verb} lacks its field {field}")]
    Missing {
        /// The verb.
        verb: &'static str,
        /// The first field that is not there.
        field: &'static str,
    },
    /// A field is not a number in its range.
    #[error("{verb}: {fault} in field {field}")]
    Number {
        /// The verb.
        verb: &'static str,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        fault: NumberFault,
    },
    /// A field is none of the words, names or texts that may stand there.
    #[error("{verb}: field {field} is not one of the values it may have")]
    Value {
        /// The verb.
        verb: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A position with more shards than [`crate::ids::SHARDS_MAX`].
    #[error("{verb}: the position has more than {} shards", crate::ids::SHARDS_MAX)]
    TooManyShards {
        /// The verb.
        verb: &'static str,
    },
}

impl DecodeError {
    /// Whether the frame is only too long, where all others are garbage.
    pub const fn is_too_large(self) -> bool {
        matches!(self, Self::TooLarge { .. })
    }
}

/// What is wrong with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NumberFault {
    /// No digits.
    Empty,
    /// A byte that is not a digit: also a sign or a space.
    NotADigit {
        /// The byte.
        found: u8,
    },
    /// A zero before other digits: every value has one spelling.
    LeadingZero,
    /// Above what the field may hold.
    OutOfRange {
        /// The highest value.
        max: u64,
    },
}

impl fmt::Display for NumberFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no digits"),
            Self::NotADigit { found } => write!(f, "byte {found:#04x} where a digit was expected"),
            Self::LeadingZero => f.write_str("a leading zero"),
            Self::OutOfRange { max } => write!(f, "a number above {max}"),
        }
    }
}
