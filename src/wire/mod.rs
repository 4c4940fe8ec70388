//! Frames: what a link carries, as RESP2 arrays of bulk strings, so that `tcpdump` shows them.
//!
//! The sentences W1 to W15 of `docs/protocol.md` are the specification. Encoding appends to a buffer of
//! the caller and decoding reads from one in place: a heartbeat and its echo cost no allocation at
//! either end.
//!
//! ```
//! use kevy_elect_plugin::ids::{Epoch, Round};
//! use kevy_elect_plugin::message::{Echo, Message, Standing};
//! use kevy_elect_plugin::position::Progress;
//! use kevy_elect_plugin::wire::{Frame, decode, encode};
//!
//! let progress = Progress { stream_epoch: Epoch(3), offset: 9 };
//! let echo = Echo { epoch: Epoch(3), round: Round(70), primary: None, standing: Standing::Member, progress };
//! let mut bytes = Vec::new();
//! encode(&Message::Echo(echo), &mut bytes);
//! assert_eq!(bytes, b"*6\r\n$4\r\nECHO\r\n$1\r\n3\r\n$2\r\n70\r\n$0\r\n\r\n$6\r\nmember\r\n$3\r\n3:9\r\n");
//!
//! assert_eq!(decode(&bytes[..20])?, None, "more bytes are needed");
//! assert_eq!(decode(&bytes)?, Some((Frame::Message(Message::Echo(echo)), bytes.len())));
//! # Ok::<(), kevy_elect_plugin::wire::DecodeError>(())
//! ```

mod decode;
mod encode;
mod error;

pub use decode::decode;
pub use encode::{encode, encode_hello, encode_refuse};
pub use error::{DecodeError, NumberFault};

use crate::ids::SHARDS_MAX;
use crate::message::{Hello, Message};
use crate::position::OFFSET_MAX;

pub use crate::message::PROTOCOL;

/// The longest frame. The largest message, an offer with all shards, is little more than half of it.
pub const FRAME_BYTES_MAX: usize = 4096;

/// The most elements in a frame: three times what any verb has now leaves room for newer minor versions.
pub const ELEMENTS_MAX: usize = 32;

/// The longest cluster name, in bytes.
pub const CLUSTER_BYTES_MAX: usize = 63;

/// The longest text of a `REFUSE`, in bytes; longer ones are cut.
pub const REFUSE_TEXT_BYTES_MAX: usize = 200;

/// The longest duration on the wire, in microseconds (2283 years). Longer ones are sent as this.
pub const DURATION_US_MAX: u64 = u64::MAX >> 8;

/// The highest sum of offsets that a heartbeat may carry.
pub const PROGRESS_OFFSET_MAX: u64 = OFFSET_MAX * SHARDS_MAX as u64;

/// One decoded frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The first frame of a link, from either end.
    Hello(Hello),
    /// The answer to a `HELLO` that is not accepted; the connection ends after it.
    Refuse {
        /// A word for the reason. Newer versions may have more of them, so it is not an enum here.
        reason: &'a str,
        /// For people.
        text: &'a str,
    },
    /// A message of an established link.
    Message(Message),
    /// A verb that this version does not know: skipped.
    Unknown,
}
