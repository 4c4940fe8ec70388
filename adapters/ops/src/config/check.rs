//! What must fit together before a node may take part in elections.

use super::elect::{ElectSection, KEYS};
use super::error::SetupError;
use super::sentinel::{self, SentinelSettings};
use super::split::{SECTION, Split};
use super::watchdog;
use kevy_config::{Config as KevyConfig, PeerEntry, ReplicationRole};
use kevy_elect_plugin::config::{Config, ConfigBuilder, ConfigError, Member};
use kevy_elect_plugin::ids::{NodeId, SHARDS_MAX};
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// How far above the client port kevy puts the port of elections.
const ELECT_PORT_OFFSET: u16 = 200;
/// How far above the client port kevy puts the first port of replication.
const REPLICATION_PORT_OFFSET: u16 = 10_000;

/// How long a shard may not turn, unless `shard_timeout_ms` or a longer election timeout says otherwise.
const SHARD_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
/// A shorter one would mistake the pause between two ticks for a shard that hangs.
const SHARD_TIMEOUT_HEARTBEATS_MIN: u32 = 3;

/// What each shard keeps of the frames that it receives, in megabytes, unless `continue_buffer_mb` says otherwise.
const CONTINUE_BUFFER_MB_DEFAULT: usize = 64;

/// What the plugin runs with.
#[derive(Debug, Clone)]
pub struct ElectSettings {
    /// The election itself.
    pub config: Config,
    /// Where peers reach this node's elections.
    pub listen: SocketAddr,
    /// All members, this node included, in the order of the file.
    pub peers: Vec<Peer>,
    /// Where pages for operators, Prometheus and load balancers are served.
    pub http: Option<SocketAddr>,
    /// Where the other members serve theirs.
    pub http_peers: Vec<(NodeId, String)>,
    /// How long after the end of its lease a primary that does not run any more is ended. `None`: not at all.
    pub watchdog: Option<Duration>,
    /// Whether a process beside the server says when that is dead.
    pub companion: bool,
    /// How long a shard may not turn before the node is unfit to be primary.
    pub shard_timeout: Duration,
    /// Where and how Sentinel's protocol is served.
    pub sentinel: Option<SentinelSettings>,
    /// Bytes of received frames that each shard keeps for others.
    pub continue_buffer: usize,
}

impl ElectSettings {
    /// The member called `id`.
    pub fn peer(&self, id: NodeId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.id == id)
    }
}

/// Where a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub id: NodeId,
    /// Its host name or address.
    pub host: String,
    /// Where it takes part in elections.
    pub elect_port: u16,
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
    split: &Split,
    warnings: &mut Vec<String>,
) -> Result<ElectSettings, SetupError> {
    refuse_what_cannot_work(kevy, split)?;
    if file.server.threads == 0 && kevy.server.threads > 1 {
        warnings.push(format!(
            "[server] threads is not set: this node has {} shards because it has as many processors; \
             nodes with another number cannot follow it. Set it to one number on all nodes",
            kevy.server.threads
        ));
    }
    let node = &kevy.cluster.node_id;
    if node.is_empty() {
        let reason = format!(
            "missing, and [{SECTION}] enabled needs it: which entry of [cluster] peers is this node?"
        );
        return Err(at(split, "cluster", "node_id", "", reason));
    }
    let node = NodeId::new(node).map_err(|error| at(split, "cluster", "node_id", node, error.to_string()))?;
    let peers = peers(kevy, split)?;
    let Some(own) = peers.iter().find(|peer| peer.id == node) else {
        let reason = "is not in [cluster] peers; add this node there, or correct its id".to_owned();
        return Err(at(split, "cluster", "node_id", node, reason));
    };
    own_ports_agree(own, kevy, split)?;
    let elect_port = own.elect_port;
    // Wins among equals, as on the first start of a cluster.
    let preferred = kevy.replication.role == ReplicationRole::Primary;
    let members = peers.iter().map(|peer| {
        let member = Member::voter(peer.id);
        let priority = member.priority + u8::from(preferred && peer.id == node);
        Member { priority, ..member }
    });
    let watched = watched(section, peers.len(), split, warnings)?;
    let config = election(section, watched, node, members, split)?;
    let watchdog = watched.then(|| watchdog::slack(&config));
    if let Some(slack) = watchdog.filter(|slack| *slack < watchdog::SLACK_MIN) {
        let lease_max = config.lease() + slack;
        let reason = format!(
            "leaves the watchdog no time: it ends a primary that hangs {} ms after its lease, and a healthy one needs up \
             to {} ms to say that it does not hang. Use at most {}, or a longer election_timeout_ms, or watchdog = false",
            slack.as_millis(),
            watchdog::SLACK_MIN.as_millis(),
            lease_max.saturating_sub(watchdog::SLACK_MIN).as_millis(),
        );
        return Err(at(split, SECTION, "lease_ms", config.lease().as_millis(), reason));
    }
    let listen = SocketAddr::from((Ipv4Addr::from(kevy.server.bind), elect_port));
    if let Some(http) = section.http.filter(|http| http.port() != 0) {
        let used = [(kevy.server.port, "[server] port"), (elect_port, "the election port")];
        if let Some((_, what)) = used.iter().find(|(port, _)| *port == http.port()) {
            return Err(at(split, SECTION, "http", http, format!("is also {what}; use another port")));
        }
    }
    if let Some(http) = section.http.filter(|http| !http.ip().is_loopback() && !section.http_public) {
        let reason = "other machines can reach this address, and the pages have no password: everybody there sees the \
                      state of the cluster. Use 127.0.0.1, or say http_public = true if that is meant";
        return Err(at(split, SECTION, "http", http, reason.to_owned()));
    }
    let http_peers = http_peers(section, node, &peers, split)?;
    let shard_timeout = shard_timeout(section, &config, split)?;
    let taken = [(kevy.server.port, "[server] port"), (elect_port, "the election port")];
    let sentinel = sentinel::check(section, &peers, &taken, split)?;
    let companion = accompanied(section, peers.len(), split)?;
    let continue_buffer = section.continue_buffer_mb.unwrap_or(CONTINUE_BUFFER_MB_DEFAULT) << 20;
    let http = section.http;
    Ok(ElectSettings {
        config,
        listen,
        peers,
        http,
        http_peers,
        watchdog,
        companion,
        shard_timeout,
        sentinel,
        continue_buffer,
    })
}

/// How long a shard may not turn. Commands take that long in earnest, and a handover for one of them helps nobody.
fn shard_timeout(section: &ElectSection, config: &Config, split: &Split) -> Result<Duration, SetupError> {
    let least = config.heartbeat_interval() * SHARD_TIMEOUT_HEARTBEATS_MIN;
    match section.shard_timeout {
        None => Ok(config.election_timeout().max(SHARD_TIMEOUT_DEFAULT)),
        Some(given) if given < least => {
            let reason = format!(
                "is shorter than a shard needs to be heard at all: use at least {} ({SHARD_TIMEOUT_HEARTBEATS_MIN} \
                 heartbeats)",
                least.as_millis()
            );
            Err(at(split, SECTION, "shard_timeout_ms", given.as_millis(), reason))
        }
        Some(given) => Ok(given),
    }
}

/// Where the page asks the others for their links: as listed, else at their host and the port of our own.
fn http_peers(
    section: &ElectSection,
    node: NodeId,
    peers: &[Peer],
    split: &Split,
) -> Result<Vec<(NodeId, String)>, SetupError> {
    let listed = addresses("http_peers", &section.http_peers, peers, split)?;
    let Some(http) = section.http else { return Ok(Vec::new()) };
    let others = peers.iter().filter(|peer| peer.id != node);
    let address = |peer: &Peer| match listed.iter().find(|(id, ..)| *id == peer.id) {
        Some((_, host, port)) => format!("{host}:{port}"),
        None => format!("{}:{}", peer.host, http.port()),
    };
    Ok(others.map(|peer| (peer.id, address(peer))).collect())
}

/// Addresses of members, as `id@host:port`.
pub(super) fn addresses(
    key: &str,
    entries: &[String],
    peers: &[Peer],
    split: &Split,
) -> Result<Vec<(NodeId, String, u16)>, SetupError> {
    let mut listed: Vec<(NodeId, String, u16)> = Vec::new();
    for entry in entries {
        let wrong = |reason: &str| at(split, SECTION, key, entry, reason.to_owned());
        let (id, address) =
            entry.split_once('@').ok_or_else(|| wrong("use \"id@host:port\", with commas between them"))?;
        let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        let odd = address.contains(|c: char| c.is_whitespace() || c.is_control());
        let Some((host, port)) = parts.filter(|(_, port)| *port != 0 && !odd) else {
            return Err(wrong("use \"id@host:port\", with commas between them"));
        };
        let Some(peer) = peers.iter().find(|peer| peer.id.as_str() == id) else {
            return Err(wrong("is not in [cluster] peers; add it there, or correct its id"));
        };
        if listed.iter().any(|(id, ..)| *id == peer.id) {
            return Err(wrong("stands twice; keep one"));
        }
        listed.push((peer.id, host.to_owned(), port));
    }
    Ok(listed)
}

/// An error at the line of `[section] key`, or without a line where it is not in the file.
pub(super) fn at(split: &Split, section: &str, key: &str, value: impl Display, reason: String) -> SetupError {
    let (line, raw) = match split.find(section, key) {
        Some((line, raw)) => (line, raw.to_owned()),
        None => (0, String::new()),
    };
    // What counts is the value in force, which a flag or the environment may have set.
    let value = value.to_string();
    let shown = if raw.trim_matches(['"', '\'']) == value || value.is_empty() { raw } else { value };
    SetupError { file: None, line, key: format!("[{section}] {key}"), value: shown, reason }
}

/// Settings of kevy that contradict an election, or that cannot be had through kevy's library.
fn refuse_what_cannot_work(kevy: &KevyConfig, split: &Split) -> Result<(), SetupError> {
    let replication = &kevy.replication;
    let contradictions: [(&str, &str, String, bool, &str); 15] = [
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
            replication.role == ReplicationRole::Standalone && split.find("replication", "role").is_some(),
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
            "replication",
            "secure",
            "true".into(),
            replication.secure,
            "encrypted links are not supported together with elections yet; use a private network or a tunnel",
        ),
        (
            "cluster",
            "secure",
            "true".into(),
            kevy.cluster.secure,
            "encrypted links are not supported together with elections yet; use a private network or a tunnel",
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
            return Err(at(split, section, key, value, reason.to_owned()));
        }
    }
    Ok(())
}

/// The members, with every port known.
fn peers(kevy: &KevyConfig, split: &Split) -> Result<Vec<Peer>, SetupError> {
    let wrong = |value: String, reason: String| at(split, "cluster", "peers", value, reason);
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
        let peer = peer(entry).map_err(|reason| wrong(token.clone(), reason))?;
        for other in &peers {
            let clash = |port: u16, theirs: u16| peer.host == other.host && port == theirs;
            if other.id == peer.id {
                return Err(wrong(
                    token,
                    format!("node id {} stands twice; every node needs its own", peer.id),
                ));
            }
            if clash(peer.elect_port, other.elect_port) {
                return Err(wrong(
                    token,
                    format!("has the host and election port of {}; every node needs its own", other.id),
                ));
            }
            if clash(peer.client_port, other.client_port) {
                return Err(wrong(
                    token,
                    format!("has the host and client port of {}; every node needs its own", other.id),
                ));
            }
        }
        peers.push(peer);
    }
    Ok(peers)
}

fn peer(entry: &PeerEntry) -> Result<Peer, String> {
    let id = NodeId::new(&entry.node_id).map_err(|error| error.to_string())?;
    let client_port = entry.client_port.filter(|port| *port != 0).ok_or(
        "has no client port, so its replication port is not known; write it as \"id@host:election port:client port\"",
    )?;
    let default_replication = client_port.checked_add(REPLICATION_PORT_OFFSET);
    let replication_port = entry.repl_port_base.or(default_replication).ok_or(
        "has a client port above 55535, so its replication port (client port + 10000) would be above 65535; add the \
         replication port as the fourth number",
    )?;
    Ok(Peer { id, host: entry.host.clone(), elect_port: entry.port, client_port, replication_port })
}

/// What the peer list says of this node must be what this node does: the others rely on it.
fn own_ports_agree(own: &Peer, kevy: &KevyConfig, split: &Split) -> Result<(), SetupError> {
    let differs = |section, key, value: u16, listed: u16, what: &str| {
        let reason =
            format!("[cluster] peers lists {what} {listed} for this node ({}); make them equal", own.id);
        at(split, section, key, value, reason)
    };
    if own.client_port != kevy.server.port {
        return Err(differs("server", "port", kevy.server.port, own.client_port, "client port"));
    }
    let base = kevy.cluster.elect_port_base;
    if base != 0 && base != own.elect_port {
        return Err(differs("cluster", "elect_port_base", base, own.elect_port, "election port"));
    }
    if base == 0 && kevy.server.port.checked_add(ELECT_PORT_OFFSET) != Some(own.elect_port) {
        let reason = format!(
            "missing, so elections would be at client port + {ELECT_PORT_OFFSET}, but [cluster] peers lists election \
             port {} for this node ({}); set it to {0}",
            own.elect_port, own.id
        );
        return Err(at(split, "cluster", "elect_port_base", "", reason));
    }
    let listening = match kevy.replication.listen_port_base {
        0 => kevy.server.port.saturating_add(REPLICATION_PORT_OFFSET),
        base => base,
    };
    if listening != own.replication_port {
        return Err(differs(
            "replication",
            "listen_port_base",
            listening,
            own.replication_port,
            "replication port",
        ));
    }
    let first = usize::from(own.replication_port);
    let taken = [own.elect_port, own.client_port].map(usize::from);
    if taken.iter().any(|port| (first..first + kevy.server.threads).contains(port)) {
        let reason = format!(
            "the {} ports of replication from {first} on include the election port or the client port; move one",
            kevy.server.threads
        );
        return Err(at(split, "replication", "listen_port_base", listening, reason));
    }
    Ok(())
}

/// Whether the process is ended when it hangs with a lease that has run out.
fn watched(
    section: &ElectSection,
    voters: usize,
    split: &Split,
    warnings: &mut Vec<String>,
) -> Result<bool, SetupError> {
    let supported = kevy_elect_watchdog::SUPPORTED;
    if section.watchdog == Some(true) && !supported {
        let reason = "only Linux has timers that end a stopped process; remove it".to_owned();
        return Err(at(split, SECTION, "watchdog", true, reason));
    }
    // A single voter is replaced by nobody.
    let watched = section.watchdog.unwrap_or(supported) && voters > 1;
    if !watched && voters > 1 {
        warnings.push(
            "without a watchdog, a primary that is stopped in the middle of a write and continued after its lease may \
             still acknowledge that write, which the new primary does not have"
                .to_owned(),
        );
    }
    Ok(watched)
}

/// Whether the process has a companion.
fn accompanied(section: &ElectSection, voters: usize, split: &Split) -> Result<bool, SetupError> {
    let supported = kevy_elect_watchdog::companion::SUPPORTED;
    if section.companion == Some(true) && !supported {
        let reason = "only Linux opens the locks of dead threads; remove it".to_owned();
        return Err(at(split, SECTION, "companion", true, reason));
    }
    // There is nobody to tell of a single voter's death.
    Ok(section.companion.unwrap_or(supported) && voters > 1)
}

fn election(
    section: &ElectSection,
    watched: bool,
    node: NodeId,
    members: impl Iterator<Item = Member>,
    split: &Split,
) -> Result<Config, SetupError> {
    let mut builder = Config::builder(node, members);
    if let Some(name) = &section.cluster_name {
        builder = builder.cluster(name);
    }
    if let Some(interval) = section.heartbeat_interval {
        builder = builder.heartbeat_interval(interval);
    }
    if let Some(timeout) = section.election_timeout {
        builder = builder.election_timeout(timeout);
    }
    if let Some(percent) = section.max_clock_drift_percent {
        builder = builder.drift_percent(percent);
    }
    if let Some(lease) = section.lease {
        builder = builder.lease(lease);
    }
    if let Some(policy) = section.loss_policy {
        builder = builder.loss_policy(policy);
    }
    if let Some(detection) = section.crash_detection {
        builder = builder.crash_detection(detection);
    }
    let build = |builder: ConfigBuilder| builder.build().map_err(|error| refused(&error, split));
    let config = build(builder.clone())?;
    match section.lease {
        // What it is without being said is the longest one.
        None if watched => build(builder.lease(watchdog::lease(config.lease()))),
        _ => Ok(config),
    }
}

/// The plugin's refusal, at the key that it is about. Where several keys contradict each other: the one
/// of them that the file sets.
fn refused(error: &ConfigError, split: &Split) -> SetupError {
    let about: &[&str] = match error {
        ConfigError::ClusterName { .. } => &["cluster_name"],
        ConfigError::HeartbeatTooShort { .. } => &["heartbeat_interval_ms"],
        ConfigError::ElectionTimeout { .. } => &["election_timeout_ms", "heartbeat_interval_ms"],
        ConfigError::Drift { .. } => &["max_clock_drift_percent"],
        ConfigError::LeaseTooLong { .. } => &["lease_ms", "election_timeout_ms", "max_clock_drift_percent"],
        ConfigError::LeaseTooShort { .. } => {
            &["lease_ms", "heartbeat_interval_ms", "election_timeout_ms", "max_clock_drift_percent"]
        }
        _ => return at(split, "cluster", "peers", "", error.to_string()),
    };
    debug_assert!(about.iter().all(|key| KEYS.contains(key)));
    let key = about.iter().find(|key| split.find(SECTION, key).is_some()).or(about.first());
    at(split, SECTION, key.unwrap_or(&"enabled"), "", error.to_string())
}
