//! Streams that prove who is at their other end: the members' keys, as kevy's own Noise takes them.

use crate::confirm::proof::Secret;
use kevy_elect_noise::Keys;
use kevy_elect_plugin::ids::NodeId;
use kevy_noise::Keypair;
use kevy_replicate::replica::{ConnectOptions, ReplicaClient, ReplicaError, ReplicaSecurity};
use kevy_rt::ReplicationSecurity;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Who may follow this node: members, and this node itself, which keeps the beginnings of its own streams.
pub(crate) fn of_followers(keys: &Keys) -> ReplicationSecurity {
    let members = keys.peers().flat_map(|(_, keys)| keys).map(|key| *key.as_bytes());
    let own = *keys.own().public().as_bytes();
    ReplicationSecurity::new(own_pair(keys)).with_replica_keys(members.chain([own]).collect())
}

fn own_pair(keys: &Keys) -> Keypair {
    Keypair::from_secret(*keys.own().expose())
}

/// How one node is connected to: in plain, or so that both ends prove who they are.
pub(crate) struct Credentials(Option<Proof>);

struct Proof {
    own: Keypair,
    /// The keys that the node may have, each with what proves a name to its owner.
    theirs: Vec<([u8; 32], Secret)>,
    /// The one that it proved last.
    good: AtomicUsize,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.proves() { "secure" } else { "plain" })
    }
}

impl Credentials {
    /// For connections to `peer`.
    pub(crate) fn towards(keys: Option<&Keys>, peer: NodeId) -> Self {
        Self(keys.map(|keys| {
            let theirs = keys.of(peer).iter().map(|key| (*key.as_bytes(), Secret::with(keys, key))).collect();
            Proof { own: own_pair(keys), theirs, good: AtomicUsize::new(0) }
        }))
    }

    /// For connections to this node itself.
    pub(crate) fn towards_self(keys: Option<&Keys>) -> Self {
        Self(keys.map(|keys| {
            let own = keys.own().public();
            let theirs = vec![(*own.as_bytes(), Secret::with(keys, &own))];
            Proof { own: own_pair(keys), theirs, good: AtomicUsize::new(0) }
        }))
    }

    /// Whether what is said on a connection goes through its [`ReplicaClient`] only.
    pub(crate) fn proves(&self) -> bool {
        self.0.is_some()
    }

    /// Connects; the other end has proven to be the node that is meant, where there are keys.
    pub(crate) fn connect(&self, to: SocketAddr, options: &ConnectOptions) -> Result<ReplicaClient, String> {
        let Some(Proof { own, theirs, good }) = &self.0 else {
            return ReplicaClient::connect_with(to, options).map_err(|error| error.to_string());
        };
        let first = good.load(Ordering::Relaxed);
        let mut failed = "no key of it is known".to_owned();
        for number in (0..theirs.len()).map(|n| (first + n) % theirs.len()) {
            let (key, secret) = &theirs[number];
            let mut options = options.clone().with_security(ReplicaSecurity::new(own.clone(), *key));
            options.replica_id = secret.prove(&options.replica_id);
            match ReplicaClient::connect_with(to, &options) {
                Ok(client) => {
                    good.store(number, Ordering::Relaxed);
                    return Ok(client);
                }
                Err(error @ (ReplicaError::HandshakeRejected | ReplicaError::Io(_))) => {
                    failed = error.to_string()
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(failed)
    }
}
