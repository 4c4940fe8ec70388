//! Names of replicas that prove themselves (T32 of `docs/protocol.md`).
//!
//! kevy's streams prove that somebody has a member's key, and tell nobody whose. Two members have a secret that nobody else
//! has: what the curve makes of the one's private key and the other's public one. So a replica puts a code over its name into the name,
//! and its primary can tell who made it.

use kevy_crypto::ct_eq;
use kevy_crypto::hkdf::hmac;
use kevy_crypto::x25519::x25519;
use kevy_elect_noise::{Keys, PublicKey};
use std::collections::BTreeMap;
use std::fmt;

/// What the secret is used for, so that nothing else that uses the same keys ever makes the same code.
const PURPOSE: &[u8] = b"kevy-elect name of a replica 1";
/// Bytes of a code. Whoever guesses has one attempt for each connection.
const CODE_BYTES: usize = 16;

/// What two members alone know.
#[derive(Clone)]
pub(crate) struct Secret([u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// The one that the owner of `keys` has with the owner of `theirs`.
    pub(crate) fn with(keys: &Keys, theirs: &PublicKey) -> Self {
        Self(hmac(&x25519(keys.own().expose(), theirs.as_bytes()), &[PURPOSE]))
    }

    /// The name with its proof.
    pub(crate) fn prove(&self, name: &str) -> String {
        format!("{name}.{}", self.code(name))
    }

    fn proves(&self, name: &str) -> bool {
        name.rsplit_once('.').is_some_and(|(name, code)| ct_eq(self.code(name).as_bytes(), code.as_bytes()))
    }

    fn code(&self, name: &str) -> String {
        let code = hmac(&self.0, &[name.as_bytes()]);
        code[..CODE_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What this node has with each other one, by which it knows their names.
#[derive(Debug, Default)]
pub(crate) struct Proofs(BTreeMap<String, Vec<Secret>>);

impl Proofs {
    pub(crate) fn of(keys: &Keys) -> Self {
        let secrets = |of: &[PublicKey]| of.iter().map(|key| Secret::with(keys, key)).collect();
        Self(keys.peers().map(|(peer, of)| (peer.to_string(), secrets(of))).collect())
    }

    /// Whether `name` was made by `node`, or by this one.
    pub(crate) fn prove(&self, node: &str, name: &str) -> bool {
        self.0.get(node).is_some_and(|secrets| secrets.iter().any(|secret| secret.proves(name)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use kevy_elect_noise::PrivateKey;
    use kevy_elect_plugin::ids::NodeId;

    fn keys(own: u8) -> Keys {
        let id = |number: u8| NodeId::new(&format!("n{number}")).unwrap();
        let public = |byte| PrivateKey::from_bytes([byte; 32]).public();
        // The third node is about to change its key.
        let listed = [(id(1), public(1)), (id(2), public(2)), (id(3), public(3)), (id(3), public(13))];
        Keys::new(id(own % 10), PrivateKey::from_bytes([own; 32]), listed).unwrap()
    }

    #[test]
    fn a_name_proves_who_made_it_to_whom_it_is_meant_for_and_to_nobody_else() {
        let public = |byte| PrivateKey::from_bytes([byte; 32]).public();
        let name = "kevy-replica-n3.5.0-6004#0.77";
        for key in [3, 13] {
            let said = Secret::with(&keys(key), &public(1)).prove(name);
            let primary = Proofs::of(&keys(1));
            assert!(primary.prove("n3", &said), "either of its keys");
            assert!(
                !primary.prove("n2", &said) && !primary.prove("n1", &said) && !primary.prove("n9", &said)
            );
            assert!(!primary.prove("n3", &said.replace("#0.77", "#1.77")), "for another stream");
            assert!(!primary.prove("n3", name) && !primary.prove("n3", &format!("{name}.")));
            assert!(!Proofs::of(&keys(2)).prove("n3", &said), "meant for n1");
        }
        let stolen = Secret::with(&keys(2), &public(1)).prove(name);
        assert!(!Proofs::of(&keys(1)).prove("n3", &stolen), "another member's key");
    }
}
