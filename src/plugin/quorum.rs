//! The implementation: the elector, its driver, and what a server calls.

use super::{EVENT_BACKLOG, ElectPlugin, ElectSnapshot, PeerSnapshot, Reign, WriteGate};
use crate::clock::Clock;
use crate::config::Config;
use crate::driver::{Driver, LogLimit, Metrics, Shared};
use crate::elector::{Command, Elector, GateState};
use crate::error::ElectError;
use crate::event::Event;
use crate::fence::Denied;
use crate::host::ReplicationHost;
use crate::ids::Epoch;
use crate::message::Role;
use crate::store::VoteStore;
use crate::transport::Transport;
use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// How many commands may wait; they are idempotent, so one more of the same is not missed.
const COMMANDS_MAX: usize = 16;

/// What a [`QuorumPlugin`] is made of.
pub struct QuorumParts {
    /// Who is in the cluster, and the timing.
    pub config: Config,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where votes are kept.
    pub store: Arc<dyn VoteStore>,
    /// How messages travel.
    pub transport: Arc<dyn Transport>,
    /// Spreads the retries of different nodes: any number that differs between nodes.
    pub seed: u64,
}

/// Quorum election as an [`ElectPlugin`].
pub struct QuorumPlugin {
    config: Config,
    seed: u64,
    shared: Arc<Shared>,
    store: Arc<dyn VoteStore>,
    transport: Arc<dyn Transport>,
    host: OnceLock<Arc<dyn ReplicationHost>>,
    commands: (async_channel::Sender<Command>, async_channel::Receiver<Command>),
    /// Taken by `run`; its other end sees it go when `run` ends.
    running: Mutex<Option<async_channel::Sender<()>>>,
    ended: async_channel::Receiver<()>,
}

impl QuorumPlugin {
    /// A plugin that has not started. Give it its host with [`QuorumPlugin::set_host`], then run it.
    pub fn new(parts: QuorumParts) -> Arc<Self> {
        let QuorumParts { config, clock, store, transport, seed } = parts;
        let (running, ended) = async_channel::bounded(1);
        Arc::new(Self {
            shared: Arc::new(Shared::new(clock, config.lease(), EVENT_BACKLOG)),
            config,
            seed,
            store,
            transport,
            host: OnceLock::new(),
            commands: async_channel::bounded(COMMANDS_MAX),
            running: Mutex::new(Some(running)),
            ended,
        })
    }

    /// The server to steer. Host and plugin know each other, so this comes after both exist; only the first
    /// call counts.
    pub fn set_host(&self, host: Arc<dyn ReplicationHost>) {
        // A second host would be a mistake of the program; the first one is already being steered.
        let _ = self.host.set(host);
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Stops (or resumes) automatic elections: while paused this node asks for no votes and gives none.
    pub fn pause(&self, paused: bool) {
        self.command(Command::Pause(paused));
    }

    fn command(&self, command: Command) {
        // Full means that the driver is behind by as many commands as this; the callers' wishes are in there.
        let _ = self.commands.0.try_send(command);
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<async_channel::Sender<()>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For the simulator of the whole stack.
#[cfg(feature = "sim")]
impl QuorumPlugin {
    /// Looks at the elector; `None` before the driver has made it.
    pub(crate) fn with_elector<R>(&self, look: impl FnOnce(&mut Elector) -> R) -> Option<R> {
        self.shared.elector().as_mut().map(look)
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

    fn reign(&self) -> Reign {
        self.shared.reign.get()
    }

    fn snapshot(&self) -> ElectSnapshot {
        let elector = self.shared.elector();
        match elector.as_ref() {
            Some(elector) => {
                let ailment = self.shared.ailment().clone();
                snapshot(elector, ailment, &*self.shared.clock, &*self.transport)
            }
            None => ElectSnapshot::not_started(&self.config),
        }
    }

    fn events(&self) -> BoxStream<'static, Event> {
        self.shared.listen().boxed()
    }

    fn step_down(&self) {
        self.command(Command::StepDown);
    }

    async fn run(self: Arc<Self>) -> Result<(), ElectError> {
        let _running = self.running().take().ok_or(ElectError::AlreadyRunning)?;
        let host = self.host.get().cloned().ok_or(ElectError::NoHost)?;
        let driver = Driver {
            shared: self.shared.clone(),
            store: self.store.clone(),
            transport: self.transport.clone(),
            host,
            commands: self.commands.1.clone(),
            metrics: Metrics::new(&self.config),
            log_limit: Mutex::new(LogLimit::new(self.shared.clock.now())),
        };
        driver.run(self.config.clone(), self.seed).await
    }

    async fn shutdown(&self) {
        if self.running().take().is_some() {
            // It never ran, and now it never will.
            return;
        }
        // Waits for room: this command must not get lost.
        let _ = self.commands.0.send(Command::Shutdown).await;
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
    clock: &dyn Clock,
    transport: &dyn Transport,
) -> ElectSnapshot {
    let now = clock.now();
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
        role: status.role,
        epoch: status.epoch,
        primary: status.primary,
        standing: status.standing,
        progress: status.progress,
        writable,
        paused: status.paused,
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
                linked: peer.linked,
                links: transport.directions(peer.member.id),
            })
            .collect(),
        voters_reachable: status.voters_reachable,
        quorum: elector.config().quorum(),
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
    let (reachable, quorum) = (status.voters_reachable, elector.config().quorum());
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
        (Role::Candidate, _) => format!("asks for the epoch after {}", status.epoch),
        (Role::Replica, Some(primary)) => format!("follows {primary} in epoch {}", status.epoch),
        (Role::Replica, None) if status.booting_until.is_some() => {
            "started a moment ago: gives no vote until promises of its earlier process have run out"
                .to_owned()
        }
        (Role::Replica, None) if status.standing == crate::message::Standing::New => {
            "has no vote record: waits for the others to tell what it may have forgotten".to_owned()
        }
        (Role::Replica, None) if reachable < quorum => {
            format!("no primary: {reachable} voters can be reached, {quorum} are needed")
        }
        (Role::Replica, None) => "no primary: waits for an election".to_owned(),
    }
}
