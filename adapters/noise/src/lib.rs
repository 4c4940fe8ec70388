//! Links that prove who speaks: `Noise_IK_25519_ChaChaPoly_BLAKE2s`, with the keys that kevy's operators have (`kevy-server keygen`,
//! 64 hexadecimal digits, a file that nobody else may read).
//!
//! ```
//! use kevy_elect_noise::{Keys, NoiseSessions, PrivateKey};
//! use kevy_elect_plugin::ids::NodeId;
//! use kevy_elect_plugin::transport::TcpTransport;
//! use std::sync::Arc;
//!
//! let (n1, n2) = (PrivateKey::from_bytes([1; 32]), PrivateKey::from_bytes([2; 32]));
//! let id = |name| NodeId::new(name).unwrap();
//! let keys = Keys::new(id("n1"), n1, [(id("n2"), n2.public())]).unwrap();
//! let transport = TcpTransport::listen("127.0.0.1:0")
//!     .peer(id("n2"), "10.0.0.2:6204")
//!     .sessions(Arc::new(NoiseSessions::new(&keys)))
//!     .build();
//! # drop(transport);
//! ```
//!
//! ```text
//! key.rs       one key: from a file, from text, to text
//! keys.rs      this node's own, and those that its peers may prove to have
//! session.rs   what lies between frames and the wire (T26 to T28 of `docs/protocol.md`)
//! ```

mod key;
mod keys;
mod session;

pub use key::{KeyError, PrivateKey, PublicKey};
pub use keys::{KEYS_PER_NODE_MAX, Keys, KeysError};
pub use session::{NoiseSessions, PROLOGUE};
