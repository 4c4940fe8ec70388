//! The sessions that the suites of transports run over: plain frames, and Noise.
//!
//! The second one is written with the public API alone, as an encrypted link would be.

#![allow(unreachable_pub, reason = "every test includes it as a module of its own")]
#![allow(dead_code, unused_imports, reason = "each test uses its part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of a test that fails says where")]

mod client;
mod noise;

pub use client::Client;
pub use noise::NoiseSessions;

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
    /// The sessions of `node`, which knows the keys of nodes `a`, `b` and `c`.
    pub fn sessions(self, node: NodeId) -> Arc<dyn Sessions> {
        match self {
            Self::Plain => Arc::new(PlainSessions),
            Self::Noise => Arc::new(NoiseSessions::of(node)),
        }
    }
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
