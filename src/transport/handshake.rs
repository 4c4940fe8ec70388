//! The first frames of a connection, without a socket: what somebody's bytes amount to before they have
//! said who they are. Sentences T1 to T3 of `docs/protocol.md`.
//!
//! ```
//! use kevy_elect_plugin::ids::{Incarnation, NodeId};
//! use kevy_elect_plugin::message::{Hello, PROTOCOL};
//! use kevy_elect_plugin::transport::{RefuseReason, handshake};
//! use kevy_elect_plugin::wire::encode_hello;
//!
//! let hello = |node, cluster: &str| -> Result<Hello, Box<dyn std::error::Error>> {
//!     let (node, cluster) = (NodeId::new(node)?, cluster.to_owned());
//!     Ok(Hello { protocol: PROTOCOL, cluster, node, incarnation: Incarnation(1) })
//! };
//! let (ours, theirs) = (hello("n1", "kevy")?, hello("n2", "other")?);
//! let mut bytes = Vec::new();
//! encode_hello(&theirs, &mut bytes);
//!
//! assert_eq!(handshake::accept(&ours, &bytes[..9]), Ok(None), "more bytes are needed");
//! let refused = handshake::accept(&ours, &bytes).unwrap_err();
//! assert_eq!((refused.claimed, refused.reason), (Some(theirs.node), RefuseReason::Cluster));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::RefuseReason;
use crate::ids::NodeId;
use crate::message::{Hello, Message};
use crate::wire::{self, DecodeError, Frame};

/// A connection that is not taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnedAway {
    /// Who the other end says it is, where it got that far.
    pub claimed: Option<NodeId>,
    /// Why.
    pub reason: RefuseReason,
}

/// What the one who accepts makes of the bytes that came in so far: the `HELLO` of a possible peer and how
/// many bytes it took, or `None` where more are needed. Whether the incarnation is stale, and whether the node
/// is a member, is for whoever knows the links.
pub fn accept(ours: &Hello, bytes: &[u8]) -> Result<Option<(Hello, usize)>, TurnedAway> {
    let first = first(bytes).map_err(|reason| TurnedAway { claimed: None, reason })?;
    first.map(|(incoming, used)| Ok((judge_dialler(ours, incoming)?, used))).transpose()
}

/// What the one who dialled `expected` makes of the answer that came in so far, in the same way.
pub fn answer(ours: &Hello, expected: NodeId, bytes: &[u8]) -> Result<Option<(Hello, usize)>, RefuseReason> {
    first(bytes)?.map(|(incoming, used)| Ok((judge_acceptor(ours, expected, incoming)?, used))).transpose()
}

/// A frame that means something here, without its borrow of the bytes.
#[derive(Debug)]
pub(super) enum Incoming {
    Hello(Hello),
    /// `None`: a reason that this version does not know.
    Refused(Option<RefuseReason>),
    Message(Message),
}

/// The frame at the head of `bytes` and its length; without a value where its verb is not known (W5).
pub(super) fn next(bytes: &[u8]) -> Result<Option<(Option<Incoming>, usize)>, RefuseReason> {
    let Some((frame, used)) = wire::decode(bytes).map_err(fault)? else { return Ok(None) };
    let incoming = match frame {
        Frame::Hello(hello) => Some(Incoming::Hello(hello)),
        Frame::Message(message) => Some(Incoming::Message(message)),
        Frame::Refuse { reason, .. } => {
            Some(Incoming::Refused(RefuseReason::ALL.into_iter().find(|known| known.as_str() == reason)))
        }
        Frame::Unknown => None,
    };
    Ok(Some((incoming, used)))
}

/// Whether the one who dialled us is somebody we can talk to, by its first frame.
pub(super) fn judge_dialler(ours: &Hello, first: Incoming) -> Result<Hello, TurnedAway> {
    let Incoming::Hello(theirs) = first else {
        return Err(TurnedAway { claimed: None, reason: RefuseReason::Garbage });
    };
    match check(ours, &theirs, None) {
        Ok(()) => Ok(theirs),
        Err(reason) => Err(TurnedAway { claimed: Some(theirs.node), reason }),
    }
}

/// Whether the one that we dialled is the one that we meant, by its answer.
pub(super) fn judge_acceptor(
    ours: &Hello,
    expected: NodeId,
    answer: Incoming,
) -> Result<Hello, RefuseReason> {
    match answer {
        Incoming::Hello(theirs) => check(ours, &theirs, Some(expected)).map(|()| theirs),
        Incoming::Refused(reason) => Err(reason.unwrap_or(RefuseReason::Protocol)),
        Incoming::Message(_) => Err(RefuseReason::Garbage),
    }
}

fn first(bytes: &[u8]) -> Result<Option<(Incoming, usize)>, RefuseReason> {
    let mut at = 0;
    loop {
        match next(&bytes[at..])? {
            Some((Some(incoming), used)) => return Ok(Some((incoming, at + used))),
            Some((None, used)) => at += used,
            None => return Ok(None),
        }
    }
}

fn fault(error: DecodeError) -> RefuseReason {
    if error.is_too_large() { RefuseReason::TooLarge } else { RefuseReason::Garbage }
}

/// Whether the other end of a new connection is a member we can talk to.
fn check(ours: &Hello, theirs: &Hello, expected: Option<NodeId>) -> Result<(), RefuseReason> {
    if theirs.protocol != ours.protocol {
        Err(RefuseReason::Protocol)
    } else if theirs.cluster != ours.cluster {
        Err(RefuseReason::Cluster)
    } else if theirs.node == ours.node || expected.is_some_and(|expected| expected != theirs.node) {
        Err(RefuseReason::UnknownNode)
    } else {
        Ok(())
    }
}
