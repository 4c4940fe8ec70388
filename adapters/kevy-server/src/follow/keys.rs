//! Streams that prove who is at their other end: the members' keys, as kevy's own Noise takes them.

use crate::confirm::proof::Secret;
use crate::continuation::passes::Passes;
use kevy_crypto::hkdf::hmac;
use kevy_elect_noise::Keys;
use kevy_elect_ops::reload::MET_WITH_KEYS_MAX;
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::message::Pass;
use kevy_noise::Keypair;
use kevy_replicate::replica::{ConnectOptions, ReplicaClient, ReplicaError, ReplicaSecurity};
use kevy_rt::ReplicationSecurity;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What a pass is used for, so that nothing else that is made of it is the same.
const PURPOSE: &[u8] = b"kevy-elect key of a stream 1";

/// Who may follow this node: members, and this node itself, which keeps the beginnings of its own streams. kevy takes keys at the start only, so
/// those are there already that members will have that come while this process runs: each is made of a pass that no other node is given (T29).
pub(crate) fn of_followers(keys: &Keys, passes: &Passes) -> ReplicationSecurity {
    let members = keys.peers().flat_map(|(_, keys)| keys).map(|key| *key.as_bytes());
    let own = *keys.own().public().as_bytes();
    let prepared = (0..MET_WITH_KEYS_MAX).map(|number| of_pass(&passes.prepared(number)).public());
    ReplicationSecurity::new(own_pair(keys)).with_replica_keys(members.chain([own]).chain(prepared).collect())
}

fn of_pass(pass: &Pass) -> Keypair {
    Keypair::from_secret(hmac(pass.as_bytes(), &[PURPOSE]))
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
    /// The one that it proved last, and whether it took this node's own key.
    good: AtomicUsize,
    takes_own: AtomicBool,
    /// What it has given to this node.
    given: Box<dyn Fn() -> Option<Pass> + Send + Sync>,
}

impl Proof {
    fn new(
        keys: &Keys,
        theirs: Vec<([u8; 32], Secret)>,
        given: Box<dyn Fn() -> Option<Pass> + Send + Sync>,
    ) -> Self {
        let (good, takes_own) = (AtomicUsize::new(0), AtomicBool::new(true));
        Self { own: own_pair(keys), theirs, good, takes_own, given }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.proves() { "secure" } else { "plain" })
    }
}

impl Credentials {
    /// For connections to `peer`.
    pub(crate) fn towards(keys: Option<&Keys>, peer: NodeId, passes: &Arc<Passes>) -> Self {
        Self(keys.map(|keys| {
            let passes = Arc::clone(passes);
            let theirs = keys.of(peer).iter().map(|key| (*key.as_bytes(), Secret::with(keys, key))).collect();
            Proof::new(keys, theirs, Box::new(move || passes.received(peer)))
        }))
    }

    /// For connections to this node itself.
    pub(crate) fn towards_self(keys: Option<&Keys>) -> Self {
        Self(keys.map(|keys| {
            let own = keys.own().public();
            let theirs = vec![(*own.as_bytes(), Secret::with(keys, &own))];
            Proof::new(keys, theirs, Box::new(|| None))
        }))
    }

    /// Whether what is said on a connection goes through its [`ReplicaClient`] only.
    pub(crate) fn proves(&self) -> bool {
        self.0.is_some()
    }

    /// Connects; the other end has proven to be the node that is meant, where there are keys.
    pub(crate) fn connect(&self, to: SocketAddr, options: &ConnectOptions) -> Result<ReplicaClient, String> {
        let Some(proof) = &self.0 else {
            return ReplicaClient::connect_with(to, options).map_err(|error| error.to_string());
        };
        let Proof { own, theirs, good, takes_own, given } = proof;
        let given = given().map(|pass| of_pass(&pass));
        let mut ours: Vec<(bool, &Keypair)> = [(true, Some(own)), (false, given.as_ref())]
            .into_iter()
            .filter_map(|(is_own, pair)| Some((is_own, pair?)))
            .collect();
        // The one that was taken last goes first.
        ours.sort_by_key(|(is_own, _)| *is_own != takes_own.load(Ordering::Relaxed));
        let first = good.load(Ordering::Relaxed);
        let mut failed = "no key of it is known".to_owned();
        let numbers = (0..theirs.len()).map(|n| (first + n) % theirs.len());
        for (number, (is_own, pair)) in
            numbers.flat_map(|number| ours.iter().map(move |pair| (number, *pair)))
        {
            let (key, secret) = &theirs[number];
            let mut options = options.clone().with_security(ReplicaSecurity::new(pair.clone(), *key));
            options.replica_id = secret.prove(&options.replica_id);
            match ReplicaClient::connect_with(to, &options) {
                Ok(client) => {
                    good.store(number, Ordering::Relaxed);
                    takes_own.store(is_own, Ordering::Relaxed);
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
