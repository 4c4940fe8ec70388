//! Noise IK with the crate `snow`: whoever dials knows whom it means to reach and proves who it is.
//!
//! On the wire: records of two bytes of length and what Noise makes. An empty message says that its sender closes the session.

use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::transport::RefuseReason;
use kevy_elect_plugin::transport::session::{Opened, Proven, RECORD_BYTES_MAX, Session, Sessions};
use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::{Builder, HandshakeState, TransportState};
use std::collections::BTreeMap;
use std::sync::Arc;

const PATTERN: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
const LENGTH_BYTES: usize = 2;
const TAG_BYTES: usize = 16;

type Key = [u8; 32];

pub struct NoiseSessions {
    private: Key,
    public: Arc<BTreeMap<NodeId, Key>>,
}

impl NoiseSessions {
    pub fn of(node: NodeId) -> Self {
        let known = ["a", "b", "c"].map(|name| NodeId::new(name).unwrap());
        let public = known.into_iter().map(|node| (node, public(&private(node)))).collect();
        Self { private: private(node), public: Arc::new(public) }
    }
}

/// A test's keys are no secret.
fn private(node: NodeId) -> Key {
    let mut key = [7; 32];
    // The first and the last byte lose some of their bits.
    key[1..].iter_mut().zip(node.as_str().bytes()).for_each(|(byte, letter)| *byte = letter);
    key
}

fn public(private: &Key) -> Key {
    let mut dh = DefaultResolver.resolve_dh(&DHChoice::Curve25519).unwrap();
    dh.set(private);
    dh.pubkey().try_into().unwrap()
}

impl Sessions for NoiseSessions {
    fn dial(&self, peer: NodeId) -> Box<dyn Session> {
        let builder = Builder::new(PATTERN.parse().unwrap());
        let builder = builder.local_private_key(&self.private).unwrap();
        let state = builder.remote_public_key(&self.public[&peer]).unwrap().build_initiator().unwrap();
        Box::new(Noise::new(state, Arc::clone(&self.public)))
    }

    fn accept(&self) -> Box<dyn Session> {
        let builder = Builder::new(PATTERN.parse().unwrap());
        let state = builder.local_private_key(&self.private).unwrap().build_responder().unwrap();
        Box::new(Noise::new(state, Arc::clone(&self.public)))
    }
}

struct Noise {
    state: State,
    /// What waits until the other side is known.
    kept: Vec<u8>,
    public: Arc<BTreeMap<NodeId, Key>>,
    proven: Option<NodeId>,
}

enum State {
    Greets(Box<HandshakeState>),
    Travels(Box<TransportState>),
    /// Something went wrong.
    Over,
}

impl Noise {
    fn new(state: HandshakeState, public: Arc<BTreeMap<NodeId, Key>>) -> Self {
        Self { state: State::Greets(Box::new(state)), kept: Vec::new(), public, proven: None }
    }

    /// A message of the greeting came in.
    fn greet(&mut self, message: &[u8], reply: &mut Vec<u8>) -> Result<(), RefuseReason> {
        let State::Greets(mut state) = std::mem::replace(&mut self.state, State::Over) else {
            return Err(RefuseReason::Garbage);
        };
        let mut payload = [0; RECORD_BYTES_MAX];
        let length = state.read_message(message, &mut payload).map_err(garbage)?;
        if length > 0 {
            return Err(RefuseReason::Garbage);
        }
        let key = state.get_remote_static().ok_or(RefuseReason::Garbage)?;
        let known = self.public.iter().find(|(_, public)| public.as_slice() == key);
        self.proven = Some(*known.ok_or(RefuseReason::UnknownNode)?.0);
        if !state.is_handshake_finished() {
            record(reply, |to| state.write_message(&[], to))?;
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
        let plain = std::mem::take(bytes);
        match &mut self.state {
            State::Greets(state) => {
                self.kept.extend(plain);
                if state.is_initiator() && state.is_my_turn() {
                    record(bytes, |to| state.write_message(&[], to))?;
                }
                Ok(())
            }
            // Sealing nothing says that this side closes.
            State::Travels(state) if plain.is_empty() => record(bytes, |to| state.write_message(&[], to)),
            State::Travels(state) => plain
                .chunks(RECORD_BYTES_MAX - LENGTH_BYTES - TAG_BYTES)
                .try_for_each(|chunk| record(bytes, |to| state.write_message(chunk, to))),
            State::Over => Err(RefuseReason::Garbage),
        }
    }

    fn open(&mut self, wire: &mut [u8], reply: &mut Vec<u8>) -> Result<Opened, RefuseReason> {
        let Some((length, rest)) = wire.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(Opened::INCOMPLETE);
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > RECORD_BYTES_MAX - LENGTH_BYTES {
            return Err(RefuseReason::TooLarge);
        }
        let Some(message) = rest.get(..length) else { return Ok(Opened::INCOMPLETE) };
        let used = LENGTH_BYTES + length;
        let State::Travels(state) = &mut self.state else {
            self.greet(message, reply)?;
            return Ok(Opened { used, frames: 0..0 });
        };
        let mut plain = [0; RECORD_BYTES_MAX];
        let plain_length = state.read_message(message, &mut plain).map_err(garbage)?;
        if plain_length == 0 {
            // It says that it closes. That is no evidence about its process.
            return Err(RefuseReason::Garbage);
        }
        wire[..plain_length].copy_from_slice(&plain[..plain_length]);
        Ok(Opened { used, frames: 0..plain_length })
    }

    fn proven(&self) -> Proven {
        self.proven.map_or(Proven::Nothing, Proven::Node)
    }
}

/// A length, and what `write` makes.
fn record(
    to: &mut Vec<u8>,
    write: impl FnOnce(&mut [u8]) -> Result<usize, snow::Error>,
) -> Result<(), RefuseReason> {
    let mut message = [0; RECORD_BYTES_MAX];
    let length = write(&mut message).map_err(garbage)?;
    to.extend((length as u16).to_be_bytes());
    to.extend(&message[..length]);
    Ok(())
}

fn garbage(_: snow::Error) -> RefuseReason {
    RefuseReason::Garbage
}
