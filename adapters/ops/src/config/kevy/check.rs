//! What must fit together before a node may take part in elections.

use super::secure::{self, Links};
use crate::config::document::Document;
use crate::config::election::{Election, Host};
use crate::config::error::SetupError;
use crate::config::members;
use crate::config::section::{ElectSection, SECTION};
use crate::config::sentinel::{self, SentinelSettings};
use crate::http::Listed;
use crate::members::Addresses;
use kevy_config::{Config as KevyConfig, PeerEntry, ReplicationRole};
use kevy_elect_plugin::config::{Config, Member, MemberKind};
use kevy_elect_plugin::ids::{NodeId, SHARDS_MAX};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// How far above the client port kevy puts the port of elections.
const ELECT_PORT_OFFSET: u16 = 200;
/// How far above the client port kevy puts the first port of replication.
const REPLICATION_PORT_OFFSET: u16 = 10_000;
/// What each shard keeps of the frames that it receives, in megabytes, unless `continue_buffer_mb` says otherwise.
const CONTINUE_BUFFER_MB_DEFAULT: usize = 64;

/// What the plugin runs with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ElectSettings {
    /// The election itself.
    pub config: Config,
    /// Where peers reach this node's elections.
    pub listen: SocketAddr,
    /// All members, this node included, in the order of the file.
    pub peers: Vec<Peer>,
    /// Those that hold data.
    pub data_nodes: Vec<DataNode>,
    /// Where pages for operators, Prometheus and load balancers are served.
    pub http: Option<SocketAddr>,
    /// Where the other members serve theirs.
    pub http_peers: Vec<(NodeId, String)>,
    /// How long after the end of its lease a primary that does not run any more is ended. `None`: not at all.
    pub watchdog: Option<Duration>,
    /// Whether a process beside the server says when that is dead.
    pub companion: bool,
    /// Whether the election's thread runs before all others. `None`: where the system allows it.
    pub realtime: Option<bool>,
    /// How long a shard may not turn before the node is unfit to be primary.
    pub shard_timeout: Duration,
    /// Where and how Sentinel's protocol is served.
    pub sentinel: Option<SentinelSettings>,
    /// Bytes of received frames that each shard keeps for others.
    pub continue_buffer: usize,
    /// Whether commands may move data from one shard to another.
    pub move_between_shards: bool,
    /// What links prove.
    pub links: Links,
}

impl ElectSettings {
    /// Where the data of member `id` is.
    pub fn data_node(&self, id: NodeId) -> Option<&DataNode> {
        self.data_nodes.iter().find(|node| node.id == id)
    }

    /// Where member `id` is.
    pub fn place(&self, id: NodeId) -> Addresses {
        let election = self.peers.iter().find(|peer| peer.id == id);
        Addresses {
            election: election.map(|peer| format!("{}:{}", peer.host, peer.elect_port)),
            clients: self.data_node(id).map(|node| format!("{}:{}", node.host, node.client_port)),
        }
    }

    /// All members, and where they are reached.
    pub fn listed(&self) -> Vec<Listed> {
        let page =
            |id: NodeId| self.http_peers.iter().find(|(peer, _)| *peer == id).map(|(_, at)| at.clone());
        let listed = |member: &Member| Listed {
            member: *member,
            page: page(member.id),
            client: self.place(member.id).clients,
        };
        self.config.members().iter().map(listed).collect()
    }

    /// Whether this node votes and holds no data.
    pub fn is_witness(&self) -> bool {
        self.config.members().iter().any(|member| member.id == self.config.node() && is_witness(member))
    }
}

/// Where a member takes part in elections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub id: NodeId,
    /// Its host name or address.
    pub host: String,
    /// Its port.
    pub elect_port: u16,
}

/// Where the data of a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataNode {
    /// Its name.
    pub id: NodeId,
    /// Its host name or address.
    pub host: String,
    /// Where clients reach it.
    pub client_port: u16,
    /// Where it serves the stream of its first shard; the others follow.
    pub replication_port: u16,
}

/// Checks `section` against the rest. `file` is what the file alone says, to tell a key that stands
/// there from its default.
pub(super) fn check(
    section: &ElectSection,
    kevy: &KevyConfig,
    file: &KevyConfig,
    document: &Document<'_>,
    warnings: &mut Vec<String>,
) -> Result<ElectSettings, SetupError> {
    let node = &kevy.cluster.node_id;
    if node.is_empty() {
        let reason = format!(
            "missing, and [{SECTION}] enabled needs it: which entry of [cluster] peers is this node?"
        );
        return Err(document.error("cluster", "node_id", "", reason));
    }
    let node =
        NodeId::new(node).map_err(|error| document.error("cluster", "node_id", node, error.to_string()))?;
    let peers = peers(kevy, document)?;
    let ids: Vec<_> = peers.iter().map(|peer| peer.id).collect();
    let mut members = members::read(section, &ids, document)?;
    let data_nodes = data_nodes(kevy, &members, document)?;
    let (Some(own), Some(member)) =
        (peers.iter().find(|peer| peer.id == node), members.iter_mut().find(|member| member.id == node))
    else {
        let reason = "is not in [cluster] peers; add this node there, or correct its id".to_owned();
        return Err(document.error("cluster", "node_id", node, reason));
    };
    // Wins among equals, as on the first start of a cluster.
    if kevy.replication.role == ReplicationRole::Primary && *member == Member::voter(node) {
        *member = member.with_priority(Member::PRIORITY_PREFERRED);
    }
    let elect_port = own.elect_port;
    match data_nodes.iter().find(|data| data.id == node) {
        Some(data) => {
            refuse_what_cannot_work(kevy, document)?;
            warn_of_shards(kevy, file, warnings);
            own_ports_agree(own, data, kevy, document)?;
        }
        None => election_port_agrees(own, kevy, document)?,
    }
    let host = Host {
        node,
        members: members.iter().copied().zip(peers.iter().map(|peer| peer.host.as_str())).collect(),
        ports: &[(kevy.server.port, "[server] port"), (elect_port, "the election port")],
        watchdogs: kevy_elect_watchdog::SUPPORTED,
        companions: kevy_elect_watchdog::companion::SUPPORTED,
    };
    let Election { config, http, http_peers, watchdog, companion, realtime, shard_timeout } =
        Election::check(section, &host, document, warnings)?;
    let listen = SocketAddr::from((Ipv4Addr::from(kevy.server.bind), elect_port));
    let data: Vec<_> =
        data_nodes.iter().map(|node| (node.id, node.host.as_str(), node.client_port)).collect();
    let sentinel = sentinel::check(section, &host, &data, document)?;
    let links = secure::check(section, kevy, &ids, node, listen, document, warnings)?;
    let continue_buffer = section.continue_buffer_mb.unwrap_or(CONTINUE_BUFFER_MB_DEFAULT) << 20;
    Ok(ElectSettings {
        config,
        listen,
        peers,
        data_nodes,
        http,
        http_peers,
        watchdog,
        companion,
        realtime,
        shard_timeout,
        sentinel,
        continue_buffer,
        move_between_shards: section.move_between_shards.unwrap_or(true),
        links,
    })
}

fn is_witness(member: &Member) -> bool {
    member.kind == MemberKind::Witness
}

fn warn_of_shards(kevy: &KevyConfig, file: &KevyConfig, warnings: &mut Vec<String>) {
    if file.server.threads == 0 && kevy.server.threads > 1 {
        warnings.push(format!(
            "[server] threads is not set: this node has {} shards because it has as many processors; \
             nodes with another number cannot follow it. Set it to one number on all nodes",
            kevy.server.threads
        ));
    }
}

/// Settings of kevy that contradict an election, or that cannot be had through kevy's library.
fn refuse_what_cannot_work(kevy: &KevyConfig, document: &Document<'_>) -> Result<(), SetupError> {
    let replication = &kevy.replication;
    let contradictions: [(&str, &str, String, bool, &str); 14] = [
        (
            "replication",
            "upstream",
            replication.upstream.clone().unwrap_or_default(),
            replication.upstream.is_some(),
            "the election decides whom this node follows; remove it",
        ),
        (
            "replication",
            "role",
            "standalone".into(),
            replication.role == ReplicationRole::Standalone && document.find("replication", "role").is_some(),
            "a standalone server has no replicas; remove it, or use \"primary\" on the node that should win a tie \
          in a new cluster",
        ),
        (
            "replication",
            "single_source",
            "true".into(),
            replication.single_source,
            "replicas of an elected primary follow shard by shard; remove it",
        ),
        (
            "replication",
            "replica_read_only",
            "false".into(),
            !replication.replica_read_only,
            "a replica that takes writes of its own cannot be elected safely; remove it",
        ),
        (
            "replication",
            "min_replicas_to_write",
            replication.min_replicas_to_write.to_string(),
            replication.min_replicas_to_write > 0,
            "a primary may write while a quorum confirms its lease; use WAIT for writes that must be on several nodes",
        ),
        (
            "replication",
            "replica_max_staleness_ms",
            replication.replica_max_staleness_ms.to_string(),
            replication.replica_max_staleness_ms > 0,
            "is not supported together with elections; remove it",
        ),
        (
            "cluster",
            "enabled",
            "true".into(),
            kevy.cluster.enabled,
            "each replica would tell clients that it is the master of all slots; remove it, and have clients ask for the \
             primary through [elect] sentinel",
        ),
        (
            "cluster",
            "scopes",
            String::new(),
            !kevy.cluster.scopes.is_empty(),
            "scopes name their writers, and the election does so too; remove them",
        ),
        (
            "secure",
            "listen_port",
            kevy.secure.listen_port.to_string(),
            kevy.secure.listen_port != 0,
            "the encrypted client port is not supported together with elections yet; use a TLS proxy",
        ),
        (
            "metrics",
            "listen_port",
            kevy.metrics.listen_port.to_string(),
            kevy.metrics.listen_port != 0,
            "is not supported together with elections; use [elect] http",
        ),
        (
            "tiering",
            "budget",
            String::new(),
            kevy.tiering.budget.is_some(),
            "tiering is not supported together with elections; remove it",
        ),
        (
            "expiry",
            "hz",
            "0".into(),
            kevy.expiry.hz == 0,
            "without ticks no promotion would ever end; use 1 or more",
        ),
        (
            "server",
            "port",
            "0".into(),
            kevy.server.port == 0,
            "peers and replicas need to know the port; choose one",
        ),
        (
            "server",
            "threads",
            kevy.server.threads.to_string(),
            kevy.server.threads > SHARDS_MAX,
            "positions in votes have room for 128 shards; use fewer",
        ),
    ];
    for (section, key, value, wrong, reason) in contradictions {
        if wrong {
            return Err(document.error(section, key, value, reason.to_owned()));
        }
    }
    Ok(())
}

/// The members, with their election ports.
fn peers(kevy: &KevyConfig, document: &Document<'_>) -> Result<Vec<Peer>, SetupError> {
    let wrong = |value: String, reason: String| document.error("cluster", "peers", value, reason);
    if kevy.cluster.peers.is_empty() {
        let reason = format!(
            "missing, and [{SECTION}] enabled needs it: list all nodes, this one included, as \
                              \"id@host:election port:client port\""
        );
        return Err(wrong(String::new(), reason));
    }
    let mut peers: Vec<Peer> = Vec::new();
    for entry in &kevy.cluster.peers {
        let token = entry.to_token();
        let id = NodeId::new(&entry.node_id).map_err(|error| wrong(token.clone(), error.to_string()))?;
        let peer = Peer { id, host: entry.host.clone(), elect_port: entry.port };
        for other in &peers {
            if other.id == peer.id {
                return Err(wrong(
                    token,
                    format!("node id {} stands twice; every node needs its own", peer.id),
                ));
            }
            if peer.host == other.host && peer.elect_port == other.elect_port {
                return Err(wrong(
                    token,
                    format!("has the host and election port of {}; every node needs its own", other.id),
                ));
            }
        }
        peers.push(peer);
    }
    Ok(peers)
}

/// The members that hold data, with every port known.
fn data_nodes(
    kevy: &KevyConfig,
    members: &[Member],
    document: &Document<'_>,
) -> Result<Vec<DataNode>, SetupError> {
    let mut nodes: Vec<DataNode> = Vec::new();
    for (entry, member) in kevy.cluster.peers.iter().zip(members) {
        let wrong = |reason: String| document.error("cluster", "peers", entry.to_token(), reason);
        if is_witness(member) {
            if entry.client_port.is_some() {
                return Err(wrong(
                    "is a witness ([elect] witnesses), which no client reaches; write it as \"id@host:election port\""
                        .to_owned(),
                ));
            }
            continue;
        }
        let node = data_node(member.id, entry).map_err(wrong)?;
        let clash = |other: &&DataNode| node.host == other.host && node.client_port == other.client_port;
        if let Some(other) = nodes.iter().find(clash) {
            return Err(wrong(format!(
                "has the host and client port of {}; every node needs its own",
                other.id
            )));
        }
        nodes.push(node);
    }
    Ok(nodes)
}

fn data_node(id: NodeId, entry: &PeerEntry) -> Result<DataNode, String> {
    let client_port = entry.client_port.filter(|port| *port != 0).ok_or(
        "has no client port, so its replication port is not known; write it as \"id@host:election port:client port\"",
    )?;
    let default_replication = client_port.checked_add(REPLICATION_PORT_OFFSET);
    let replication_port = entry.repl_port_base.or(default_replication).ok_or(
        "has a client port above 55535, so its replication port (client port + 10000) would be above 65535; add the \
         replication port as the fourth number",
    )?;
    Ok(DataNode { id, host: entry.host.clone(), client_port, replication_port })
}

/// What the peer list says of this node must be what this node does: the others rely on it.
fn own_ports_agree(
    own: &Peer,
    data: &DataNode,
    kevy: &KevyConfig,
    document: &Document<'_>,
) -> Result<(), SetupError> {
    if data.client_port != kevy.server.port {
        return Err(differs(
            document,
            own,
            ("server", "port"),
            kevy.server.port,
            data.client_port,
            "client port",
        ));
    }
    election_port_agrees(own, kevy, document)?;
    let base = kevy.cluster.elect_port_base;
    if base == 0 && kevy.server.port.checked_add(ELECT_PORT_OFFSET) != Some(own.elect_port) {
        let reason = format!(
            "missing, so elections would be at client port + {ELECT_PORT_OFFSET}, but [cluster] peers lists election \
             port {} for this node ({}); set it to {0}",
            own.elect_port, own.id
        );
        return Err(document.error("cluster", "elect_port_base", "", reason));
    }
    let listening = match kevy.replication.listen_port_base {
        0 => kevy.server.port.saturating_add(REPLICATION_PORT_OFFSET),
        base => base,
    };
    if listening != data.replication_port {
        let key = ("replication", "listen_port_base");
        return Err(differs(document, own, key, listening, data.replication_port, "replication port"));
    }
    let first = usize::from(data.replication_port);
    let taken = [own.elect_port, data.client_port].map(usize::from);
    if taken.iter().any(|port| (first..first + kevy.server.threads).contains(port)) {
        let reason = format!(
            "the {} ports of replication from {first} on include the election port or the client port; move one",
            kevy.server.threads
        );
        return Err(document.error("replication", "listen_port_base", listening, reason));
    }
    Ok(())
}

fn election_port_agrees(own: &Peer, kevy: &KevyConfig, document: &Document<'_>) -> Result<(), SetupError> {
    match kevy.cluster.elect_port_base {
        base if base != 0 && base != own.elect_port => {
            let key = ("cluster", "elect_port_base");
            Err(differs(document, own, key, base, own.elect_port, "election port"))
        }
        _ => Ok(()),
    }
}

fn differs(
    document: &Document<'_>,
    own: &Peer,
    (section, key): (&str, &str),
    value: u16,
    listed: u16,
    what: &str,
) -> SetupError {
    let reason = format!("[cluster] peers lists {what} {listed} for this node ({}); make them equal", own.id);
    document.error(section, key, value, reason)
}
