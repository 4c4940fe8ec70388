//! Who is at the other end of a new connection: the greeting, without a socket and without a clock. Sentences T1 to T4 of
//! `docs/protocol.md`.
//!
//! Bytes go in and come out; every transport runs this, whatever carries the bytes, and the fuzzer does, too. A [`Greeting`] that
//! went well becomes a [`Channel`], on which messages travel in one direction.
//!
//! ```
//! use kevy_elect_plugin::ids::{Incarnation, NodeId};
//! use kevy_elect_plugin::message::{Hello, PROTOCOL};
//! use kevy_elect_plugin::transport::RefuseReason;
//! use kevy_elect_plugin::transport::greeting::Greeting;
//! use kevy_elect_plugin::transport::session::Plain;
//!
//! let hello = |node, cluster: &str| -> Result<Hello, Box<dyn std::error::Error>> {
//!     let (node, cluster) = (NodeId::new(node)?, cluster.to_owned());
//!     Ok(Hello { protocol: PROTOCOL, cluster, node, incarnation: Incarnation(1), terms: String::new(), pass: None })
//! };
//! let (ours, theirs) = (hello("n1", "kevy")?, hello("n2", "other")?);
//! let (mut to_us, mut to_them) = (Vec::new(), Vec::new());
//! let mut dialler = Greeting::dial(&theirs, ours.node, Box::new(Plain::default()), &mut to_us).unwrap();
//! let mut acceptor = Greeting::accept(&ours, Box::new(Plain::default()));
//!
//! acceptor.channel().put(&to_us[..9]);
//! assert_eq!(acceptor.hear(&mut to_them), Ok(None), "more bytes are needed");
//! acceptor.channel().put(&to_us[9..]);
//! let refused = acceptor.hear(&mut to_them).unwrap_err();
//! assert_eq!((refused.claimed, refused.reason), (Some(theirs.node), RefuseReason::Cluster));
//!
//! acceptor.refuse(&refused, &mut to_them);
//! dialler.channel().put(&to_them);
//! assert_eq!(dialler.hear(&mut Vec::new()).unwrap_err().reason, RefuseReason::Cluster);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::api::RefuseReason;
use super::incoming::{IncomingBytes, Received};
use super::session::{Proven, Session};
use crate::ids::NodeId;
use crate::message::{Hello, Message};
use crate::wire::{encode_hello, encode_refuse};

/// A connection that is not taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TurnedAway {
    /// Who the other end says it is, where it got that far; where it was dialled, who it should be.
    pub claimed: Option<NodeId>,
    /// What was wrong.
    pub reason: RefuseReason,
    /// What more there is to say, for people.
    pub detail: Option<String>,
}

/// One end of a connection until both have said who they are.
///
/// The end has to write out what it is given, and to turn the connection away where the other side takes too long
/// ([`Greeting::timed_out`]).
pub struct Greeting<'a> {
    ours: &'a Hello,
    /// Who was dialled; `None`: this end accepted.
    dialled: Option<NodeId>,
    channel: Channel,
}

impl<'a> Greeting<'a> {
    /// The end that dialled `peer`; what it says first is appended to `out`.
    pub fn dial(
        ours: &'a Hello,
        peer: NodeId,
        session: Box<dyn Session>,
        out: &mut Vec<u8>,
    ) -> Result<Self, TurnedAway> {
        let mut greeting = Self { ours, dialled: Some(peer), channel: Channel::new(session, Side::Sends) };
        greeting.say_hello(out)?;
        Ok(greeting)
    }

    /// The end that accepted.
    pub fn accept(ours: &'a Hello, session: Box<dyn Session>) -> Self {
        Self { ours, dialled: None, channel: Channel::new(session, Side::Receives) }
    }

    /// The bytes that came in, and where more of them go.
    pub fn channel(&mut self) -> &mut Channel {
        &mut self.channel
    }

    /// What the other end says of itself; `None`: more bytes are needed. Whether it is a member, and whether its incarnation is
    /// stale, is for whoever keeps the links: then comes [`Greeting::admit`] or [`Greeting::refuse`].
    pub fn hear(&mut self, out: &mut Vec<u8>) -> Result<Option<Hello>, TurnedAway> {
        let claimed = self.dialled;
        let turned_away = |reason| TurnedAway { claimed, reason, detail: None };
        match self.channel.incoming.next(self.channel.session.as_mut(), out).map_err(turned_away)? {
            None => Ok(None),
            Some(Received::Hello(theirs)) => match self.check(&theirs) {
                Ok(()) => Ok(Some(theirs)),
                Err(reason) => {
                    Err(TurnedAway { claimed: claimed.or(Some(theirs.node)), reason, detail: None })
                }
            },
            Some(Received::Refused(reason, text)) if claimed.is_some() => {
                let reason = reason.unwrap_or(RefuseReason::Protocol);
                Err(TurnedAway { claimed, reason, detail: Some(text) })
            }
            Some(Received::Refused(..) | Received::Message(_)) => Err(turned_away(RefuseReason::Garbage)),
        }
    }

    /// Takes the other end up. The one who accepted answers with its `HELLO`, appended to `out`.
    pub fn admit(mut self, out: &mut Vec<u8>) -> Result<Channel, TurnedAway> {
        if self.dialled.is_none() {
            self.say_hello(out)?;
        }
        Ok(self.channel)
    }

    /// Turns the other end away. The one who accepted says why, appended to `out`, as far as the session can speak yet.
    pub fn refuse(mut self, why: &TurnedAway, out: &mut Vec<u8>) {
        if self.dialled.is_none() {
            let mut refusal = Vec::new();
            let who = || format!("by node {} of cluster {}", self.ours.node, self.ours.cluster);
            let text = why.detail.clone().unwrap_or_else(who);
            encode_refuse(why.reason.as_str(), &text, &mut refusal);
            if self.channel.seal(&mut refusal).is_ok() {
                out.append(&mut refusal);
            }
        }
    }

    /// The other end took too long (T18).
    pub fn timed_out(&self) -> TurnedAway {
        TurnedAway { claimed: self.dialled, reason: RefuseReason::HelloTimeout, detail: None }
    }

    /// It is one of too many (T42).
    pub(super) fn too_many(&self) -> TurnedAway {
        TurnedAway { claimed: self.dialled, reason: RefuseReason::TooMany, detail: None }
    }

    fn say_hello(&mut self, out: &mut Vec<u8>) -> Result<(), TurnedAway> {
        let mut hello = Vec::new();
        encode_hello(self.ours, &mut hello);
        let claimed = self.dialled;
        self.channel.seal(&mut hello).map_err(|reason| TurnedAway { claimed, reason, detail: None })?;
        out.append(&mut hello);
        Ok(())
    }

    /// Whether the other end is somebody we can talk to (T2).
    fn check(&self, theirs: &Hello) -> Result<(), RefuseReason> {
        let is_not = |expected| expected != theirs.node;
        let another_proven = match self.channel.session.proven() {
            Proven::Nothing => false,
            Proven::Node(proven) => is_not(proven),
        };
        if theirs.protocol != self.ours.protocol {
            Err(RefuseReason::Protocol)
        } else if theirs.cluster != self.ours.cluster {
            Err(RefuseReason::Cluster)
        } else if another_proven {
            Err(RefuseReason::Key)
        } else if theirs.node == self.ours.node || self.dialled.is_some_and(is_not) {
            Err(RefuseReason::UnknownNode)
        } else {
            Ok(())
        }
    }
}

/// Which way messages go after the greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// This end dialled.
    Sends,
    /// This end accepted.
    Receives,
}

/// One end of a connection on which both have said who they are (T3).
pub struct Channel {
    session: Box<dyn Session>,
    incoming: IncomingBytes,
    side: Side,
}

impl Channel {
    fn new(session: Box<dyn Session>, side: Side) -> Self {
        Self { session, incoming: IncomingBytes::new(), side }
    }

    /// Where the next bytes that come in go; there is always room once all that came before was heard.
    pub fn room(&mut self) -> &mut [u8] {
        self.incoming.room()
    }

    /// Puts in as much of what came in as there is room for, and says how much that was: all of a greeting, always.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        let length = bytes.len().min(room.len());
        room[..length].copy_from_slice(&bytes[..length]);
        self.filled(length);
        length
    }

    /// So many bytes were put there.
    pub fn filled(&mut self, bytes: usize) {
        self.incoming.filled(bytes);
    }

    /// The next message; `None`: more bytes are needed. Whatever else comes is an error.
    pub fn message(&mut self) -> Result<Option<Message>, RefuseReason> {
        let mut reply = Vec::new();
        let received = self.incoming.next(self.session.as_mut(), &mut reply)?;
        // A dying process must have nothing unread on what it dialled (T6), so an answer is never written.
        debug_assert!(reply.is_empty(), "a session says nothing of its own after the greeting");
        match received {
            None => Ok(None),
            Some(Received::Message(message)) if self.side == Side::Receives => Ok(Some(message)),
            Some(_) => Err(RefuseReason::Garbage),
        }
    }

    /// Turns frames into what is written, in place.
    pub fn seal(&mut self, frames: &mut Vec<u8>) -> Result<(), RefuseReason> {
        self.session.seal(frames)
    }

    /// Whether the stream may end here in order: between two frames (T7).
    pub fn is_between_frames(&self) -> bool {
        self.incoming.is_empty()
    }
}
