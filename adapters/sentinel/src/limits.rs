//! How many clients there may be.

/// Connections at once. One more, and the one that has been idle longest is closed, if it does not listen for messages.
pub(crate) const CONNECTIONS_MAX: usize = 1024;
/// Of these, those that listen for messages: nobody is closed for being idle among them, and who asks must find room.
pub(crate) const SUBSCRIBERS_MAX: usize = CONNECTIONS_MAX / 2;
