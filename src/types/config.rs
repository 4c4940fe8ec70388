//! The configuration of one node's election, checked as a whole when it is built.

use crate::ids::NodeId;
use crate::rank::Rank;
use crate::time::Duration;
use std::fmt;

/// The most voters a cluster may have: votes are counted in a 128-bit set.
pub const VOTERS_MAX: usize = 127;
/// The longest list of the voters' names: with it, a frame and a slot of the vote record have room for all that comes with it.
pub(crate) const MEMBERSHIP_BYTES_MAX: usize = 3072;
/// The most members of any kind.
pub const MEMBERS_MAX: usize = 4096;
/// The shortest heartbeat interval: below it the timers' resolution is what gets measured.
pub const HEARTBEAT_INTERVAL_MIN: Duration = Duration::from_millis(1);
/// The longest election timeout: beyond it arithmetic on deadlines is still safe, but nobody means it.
pub const ELECTION_TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Added to every lease on top of drift: what a timer, a clock read and the gate's resolution may be off.
pub const LEASE_MARGIN: Duration = Duration::from_millis(10);

/// For how many election timeouts of its own a node promises at most. Who relies on more gets no promise: a mistake in one
/// configuration, or a lie, would keep the others from electing anybody for as long.
pub(crate) const PROMISE_TIMEOUTS_MAX: u32 = 16;
/// How much clocks may drift, in percent, if the configuration does not say.
pub(crate) const DRIFT_PERCENT_DEFAULT: f64 = 1.0;

/// What a member is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum MemberKind {
    /// Holds data and votes.
    Voter,
    /// Votes, holds no data, is never primary.
    Witness,
    /// Holds data, does not vote, is never primary.
    Observer,
}

impl MemberKind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::Witness => "witness",
            Self::Observer => "observer",
        }
    }

    /// Whether its votes and echoes count.
    pub const fn votes(self) -> bool {
        matches!(self, Self::Voter | Self::Witness)
    }
}

/// One member of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Its name.
    pub id: NodeId,
    /// What it is for.
    pub kind: MemberKind,
    /// Preference among candidates with equal data; higher wins, 0 is never promoted.
    pub priority: u8,
}

impl Member {
    /// The priority of members that say nothing.
    pub const PRIORITY_DEFAULT: u8 = 100;
    /// The priority that a node may give to itself alone, so that it wins among equals on the first start of a cluster. The others go on taking it
    /// for the usual one, and need not agree (W19).
    pub const PRIORITY_PREFERRED: u8 = Self::PRIORITY_DEFAULT + 1;

    /// A voter with data and the usual priority.
    pub const fn voter(id: NodeId) -> Self {
        Self { id, kind: MemberKind::Voter, priority: Self::PRIORITY_DEFAULT }
    }

    /// A voter without data.
    pub const fn witness(id: NodeId) -> Self {
        Self { id, kind: MemberKind::Witness, priority: 0 }
    }

    /// Data without a vote.
    pub const fn observer(id: NodeId) -> Self {
        Self { id, kind: MemberKind::Observer, priority: 0 }
    }

    /// The same with another preference among candidates with equal data.
    #[must_use]
    pub const fn with_priority(self, priority: u8) -> Self {
        Self { priority, ..self }
    }

    /// Whether it may ever be primary.
    pub const fn eligible(&self) -> bool {
        matches!(self.kind, MemberKind::Voter) && self.priority > 0
    }
}

/// What a voter compares before it votes. See `docs/protocol.md`, section "Position".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum LossPolicy {
    /// History, then the sum of all shards' offsets.
    #[default]
    Sum,
    /// Also: not behind the voter on any shard.
    Dominate,
}

/// Whether a dead process may be told from a silent one by its closed sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum CrashDetection {
    /// A link that ended in order, then a refused connection: the process is gone.
    #[default]
    Refused,
    /// Only time tells. For links that pass proxies, which close connections for live hosts.
    Off,
}

/// A checked configuration. Build one with [`Config::builder`].
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub(crate) cluster: String,
    pub(crate) node: NodeId,
    pub(crate) members: Vec<Member>,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) election_timeout: Duration,
    pub(crate) lease: Duration,
    pub(crate) drift_percent: f64,
    pub(crate) loss_policy: LossPolicy,
    pub(crate) crash_detection: CrashDetection,
    pub(crate) rank: Rank,
    pub(crate) auto_elect_on_peer_loss: bool,
    pub(crate) settling_delay: Duration,
    pub(crate) failback: Option<Duration>,
}

impl Config {
    /// Whether a cluster may be called so, here and by clients that ask for its primary: 1 to 63 visible ASCII characters.
    pub fn is_cluster_name(name: &str) -> bool {
        (1..=63).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// Starts a configuration of node `node` in a cluster of `members`, which include it.
    pub fn builder(node: NodeId, members: impl IntoIterator<Item = Member>) -> ConfigBuilder {
        ConfigBuilder {
            cluster: "kevy".to_owned(),
            node,
            members: members.into_iter().collect(),
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(1000),
            lease: None,
            drift_percent: DRIFT_PERCENT_DEFAULT,
            loss_policy: LossPolicy::default(),
            crash_detection: CrashDetection::default(),
            rank: Rank::default(),
            auto_elect_on_peer_loss: true,
            settling_delay: Duration::ZERO,
            failback: None,
        }
    }

    /// The cluster's name. Links between clusters of different names are refused.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }
    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }
    /// This node, as it is listed.
    pub fn own(&self) -> Member {
        let own = self.members.iter().find(|member| member.id == self.node);
        // A configuration without this node is not built.
        own.copied().unwrap_or(Member::observer(self.node))
    }
    /// All members, in the order of their ids.
    pub fn members(&self) -> &[Member] {
        &self.members
    }
    /// How often every voter sends a heartbeat to every peer.
    pub fn heartbeat_interval(&self) -> Duration {
        self.heartbeat_interval
    }
    /// How long a primary may be silent before it is suspected; also how long a voter's promise holds.
    pub fn election_timeout(&self) -> Duration {
        self.election_timeout
    }
    /// How long a primary may write after the send time of a heartbeat that a quorum echoed.
    pub fn lease(&self) -> Duration {
        self.lease
    }
    /// How much faster or slower than real time a clock may run.
    pub fn drift_percent(&self) -> f64 {
        self.drift_percent
    }
    /// What a voter compares before it votes.
    pub fn loss_policy(&self) -> LossPolicy {
        self.loss_policy
    }
    /// Whether closed sockets prove a process dead.
    pub fn crash_detection(&self) -> CrashDetection {
        self.crash_detection
    }
    /// Who goes first among candidates with equal data.
    pub fn rank(&self) -> Rank {
        self.rank
    }
    /// Whether a primary's death that is seen by its links begins an election (R8).
    pub fn auto_elect_on_peer_loss(&self) -> bool {
        self.auto_elect_on_peer_loss
    }
    /// How long after that.
    pub fn settling_delay(&self) -> Duration {
        self.settling_delay
    }
    /// After how long a member of higher priority gets the office back (H18); `None`: never by itself.
    pub fn failback(&self) -> Option<Duration> {
        self.failback
    }
    /// One member more, as if it had been there from the start. `false`: it is there, or there is no room.
    pub fn meet(&mut self, member: Member) -> bool {
        match self.members.binary_search_by_key(&member.id, |member| member.id) {
            Err(at) if self.members.len() < MEMBERS_MAX => self.members.insert(at, member),
            _ => return false,
        }
        true
    }

    /// The strict majority of the voters.
    pub fn quorum(&self) -> usize {
        self.voters() / 2 + 1
    }
    /// How many members vote.
    pub fn voters(&self) -> usize {
        self.members.iter().filter(|m| m.kind.votes()).count()
    }

    /// The longest lease that a promise of `election_timeout` outlasts on clocks that drift apart by up to
    /// `drift_percent` each way: `lease * (1 + drift) + margin <= promise * (1 - drift)`.
    pub fn lease_max(election_timeout: Duration, drift_percent: f64) -> Duration {
        let drift = drift_percent / 100.0;
        let room = election_timeout.as_secs_f64() * (1.0 - drift) - LEASE_MARGIN.as_secs_f64();
        // Rounded down to whole microseconds: rounding up could break the very inequality.
        Duration::from_micros((room.max(0.0) / (1.0 + drift) * 1e6).floor() as u64)
    }

    /// The shortest promise that outlasts `lease` on such clocks: the other way round, and rounded up.
    pub(crate) fn promise_min(lease: Duration, drift_percent: f64) -> Duration {
        let drift = drift_percent / 100.0;
        let room = lease.as_secs_f64() * (1.0 + drift) + LEASE_MARGIN.as_secs_f64();
        Duration::from_micros((room / (1.0 - drift) * 1e6).ceil() as u64)
    }
}

/// Collects a [`Config`]; [`ConfigBuilder::build`] checks it.
#[derive(Debug, Clone)]
pub struct ConfigBuilder {
    cluster: String,
    node: NodeId,
    members: Vec<Member>,
    heartbeat_interval: Duration,
    election_timeout: Duration,
    lease: Option<Duration>,
    drift_percent: f64,
    loss_policy: LossPolicy,
    crash_detection: CrashDetection,
    rank: Rank,
    auto_elect_on_peer_loss: bool,
    settling_delay: Duration,
    failback: Option<Duration>,
}

impl ConfigBuilder {
    /// Names the cluster. Default: `kevy`.
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = name.into();
        self
    }
    /// Default: 100 ms.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.heartbeat_interval = interval;
        self
    }
    /// Default: 1 s.
    pub fn election_timeout(mut self, timeout: Duration) -> Self {
        self.election_timeout = timeout;
        self
    }
    /// Default: the longest that is safe, [`Config::lease_max`].
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }
    /// Default: 1 percent, far above what any working oscillator drifts.
    pub fn drift_percent(mut self, percent: f64) -> Self {
        self.drift_percent = percent;
        self
    }
    /// Default: [`LossPolicy::Sum`].
    pub fn loss_policy(mut self, policy: LossPolicy) -> Self {
        self.loss_policy = policy;
        self
    }
    /// Default: [`CrashDetection::Refused`].
    pub fn crash_detection(mut self, detection: CrashDetection) -> Self {
        self.crash_detection = detection;
        self
    }

    /// Default: [`Rank::Position`]. [`Rank::Seniority`] is for services without data.
    pub fn rank(mut self, rank: Rank) -> Self {
        self.rank = rank;
        self
    }
    /// Default: true. With `false` a primary that is known to be dead is replaced once it was silent for an election timeout.
    pub fn auto_elect_on_peer_loss(mut self, elect: bool) -> Self {
        self.auto_elect_on_peer_loss = elect;
        self
    }
    /// Default: none. A primary that is known to be dead is replaced so much later, at most an election timeout: one that is
    /// started again at once can come back before.
    pub fn settling_delay(mut self, delay: Duration) -> Self {
        self.settling_delay = delay;
        self
    }

    /// Default: none. A primary gives its office to a member of higher priority that has been ready to take it over for so long without a break,
    /// at least an election timeout. Not with [`Rank::Seniority`], which looks at no priority.
    pub fn failback(mut self, after: Option<Duration>) -> Self {
        self.failback = after;
        self
    }

    /// Checks everything and gives the configuration.
    pub fn build(self) -> Result<Config, ConfigError> {
        let Self { cluster, node, mut members, heartbeat_interval, election_timeout, .. } = self;
        if !Config::is_cluster_name(&cluster) {
            return Err(ConfigError::ClusterName { name: cluster });
        }
        members.sort_by_key(|m| m.id);
        if let Some(pair) = members.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(ConfigError::DuplicateMember { id: pair[0].id });
        }
        if members.len() > MEMBERS_MAX {
            return Err(ConfigError::TooManyMembers { members: members.len() });
        }
        if !members.iter().any(|m| m.id == node) {
            return Err(ConfigError::NotAMember { node });
        }
        let voters = members.iter().filter(|m| m.kind.votes()).count();
        if voters == 0 || voters > VOTERS_MAX {
            return Err(ConfigError::Voters { voters });
        }
        let bytes =
            members.iter().filter(|m| m.kind.votes()).map(|m| m.id.as_str().len() + "@witness,".len()).sum();
        if bytes > MEMBERSHIP_BYTES_MAX {
            return Err(ConfigError::VotersTooLong { bytes });
        }
        if !members.iter().any(Member::eligible) {
            return Err(ConfigError::NobodyEligible);
        }
        if heartbeat_interval < HEARTBEAT_INTERVAL_MIN {
            return Err(ConfigError::HeartbeatTooShort { heartbeat_interval });
        }
        if election_timeout > ELECTION_TIMEOUT_MAX || election_timeout < heartbeat_interval.saturating_mul(3)
        {
            return Err(ConfigError::ElectionTimeout { election_timeout, heartbeat_interval });
        }
        if !(0.0..=20.0).contains(&self.drift_percent) {
            return Err(ConfigError::Drift { percent: self.drift_percent });
        }
        let lease_max = Config::lease_max(election_timeout, self.drift_percent);
        let lease = self.lease.unwrap_or(lease_max);
        if lease > lease_max {
            return Err(ConfigError::LeaseTooLong { lease, lease_max, election_timeout });
        }
        if lease < heartbeat_interval.saturating_mul(2) {
            return Err(ConfigError::LeaseTooShort { lease, heartbeat_interval });
        }
        let settling_delay = self.settling_delay;
        if settling_delay > election_timeout {
            return Err(ConfigError::SettlingDelay { settling_delay, election_timeout });
        }
        let failback = self.failback;
        if let Some(after) = failback
            && after < election_timeout
        {
            return Err(ConfigError::Failback { after, election_timeout });
        }
        if failback.is_some() && self.rank == Rank::Seniority {
            return Err(ConfigError::FailbackBySeniority);
        }
        Ok(Config {
            cluster,
            node,
            members,
            heartbeat_interval,
            election_timeout,
            lease,
            drift_percent: self.drift_percent,
            loss_policy: self.loss_policy,
            crash_detection: self.crash_detection,
            rank: self.rank,
            auto_elect_on_peer_loss: self.auto_elect_on_peer_loss,
            settling_delay,
            failback,
        })
    }
}

/// Why a configuration is refused: the values and what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Empty, too long or with odd characters.
    #[error("cluster name {name:?}: use 1 to 63 visible ASCII characters")]
    ClusterName {
        /// What was given.
        name: String,
    },
    /// Two members with one id.
    #[error("node id {id} stands twice in the member list; every member needs its own")]
    DuplicateMember {
        /// The id.
        id: NodeId,
    },
    /// More than [`MEMBERS_MAX`].
    #[error("{members} members; at most {MEMBERS_MAX} are supported")]
    TooManyMembers {
        /// How many.
        members: usize,
    },
    /// This node is not in its own member list.
    #[error("this node, {node}, is not in the member list; add it, or correct its id")]
    NotAMember {
        /// This node.
        node: NodeId,
    },
    /// No voters, or more than [`VOTERS_MAX`].
    #[error("{voters} voters; a cluster needs 1 to {VOTERS_MAX}")]
    Voters {
        /// How many.
        voters: usize,
    },
    /// The names of the voters have no room in a vote record and a frame.
    #[error(
        "the names of the voters have {bytes} bytes together; at most {MEMBERSHIP_BYTES_MAX} are supported: use shorter ones"
    )]
    VotersTooLong {
        /// How many, with what stands between them.
        bytes: usize,
    },
    /// No voter with data and a priority above 0.
    #[error("no member may ever be primary: at least one voter needs data and a priority above 0")]
    NobodyEligible,
    /// Below [`HEARTBEAT_INTERVAL_MIN`].
    #[error("heartbeat interval {}: at least {} are needed", Ms(*heartbeat_interval), Ms(HEARTBEAT_INTERVAL_MIN))]
    HeartbeatTooShort {
        /// What was given.
        heartbeat_interval: Duration,
    },
    /// Less than three heartbeats, or more than [`ELECTION_TIMEOUT_MAX`].
    #[error(
        "election timeout {} with a heartbeat interval of {}: it must be at least three intervals \
         (one lost heartbeat must not start an election) and at most {}",
        Ms(*election_timeout), Ms(*heartbeat_interval), Ms(ELECTION_TIMEOUT_MAX)
    )]
    ElectionTimeout {
        /// What was given.
        election_timeout: Duration,
        /// The interval it is measured against.
        heartbeat_interval: Duration,
    },
    /// Not between 0 and 20.
    #[error("clock drift of {percent} percent: use 0 to 20")]
    Drift {
        /// What was given.
        percent: f64,
    },
    /// The promise of the voters would not outlast the lease.
    #[error(
        "lease {} is too long for an election timeout of {}: with the configured clock drift a new primary \
         could be elected while the old one still writes; use at most {}, or leave it out",
        Ms(*lease), Ms(*election_timeout), Ms(*lease_max)
    )]
    LeaseTooLong {
        /// What was given.
        lease: Duration,
        /// The longest that is safe.
        lease_max: Duration,
        /// What it follows from.
        election_timeout: Duration,
    },
    /// Longer than the election timeout, after which a silent primary is replaced anyway.
    #[error(
        "settling delay {}: at most the election timeout, {}; to wait for that, say auto_elect_on_peer_loss = false",
        Ms(*settling_delay), Ms(*election_timeout)
    )]
    SettlingDelay {
        /// What was given.
        settling_delay: Duration,
        /// What it is measured against.
        election_timeout: Duration,
    },
    /// The office would go to and fro.
    #[error("failback after {}: at least the election timeout, {}", Ms(*after), Ms(*election_timeout))]
    Failback {
        /// The delay.
        after: Duration,
        /// The election timeout.
        election_timeout: Duration,
    },
    /// Failback goes by priority.
    #[error("failback goes by priority, and rank = \"seniority\" looks at none: leave one of them out")]
    FailbackBySeniority,
    /// One lost heartbeat would fence a healthy primary.
    #[error(
        "lease {} is too short for a heartbeat interval of {}: one late heartbeat would stop all writes; \
         use at least two intervals",
        Ms(*lease), Ms(*heartbeat_interval)
    )]
    LeaseTooShort {
        /// What was given, or what follows from election timeout and drift.
        lease: Duration,
        /// The interval it is measured against.
        heartbeat_interval: Duration,
    },
}

/// Shows a duration the way people write it in `kevy.toml`.
struct Ms(Duration);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        match micros % 1000 {
            0 => write!(f, "{} ms", micros / 1000),
            part => write!(f, "{}.{part:03} ms", micros / 1000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> NodeId {
        NodeId::new(name).unwrap()
    }

    fn three() -> ConfigBuilder {
        Config::builder(id("a"), ["a", "b", "c"].map(|n| Member::voter(id(n))))
    }

    #[test]
    fn the_default_lease_keeps_the_inequality_with_equality_within_a_microsecond() {
        let config = three().build().unwrap();
        let (lease, promise) = (config.lease().as_secs_f64(), config.election_timeout().as_secs_f64());
        let slack = promise * 0.99 - (lease * 1.01 + LEASE_MARGIN.as_secs_f64());
        assert!((0.0..2e-6).contains(&slack), "{slack}");
    }

    #[test]
    fn a_lease_that_outlasts_the_promise_is_refused_with_both_values() {
        let error = three().lease(Duration::from_millis(1000)).build().unwrap_err();
        assert!(matches!(error, ConfigError::LeaseTooLong { .. }));
        let text = error.to_string();
        assert!(text.contains("lease 1000 ms") && text.contains("timeout of 1000 ms"), "{text}");
    }

    #[test]
    fn every_contradiction_has_its_own_error() {
        let ms = Duration::from_millis;
        let refused = |builder: ConfigBuilder| builder.build().unwrap_err();
        assert!(matches!(refused(three().cluster("")), ConfigError::ClusterName { .. }));
        assert!(matches!(refused(three().heartbeat_interval(ms(0))), ConfigError::HeartbeatTooShort { .. }));
        assert!(matches!(refused(three().election_timeout(ms(299))), ConfigError::ElectionTimeout { .. }));
        assert!(matches!(
            refused(three().election_timeout(Duration::MAX)),
            ConfigError::ElectionTimeout { .. }
        ));
        assert!(matches!(refused(three().drift_percent(f64::NAN)), ConfigError::Drift { .. }));
        assert!(matches!(refused(three().lease(ms(199))), ConfigError::LeaseTooShort { .. }));
        let voter = Member::voter;
        assert!(matches!(
            refused(Config::builder(id("a"), [voter(id("a")), voter(id("a"))])),
            ConfigError::DuplicateMember { .. }
        ));
        assert!(matches!(
            refused(Config::builder(id("z"), [voter(id("a"))])),
            ConfigError::NotAMember { .. }
        ));
        assert!(matches!(
            refused(Config::builder(id("a"), [Member::observer(id("a"))])),
            ConfigError::Voters { voters: 0 }
        ));
        assert!(matches!(
            refused(Config::builder(id("a"), [Member::witness(id("a"))])),
            ConfigError::NobodyEligible
        ));
    }

    #[test]
    fn quorums_are_strict_majorities_of_the_voters() {
        for (voters, quorum) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)] {
            let ids: Vec<_> = (0..voters).map(|n| id(&format!("n{n}"))).collect();
            let members = ids.iter().map(|n| Member::voter(*n)).chain([Member::observer(id("z"))]);
            assert_eq!(Config::builder(ids[0], members).build().unwrap().quorum(), quorum);
        }
    }
}
