//! The sessions that the suites of transports run over: plain frames, and Noise.

#![allow(unreachable_pub, reason = "every test includes it as a module of its own")]
#![allow(dead_code, unused_imports, reason = "each test uses its part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of a test that fails says where")]

mod client;

pub use client::Client;

use kevy_elect_noise::{Keys, NoiseSessions, PrivateKey};
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::transport::session::{PlainSessions, Sessions};
use std::sync::Arc;

/// Which sessions a suite runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Noise,
}

impl Kind {
    /// The sessions of `node`, which knows the keys of nodes `a`, `b`, `c` and `later`.
    pub fn sessions(self, node: NodeId) -> Arc<dyn Sessions> {
        match self {
            Self::Plain => Arc::new(PlainSessions),
            Self::Noise => {
                let known = ["a", "b", "c", "later"].map(|name| NodeId::new(name).unwrap());
                let listed = known.map(|node| (node, private(node).public()));
                // A stranger has a key, too, and knows theirs.
                Arc::new(NoiseSessions::new(&Keys::new(node, private(node), listed).unwrap()))
            }
        }
    }
}

/// A test's keys are no secret.
pub fn private(node: NodeId) -> PrivateKey {
    let mut key = [7; 32];
    // The first and the last byte lose some of their bits.
    key[1..].iter_mut().zip(node.as_str().bytes()).for_each(|(byte, letter)| *byte = letter);
    PrivateKey::from_bytes(key)
}

/// Runs each of the functions, which take a [`Kind`], as a test of its own over each kind of session.
#[macro_export]
macro_rules! over_each_session {
    ($($(#[$attribute:meta])* $test:ident),+ $(,)?) => {
        mod plain {
            $(#[test] $(#[$attribute])* fn $test() { super::$test($crate::sessions::Kind::Plain) })+
        }
        mod noise {
            $(#[test] $(#[$attribute])* fn $test() { super::$test($crate::sessions::Kind::Noise) })+
        }
    };
}
