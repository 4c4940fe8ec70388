//! The implementation: the elector, its driver, and what a server calls.

use super::api::{EVENT_BACKLOG, ElectPlugin};
use super::snapshot::{ElectSnapshot, PeerSnapshot};
use crate::change::{ChangeRefused, MeetRefused, MembersChange};
use crate::clock::Clock;
use crate::config::{Config, MEMBERS_MAX, Member};
use crate::driver::{Driver, LogLimit, Metrics, Reign, Shared};
use crate::elector::{Elector, GateState};
use crate::error::ElectError;
use crate::event::Event;
use crate::fence::Denied;
use crate::gate::WriteGate;
use crate::host::ReplicationHost;
use crate::ids::{ClusterId, Epoch, NodeId};
use crate::membership::Membership;
use crate::message::Role;
use crate::pause::{Pause, PauseRefused};
use crate::position::Progress;
use crate::rank::ForceRefused;
use crate::store::VoteStore;
use crate::time::Duration;
use crate::transfer::TransferRefused;
use crate::transport::Transport;
use async_trait::async_trait;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{BoxStream, StreamExt};
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

/// What a [`QuorumPlugin`] is made of.
pub struct QuorumParts {
    /// Who is in the cluster, and the timing.
    pub config: Config,
    /// What time it is, and when a time has come.
    pub clock: Arc<dyn Clock>,
    /// Where votes are kept.
    pub store: Arc<dyn VoteStore>,
    /// How messages travel.
    pub transport: Arc<dyn Transport>,
    /// Spreads the retries of different nodes, and draws a new cluster's id: a random number, another one for every start.
    pub seed: u64,
}

/// Quorum election as an [`ElectPlugin`].
pub struct QuorumPlugin {
    config: Config,
    shared: Arc<Shared>,
    transport: Arc<dyn Transport>,
    /// Closed when the election ends.
    ended: async_channel::Receiver<()>,
}

/// The election itself: the one future to poll, on any executor. Dropping it shuts the write gate first.
///
/// It ends after [`ElectPlugin::shutdown`], or with an error where there is nothing left to decide.
#[must_use = "nothing is decided, and nobody may write, before this is polled"]
pub struct Election(BoxFuture<'static, Result<(), ElectError>>);

impl Future for Election {
    type Output = Result<(), ElectError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_unpin(cx)
    }
}

impl fmt::Debug for Election {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Election").finish_non_exhaustive()
    }
}

impl QuorumPlugin {
    /// The plugin, for the server to call, and the election, to be polled.
    ///
    /// Server and plugin know each other: `host` is called once, at once, with the plugin that the server it returns is to
    /// report its offsets to. It may keep that: only the election keeps the server.
    pub fn start(
        parts: QuorumParts,
        host: impl FnOnce(&Arc<Self>) -> Arc<dyn ReplicationHost>,
    ) -> (Arc<Self>, Election) {
        let QuorumParts { config, clock, store, transport, seed } = parts;
        let (running, ended) = async_channel::bounded(1);
        let shared = Arc::new(Shared::new(clock, config.lease(), EVENT_BACKLOG));
        let plugin = Arc::new(Self {
            config: config.clone(),
            shared: shared.clone(),
            transport: transport.clone(),
            ended,
        });
        let host = host(&plugin);
        let election = async move {
            // Closed when this ends, however it does.
            let _running = running;
            let log_limit = Mutex::new(LogLimit::default());
            let metrics = Metrics::new(&config);
            Driver { shared, store, transport, host, metrics, log_limit }.run(config, seed).await
        };
        (plugin, Election(election.boxed()))
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Orders this node, which lost its vote record, to be admitted to this cluster although it may have forgotten votes: for an
    /// operator, where so many disks are lost that nobody can be elected. It is carried out once it makes sense (A5), or never.
    pub fn admit(&self, cluster: ClusterId) {
        self.shared.wishes.admit(cluster);
    }

    /// Makes one more member known, which listens at `address`: what a restart with it in the configuration would do, without the restart (M12).
    /// It has no vote but by the list of the voters. One that is known changes nothing, wherever it is said to be.
    ///
    /// # Errors
    ///
    /// Why it is not taken. Nothing has changed then.
    pub fn meet(&self, member: Member, address: &str) -> Result<(), MeetRefused> {
        let elector = self.shared.elector();
        let elector = elector.as_ref().ok_or(MeetRefused::NotStarted)?;
        if elector.knows(member.id) {
            return Ok(());
        }
        if !self.transport.can_meet() {
            return Err(MeetRefused::Transport);
        }
        if elector.members().count() >= MEMBERS_MAX {
            return Err(MeetRefused::TooMany);
        }
        self.shared.wishes.meet(member, address);
        Ok(())
    }

    /// A member listens at `address` from now on: what a restart with it in the configuration would do, without the restart (M14). The link that
    /// there is stays until it ends. One that is not known changes nothing.
    ///
    /// # Errors
    ///
    /// Why it is not taken. Nothing has changed then.
    pub fn relocate(&self, node: NodeId, address: &str) -> Result<(), MeetRefused> {
        self.shared.elector().as_ref().ok_or(MeetRefused::NotStarted)?;
        if !self.transport.can_meet() {
            return Err(MeetRefused::Transport);
        }
        self.shared.wishes.relocate(node, address);
        Ok(())
    }

    /// Orders this node, the only one of its cluster that votes, to be elected, also while elections are paused. (Without that it elects
    /// itself by itself.) Where others vote it is refused: this order goes around nobody.
    pub fn force_primary(&self) -> Result<(), ForceRefused> {
        let elector = self.shared.elector();
        // One that has not started elects itself when it does.
        elector.as_ref().map_or(Ok(()), Elector::can_force)?;
        self.shared.wishes.force();
        Ok(())
    }
}

/// For the simulator of the whole stack.
#[cfg(feature = "sim")]
impl QuorumPlugin {
    /// Looks at the elector; `None` before the driver has made it.
    pub(crate) fn with_elector<R>(&self, look: impl FnOnce(&mut Elector) -> R) -> Option<R> {
        self.shared.elector().as_mut().map(look)
    }

    /// Has this node take this order, whomever it hears.
    pub(crate) fn take_pause(&self, pause: Pause) {
        self.shared.wishes.pause(pause);
    }

    /// Makes the driver wrong, before it runs.
    pub(crate) fn set_driver_mutation(&self, mutation: crate::driver::DriverMutation) {
        // A second one would be a mistake of the simulator, which makes every plugin wrong once.
        let _ = self.shared.mutation.set(mutation);
    }
}

#[async_trait]
impl ElectPlugin for QuorumPlugin {
    fn on_offset(&self, shard: usize, offset: u64) {
        self.shared.position.set_offset(shard, offset);
    }

    fn on_joined(&self, epoch: Epoch, offsets: &[u64]) {
        self.shared.position.replace(epoch, offsets);
    }

    fn write_gate(&self) -> &WriteGate {
        &self.shared.gate
    }

    fn node(&self) -> NodeId {
        self.config.node()
    }

    fn progress(&self) -> Option<Progress> {
        self.shared.position.progress()
    }

    fn reign(&self) -> Reign {
        self.shared.reign.get()
    }

    fn snapshot(&self) -> ElectSnapshot {
        let elector = self.shared.elector();
        match elector.as_ref() {
            Some(elector) => {
                let ailment = self.shared.ailment().clone();
                snapshot(elector, ailment, &self.shared, &*self.transport)
            }
            None => ElectSnapshot::not_started(&self.config),
        }
    }

    fn events(&self) -> BoxStream<'static, Event> {
        self.shared.listen().boxed()
    }

    fn transfer(&self, to: Option<NodeId>, patience: Duration) -> Result<NodeId, TransferRefused> {
        let elector = self.shared.elector();
        let elector = elector.as_ref().ok_or(TransferRefused::NotPrimary { primary: None })?;
        let node = elector.can_transfer(to, patience, self.shared.clock.now())?;
        self.shared.wishes.transfer(to, patience);
        Ok(node)
    }

    fn pause(&self, paused: bool) -> Result<Pause, PauseRefused> {
        let elector = self.shared.elector();
        let elector = elector.as_ref().ok_or(PauseRefused::NoVote)?;
        let clock = &self.shared.clock;
        let order = elector.next_pause(paused, clock.wall_ms(), clock.now())?;
        self.shared.wishes.pause(order);
        Ok(order)
    }

    fn change_members(&self, change: MembersChange, patience: Duration) -> Result<Membership, ChangeRefused> {
        let elector = self.shared.elector();
        let elector = elector.as_ref().ok_or(ChangeRefused::NotPrimary { primary: None })?;
        let changed = elector.can_change(change, self.shared.clock.now())?;
        self.shared.wishes.members(change, patience);
        Ok(changed)
    }

    fn is_paused(&self) -> bool {
        self.shared.paused.load(Ordering::Relaxed)
    }

    fn step_down(&self) {
        self.shared.wishes.transfer(None, self.config.election_timeout());
    }

    async fn shutdown(&self) {
        self.shared.wishes.shutdown();
        let _ = self.ended.recv().await;
    }
}

impl fmt::Debug for QuorumPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuorumPlugin").field("node", &self.config.node()).finish_non_exhaustive()
    }
}

fn snapshot(
    elector: &Elector,
    ailment: Option<String>,
    shared: &Shared,
    transport: &dyn Transport,
) -> ElectSnapshot {
    let now = shared.clock.now();
    let differs = shared.differs();
    let status = elector.status();
    let writable = matches!(status.gate, GateState::Open(until) if until > now);
    let fenced = match status.gate {
        GateState::Shut(Denied::Fenced(reason)) => Some(reason),
        GateState::Open(_) if !writable => Some(crate::fence::FenceReason::LeaseExpired),
        _ => None,
    };
    ElectSnapshot {
        node: elector.config().node(),
        incarnation: status.incarnation,
        kind: elector.member().kind,
        priority: elector.member().priority,
        role: status.role,
        epoch: status.epoch,
        primary: status.primary,
        standing: status.standing,
        cluster: elector.cluster(),
        progress: status.progress,
        writable,
        paused: status.paused,
        pause: status.pause,
        pause_agreed: elector.pause_is_agreed(),
        lease: elector.config().lease(),
        lease_left: elector.lease_left(now),
        fenced,
        peers: elector
            .peers()
            .map(|peer| PeerSnapshot {
                id: peer.member.id,
                up: peer.up,
                silence: peer.heard.map(|at| now.saturating_since(at)),
                role: peer.role,
                epoch: peer.epoch,
                progress: peer.progress,
                primary: peer.primary,
                health: peer.health,
                cluster: peer.cluster,
                foreign: peer.foreign,
                kind: peer.member.kind,
                priority: peer.member.priority,
                membership: elector.has_members(peer.member.id),
                differs: differs.get(&peer.member.id).cloned(),
                linked: peer.linked,
                links: transport.directions(peer.member.id),
            })
            .collect(),
        voters_reachable: status.voters_reachable,
        quorum: elector.quorum(),
        membership: elector.membership(),
        change: elector.change(),
        why: match (status.health.is_good(), &ailment) {
            (true, _) => why(elector, now),
            (false, Some(ailment)) => format!("{}; unfit: {ailment}", why(elector, now)),
            (false, None) => format!("{}; unfit: {}", why(elector, now), status.health.as_str()),
        },
        health: status.health,
        ailment,
    }
}

/// The one sentence that an operator wants first.
fn why(elector: &Elector, now: crate::time::Instant) -> String {
    let status = elector.status();
    let (reachable, quorum) = (status.voters_reachable, elector.quorum());
    match (status.role, status.primary) {
        (Role::Primary, _) => match status.gate {
            GateState::Open(until) if until > now => {
                format!("primary of epoch {}: a quorum renews the lease", status.epoch)
            }
            GateState::Shut(Denied::Fenced(reason)) => {
                format!("primary of epoch {}, writes refused: {}", status.epoch, reason.as_str())
            }
            _ => format!("primary of epoch {}, writes refused: the lease ran out", status.epoch),
        },
        (Role::Promoting, _) => format!("won epoch {}; the server is being promoted", status.epoch),
        (Role::Candidate | Role::Replica, _) if foreigners(elector).is_some() => {
            foreigners(elector).unwrap_or_default()
        }
        (Role::Candidate, _) => format!("asks for the epoch after {}", status.epoch),
        (Role::Replica, Some(primary)) => format!("follows {primary} in epoch {}", status.epoch),
        (Role::Replica, None) if status.booting_until.is_some() => {
            "started a moment ago: gives no vote until promises of its earlier process have run out"
                .to_owned()
        }
        (Role::Replica, None) if status.standing == crate::message::Standing::New => {
            "has no vote record: waits for the others to tell what it may have forgotten. If they lost theirs too, see \
             \"Disks of a majority lost\" in docs/runbooks.md"
                .to_owned()
        }
        (Role::Replica, None) if reachable < quorum => {
            format!("no primary: {reachable} voters can be reached, {quorum} are needed")
        }
        (Role::Replica, None) if status.paused => {
            "no primary: automatic elections are paused, and go on with `kevy-electctl resume`".to_owned()
        }
        (Role::Replica, None) => "no primary: waits for an election".to_owned(),
    }
}

/// What is to be said of members of another cluster, on a node without a primary.
fn foreigners(elector: &Elector) -> Option<String> {
    let ours = elector.cluster().filter(|_| elector.primary().is_none())?;
    let foreign: Vec<String> = elector
        .peers()
        .filter(|peer| peer.foreign)
        .filter_map(|peer| Some(format!("{} belongs to cluster {}", peer.member.id, peer.cluster?)))
        .collect();
    (!foreign.is_empty()).then(|| {
        format!(
            "{}, this node to {ours}: none follows the other until the data of one is given up, see \"Two clusters\" in \
             docs/runbooks.md",
            foreign.join(", ")
        )
    })
}
