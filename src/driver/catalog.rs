//! Every metric in one table: what the exporter is told, what `docs/metrics.md` says, and what rules and
//! dashboards are checked against.

use crate::event::{Outcome, Reason};
use crate::fence::{FenceReason, Health};
use crate::message::{OfferKind, RejectReason, Role, Verb};
use crate::transfer::TransferOutcome;
use crate::transport::RefuseReason;
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// What kind of metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// Only grows; starts at 0 with the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values in buckets.
    Histogram,
}

impl MetricKind {
    /// The word for it in the exposition format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric of the plugin.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct MetricInfo {
    /// Its full name.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// Whether it is in seconds; the others have no unit.
    pub seconds: bool,
    /// Its labels, and what values each can have.
    pub labels: &'static [(&'static str, LabelValues)],
    /// What it says, for people.
    pub help: &'static str,
}

/// What values a label can have. All of them are exported from the start, so that the first event already
/// shows as an increase.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum LabelValues {
    /// Each of these words.
    Words(fn() -> Vec<&'static str>),
    /// The ids of the other members.
    Peers,
    /// A version.
    Version,
}

/// What a failover is labelled with.
pub(super) const FAILOVER_REASONS: [Reason; 4] =
    [Reason::Crash, Reason::Timeout, Reason::Planned, Reason::Restart];
/// The label of a retarget on a node that was told of the new primary before it missed the old one.
pub(super) const TOLD: &str = "told";
/// The parts of a failover.
pub(super) const PHASES: [&str; 4] = ["detect", "elect", "promote", "retarget"];
/// Why a message was lost, beside the reasons for which a transport turns one away.
pub(super) const LOSSES: [&str; 4] = ["no-link", "queue-full", "overtaken", "implausible"];
/// What is asked of the host and can fail.
pub(super) const HOST_CALLS: &[&str] = &["promote", "follow", "fence", "resume", "detach"];

const ROLES: LabelValues = LabelValues::Words(|| Role::ALL.iter().map(|role| role.as_str()).collect());
const HEALTHS: LabelValues =
    LabelValues::Words(|| Health::ALL.iter().map(|health| health.as_str()).collect());
const REASONS: LabelValues =
    LabelValues::Words(|| Reason::ALL.iter().map(|reason| reason.as_str()).collect());
const OUTCOMES: LabelValues =
    LabelValues::Words(|| Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect());
const KINDS: LabelValues = LabelValues::Words(|| OfferKind::ALL.iter().map(|kind| kind.as_str()).collect());

const fn gauge(name: &'static str, help: &'static str) -> MetricInfo {
    MetricInfo { name, kind: MetricKind::Gauge, seconds: false, labels: &[], help }
}

const fn counter(name: &'static str, help: &'static str) -> MetricInfo {
    MetricInfo { kind: MetricKind::Counter, ..gauge(name, help) }
}

const fn histogram(name: &'static str, help: &'static str) -> MetricInfo {
    MetricInfo { kind: MetricKind::Histogram, seconds: true, ..gauge(name, help) }
}

const fn seconds(name: &'static str, help: &'static str) -> MetricInfo {
    MetricInfo { seconds: true, ..gauge(name, help) }
}

impl MetricInfo {
    const fn by(self, labels: &'static [(&'static str, LabelValues)]) -> Self {
        Self { labels, ..self }
    }
}

/// All metrics of the plugin.
pub const METRICS: &[MetricInfo] = &[
    gauge("kevy_elect_epoch", "Epoch of this node."),
    gauge("kevy_elect_role", "1 for the role this node has, 0 for the others.").by(&[("role", ROLES)]),
    counter("kevy_elect_role_transitions_total", "Changes of this node's role.")
        .by(&[("from", ROLES), ("to", ROLES), ("reason", REASONS)]),
    seconds(
        "kevy_elect_last_role_change_timestamp_seconds",
        "When this node's role last changed, in Unix time; 0 if never.",
    ),
    counter("kevy_elect_elections_total", "Votes this node asked for, by how they ended.")
        .by(&[("outcome", OUTCOMES)]),
    counter("kevy_elect_prevotes_total", "Pre-votes this node asked for, by how they ended.")
        .by(&[("outcome", OUTCOMES)]),
    counter("kevy_elect_offers_refused_total", "Offers of other candidates that this node refused.").by(&[
        ("kind", KINDS),
        ("reason", LabelValues::Words(|| RejectReason::ALL.iter().map(|reason| reason.as_str()).collect())),
    ]),
    histogram("kevy_elect_election_duration_seconds", "From asking for votes to winning them."),
    histogram(
        "kevy_elect_failover_phase_duration_seconds",
        "Parts of a failover on this node: detect (from the last sign of the old primary), elect (from there to \
         the votes), promote, retarget.",
    )
    .by(&[
        ("phase", LabelValues::Words(|| PHASES.to_vec())),
        (
            "reason",
            LabelValues::Words(|| FAILOVER_REASONS.iter().map(|r| r.as_str()).chain([TOLD]).collect()),
        ),
    ]),
    counter(
        "kevy_elect_two_primaries_total",
        "Times a node said that it is primary while this node knew another one; at most one of them may write.",
    ),
    counter("kevy_elect_host_failures_total", "What the election asked of the server and it could not carry out.")
        .by(&[("call", LabelValues::Words(|| HOST_CALLS.to_vec()))]),
    histogram(
        "kevy_elect_write_unavailable_seconds",
        "How long this node, as primary, refused writes before it resumed or was replaced.",
    ),
    gauge("kevy_elect_fenced", "1 while this node is primary and refuses writes."),
    counter("kevy_elect_fences_total", "Times this node, as primary, began to refuse writes.").by(&[(
        "reason",
        LabelValues::Words(|| FenceReason::ALL.iter().map(|reason| reason.as_str()).collect()),
    )]),
    counter("kevy_elect_transfers_total", "Planned transfers of this node's office, by how they ended.").by(&[(
        "outcome",
        LabelValues::Words(|| TransferOutcome::ALL.iter().map(|outcome| outcome.as_str()).collect()),
    )]),
    seconds("kevy_elect_lease_remaining_seconds", "How long this node may still write."),
    seconds("kevy_elect_lease_duration_seconds", "How long a lease runs when it is renewed."),
    gauge("kevy_elect_position_offset", "Sum of the offsets of all shards in the present stream."),
    gauge("kevy_elect_position_stream_epoch", "Epoch of the primary whose writes this node holds."),
    gauge("kevy_elect_peer_up", "1 if the peer was heard within an election timeout.")
        .by(&[("peer", LabelValues::Peers)]),
    gauge("kevy_elect_peer_linked", "1 while there is a link to the peer.").by(&[("peer", LabelValues::Peers)]),
    gauge(
        "kevy_elect_peer_foreign",
        "1 if the peer belongs to another cluster than this node, whose data is not overwritten in silence: an operator decides.",
    )
    .by(&[("peer", LabelValues::Peers)]),
    gauge(
        "kevy_elect_peer_terms_differ",
        "1 if the peer's configuration has other members, or other timings of those that must agree, than this node's; its log and page say which.",
    )
    .by(&[("peer", LabelValues::Peers)]),
    gauge("kevy_elect_peer_epochs_ahead", "How far the epoch that the peer claims is above this node's.")
        .by(&[("peer", LabelValues::Peers)]),
    seconds(
        "kevy_elect_peer_last_heartbeat_timestamp_seconds",
        "When the peer's last heartbeat came in, in Unix time; 0 if never.",
    )
    .by(&[("peer", LabelValues::Peers)]),
    histogram("kevy_elect_heartbeat_rtt_seconds", "From a primary's heartbeat to its echo.")
        .by(&[("peer", LabelValues::Peers)]),
    gauge(
        "kevy_elect_quorum_members_reachable",
        "Voters heard within an election timeout, this node included.",
    ),
    gauge("kevy_elect_quorum_members_needed", "The strict majority of the voters."),
    counter("kevy_elect_messages_total", "Messages, by verb and direction.").by(&[
        ("verb", LabelValues::Words(|| Verb::ALL.iter().map(|verb| verb.as_str()).collect())),
        ("direction", LabelValues::Words(|| vec!["sent", "received"])),
    ]),
    counter("kevy_elect_messages_dropped_total", "Messages and connections not sent or not accepted.").by(&[(
        "reason",
        LabelValues::Words(|| {
            LOSSES.into_iter().chain(RefuseReason::ALL.iter().map(|reason| reason.as_str())).collect()
        }),
    )]),
    histogram("kevy_elect_vote_save_duration_seconds", "How long saving the vote record took."),
    counter("kevy_elect_vote_save_failures_total", "Saves of the vote record that failed."),
    gauge("kevy_elect_health", "1 for how fit this node is to be primary, 0 for the other words.")
        .by(&[("health", HEALTHS)]),
    counter("kevy_elect_unfit_total", "Times this node became unfit to be primary, by what was wrong.")
        .by(&[("health", HEALTHS)]),
    gauge("kevy_elect_paused", "1 while automatic elections are paused."),
    counter("kevy_elect_log_lines_left_out_total", "Lines that were not logged, because there were too many of their kind."),
    gauge("kevy_elect_secure", "1 if links prove who speaks; 0 if whoever reaches the port may say that it is a member."),
    gauge("kevy_elect_build_info", "1, with the version as a label.").by(&[("version", LabelValues::Version)]),
];

/// Tells the exporter what every metric is.
pub(super) fn describe() {
    for &MetricInfo { name, kind, seconds, help, .. } in METRICS {
        match (kind, seconds) {
            (MetricKind::Counter, _) => describe_counter!(name, help),
            (MetricKind::Gauge, false) => describe_gauge!(name, help),
            (MetricKind::Gauge, true) => describe_gauge!(name, Unit::Seconds, help),
            (MetricKind::Histogram, _) => describe_histogram!(name, Unit::Seconds, help),
        }
    }
}
