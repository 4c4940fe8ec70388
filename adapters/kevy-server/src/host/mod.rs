//! kevy as the election's host: what the plugin orders, done to the real server.
//!
//! What a position means here: `(epoch of the primary, per shard what was *received* of its stream)`.
//! Received is in this process' memory and queued for the shard; a promotion waits until the shards have
//! applied all of it, so nothing that was acknowledged, or said in a vote, is ever dropped.
//!
//! A node whose shards have loaded the new primary's snapshot only in part still says its old position.
//! That is a lower bound: the new primary was elected by a quorum, so its snapshots hold every write of
//! the old history that a quorum confirmed; and until the last shard is loaded nothing is acknowledged.

mod drain;
mod lapsed;
mod streams;

pub use crate::continuation::passes::Passes;

use crate::clients::waiting;
use crate::config::ElectSettings;
use crate::confirm::proof::Proofs;
use crate::continuation::gather::Gather;
use crate::continuation::passes::Asker;
use crate::continuation::resume;
use crate::fitness::guard::Guard;
use crate::fitness::probe::Probe;
use crate::fitness::watch::{Watch, Work};
use crate::follow::addresses::{Addresses, Proven, Site};
use crate::follow::fleet::{Fleet, Held};
use crate::follow::keys::Credentials;
use crate::follow::link::{Member, Origin, Reached};
use crate::position::cuts::Place;
use crate::position::syncer;
use crate::shards::Shards;
use async_trait::async_trait;
use event_listener::listener;
use kevy_elect_ops::config::{DataNode, Peer};
use kevy_elect_ops::reload::Roster;
use kevy_elect_plugin::host::{FenceReason, Health, HostError, ReplicationHost};
use kevy_elect_plugin::ids::{ClusterId, Epoch, NodeId};
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::time::Instant;
use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

/// For how long shards look around often after this node may have to become primary, or has.
const HURRY: Duration = Duration::from_secs(2);

/// The server's replication, as the plugin steers it.
pub struct KevyHost {
    roster: Arc<Roster>,
    shards: Arc<Shards>,
    state: Mutex<State>,
    guard: Option<Guard>,
    watch: Watch,
    probe: Option<Arc<Probe>>,
    /// Where each peer is.
    addresses: RwLock<Vec<(NodeId, Arc<Addresses>)>>,
    proven: Arc<OnceLock<ProvenAddress>>,
    passes: Arc<Passes>,
    /// Whether it was said that a stream stands still.
    said_stalled: AtomicBool,
}

/// Says where the election's link to a node leads.
type ProvenAddress = Box<dyn Fn(NodeId) -> Option<IpAddr> + Send + Sync>;

struct State {
    role: Role,
    /// The newest order; older ones are refused.
    newest: Epoch,
}

enum Role {
    /// Neither: has what it has.
    Idle(Position),
    /// About to be primary: takes from others what they have received and it has not.
    Gathers(Arc<Gather>, Position),
    /// The primary of this epoch, or about to be; until then it holds what it held.
    Primary(Epoch, Position),
    /// Follows a primary. The position is what it held before it joined.
    Replica(Arc<Fleet>, Position),
    /// Followed until it was detached: can go on there.
    Detached { primary: NodeId, epoch: Epoch, reached: Vec<Reached>, position: Position },
}

impl KevyHost {
    /// A host for `shards`.
    pub fn new(settings: ElectSettings, shards: Arc<Shards>) -> std::io::Result<Self> {
        let state = State { role: Role::Idle(Position::NONE), newest: Epoch::ZERO };
        let guard = settings.watchdog.map(Guard::new).transpose()?;
        let proven: Arc<OnceLock<ProvenAddress>> = Arc::default();
        let addresses = settings.peers.iter().map(|peer| (peer.id, reached(&settings, peer, &proven)));
        let addresses = RwLock::new(addresses.collect());
        // There from the first scrape.
        metrics::describe_gauge!(
            "kevy_server_stream_stalled_seconds",
            "For how long this replica has known that its primary is ahead and has received nothing."
        );
        metrics::describe_counter!(
            "kevy_server_stream_fetched_total",
            "Frames that the stream did not bring and that were fetched from the primary beside it."
        );
        metrics::describe_counter!(
            "kevy_server_stream_unapplied_total",
            "Times that a shard of this replica could not apply a frame, said that it holds nothing, and copied all again."
        );
        metrics::gauge!("kevy_server_stream_stalled_seconds").set(0.0);
        metrics::counter!("kevy_server_stream_unapplied_total").increment(0);
        metrics::counter!("kevy_server_stream_fetched_total").increment(0);
        resume::describe();
        syncer::describe();
        waiting::describe();
        let passes = Arc::new(Passes::new(settings.config.node())?);
        shards.set_passes(Arc::clone(&passes));
        let (state, said_stalled) = (Mutex::new(state), AtomicBool::default());
        let watch = Watch::new(&settings.config, settings.shard_timeout);
        Ok(Self {
            roster: Arc::new(Roster::new(settings)),
            shards,
            state,
            guard,
            watch,
            probe: None,
            addresses,
            proven,
            passes,
            said_stalled,
        })
    }

    /// Who the members are, and where.
    pub fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.roster)
    }

    /// One more member is in force: its stream is followed if it reigns, and it may follow this node's (M12). Or one is in force at another place
    /// (M14): what is followed there is dialled there from the next attempt on.
    pub fn meet(&self, in_force: &ElectSettings, node: NodeId) {
        let Some(peer) = in_force.peers.iter().find(|peer| peer.id == node) else { return };
        if let Some(known) = self.addresses(node) {
            return known.relocate(site(in_force, peer));
        }
        let at = reached(in_force, peer, &self.proven);
        self.addresses.write().unwrap_or_else(PoisonError::into_inner).push((node, at));
        self.passes.meet(node);
        if in_force.data_node(node).is_some() {
            self.shards.waits().meet(node.as_str(), in_force.links.keys().map(Proofs::of));
        }
    }

    fn settings(&self) -> Arc<ElectSettings> {
        self.roster.get()
    }

    fn addresses(&self, node: NodeId) -> Option<Arc<Addresses>> {
        let all = self.addresses.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|(known, _)| *known == node).map(|(_, at)| Arc::clone(at))
    }

    /// Makes known where the election's links lead: an address that works, also while names cannot be resolved.
    pub fn set_proven(&self, proven: impl Fn(NodeId) -> Option<IpAddr> + Send + Sync + 'static) {
        // A second way would be a mistake of this crate; the first stays.
        drop(self.proven.set(Box::new(proven)));
    }

    /// By what members prove who they are where they ask this node, and this one where it asks them.
    pub fn passes(&self) -> Arc<Passes> {
        Arc::clone(&self.passes)
    }

    /// Has a look at the disk too, from time to time.
    pub(crate) fn with_probe(mut self, probe: Arc<Probe>) -> Self {
        self.probe = Some(probe);
        self
    }

    /// What the shards are at. Asked between two heartbeats: where somebody steers just now, it is what gives them more time.
    fn work(&self) -> Work {
        match self.state.try_lock().as_deref() {
            Ok(State { role: Role::Primary(epoch, _), .. }) if !self.shards.reigns(*epoch) => Work::Promotes,
            _ => Work::Serves,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acknowledges nothing more to the primary that is followed, and says what is held.
    pub fn detach(&self) -> Position {
        let mut state = self.state();
        if let Role::Replica(fleet, before) = &state.role {
            let fleet = Arc::clone(fleet);
            let before = before.clone();
            state.role = match fleet.stop() {
                Some(held) => Role::Detached {
                    primary: fleet.primary(),
                    epoch: fleet.epoch(),
                    // Detached again before the first cut after it went on: it holds what it held then.
                    position: position(fleet.epoch(), &held).unwrap_or(before),
                    reached: held.reached,
                },
                None => Role::Idle(before),
            };
        }
        if matches!(state.role, Role::Primary(..)) && self.shards.waits().may_wait() {
            // Another one is to reign. Not here: the vote waits for this.
            self.end_waits().detach();
        }
        let position = self.leave(&state);
        drop(state);
        // A vote is about to be cast: this node, or its streams' next reader, may be needed at once.
        self.shards.hurry(HURRY);
        position
    }

    /// Ends all streams: the server has stopped, and says nothing any more.
    pub(crate) fn stop(&self) {
        if let Some(guard) = &self.guard {
            guard.stand_down(guard.reading());
        }
        let mut state = self.state();
        let position = self.leave(&state);
        state.role = Role::Idle(position);
    }

    fn accept(state: &mut State, epoch: Epoch) -> Result<(), HostError> {
        if epoch < state.newest {
            return Err(HostError::new(format!(
                "order of epoch {epoch} is older than one of epoch {}",
                state.newest
            )));
        }
        state.newest = epoch;
        Ok(())
    }

    /// Ends what this node does and says what it holds.
    fn leave(&self, state: &State) -> Position {
        match &state.role {
            Role::Idle(position) | Role::Detached { position, .. } => position.clone(),
            Role::Gathers(gather, position) => {
                gather.close();
                position.clone()
            }
            Role::Primary(epoch, before) => match self.shards.reigns(*epoch) {
                true => {
                    Position::new(*epoch, &self.shards.stream_offsets()).unwrap_or_else(|_| before.clone())
                }
                false => before.clone(),
            },
            Role::Replica(fleet, before) => {
                let held = fleet.stop().and_then(|held| position(fleet.epoch(), &held));
                held.unwrap_or_else(|| before.clone())
            }
        }
    }

    /// Where the members are that are none of `but`.
    fn members(&self, but: &[NodeId]) -> Vec<Member> {
        let settings = self.settings();
        let others = settings.data_nodes.iter().filter(|peer| !but.contains(&peer.id));
        let member = |peer: &DataNode| Some((self.addresses(peer.id)?, self.asker(peer.id)));
        others.filter_map(member).collect()
    }

    /// What is asked of `node`.
    fn asker(&self, node: NodeId) -> Asker {
        Asker { passes: Arc::clone(&self.passes), node }
    }

    /// Takes from other members what they received of each shard's stream and this node did not.
    async fn gather(&self, epoch: Epoch) -> Result<(), HostError> {
        let settings = self.settings();
        let peers = self.members(&[settings.config.node()]);
        let patience = settings.config.election_timeout();
        let gather = Arc::new(Gather::new(peers, Arc::clone(&self.shards), patience));
        {
            let mut state = self.state();
            Self::accept(&mut state, epoch)?;
            let held = self.leave(&state);
            state.role = Role::Gathers(Arc::clone(&gather), held);
        }
        blocking::unblock(move || gather.run()).await;
        Ok(())
    }

    fn origin(&self, epoch: Epoch, primary: NodeId) -> Result<Origin, HostError> {
        let settings = self.settings();
        let node = settings.config.node();
        let unknown = |id: NodeId| HostError::new(format!("node {id} is not in [cluster] peers"));
        settings.data_node(primary).ok_or_else(|| unknown(primary))?;
        let own = settings.data_node(node).ok_or_else(|| unknown(node))?;
        let mut members = self.members(&[node, primary]);
        let all = settings.data_nodes.iter().map(|peer| peer.id).filter(|id| *id != node);
        members.extend(self.members(&all.collect::<Vec<_>>()));
        Ok(Origin {
            epoch,
            addresses: self.addresses(primary).ok_or_else(|| unknown(primary))?,
            credentials: Arc::new(Credentials::towards(settings.links.keys(), primary, &self.passes)),
            asker: self.asker(primary),
            node: node.to_string(),
            client_port: own.client_port,
            members: members.into(),
        })
    }
}

/// Where a peer is by the file.
fn site(settings: &ElectSettings, peer: &Peer) -> Site {
    let data = settings.data_node(peer.id);
    let (stream_port, client_port) = data.map_or((0, 0), |data| (data.replication_port, data.client_port));
    Site { host: peer.host.clone(), stream_port, client_port }
}

/// Where a peer is: as it is called, and where the election's link to it leads.
fn reached(settings: &ElectSettings, peer: &Peer, proven: &Arc<OnceLock<ProvenAddress>>) -> Arc<Addresses> {
    let (id, proven) = (peer.id, Arc::clone(proven));
    let proven: Proven = Arc::new(move || proven.get().and_then(|proven| proven(id)));
    Arc::new(Addresses::new(site(settings, peer), Some(proven)))
}

/// What a node holds of the history of `epoch`.
fn position(epoch: Epoch, held: &Held) -> Option<Position> {
    let offsets: Vec<u64> = held.places.as_ref()?.iter().map(Place::position_offset).collect();
    Position::new(epoch, &offsets).ok()
}

#[async_trait]
impl ReplicationHost for KevyHost {
    async fn start(&self, last: Option<Position>) -> Result<Position, HostError> {
        let position = loop {
            listener!(self.shards.progress() => listener);
            if let Some(position) = self.shards.restored() {
                break position;
            }
            listener.await;
        };
        if let Some(why) = self.shards.refused_data() {
            return Err(HostError::new(why.to_owned()));
        }
        // What the vote record remembers was written at another time than the data: it is not even a hint.
        match last {
            Some(last) if last != position => {
                log::info!("the data on disk is {position:?}; the vote record says {last:?}")
            }
            _ => log::info!("the data on disk is {position:?}"),
        }
        self.state().role = Role::Idle(position.clone());
        Ok(position)
    }

    fn cluster(&self) -> Option<ClusterId> {
        self.shards.cluster_of_data()
    }

    fn belongs(&self, cluster: ClusterId) {
        self.shards.belong(cluster);
    }

    fn voters(&self, voters: &[NodeId]) {
        self.shards.change_voters(voters.iter().map(NodeId::to_string).collect());
    }

    async fn promote(&self, epoch: Epoch) -> Result<(), HostError> {
        // A disk may have been filled while this node wrote nothing: the next one is asked at once.
        if let Some(probe) = self.probe.as_ref().filter(|probe| !probe.glance().serves()) {
            return Err(HostError::new(probe.ailment().unwrap_or_default()));
        }
        if self.shards.has_reigned() {
            // Nothing that was acknowledged to an earlier reign, and nobody who waits for it, may be there when
            // offsets begin anew.
            let shards = Arc::clone(&self.shards);
            blocking::unblock(move || shards.waits().end_reign()).await;
        }
        self.shards.hurry(HURRY);
        if self.shards.count() > 1 {
            self.gather(epoch).await?;
        }
        {
            let mut state = self.state();
            Self::accept(&mut state, epoch)?;
            let held = self.leave(&state);
            self.shards.begin_reign(epoch, &held);
            state.role = Role::Primary(epoch, held);
        }
        loop {
            listener!(self.shards.progress() => listener);
            if self.shards.reigns(epoch) {
                break;
            }
            listener.await;
        }
        let state = self.state();
        match state.role {
            // Under the lock: a newer order must not have changed what this node holds.
            Role::Primary(current, _) if current == epoch => self.shards.announce_reign(epoch),
            _ => return Err(HostError::new(format!("epoch {} came meanwhile", state.newest))),
        }
        Ok(())
    }

    async fn follow(&self, epoch: Epoch, primary: NodeId) -> Result<(), HostError> {
        let origin = self.origin(epoch, primary)?;
        // A shard that loads a snapshot is busy, and would look as if it hung with answers that it owes. And what a primary wrote is all
        // counted before it is one no more (F6): a shard that hangs could not follow anybody either.
        let reigned = matches!(self.state().role, Role::Primary(..));
        if reigned || self.guard.as_ref().is_some_and(Guard::is_up) {
            self.drain().await;
        }
        let goes_on = match &self.state().role {
            Role::Replica(fleet, _) => fleet.follows(primary, epoch),
            Role::Detached { primary: p, epoch: e, .. } => (*p, *e) == (primary, epoch),
            Role::Idle(_) | Role::Gathers(..) | Role::Primary(..) => false,
        };
        if matches!(&self.state().role, Role::Primary(..)) {
            // Not earlier: as long as the others name this node, clients would come back.
            let shards = Arc::clone(&self.shards);
            blocking::unblock(move || shards.end_clients("another node is primary")).await;
        } else if !goes_on && self.shards.waits().may_wait() {
            self.end_waits().await;
        }
        let mut state = self.state();
        Self::accept(&mut state, epoch)?;
        if matches!(&state.role, Role::Replica(fleet, _) if fleet.follows(primary, epoch)) {
            return Ok(());
        }
        let before = self.leave(&state);
        let held = match &state.role {
            Role::Detached { primary: p, epoch: e, reached, .. } if (*p, *e) == (primary, epoch) => {
                Some(reached.clone())
            }
            _ => None,
        };
        self.shards.end_reign();
        self.shards.set_before(&before);
        state.role = Role::Idle(before.clone());
        let fleet = Fleet::start(primary, &origin, held.as_deref(), &self.shards)?;
        state.role = Role::Replica(fleet, before);
        Ok(())
    }

    async fn detach(&self) -> Result<Position, HostError> {
        Ok(Self::detach(self))
    }

    async fn fence(&self, _epoch: Epoch, reason: FenceReason) -> Result<(), HostError> {
        self.look_after_clients();
        self.drain().await;
        if reason != FenceReason::StepDown && self.shards.has_blocked() {
            // They would wait here for as long as this node is cut off: only a write lets them go, and none comes. Not at
            // a handover: it may still be taken back, and ends them when the other node reigns.
            let shards = Arc::clone(&self.shards);
            let why = "some waited for data, and this node must not give any";
            blocking::unblock(move || shards.end_clients(why)).detach();
        }
        // After the others the same reign may go on; and who hands over waits for what these clients wait for.
        if matches!(reason, FenceReason::Deposed | FenceReason::Stopped) && self.shards.waits().may_wait() {
            self.end_waits().await;
        }
        Ok(())
    }

    async fn resume(&self, _epoch: Epoch) -> Result<(), HostError> {
        self.shards.lapsed().end();
        Ok(())
    }

    fn health(&self) -> Health {
        self.look_at_streams();
        match self.watch.look(std::time::Instant::now(), &self.shards, self.work()) {
            Health::Good => self.probe.as_ref().map_or(Health::Good, |probe| probe.health()),
            stuck => stuck,
        }
    }

    fn ailment(&self) -> Option<String> {
        self.watch.ailment().or_else(|| self.probe.as_ref()?.ailment())
    }

    fn answers(&self) -> bool {
        self.watch.answers(&self.shards)
    }

    fn is_busy(&self) -> bool {
        self.shards.has_transactions()
    }

    fn lease_renewed(&self, until: Instant) {
        match &self.guard {
            // Nobody can take over from it, so what it answers late is no second answer.
            Some(guard) if self.shards.has_one_voter() => guard.rest(),
            Some(guard) => guard.put_off(until),
            None => {}
        }
    }
}
