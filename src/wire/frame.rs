//! What a link carries.

use crate::message::{Hello, Message};

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
