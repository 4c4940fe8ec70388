//! Whether links prove who speaks, and if not, who can reach them (T26 to T29 of `docs/protocol.md`).

use crate::config::document::Document;
use crate::config::error::SetupError;
use crate::config::section::{ElectSection, SECTION};
use kevy_config::Config as KevyConfig;
use kevy_elect_noise::{Keys, PrivateKey, PublicKey};
use kevy_elect_plugin::ids::NodeId;
use std::net::SocketAddr;

/// What is known of whoever speaks to this node's election and to its streams.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Links {
    /// It has proven to be a member.
    Proven(Keys),
    /// It is on this machine.
    Local,
    /// Nothing: whoever reaches the ports may say that it is a member.
    Open,
}

impl Links {
    /// The keys, where there are some.
    pub fn keys(&self) -> Option<&Keys> {
        match self {
            Self::Proven(keys) => Some(keys),
            Self::Local | Self::Open => None,
        }
    }

    /// The word for it on pages.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Proven(_) => "secure",
            Self::Local => "local",
            Self::Open => "insecure",
        }
    }
}

/// Checks what the file says about keys. `listen` is where elections are reached.
pub(super) fn check(
    section: &ElectSection,
    kevy: &KevyConfig,
    members: &[NodeId],
    node: NodeId,
    listen: SocketAddr,
    document: &Document<'_>,
    warnings: &mut Vec<String>,
) -> Result<Links, SetupError> {
    let refused = |section: &str, key: &str, value: &str, reason: &str| {
        document.error(section, key, value, reason.to_owned())
    };
    if kevy.cluster.secure {
        if section.insecure {
            let reason = "contradicts [cluster] secure = true; remove one of them";
            return Err(refused(SECTION, "insecure", "true", reason));
        }
        return keys(kevy, members, node, document, warnings).map(Links::Proven);
    }
    if kevy.replication.secure {
        let reason =
            "the streams of an elected primary are as secure as its elections; say [cluster] secure = true";
        return Err(refused("replication", "secure", "true", reason));
    }
    if !kevy.cluster.peer_keys.is_empty() {
        let reason = "there are keys and nobody asks for them; say [cluster] secure = true, or remove them";
        return Err(refused("cluster", "peer_keys", "", reason));
    }
    if listen.ip().is_loopback() {
        return Ok(Links::Local);
    }
    if !section.insecure {
        let reason = format!(
            "other machines reach elections and replication at this address, and without keys whoever does may say that it \
             is a member: it can stop writes, have two nodes take them, and read and replace all data. Give every node a \
             key (kevy-server keygen FILE, [secure] private_key_file) and say [cluster] secure = true and peer_keys; or say \
             [{SECTION}] insecure = true where nobody else can reach it"
        );
        return Err(document.error("server", "bind", listen.ip(), reason));
    }
    warnings.push(format!(
        "[{SECTION}] insecure = true: whoever reaches {listen} or the replication ports may say that it is a member, stop \
         writes, have two nodes take them, and read and replace all data"
    ));
    Ok(Links::Open)
}

fn keys(
    kevy: &KevyConfig,
    members: &[NodeId],
    node: NodeId,
    document: &Document<'_>,
    warnings: &mut Vec<String>,
) -> Result<Keys, SetupError> {
    let replication = &kevy.replication;
    let shown = |key: &[u8; 32]| PublicKey::from_bytes(*key).to_string();
    if let Some(key) = &replication.upstream_key {
        let reason =
            "the election decides whom this node follows, and peer_keys has everybody's key; remove it"
                .to_owned();
        return Err(document.error("replication", "upstream_key", shown(key), reason));
    }
    if !replication.replica_keys.is_empty() {
        let reason =
            "only members may follow an elected primary, and peer_keys has their keys; remove it".to_owned();
        return Err(document.error("replication", "replica_keys", "", reason));
    }
    let Some(file) = &kevy.secure.private_key_file else {
        let reason = "missing, and [cluster] secure = true needs it: make a key with kevy-server keygen FILE, and give \
                      what it prints to all other nodes as peer_keys = [\"id=key\", ...]"
            .to_owned();
        return Err(document.error("secure", "private_key_file", "", reason));
    };
    let own = PrivateKey::load(file)
        .map_err(|error| document.error("secure", "private_key_file", file.display(), error.to_string()))?;
    let wrong = |value: &str, reason: String| document.error("cluster", "peer_keys", value, reason);
    let mut listed = Vec::new();
    for (id, key) in &kevy.cluster.peer_keys {
        match members.iter().find(|member| member.as_str() == id) {
            Some(member) => listed.push((*member, PublicKey::from_bytes(*key))),
            None => warnings.push(format!(
                "[cluster] peer_keys has a key of {id}, which is not in [cluster] peers: it is nobody's"
            )),
        }
    }
    let keys = Keys::new(node, own, listed).map_err(|error| wrong("", error.to_string()))?;
    if let Some(member) = members.iter().find(|member| **member != node && keys.of(**member).is_empty()) {
        return Err(wrong(
            "",
            format!("has no key of node {member}; add \"{member}=<what its keygen printed>\""),
        ));
    }
    Ok(keys)
}
