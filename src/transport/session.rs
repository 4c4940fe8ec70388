//! What lies between the frames of a connection and its bytes on the wire: nothing, or encryption.
//!
//! A session has no socket, so it cannot end a link, and it has no way to say that the other side did. What a peer *says* about its
//! end is no evidence that it is dead: a link counts as closed only when the kernel of the other host ends the stream (T7 of
//! `docs/protocol.md`). A session that is told to close by its protocol gives an error, and the link is reset.
//!
//! A new kind of session is a new [`Sessions`]; [`TcpTransportBuilder::sessions`](super::tcp::TcpTransportBuilder::sessions) takes
//! it. `tests/transport_sessions` runs all that a transport must do over another one than [`Plain`].

use super::api::RefuseReason;
use crate::ids::NodeId;
use crate::wire::FRAME_BYTES_MAX;
use std::ops::Range;

/// The longest record of a session, in bytes on the wire: what must be there before any of it can be opened.
pub const RECORD_BYTES_MAX: usize = FRAME_BYTES_MAX;

/// Who the other side has proven to be. Frames do not name their sender (T4): this and the `HELLO` do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Proven {
    /// Nothing is proven; its `HELLO` is believed.
    Nothing,
    /// It is this node; a `HELLO` of another one is refused.
    Node(NodeId),
}

/// Makes the sessions of a transport, one for each connection.
pub trait Sessions: Send + Sync + 'static {
    /// Of a connection that was dialled in order to reach `peer`.
    fn dial(&self, peer: NodeId) -> Box<dyn Session>;

    /// Of a connection that was accepted. Nobody knows yet whose it is.
    fn accept(&self) -> Box<dyn Session>;

    /// Whether no other end is linked that has not proven who it is.
    fn prove(&self) -> bool {
        false
    }
}

/// One end of one connection, without its socket.
///
/// The one who dials seals first, the one who accepts opens first. Both may exchange what they need in order to trust each other
/// until each has opened the other's `HELLO`; after that nothing travels but what is sealed (T6).
pub trait Session: Send {
    /// Turns whole frames into what is written to the wire, in place. A session that cannot seal yet keeps them and gives them out by
    /// [`Session::open`] later: that happens with the `HELLO` alone.
    fn seal(&mut self, bytes: &mut Vec<u8>) -> Result<(), RefuseReason>;

    /// Opens, in place, one record at the head of what came in and was not opened yet: from one byte up to more than
    /// [`RECORD_BYTES_MAX`]. What has to be answered is appended to `reply`, never after the `HELLO`s.
    ///
    /// An error is the end of the link, and never an orderly one.
    fn open(&mut self, wire: &mut [u8], reply: &mut Vec<u8>) -> Result<Opened, RefuseReason>;

    /// Who the other side is. Asked when its `HELLO` has been opened.
    fn proven(&self) -> Proven;
}

/// What became of the bytes given to [`Session::open`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// How many bytes the record took; 0: it is not complete.
    pub used: usize,
    /// Where in them the frames lie now. Frames may be cut anywhere: the next record continues them.
    pub frames: Range<usize>,
}

impl Opened {
    /// The record is not complete.
    pub const INCOMPLETE: Self = Self { used: 0, frames: 0..0 };

    /// The record took `used` bytes; its frames lie in this range of them now.
    pub const fn record(used: usize, frames: Range<usize>) -> Self {
        Self { used, frames }
    }
}

/// Frames as they are, from whoever says to be somebody.
#[derive(Debug, Clone, Copy)]
pub struct Plain {
    proven: Proven,
}

impl Plain {
    /// The other side is known by something outside the connection.
    #[cfg(feature = "test-util")]
    pub(super) fn with(node: NodeId) -> Self {
        Self { proven: Proven::Node(node) }
    }
}

impl Default for Plain {
    fn default() -> Self {
        Self { proven: Proven::Nothing }
    }
}

impl Session for Plain {
    fn seal(&mut self, _: &mut Vec<u8>) -> Result<(), RefuseReason> {
        Ok(())
    }

    fn open(&mut self, wire: &mut [u8], _: &mut Vec<u8>) -> Result<Opened, RefuseReason> {
        Ok(Opened { used: wire.len(), frames: 0..wire.len() })
    }

    fn proven(&self) -> Proven {
        self.proven
    }
}

/// Makes sessions that prove nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainSessions;

impl Sessions for PlainSessions {
    fn dial(&self, _: NodeId) -> Box<dyn Session> {
        Box::new(Plain::default())
    }

    fn accept(&self) -> Box<dyn Session> {
        Box::new(Plain::default())
    }
}
