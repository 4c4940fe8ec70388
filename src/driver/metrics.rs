//! What an operator asks at 3 a.m., through the `metrics` facade. Names and labels: `docs/metrics.md`.
//!
//! All handles are made when the driver starts, so everything is exported as zero from the start and the
//! heartbeat path looks nothing up.

use crate::clock::Clock;
use crate::config::Config;
use crate::elector::{Elector, GateState};
use crate::event::{Event, EventKind, Outcome, Reason};
use crate::fence::FenceReason;
use crate::ids::{NodeId, Round};
use crate::message::{Message, OfferKind, Role, Verb};
use crate::time::{Duration, Instant};
use crate::transport::RefuseReason;
use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Send times kept to measure how long echoes take.
const ROUNDS: usize = 64;

pub(crate) struct Metrics {
    node: NodeId,
    epoch: Gauge,
    roles: Vec<(Role, Gauge)>,
    fenced: Gauge,
    lease_remaining: Gauge,
    position_offset: Gauge,
    position_stream_epoch: Gauge,
    reachable: Gauge,
    last_role_change: Gauge,
    paused: Gauge,
    elections: BTreeMap<Outcome, Counter>,
    pre_votes: BTreeMap<Outcome, Counter>,
    fences: BTreeMap<FenceReason, Counter>,
    sent: BTreeMap<Verb, Counter>,
    received: BTreeMap<Verb, Counter>,
    dropped_no_link: Counter,
    refused: BTreeMap<RefuseReason, Counter>,
    save_failures: Counter,
    save_duration: Histogram,
    election_duration: Histogram,
    phase_detect: Histogram,
    phase_elect: Histogram,
    phase_promote: Histogram,
    phase_retarget: Histogram,
    unavailable: Histogram,
    peers: BTreeMap<NodeId, PeerMetrics>,
    recent: Mutex<Recent>,
}

struct PeerMetrics {
    up: Gauge,
    last_heartbeat: Gauge,
    rtt: Histogram,
}

/// What has to be remembered between two events.
struct Recent {
    rounds: [(Round, Instant); ROUNDS],
    suspected: Option<Instant>,
    fenced: Option<Instant>,
}

fn describe() {
    describe_gauge!("kevy_elect_epoch", "Epoch of this node.");
    describe_gauge!("kevy_elect_role", "1 for the role this node has, 0 for the others.");
    describe_counter!("kevy_elect_role_transitions_total", "Changes of this node's role.");
    describe_counter!("kevy_elect_elections_total", "Votes this node asked for, by how they ended.");
    describe_counter!("kevy_elect_prevotes_total", "Pre-votes this node asked for, by how they ended.");
    describe_histogram!(
        "kevy_elect_election_duration_seconds",
        Unit::Seconds,
        "From asking for votes to winning them."
    );
    describe_histogram!(
        "kevy_elect_failover_phase_duration_seconds",
        Unit::Seconds,
        "Parts of a failover: detect, elect, promote, retarget."
    );
    describe_histogram!(
        "kevy_elect_write_unavailable_seconds",
        Unit::Seconds,
        "How long this node, as primary, refused writes before it resumed or was replaced."
    );
    describe_gauge!("kevy_elect_fenced", "1 while this node is primary and refuses writes.");
    describe_counter!("kevy_elect_fences_total", "Times this node, as primary, began to refuse writes.");
    describe_gauge!(
        "kevy_elect_lease_remaining_seconds",
        Unit::Seconds,
        "How long this node may still write."
    );
    describe_gauge!("kevy_elect_position_offset", "Sum of the offsets of all shards in the present stream.");
    describe_gauge!("kevy_elect_position_stream_epoch", "Epoch of the primary whose writes this node holds.");
    describe_gauge!("kevy_elect_peer_up", "1 if the peer was heard within an election timeout.");
    describe_gauge!(
        "kevy_elect_peer_last_heartbeat_timestamp_seconds",
        Unit::Seconds,
        "When the peer's last heartbeat came in, in Unix time; 0 if never."
    );
    describe_histogram!(
        "kevy_elect_heartbeat_rtt_seconds",
        Unit::Seconds,
        "From a primary's heartbeat to its echo."
    );
    describe_gauge!(
        "kevy_elect_quorum_members_reachable",
        "Voters heard within an election timeout, this node included."
    );
    describe_counter!("kevy_elect_messages_total", "Messages, by verb and direction.");
    describe_counter!("kevy_elect_messages_dropped_total", "Messages not sent or not accepted.");
    describe_histogram!(
        "kevy_elect_vote_save_duration_seconds",
        Unit::Seconds,
        "How long saving the vote record took."
    );
    describe_counter!("kevy_elect_vote_save_failures_total", "Saves of the vote record that failed.");
    describe_gauge!(
        "kevy_elect_last_role_change_timestamp_seconds",
        Unit::Seconds,
        "When this node's role last changed, in Unix time; 0 if never."
    );
    describe_gauge!("kevy_elect_paused", "1 while automatic elections are paused.");
    describe_gauge!("kevy_elect_build_info", "1, with the version as a label.");
}

impl Metrics {
    pub(crate) fn new(config: &Config) -> Self {
        describe();
        gauge!("kevy_elect_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        for from in Role::ALL {
            for to in Role::ALL.into_iter().filter(|to| *to != from) {
                transitions(from, to, Reason::Start).increment(0);
            }
        }
        let by_outcome = |name: &'static str| {
            Outcome::ALL.map(|outcome| (outcome, counter!(name, "outcome" => outcome.as_str()))).into()
        };
        let messages = |direction: &'static str| {
            Verb::ALL
                .map(|verb| {
                    let counter = counter!(
                        "kevy_elect_messages_total", "verb" => verb.as_str(), "direction" => direction
                    );
                    (verb, counter)
                })
                .into()
        };
        let dropped = |reason| counter!("kevy_elect_messages_dropped_total", "reason" => reason);
        let phase = |phase| histogram!("kevy_elect_failover_phase_duration_seconds", "phase" => phase);
        let peers = config.members().iter().filter(|member| member.id != config.node());
        let metrics = Self {
            node: config.node(),
            epoch: gauge!("kevy_elect_epoch"),
            roles: Role::ALL.map(|role| (role, gauge!("kevy_elect_role", "role" => role.as_str()))).into(),
            fenced: gauge!("kevy_elect_fenced"),
            lease_remaining: gauge!("kevy_elect_lease_remaining_seconds"),
            position_offset: gauge!("kevy_elect_position_offset"),
            position_stream_epoch: gauge!("kevy_elect_position_stream_epoch"),
            reachable: gauge!("kevy_elect_quorum_members_reachable"),
            last_role_change: gauge!("kevy_elect_last_role_change_timestamp_seconds"),
            paused: gauge!("kevy_elect_paused"),
            elections: by_outcome("kevy_elect_elections_total"),
            pre_votes: by_outcome("kevy_elect_prevotes_total"),
            fences: FenceReason::ALL
                .map(|reason| (reason, counter!("kevy_elect_fences_total", "reason" => reason.as_str())))
                .into(),
            sent: messages("sent"),
            received: messages("received"),
            dropped_no_link: dropped("no-link"),
            refused: RefuseReason::ALL.map(|reason| (reason, dropped(reason.as_str()))).into(),
            save_failures: counter!("kevy_elect_vote_save_failures_total"),
            save_duration: histogram!("kevy_elect_vote_save_duration_seconds"),
            election_duration: histogram!("kevy_elect_election_duration_seconds"),
            phase_detect: phase("detect"),
            phase_elect: phase("elect"),
            phase_promote: phase("promote"),
            phase_retarget: phase("retarget"),
            unavailable: histogram!("kevy_elect_write_unavailable_seconds"),
            peers: peers.map(|member| (member.id, PeerMetrics::new(member.id))).collect(),
            recent: Mutex::new(Recent {
                rounds: [(Round(0), Instant::ZERO); ROUNDS],
                suspected: None,
                fenced: None,
            }),
        };
        metrics.last_role_change.set(0.0);
        metrics
    }

    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    pub(super) fn sent(&self, now: Instant, _to: NodeId, message: &Message, sent: bool) {
        if !sent {
            self.dropped_no_link.increment(1);
            return;
        }
        if let Some(counter) = self.sent.get(&message.verb()) {
            counter.increment(1);
        }
        if let Message::Heartbeat(heartbeat) = message {
            let slot = (heartbeat.round.0 % ROUNDS as u64) as usize;
            self.recent().rounds[slot] = (heartbeat.round, now);
        }
    }

    pub(super) fn received(&self, now: Instant, from: NodeId, message: &Message) {
        if let Some(counter) = self.received.get(&message.verb()) {
            counter.increment(1);
        }
        if let (Message::Echo(echo), Some(peer)) = (message, self.peers.get(&from)) {
            let (round, at) = self.recent().rounds[(echo.round.0 % ROUNDS as u64) as usize];
            if round == echo.round {
                peer.rtt.record(now.saturating_since(at).as_secs_f64());
            }
        }
    }

    pub(super) fn refused(&self, reason: RefuseReason, _claimed: Option<NodeId>) {
        if let Some(counter) = self.refused.get(&reason) {
            counter.increment(1);
        }
    }

    pub(super) fn saved(&self, took: Duration, fine: bool) {
        self.save_duration.record(took.as_secs_f64());
        if !fine {
            self.save_failures.increment(1);
        }
    }

    pub(super) fn event(&self, event: &Event, clock: &dyn Clock) {
        let since = |at: Option<Instant>| at.map(|at| event.at.saturating_since(at).as_secs_f64());
        match &event.kind {
            EventKind::RoleChanged { from, to, reason } => {
                transitions(*from, *to, *reason).increment(1);
                self.last_role_change.set(clock.wall_ms() as f64 / 1e3);
                if *to == Role::Replica
                    && let Some(seconds) = since(self.recent().fenced.take())
                {
                    self.unavailable.record(seconds);
                }
            }
            EventKind::PrimarySuspected { silence, .. } => {
                self.phase_detect.record(silence.as_secs_f64());
                self.recent().suspected = Some(event.at);
            }
            EventKind::CampaignEnded { kind, outcome, took, .. } => {
                let counters = match kind {
                    OfferKind::PreVote => &self.pre_votes,
                    OfferKind::Vote => &self.elections,
                };
                if let Some(counter) = counters.get(outcome) {
                    counter.increment(1);
                }
                if (*kind, *outcome) == (OfferKind::Vote, Outcome::Won) {
                    self.election_duration.record(took.as_secs_f64());
                    if let Some(seconds) = since(self.recent().suspected.take()) {
                        self.phase_elect.record(seconds);
                    }
                }
            }
            EventKind::Promoted { took } => self.phase_promote.record(took.as_secs_f64()),
            EventKind::Following { took, .. } => {
                self.recent().suspected = None;
                self.phase_retarget.record(took.as_secs_f64());
            }
            EventKind::Fenced { reason } => {
                self.recent().fenced = Some(event.at);
                if let Some(counter) = self.fences.get(reason) {
                    counter.increment(1);
                }
            }
            EventKind::Unfenced { after } => {
                self.recent().fenced = None;
                self.unavailable.record(after.as_secs_f64());
            }
            _ => {}
        }
    }

    /// Sets the gauges to what the elector believes.
    pub(super) fn observe(&self, elector: &Elector, clock: &dyn Clock) {
        let status = elector.status();
        let (now, wall_ms) = (clock.now(), clock.wall_ms());
        self.epoch.set(status.epoch.0 as f64);
        for (role, gauge) in &self.roles {
            gauge.set(if *role == status.role { 1.0 } else { 0.0 });
        }
        let shut_primary =
            status.role == Role::Primary && !matches!(status.gate, GateState::Open(until) if until > now);
        self.fenced.set(if shut_primary { 1.0 } else { 0.0 });
        self.lease_remaining.set(elector.lease_left(now).as_secs_f64());
        self.position_offset.set(status.progress.offset as f64);
        self.position_stream_epoch.set(status.progress.stream_epoch.0 as f64);
        self.reachable.set(status.voters_reachable as f64);
        self.paused.set(if status.paused { 1.0 } else { 0.0 });
        for peer in elector.peers() {
            if let Some(metrics) = self.peers.get(&peer.member.id) {
                metrics.up.set(if peer.up { 1.0 } else { 0.0 });
                if let Some(heard) = peer.heard {
                    let ago = now.saturating_since(heard).as_secs_f64();
                    metrics.last_heartbeat.set(wall_ms as f64 / 1e3 - ago);
                }
            }
        }
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl PeerMetrics {
    fn new(peer: NodeId) -> Self {
        let peer = peer.to_string();
        Self {
            up: gauge!("kevy_elect_peer_up", "peer" => peer.clone()),
            last_heartbeat: gauge!(
                "kevy_elect_peer_last_heartbeat_timestamp_seconds", "peer" => peer.clone()
            ),
            rtt: histogram!("kevy_elect_heartbeat_rtt_seconds", "peer" => peer),
        }
    }
}

fn transitions(from: Role, to: Role, reason: Reason) -> Counter {
    counter!(
        "kevy_elect_role_transitions_total",
        "from" => from.as_str(), "to" => to.as_str(), "reason" => reason.as_str()
    )
}
