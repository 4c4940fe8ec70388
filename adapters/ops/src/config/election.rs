//! What the section amounts to: everything in it that concerns any host, checked.

use super::document::Document;
use super::error::SetupError;
use super::section::{ElectSection, KEYS, SECTION};
use super::watchdog;
use kevy_elect_plugin::config::{Config, ConfigBuilder, ConfigError, Member, MemberKind};
use kevy_elect_plugin::ids::NodeId;
use std::net::SocketAddr;
use std::time::Duration;

/// After how long the preferred node gets the office back, where it does and nothing else is said.
const FAILBACK_DELAY: Duration = Duration::from_secs(30);
/// How long a shard may not turn, unless `shard_timeout_ms` or a longer election timeout says otherwise.
const SHARD_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
/// A shorter one would mistake the pause between two ticks for a shard that hangs.
const SHARD_TIMEOUT_HEARTBEATS_MIN: u32 = 3;

/// What an election runs with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Election {
    /// The election itself.
    pub config: Config,
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
}

/// What the host knows.
pub struct Host<'a> {
    /// This node.
    pub node: NodeId,
    /// All members, this node included, and the hosts that they are on.
    pub members: Vec<(Member, &'a str)>,
    /// Ports of this node that are taken, and what they are.
    pub ports: &'a [(u16, &'a str)],
    /// Whether a process can be ended by the system when it hangs.
    pub watchdogs: bool,
    /// Whether it can have a companion.
    pub companions: bool,
}

impl Host<'_> {
    /// Whether a primary can have a successor. A single voter has none.
    fn has_successors(&self) -> bool {
        self.members.iter().filter(|(member, _)| member.kind.votes()).count() > 1
    }

    /// Whether this node may be primary.
    fn may_reign(&self) -> bool {
        self.members.iter().any(|(member, _)| member.id == self.node && member.eligible())
    }

    /// Whether it may be, now or once it is given a vote.
    fn may_come_to_reign(&self) -> bool {
        let observes = |member: &Member| member.id == self.node && member.kind == MemberKind::Observer;
        self.may_reign() || self.members.iter().any(|(member, _)| observes(member))
    }
}

impl Election {
    /// Checks `section`. Things that are allowed and probably not meant are added to `warnings`.
    pub fn check(
        section: &ElectSection,
        host: &Host<'_>,
        document: &Document<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, SetupError> {
        let watched = watched(section, host, document, warnings)?;
        let config = config(section, watched, host, document)?;
        let watchdog = (watched && host.may_come_to_reign()).then(|| watchdog::slack(&config));
        if let Some(slack) = watchdog.filter(|slack| *slack < watchdog::SLACK_MIN) {
            let lease_max = config.lease() + slack;
            let reason = format!(
                "leaves the watchdog no time: it ends a primary that hangs {} ms after its lease, and a healthy one needs up \
                 to {} ms to say that it does not hang. Use at most {}, or a longer election_timeout_ms, or watchdog = false",
                slack.as_millis(),
                watchdog::SLACK_MIN.as_millis(),
                lease_max.saturating_sub(watchdog::SLACK_MIN).as_millis(),
            );
            return Err(document.error(SECTION, "lease_ms", config.lease().as_millis(), reason));
        }
        http(section, host, document)?;
        let http_peers = http_peers(section, host, document)?;
        let shard_timeout = shard_timeout(section, &config, document)?;
        let companion = accompanied(section, host, document)?;
        let (http, realtime) = (section.http, section.realtime);
        Ok(Self { config, http, http_peers, watchdog, companion, realtime, shard_timeout })
    }
}

/// The pages have a port of their own, and are not open to others by accident.
fn http(section: &ElectSection, host: &Host<'_>, document: &Document<'_>) -> Result<(), SetupError> {
    let Some(http) = section.http else { return Ok(()) };
    if let Some((_, what)) = host.ports.iter().find(|(port, _)| *port == http.port() && *port != 0) {
        return Err(document.error(SECTION, "http", http, format!("is also {what}; use another port")));
    }
    if !http.ip().is_loopback() && !section.http_public {
        let reason = "other machines can reach this address, and the pages have no password: everybody there sees the \
                      state of the cluster. Use 127.0.0.1, or say http_public = true if that is meant";
        return Err(document.error(SECTION, "http", http, reason.to_owned()));
    }
    Ok(())
}

/// How long a shard may not turn. Commands take that long in earnest, and a handover for one of them helps nobody.
fn shard_timeout(
    section: &ElectSection,
    config: &Config,
    document: &Document<'_>,
) -> Result<Duration, SetupError> {
    let least = config.heartbeat_interval() * SHARD_TIMEOUT_HEARTBEATS_MIN;
    match section.shard_timeout {
        None => Ok(config.election_timeout().max(SHARD_TIMEOUT_DEFAULT)),
        Some(given) if given < least => {
            let reason = format!(
                "is shorter than a shard needs to be heard at all: use at least {} ({SHARD_TIMEOUT_HEARTBEATS_MIN} \
                 heartbeats)",
                least.as_millis()
            );
            Err(document.error(SECTION, "shard_timeout_ms", given.as_millis(), reason))
        }
        Some(given) => Ok(given),
    }
}

/// Where the page asks the others for their links: as listed, else at their host and the port of our own.
fn http_peers(
    section: &ElectSection,
    host: &Host<'_>,
    document: &Document<'_>,
) -> Result<Vec<(NodeId, String)>, SetupError> {
    let listed = addresses("http_peers", &section.http_peers, host, document)?;
    let Some(http) = section.http else { return Ok(Vec::new()) };
    let others = host.members.iter().filter(|(member, _)| member.id != host.node);
    let address = |id: NodeId, host: &str| match listed.iter().find(|(listed, ..)| *listed == id) {
        Some((_, host, port)) => format!("{host}:{port}"),
        None => format!("{host}:{}", http.port()),
    };
    Ok(others.map(|(member, host)| (member.id, address(member.id, host))).collect())
}

/// Addresses of members, as `id@host:port`.
pub(super) fn addresses(
    key: &str,
    entries: &[String],
    host: &Host<'_>,
    document: &Document<'_>,
) -> Result<Vec<(NodeId, String, u16)>, SetupError> {
    let mut listed: Vec<(NodeId, String, u16)> = Vec::new();
    for entry in entries {
        let wrong = |reason: &str| document.error(SECTION, key, entry, reason.to_owned());
        let (id, address) =
            entry.split_once('@').ok_or_else(|| wrong("use \"id@host:port\", with commas between them"))?;
        let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        let odd = address.contains(|c: char| c.is_whitespace() || c.is_control());
        let Some((at, port)) = parts.filter(|(_, port)| *port != 0 && !odd) else {
            return Err(wrong("use \"id@host:port\", with commas between them"));
        };
        let Some((member, _)) = host.members.iter().find(|(member, _)| member.id.as_str() == id) else {
            return Err(wrong("is not in [cluster] peers; add it there, or correct its id"));
        };
        if listed.iter().any(|(id, ..)| *id == member.id) {
            return Err(wrong("stands twice; keep one"));
        }
        listed.push((member.id, at.to_owned(), port));
    }
    Ok(listed)
}

/// Whether a primary's process is ended when it hangs with a lease that has run out. The same on all members, also on those that are never
/// primary: the lease depends on it, and all have to agree on that.
fn watched(
    section: &ElectSection,
    host: &Host<'_>,
    document: &Document<'_>,
    warnings: &mut Vec<String>,
) -> Result<bool, SetupError> {
    let supported = host.watchdogs;
    if section.watchdog == Some(true) && !supported {
        let reason = "only Linux has timers that end a stopped process; remove it".to_owned();
        return Err(document.error(SECTION, "watchdog", true, reason));
    }
    let watched = section.watchdog.unwrap_or(supported);
    if !watched && host.has_successors() && host.may_reign() {
        warnings.push(
            "without a watchdog, a primary that is stopped in the middle of a write and continued after its lease may \
             still acknowledge that write, which the new primary does not have"
                .to_owned(),
        );
    }
    Ok(watched)
}

/// Whether the process has a companion.
fn accompanied(section: &ElectSection, host: &Host<'_>, document: &Document<'_>) -> Result<bool, SetupError> {
    if section.companion == Some(true) && !host.companions {
        let reason = "only Linux opens the locks of dead threads; remove it".to_owned();
        return Err(document.error(SECTION, "companion", true, reason));
    }
    // There is nobody to tell of the only member's death.
    Ok(section.companion.unwrap_or(host.companions) && host.members.len() > 1)
}

fn config(
    section: &ElectSection,
    watched: bool,
    host: &Host<'_>,
    document: &Document<'_>,
) -> Result<Config, SetupError> {
    let mut builder = Config::builder(host.node, host.members.iter().map(|(member, _)| *member));
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
    if let Some(elect) = section.auto_elect_on_peer_loss {
        builder = builder.auto_elect_on_peer_loss(elect);
    }
    if let Some(delay) = section.settling_delay {
        builder = builder.settling_delay(delay);
    }
    if section.failback {
        builder = builder.failback(Some(section.failback_delay.unwrap_or(FAILBACK_DELAY)));
    }
    if let Some(rank) = section.rank {
        builder = builder.rank(rank);
    }
    let build = |builder: ConfigBuilder| builder.build().map_err(|error| refused(&error, document));
    let config = build(builder.clone())?;
    match section.lease {
        // What it is without being said is the longest one.
        None if watched => build(builder.lease(watchdog::lease(config.lease()))),
        _ => Ok(config),
    }
}

/// The plugin's refusal, at the key that it is about. Where several keys contradict each other: the one
/// of them that the file sets.
fn refused(error: &ConfigError, document: &Document<'_>) -> SetupError {
    let about: &[&str] = match error {
        ConfigError::ClusterName { .. } => &["cluster_name"],
        ConfigError::HeartbeatTooShort { .. } => &["heartbeat_interval_ms"],
        ConfigError::ElectionTimeout { .. } => &["election_timeout_ms", "heartbeat_interval_ms"],
        ConfigError::SettlingDelay { .. } => &["settling_delay_ms", "election_timeout_ms"],
        ConfigError::Failback { .. } => &["failback_delay_ms", "election_timeout_ms"],
        ConfigError::Drift { .. } => &["max_clock_drift_percent"],
        ConfigError::LeaseTooLong { .. } => &["lease_ms", "election_timeout_ms", "max_clock_drift_percent"],
        ConfigError::LeaseTooShort { .. } => {
            &["lease_ms", "heartbeat_interval_ms", "election_timeout_ms", "max_clock_drift_percent"]
        }
        _ => return document.error("cluster", "peers", "", error.to_string()),
    };
    debug_assert!(about.iter().all(|key| KEYS.contains(key)));
    let key = about.iter().find(|key| document.find(SECTION, key).is_some()).or(about.first());
    document.error(SECTION, key.unwrap_or(&"enabled"), "", error.to_string())
}
