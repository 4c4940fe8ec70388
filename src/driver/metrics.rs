//! Metrics, through the facade `metrics`. Names and labels: `docs/metrics.md`.
//!
//! All handles are made when the driver starts, so everything is exported as zero from the start and the
//! heartbeat path looks nothing up.

use super::catalog::{self, FAILOVER_REASONS, HOST_CALLS, LOSSES, PHASES, TOLD};
use crate::clock::Clock;
use crate::config::Config;
use crate::elector::{Elector, GateState, Signs};
use crate::event::{Event, EventKind, Outcome, Reason};
use crate::fence::{FenceReason, Health};
use crate::ids::{Epoch, NodeId, Round};
use crate::message::{Message, OfferKind, RejectReason, Role, Verb};
use crate::time::{Duration, Instant};
use crate::transfer::TransferOutcome;
use crate::transport::{RefuseReason, SendError, Transport};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
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
    log_lines_left_out: Counter,
    secure: Gauge,
    health: BTreeMap<Health, Gauge>,
    unfit: BTreeMap<Health, Counter>,
    elections: BTreeMap<Outcome, Counter>,
    pre_votes: BTreeMap<Outcome, Counter>,
    fences: BTreeMap<FenceReason, Counter>,
    transfers: BTreeMap<TransferOutcome, Counter>,
    sent: BTreeMap<Verb, Counter>,
    received: BTreeMap<Verb, Counter>,
    offers_refused: BTreeMap<(&'static str, RejectReason), Counter>,
    lost: BTreeMap<&'static str, Counter>,
    refused: BTreeMap<RefuseReason, Counter>,
    host_failures: BTreeMap<&'static str, Counter>,
    two_primaries: Counter,
    save_failures: Counter,
    save_duration: Histogram,
    election_duration: Histogram,
    phases: BTreeMap<(&'static str, &'static str), Histogram>,
    unavailable: Histogram,
    /// By the numbers under which the elector counts members; `None`: this node.
    peers: Vec<Option<PeerMetrics>>,
    number: BTreeMap<NodeId, usize>,
    interval: Duration,
    recent: Mutex<Recent>,
}

struct PeerMetrics {
    foreign: Gauge,
    differs: Gauge,
    up: Gauge,
    linked: Gauge,
    epochs_ahead: Gauge,
    last_heartbeat: Gauge,
    rtt: Histogram,
}

/// What has to be remembered between two events.
struct Recent {
    rounds: [(Round, Instant); ROUNDS],
    failover: Option<Failover>,
    fenced: Option<Instant>,
    /// When the gauges are set again, if nothing is told before.
    gauges_due: Instant,
    /// Something was told since they were set: what they say of this node may have changed.
    told: bool,
    /// A link or the list has changed since: what they say of members with whom this node does not speak may have, too.
    moved: bool,
}

/// The failover that is under way, seen from this node.
#[derive(Debug, Clone, Copy)]
struct Failover {
    /// The old primary.
    lost: Option<NodeId>,
    reason: &'static str,
    suspected: Instant,
}

impl Metrics {
    pub(crate) fn new(config: &Config) -> Self {
        catalog::describe();
        gauge!("kevy_elect_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        for from in Role::ALL.iter().copied() {
            for to in Role::ALL.iter().copied().filter(|to| *to != from) {
                Reason::ALL.iter().for_each(|reason| transitions(from, to, *reason).increment(0));
            }
        }
        let by_outcome = |name: &'static str| {
            let series = |outcome: &Outcome| (*outcome, counter!(name, "outcome" => outcome.as_str()));
            Outcome::ALL.iter().map(series).collect()
        };
        let messages = |direction: &'static str| {
            Verb::ALL
                .iter()
                .map(|verb| {
                    let counter = counter!(
                        "kevy_elect_messages_total", "verb" => verb.as_str(), "direction" => direction
                    );
                    (*verb, counter)
                })
                .collect()
        };
        let dropped = |reason| counter!("kevy_elect_messages_dropped_total", "reason" => reason);
        let phase = |phase, reason| {
            let name = "kevy_elect_failover_phase_duration_seconds";
            ((phase, reason), histogram!(name, "phase" => phase, "reason" => reason))
        };
        let mut phases: BTreeMap<_, _> = PHASES
            .iter()
            .flat_map(|name| FAILOVER_REASONS.map(|reason| phase(*name, reason.as_str())))
            .collect();
        phases.extend([phase("retarget", TOLD)]);
        let refused_offers = |kind: OfferKind| {
            RejectReason::ALL.iter().map(move |reason| {
                let name = "kevy_elect_offers_refused_total";
                let counter = counter!(name, "kind" => kind.as_str(), "reason" => reason.as_str());
                ((kind.as_str(), *reason), counter)
            })
        };
        gauge!("kevy_elect_lease_duration_seconds").set(config.lease().as_secs_f64());
        gauge!("kevy_elect_quorum_members_needed").set(config.quorum() as f64);
        let (node, members) = (config.node(), config.members());
        let metrics = Self {
            node,
            epoch: gauge!("kevy_elect_epoch"),
            roles: Role::ALL
                .iter()
                .map(|role| (*role, gauge!("kevy_elect_role", "role" => role.as_str())))
                .collect(),
            fenced: gauge!("kevy_elect_fenced"),
            lease_remaining: gauge!("kevy_elect_lease_remaining_seconds"),
            position_offset: gauge!("kevy_elect_position_offset"),
            position_stream_epoch: gauge!("kevy_elect_position_stream_epoch"),
            reachable: gauge!("kevy_elect_quorum_members_reachable"),
            last_role_change: gauge!("kevy_elect_last_role_change_timestamp_seconds"),
            paused: gauge!("kevy_elect_paused"),
            log_lines_left_out: counter!("kevy_elect_log_lines_left_out_total"),
            secure: gauge!("kevy_elect_secure"),
            two_primaries: counter!("kevy_elect_two_primaries_total"),
            health: Health::ALL
                .iter()
                .map(|health| (*health, gauge!("kevy_elect_health", "health" => health.as_str())))
                .collect(),
            unfit: Health::ALL
                .iter()
                .map(|health| (*health, counter!("kevy_elect_unfit_total", "health" => health.as_str())))
                .collect(),
            elections: by_outcome("kevy_elect_elections_total"),
            pre_votes: by_outcome("kevy_elect_prevotes_total"),
            fences: FenceReason::ALL
                .iter()
                .map(|reason| (*reason, counter!("kevy_elect_fences_total", "reason" => reason.as_str())))
                .collect(),
            transfers: TransferOutcome::ALL
                .iter()
                .map(|outcome| {
                    (*outcome, counter!("kevy_elect_transfers_total", "outcome" => outcome.as_str()))
                })
                .collect(),
            sent: messages("sent"),
            received: messages("received"),
            offers_refused: OfferKind::ALL.iter().copied().flat_map(refused_offers).collect(),
            lost: LOSSES.map(|reason| (reason, dropped(reason))).into(),
            refused: RefuseReason::ALL.iter().map(|reason| (*reason, dropped(reason.as_str()))).collect(),
            host_failures: HOST_CALLS
                .iter()
                .map(|call| (*call, counter!("kevy_elect_host_failures_total", "call" => *call)))
                .collect(),
            save_failures: counter!("kevy_elect_vote_save_failures_total"),
            save_duration: histogram!("kevy_elect_vote_save_duration_seconds"),
            election_duration: histogram!("kevy_elect_election_duration_seconds"),
            phases,
            unavailable: histogram!("kevy_elect_write_unavailable_seconds"),
            number: members.iter().enumerate().map(|(number, member)| (member.id, number)).collect(),
            peers: members
                .iter()
                .map(|member| (member.id != node).then(|| PeerMetrics::new(member.id)))
                .collect(),
            recent: Mutex::new(Recent {
                rounds: [(Round(0), Instant::ZERO); ROUNDS],
                failover: None,
                fenced: None,
                gauges_due: Instant::ZERO,
                told: true,
                moved: true,
            }),
            interval: config.heartbeat_interval(),
        };
        metrics.last_role_change.set(0.0);
        metrics
    }

    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    /// A message went `to` so many, but for those to whom it was `refused`.
    pub(super) fn sent(&self, now: Instant, message: &Message, to: usize, refused: &[SendError]) {
        for error in refused {
            self.lose(if matches!(error, SendError::QueueFull(_)) { "queue-full" } else { "no-link" });
        }
        if to == refused.len() {
            return;
        }
        if let Some(counter) = self.sent.get(&message.verb()) {
            counter.increment((to - refused.len()) as u64);
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
        if let (Message::Echo(echo), Some(peer)) = (message, self.peer(&from)) {
            let (round, at) = self.recent().rounds[(echo.round.0 % ROUNDS as u64) as usize];
            if round == echo.round {
                peer.rtt.record(now.saturating_since(at).as_secs_f64());
            }
        }
    }

    /// A link came or went.
    pub(super) fn moved(&self) {
        self.recent().moved = true;
    }

    /// Whether links prove who speaks.
    pub(super) fn proves(&self, proves: bool) {
        self.secure.set(if proves { 1.0 } else { 0.0 });
    }

    /// A transport told of something that it turned away. One that counts by itself counts more than it
    /// tells, because what it tells is limited.
    pub(super) fn refused(&self, reason: RefuseReason, transport: &dyn Transport) {
        if transport.stats().is_none()
            && let Some(counter) = self.refused.get(&reason)
        {
            counter.increment(1);
        }
    }

    fn lose(&self, reason: &str) {
        if let Some(counter) = self.lost.get(reason) {
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
        self.recent().told = true;
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
            EventKind::PrimarySuspected { primary, evidence, silence } => {
                let reason = evidence.as_str();
                self.phase("detect", reason, *silence);
                self.recent().failover = Some(Failover { lost: *primary, reason, suspected: event.at });
            }
            // A false alarm: the old primary is still, or again, the primary.
            EventKind::PrimaryChanged { primary: Some(primary) } => {
                self.recent().failover.take_if(|failover| failover.lost == Some(*primary));
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
                    if let Some(failover) = self.recent().failover {
                        self.phase("elect", failover.reason, event.at.saturating_since(failover.suspected));
                    }
                }
            }
            EventKind::Judged { kind, answer: Err(reason), .. } => {
                if let Some(counter) = self.offers_refused.get(&(kind.as_str(), *reason)) {
                    counter.increment(1);
                }
            }
            EventKind::Promoted { took } => {
                if let Some(failover) = self.recent().failover.take() {
                    self.phase("promote", failover.reason, *took);
                }
            }
            EventKind::Following { took, .. } => {
                let reason = self.recent().failover.take().map_or(TOLD, |failover| failover.reason);
                self.phase("retarget", reason, *took);
            }
            EventKind::PeerUp { peer } => self.set_up(peer, true),
            EventKind::PeerDown { peer } => self.set_up(peer, false),
            EventKind::Members { .. } => self.moved(),
            EventKind::PromoteFailed { .. } => self.host_failed("promote"),
            EventKind::FollowFailed { .. } => self.host_failed("follow"),
            EventKind::Implausible { .. } => self.lose("implausible"),
            EventKind::TwoPrimaries { .. } => self.two_primaries.increment(1),
            EventKind::Fitness { health } if !health.is_good() => {
                if let Some(counter) = self.unfit.get(health) {
                    counter.increment(1);
                }
            }
            EventKind::TransferEnded { outcome, .. } => {
                if let Some(counter) = self.transfers.get(outcome) {
                    counter.increment(1);
                }
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

    fn phase(&self, phase: &'static str, reason: &'static str, took: Duration) {
        if let Some(histogram) = self.phases.get(&(phase, reason)) {
            histogram.record(took.as_secs_f64());
        }
    }

    /// A line was not written, because there were too many of its kind.
    pub(super) fn left_out(&self) {
        self.log_lines_left_out.increment(1);
    }

    pub(super) fn host_failed(&self, call: &str) {
        if let Some(counter) = self.host_failures.get(call) {
            counter.increment(1);
        }
    }

    /// Takes over what the transport counted by itself.
    pub(super) fn count(&self, transport: &dyn Transport) {
        let Some(stats) = transport.stats() else { return };
        for (reason, counter) in &self.refused {
            counter.absolute(stats.refused_for(*reason));
        }
        if let Some(counter) = self.lost.get("overtaken") {
            counter.absolute(stats.dropped);
        }
    }

    /// Whether a peer's configuration differs from this node's.
    pub(super) fn differs(&self, peer: NodeId, differs: bool) {
        if let Some(metrics) = self.peer(&peer) {
            metrics.differs.set(if differs { 1.0 } else { 0.0 });
        }
    }

    fn set_up(&self, peer: &NodeId, up: bool) {
        if let Some(metrics) = self.peer(peer) {
            metrics.up.set(if up { 1.0 } else { 0.0 });
        }
    }

    /// One member more.
    pub(super) fn meet(&mut self, peer: NodeId) {
        self.number.insert(peer, self.peers.len());
        self.peers.push(Some(PeerMetrics::new(peer)));
    }

    fn peer(&self, peer: &NodeId) -> Option<&PeerMetrics> {
        self.peers.get(*self.number.get(peer)?)?.as_ref()
    }

    /// So many voters are needed from here on.
    pub(super) fn quorum(&self, needed: usize) {
        gauge!("kevy_elect_quorum_members_needed").set(needed as f64);
    }

    /// Sets the gauges to what the elector believes: once per heartbeat interval, and those about this node also after
    /// everything that was told. Not after every input: a node with many peers wakes for each of them, so that all of
    /// theirs would be set as often as their number squared.
    pub(super) fn observe(&self, elector: &Elector, clock: &dyn Clock) {
        let now = clock.now();
        let (due, told, moved) = {
            let mut recent = self.recent();
            let due = now >= recent.gauges_due;
            if due {
                recent.gauges_due = now + self.interval;
            }
            let moved = due && std::mem::take(&mut recent.moved);
            (due, std::mem::take(&mut recent.told), moved)
        };
        if due || told {
            self.observe_node(elector, now);
        }
        if due {
            self.observe_peers(elector.signs(moved), elector.epoch(), now, clock.wall_ms());
        }
    }

    fn observe_node(&self, elector: &Elector, now: Instant) {
        let status = elector.status();
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
        for (health, gauge) in &self.health {
            gauge.set(if *health == status.health { 1.0 } else { 0.0 });
        }
    }

    fn observe_peers(
        &self,
        signs: impl Iterator<Item = (usize, Signs)>,
        own: Epoch,
        now: Instant,
        wall_ms: u64,
    ) {
        for (number, signs) in signs {
            let Some(metrics) = self.peers.get(number).and_then(Option::as_ref) else { continue };
            metrics.up.set(if signs.up { 1.0 } else { 0.0 });
            metrics.linked.set(if signs.linked { 1.0 } else { 0.0 });
            metrics.foreign.set(if signs.foreign { 1.0 } else { 0.0 });
            let ahead = if signs.up { signs.epoch.0.saturating_sub(own.0) } else { 0 };
            metrics.epochs_ahead.set(ahead as f64);
            if let Some(heard) = signs.heard {
                let ago = now.saturating_since(heard).as_secs_f64();
                metrics.last_heartbeat.set(wall_ms as f64 / 1e3 - ago);
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
            linked: gauge!("kevy_elect_peer_linked", "peer" => peer.clone()),
            foreign: gauge!("kevy_elect_peer_foreign", "peer" => peer.clone()),
            differs: gauge!("kevy_elect_peer_terms_differ", "peer" => peer.clone()),
            epochs_ahead: gauge!("kevy_elect_peer_epochs_ahead", "peer" => peer.clone()),
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
