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
mod frame;
mod limits;
mod number;

pub use decode::decode;
pub use encode::{encode, encode_hello, encode_refuse};
pub use error::{DecodeError, NumberFault};
pub use frame::Frame;
pub use limits::{DURATION_US_MAX, FRAME_BYTES_MAX, PROGRESS_OFFSET_MAX};

pub use crate::message::PROTOCOL;
