//! How links between nodes come and go: what a transport reports and the elector takes as evidence.

use crate::ids::Incarnation;

/// How a link changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkEvent {
    /// The peer's process, started as `incarnation`, said `HELLO`. Messages of an earlier incarnation are
    /// not delivered after this.
    Up {
        /// Which start of its process.
        incarnation: Incarnation,
    },
    /// An established link ended in order: the peer's kernel sent the end of the stream.
    Closed,
    /// A link of an earlier incarnation, which a later one has replaced meanwhile, ended in order. Told after the
    /// `Up` of the later one, once at most.
    OlderClosed {
        /// Which start of its process.
        incarnation: Incarnation,
    },
    /// An established link broke: a reset, a timeout, or a frame that makes no sense.
    Reset,
    /// A new connection, begun after the last established one ended, was refused by the peer's host:
    /// nobody listens.
    Refused,
}
