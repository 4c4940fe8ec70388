//! One connection under Noise IK: whoever dials knows whom it means to reach, and proves who it is with its first bytes.
//!
//! On the wire: two bytes of length, the higher first, and a message of Noise. The first of each end is the greeting's; frames travel
//! in those that follow.

use crate::key::PublicKey;
use crate::keys::Keys;
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::transport::RefuseReason;
use kevy_elect_plugin::transport::session::{Opened, Proven, RECORD_BYTES_MAX, Session, Sessions};
use snow::{Builder, HandshakeState, TransportState};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// What both ends mix into the greeting, as kevy's elector does: a connection of another protocol that uses the same keys opens nothing
/// here.
pub const PROLOGUE: &[u8] = b"kevy-elect\x001";
const PATTERN: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
const LENGTH_BYTES: usize = 2;
/// What Noise adds to what it seals.
const TAG_BYTES: usize = 16;
const SEALED_BYTES_MAX: usize = RECORD_BYTES_MAX - LENGTH_BYTES;

/// Sessions that prove who speaks.
pub struct NoiseSessions {
    own: [u8; 32],
    peers: RwLock<Arc<Peers>>,
}

/// The keys of peers, both ways.
struct Peers {
    nodes: BTreeMap<PublicKey, NodeId>,
    keys: BTreeMap<NodeId, Trusted>,
}

/// The keys that one node may have, and which of them is tried next: the one that it proved last.
struct Trusted {
    keys: Vec<PublicKey>,
    next: AtomicUsize,
}

impl NoiseSessions {
    /// With the node's own key and those of its peers.
    pub fn new(keys: &Keys) -> Self {
        Self { own: *keys.own().expose(), peers: RwLock::new(Arc::new(Peers::of(keys))) }
    }

    /// From here on these are the keys of the peers. Connections that are there go on.
    pub fn trust(&self, keys: &Keys) {
        *self.peers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Peers::of(keys));
    }

    fn peers(&self) -> Arc<Peers> {
        Arc::clone(&self.peers.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn session(&self, make: impl FnOnce(Builder<'_>) -> Result<HandshakeState, snow::Error>) -> Noise {
        let state = PATTERN.parse().and_then(|pattern| {
            make(Builder::new(pattern).local_private_key(&self.own)?.prologue(PROLOGUE)?)
        });
        let state = state.map_or(State::Over, |state| State::Greets(Box::new(state)));
        Noise { state, kept: Vec::new(), scratch: Vec::new(), peers: self.peers(), proven: None }
    }
}

impl Sessions for NoiseSessions {
    fn dial(&self, peer: NodeId) -> Box<dyn Session> {
        // Without a key it says nothing, and the link ends before it begins.
        let peers = self.peers();
        let key = peers.keys.get(&peer).and_then(Trusted::next);
        Box::new(self.session(|builder| {
            let key = key.ok_or(snow::error::Prerequisite::RemotePublicKey)?;
            builder.remote_public_key(key.as_bytes())?.build_initiator()
        }))
    }

    fn accept(&self) -> Box<dyn Session> {
        Box::new(self.session(|builder| builder.build_responder()))
    }

    fn prove(&self) -> bool {
        true
    }
}

impl Peers {
    fn of(keys: &Keys) -> Self {
        let nodes = keys.peers().flat_map(|(node, keys)| keys.iter().map(move |key| (*key, node))).collect();
        let trusted = |keys: &[PublicKey]| Trusted { keys: keys.to_vec(), next: AtomicUsize::new(0) };
        let keys = keys.peers().map(|(node, keys)| (node, trusted(keys))).collect();
        Self { nodes, keys }
    }
}

impl Trusted {
    /// The key to dial with, and another one the next time unless this one is proven.
    fn next(&self) -> Option<&PublicKey> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.keys.get(number % self.keys.len().max(1))
    }

    fn proved(&self, key: &PublicKey) {
        if let Some(number) = self.keys.iter().position(|other| other == key) {
            self.next.store(number, Ordering::Relaxed);
        }
    }
}

struct Noise {
    state: State,
    /// What waits until the other end is known.
    kept: Vec<u8>,
    /// Room for what is sealed or opened, so that neither allocates.
    scratch: Vec<u8>,
    peers: Arc<Peers>,
    proven: Option<NodeId>,
}

enum State {
    Greets(Box<HandshakeState>),
    Travels(Box<TransportState>),
    /// Something went wrong.
    Over,
}

impl Noise {
    /// A message of the greeting came in.
    fn greet(&mut self, message: &[u8], reply: &mut Vec<u8>) -> Result<(), RefuseReason> {
        let State::Greets(mut state) = std::mem::replace(&mut self.state, State::Over) else {
            return Err(RefuseReason::Garbage);
        };
        let mut payload = [0; RECORD_BYTES_MAX];
        if state.read_message(message, &mut payload).map_err(garbage)? > 0 {
            return Err(RefuseReason::Garbage);
        }
        let key = state.get_remote_static().and_then(|key| key.try_into().ok()).map(PublicKey::from_bytes);
        let key = key.ok_or(RefuseReason::Garbage)?;
        let node = *self.peers.nodes.get(&key).ok_or(RefuseReason::Key)?;
        if !state.is_handshake_finished() {
            record(reply, 0, |to| state.write_message(&[], to))?;
        }
        self.proven = Some(node);
        if state.is_initiator() {
            self.peers.keys.get(&node).into_iter().for_each(|trusted| trusted.proved(&key));
        }
        self.state = State::Travels(Box::new(state.into_transport_mode().map_err(garbage)?));
        let mut kept = std::mem::take(&mut self.kept);
        if !kept.is_empty() {
            self.seal(&mut kept)?;
            reply.append(&mut kept);
        }
        Ok(())
    }
}

impl Session for Noise {
    fn seal(&mut self, bytes: &mut Vec<u8>) -> Result<(), RefuseReason> {
        match &mut self.state {
            State::Greets(state) => {
                self.kept.append(bytes);
                if state.is_initiator() && state.is_my_turn() {
                    record(bytes, 0, |to| state.write_message(&[], to))?;
                }
                Ok(())
            }
            State::Travels(state) => {
                std::mem::swap(&mut self.scratch, bytes);
                bytes.clear();
                let sealed = self
                    .scratch
                    .chunks(SEALED_BYTES_MAX - TAG_BYTES)
                    .try_for_each(|chunk| record(bytes, chunk.len(), |to| state.write_message(chunk, to)));
                self.scratch.clear();
                sealed
            }
            State::Over => Err(RefuseReason::Key),
        }
    }

    fn open(&mut self, wire: &mut [u8], reply: &mut Vec<u8>) -> Result<Opened, RefuseReason> {
        let Some((length, rest)) = wire.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(Opened::INCOMPLETE);
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > SEALED_BYTES_MAX {
            return Err(RefuseReason::TooLarge);
        }
        let Some(message) = rest.get(..length) else { return Ok(Opened::INCOMPLETE) };
        let used = LENGTH_BYTES + length;
        let State::Travels(state) = &mut self.state else {
            self.greet(message, reply)?;
            return Ok(Opened::record(used, 0..0));
        };
        self.scratch.resize(length, 0);
        let opened = state.read_message(message, &mut self.scratch).map_err(garbage)?;
        // Nobody seals nothing. Whatever it is meant to say, it is no evidence about the other process.
        let plain =
            self.scratch.get(..opened).filter(|plain| !plain.is_empty()).ok_or(RefuseReason::Garbage)?;
        wire[..opened].copy_from_slice(plain);
        self.scratch.clear();
        Ok(Opened::record(used, 0..opened))
    }

    fn proven(&self) -> Proven {
        self.proven.map_or(Proven::Nothing, Proven::Node)
    }
}

/// Appends a length, and what `write` makes of `payload` bytes.
fn record(
    to: &mut Vec<u8>,
    payload: usize,
    write: impl FnOnce(&mut [u8]) -> Result<usize, snow::Error>,
) -> Result<(), RefuseReason> {
    /// Two keys, one of them sealed, and the tag of an empty payload: the longest message of a greeting.
    const GREETING_BYTES_MAX: usize = 32 + 32 + TAG_BYTES + TAG_BYTES;
    let head = to.len();
    to.resize(head + LENGTH_BYTES + GREETING_BYTES_MAX.max(payload + TAG_BYTES), 0);
    let length = write(&mut to[head + LENGTH_BYTES..]).map_err(garbage)?;
    to.truncate(head + LENGTH_BYTES + length);
    let announced = u16::try_from(length).map_err(|_| RefuseReason::TooLarge)?;
    to[head..head + LENGTH_BYTES].copy_from_slice(&announced.to_be_bytes());
    Ok(())
}

fn garbage(_: snow::Error) -> RefuseReason {
    RefuseReason::Garbage
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::key::PrivateKey;

    fn id(name: &str) -> NodeId {
        NodeId::new(name).unwrap()
    }

    fn private(byte: u8) -> PrivateKey {
        PrivateKey::from_bytes([byte; 32])
    }

    /// Node `a` has key 1, `b` has 2, and 12 is another one of `b`.
    fn sessions(node: &str, own: u8) -> NoiseSessions {
        let listed = [("a", 1), ("b", 2), ("b", 12)].map(|(node, key)| (id(node), private(key).public()));
        NoiseSessions::new(&Keys::new(id(node), private(own), listed).unwrap())
    }

    /// What `from` sealed, opened by `to`; and what that answers.
    fn pass(from: &mut Vec<u8>, to: &mut dyn Session) -> Result<(Vec<u8>, Vec<u8>), RefuseReason> {
        let (mut plain, mut reply) = (Vec::new(), Vec::new());
        while !from.is_empty() {
            let opened = to.open(from, &mut reply)?;
            assert!(opened.used > 0, "a whole record");
            plain.extend_from_slice(&from[opened.frames]);
            from.drain(..opened.used);
        }
        Ok((plain, reply))
    }

    fn greeted(dialler: &NoiseSessions, to: &str, acceptor: &NoiseSessions) -> Option<[Box<dyn Session>; 2]> {
        let (mut dials, mut accepts) = (dialler.dial(id(to)), acceptor.accept());
        let mut first = b"HELLO".to_vec();
        dials.seal(&mut first).unwrap();
        let (early, mut second) = pass(&mut first, &mut *accepts).ok()?;
        assert!(early.is_empty(), "nothing is opened before both have proven who they are");
        let (_, mut third) = pass(&mut second, &mut *dials).ok()?;
        assert_eq!(pass(&mut third, &mut *accepts).unwrap().0, b"HELLO");
        Some([dials, accepts])
    }

    #[test]
    fn both_ends_are_known_before_a_frame_is_read() {
        let [dials, accepts] = greeted(&sessions("b", 2), "a", &sessions("a", 1)).unwrap();
        assert_eq!([dials.proven(), accepts.proven()], [Proven::Node(id("a")), Proven::Node(id("b"))]);
    }

    #[test]
    fn t28_either_of_two_keys_is_accepted_and_the_one_that_was_proven_is_tried_first() {
        let a = sessions("a", 1);
        for own in [2, 12] {
            let b = sessions("b", own);
            assert!(greeted(&b, "a", &a).is_some(), "{own} dials");
            let dials = (0..6).map(|_| greeted(&a, "b", &b).is_some()).collect::<Vec<_>>();
            let first = dials.iter().position(|linked| *linked).unwrap();
            assert!(first <= 1 && dials[first..].iter().all(|linked| *linked), "{own} is dialled: {dials:?}");
        }
    }

    #[test]
    fn who_has_no_key_of_a_member_is_nobody() {
        let stranger =
            NoiseSessions::new(&Keys::new(id("b"), private(9), [(id("a"), private(1).public())]).unwrap());
        let (mut dials, mut accepts) = (stranger.dial(id("a")), sessions("a", 1).accept());
        let mut first = Vec::new();
        dials.seal(&mut first).unwrap();
        let mut reply = Vec::new();
        assert_eq!(accepts.open(&mut first, &mut reply), Err(RefuseReason::Key));
        assert!(reply.is_empty(), "nothing is said to a stranger");
        assert_eq!(accepts.seal(&mut b"REFUSE".to_vec()), Err(RefuseReason::Key));
        assert_eq!(
            stranger.dial(id("c")).seal(&mut Vec::new()),
            Err(RefuseReason::Key),
            "whose key is not known"
        );
    }

    #[test]
    fn a_sealed_nothing_is_garbage() {
        let [mut dials, mut accepts] = greeted(&sessions("b", 2), "a", &sessions("a", 1)).unwrap();
        let mut nothing = Vec::new();
        dials.seal(&mut nothing).unwrap();
        assert!(nothing.is_empty());
        let mut record = vec![0, 0];
        assert_eq!(accepts.open(&mut record, &mut Vec::new()), Err(RefuseReason::Garbage));
    }

    #[test]
    fn frames_of_any_length_come_out_as_they_went_in() {
        let [mut dials, mut accepts] = greeted(&sessions("b", 2), "a", &sessions("a", 1)).unwrap();
        for length in [1, 100, SEALED_BYTES_MAX - TAG_BYTES, SEALED_BYTES_MAX, 3 * RECORD_BYTES_MAX] {
            let frames: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let mut sealed = frames.clone();
            dials.seal(&mut sealed).unwrap();
            assert_eq!(pass(&mut sealed, &mut *accepts).unwrap().0, frames, "{length}");
        }
    }
}
