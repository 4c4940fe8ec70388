//! This node's key, and those of its peers.

use crate::key::{PrivateKey, PublicKey};
use kevy_elect_plugin::ids::NodeId;
use std::collections::BTreeMap;

/// The most keys that one node may have at a time: the one it has, and the one it is about to have, or had.
pub const KEYS_PER_NODE_MAX: usize = 2;

/// Who may prove to be whom.
#[derive(Debug, Clone)]
pub struct Keys {
    own: PrivateKey,
    peers: BTreeMap<NodeId, Vec<PublicKey>>,
}

/// Why keys do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// Three keys of one node.
    #[error("node {0} has more than {KEYS_PER_NODE_MAX} keys; remove those that it does not use any more")]
    TooMany(NodeId),
    /// Whoever has it could be either.
    #[error("key {key} stands for node {} and for node {}; every node needs its own", nodes[0], nodes[1])]
    Shared {
        /// The key.
        key: PublicKey,
        /// Whose it is said to be.
        nodes: Box<[NodeId; 2]>,
    },
    /// The list says something else of this node.
    #[error(
        "the list has other keys for this node ({node}) than the public key {own} of its private key; correct either"
    )]
    OwnDiffers {
        /// This node.
        node: NodeId,
        /// What it can prove.
        own: PublicKey,
    },
}

impl Keys {
    /// The private key of `node`, and the keys of all, each up to [`KEYS_PER_NODE_MAX`] times. `node` itself may be listed; then
    /// one of its entries must be its own.
    pub fn new(
        node: NodeId,
        own: PrivateKey,
        listed: impl IntoIterator<Item = (NodeId, PublicKey)>,
    ) -> Result<Self, KeysError> {
        let mut peers: BTreeMap<NodeId, Vec<PublicKey>> = BTreeMap::new();
        for (id, key) in listed {
            let keys = peers.entry(id).or_default();
            if !keys.contains(&key) {
                keys.push(key);
            }
            if keys.len() > KEYS_PER_NODE_MAX {
                return Err(KeysError::TooMany(id));
            }
        }
        let public = own.public();
        if peers.get(&node).is_some_and(|keys| !keys.contains(&public)) {
            return Err(KeysError::OwnDiffers { node, own: public });
        }
        let mut owners = BTreeMap::from([(public, node)]);
        for (id, key) in peers.iter().flat_map(|(id, keys)| keys.iter().map(move |key| (*id, *key))) {
            let first = *owners.entry(key).or_insert(id);
            if first != id {
                return Err(KeysError::Shared { key, nodes: Box::new([first, id]) });
            }
        }
        peers.remove(&node);
        Ok(Self { own, peers })
    }

    /// This node's key.
    pub fn own(&self) -> &PrivateKey {
        &self.own
    }

    /// The keys that `peer` may prove to have.
    pub fn of(&self, peer: NodeId) -> &[PublicKey] {
        self.peers.get(&peer).map_or(&[], Vec::as_slice)
    }

    /// All peers, each with its keys.
    pub fn peers(&self) -> impl Iterator<Item = (NodeId, &[PublicKey])> {
        self.peers.iter().map(|(peer, keys)| (*peer, keys.as_slice()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    fn private(byte: u8) -> PrivateKey {
        PrivateKey::from_bytes([byte; 32])
    }

    fn keys(listed: &[(&str, u8)]) -> Result<Keys, KeysError> {
        let id = |name| NodeId::new(name).unwrap();
        Keys::new(id("n1"), private(1), listed.iter().map(|(name, key)| (id(name), private(*key).public())))
    }

    #[test]
    fn a_node_may_have_two_keys_and_no_key_two_nodes() {
        let two = keys(&[("n2", 2), ("n2", 12), ("n3", 3), ("n2", 2)]).unwrap();
        assert_eq!(two.of(NodeId::new("n2").unwrap()), [private(2).public(), private(12).public()]);
        assert_eq!(two.peers().count(), 2);
        assert!(matches!(keys(&[("n2", 2), ("n2", 12), ("n2", 22)]), Err(KeysError::TooMany(_))));
        assert!(matches!(keys(&[("n2", 2), ("n3", 2)]), Err(KeysError::Shared { .. })));
        assert!(matches!(keys(&[("n2", 1)]), Err(KeysError::Shared { .. })), "this node's own");
    }

    #[test]
    fn what_is_listed_for_this_node_must_be_true() {
        assert!(keys(&[("n1", 1), ("n2", 2)]).is_ok());
        assert!(keys(&[("n1", 11), ("n1", 1)]).is_ok(), "in the middle of a change");
        assert!(matches!(keys(&[("n1", 11), ("n2", 2)]), Err(KeysError::OwnDiffers { .. })));
    }
}
