//! A model of kevy's replication, behind the real [`ReplicationHost`] trait: streams that count from zero at
//! every promotion, snapshots when a replica joins, acknowledgements, writes that a quorum has confirmed.

use super::host::Order;
use super::state::{Event, Life, Scene, State};
use crate::config::MemberKind;
use crate::elector::Mutation;
use crate::host::{HostError, ReplicationHost};
use crate::ids::{Epoch, NodeId};
use crate::plugin::ElectPlugin;
use crate::position::Position;
use crate::sim::clock::MS;
use crate::sim::data::{Data, Offsets, SHARDS};
use async_trait::async_trait;

/// How often a server does its own work, at most.
const TICK: u64 = 40 * MS;
/// A replica that is not answered asks again.
const ASK_AGAIN: u64 = 150 * MS;

/// The host of one node's process.
pub(super) struct ModelHost {
    pub(super) scene: Scene,
    pub(super) node: usize,
}

/// What a server holds and does. The data survives the process.
#[derive(Default)]
pub(super) struct Server {
    pub(super) data: Data,
    serving: Option<Epoch>,
    /// Per node: attached to the stream with this turn of its own, and acknowledged so far.
    attached: Vec<Option<u64>>,
    acked: Vec<Offsets>,
    /// What this server was told to follow.
    pub(super) target: Option<(Epoch, usize)>,
    /// Numbers retargets and promotions: answers to an older one are too late.
    turn: u64,
    following: bool,
    pub(super) joined: bool,
    asked_at: u64,
    /// Where the data ended when this server last let go.
    pub(super) detached: Position,
    /// The history that the plugin was told of last.
    told: Option<Epoch>,
}

/// What servers say to each other.
#[derive(Debug, Clone)]
pub(super) enum Payload {
    /// "Send me all you have, then the stream of this epoch."
    Join { epoch: Epoch, turn: u64 },
    /// All there is.
    Snapshot { turn: u64, data: Data },
    /// The stream up to here.
    Stream { turn: u64, offsets: Offsets },
    /// A replica holds the stream of this epoch so far.
    Ack { epoch: Epoch, offsets: Offsets },
}

#[async_trait]
impl ReplicationHost for ModelHost {
    async fn start(&self, _: Option<Position>) -> Result<Position, HostError> {
        Ok(self.scene.with(|state| {
            let server = &mut state.nodes[self.node].server;
            server.told = Some(server.data.last().epoch);
            server.data.position(state.plan.setup.shards)
        }))
    }

    async fn promote(&self, epoch: Epoch) -> Result<(), HostError> {
        self.scene.with(|state| {
            state.promote(self.node, epoch);
            state.judge_promotion(self.node, epoch);
            state.tell_position(self.node);
        });
        Ok(())
    }

    async fn follow(&self, _: Epoch, _: NodeId) -> Result<(), HostError> {
        self.scene.with(|state| {
            state.nodes[self.node].server.following = true;
            state.ask_to_join(self.node);
        });
        Ok(())
    }

    fn detach(&self) -> Position {
        self.scene.with(|state| state.detach(self.node))
    }

    async fn fence(&self, _: Epoch, _: crate::fence::FenceReason) -> Result<(), HostError> {
        self.scene.with(|state| state.tell_position(self.node));
        Ok(())
    }
}

impl Server {
    pub(super) fn new(nodes: usize) -> Self {
        Self { attached: vec![None; nodes], acked: vec![[0; SHARDS]; nodes], ..Self::default() }
    }
}

impl State {
    /// The host was told to be something else: what it was is over, what it will be has not begun.
    pub(super) fn begin_order(&mut self, node: usize, order: Order) {
        let target = match order {
            Order::Promote(_) => None,
            Order::Follow(epoch, primary) => self.number(primary).map(|primary| (epoch, primary)),
        };
        let server = &mut self.nodes[node].server;
        server.turn += 1;
        server.target = target;
        (server.following, server.joined) = (false, false);
        if matches!(order, Order::Follow(..)) {
            server.serving = None;
        }
    }

    fn promote(&mut self, node: usize, epoch: Epoch) {
        let nodes = self.nodes.len();
        let server = &mut self.nodes[node].server;
        server.data.begin(epoch);
        server.serving = Some(epoch);
        server.attached = vec![None; nodes];
        server.acked = vec![[0; SHARDS]; nodes];
    }

    /// A promotion that is not wanted any more: it may have happened all the same.
    pub(super) fn promotion_dropped(&mut self, node: usize, epoch: Epoch) {
        if self.modelled && self.rng.chance(500) {
            self.promote(node, epoch);
        }
    }

    /// The process is gone; its data is on the disk.
    pub(super) fn stop_server(&mut self, node: usize) {
        let server = &mut self.nodes[node].server;
        (server.serving, server.target) = (None, None);
        (server.following, server.joined) = (false, false);
        server.turn += 1;
    }

    /// Lets go of the old primary: from here on nothing is acknowledged.
    fn detach(&mut self, node: usize) -> Position {
        let omitted = self.plan.mutation == Some(Mutation::DetachOmitted);
        let shards = self.plan.setup.shards;
        let server = &mut self.nodes[node].server;
        if !omitted {
            server.turn += 1;
            (server.target, server.following, server.joined) = (None, false, false);
        }
        server.detached = server.data.position(shards);
        server.detached.clone()
    }

    fn ask_to_join(&mut self, node: usize) {
        let now = self.now();
        let server = &mut self.nodes[node].server;
        if let Some((epoch, primary)) = server.target
            && server.following
            && !server.joined
        {
            server.asked_at = now;
            let turn = server.turn;
            self.send_data(node, primary, Payload::Join { epoch, turn });
        }
    }

    pub(super) fn on_data(&mut self, from: usize, to: usize, payload: Payload) {
        let server = &mut self.nodes[to].server;
        match payload {
            Payload::Join { epoch, turn } => {
                if server.serving == Some(epoch) {
                    server.attached[from] = Some(turn);
                    let data = server.data.clone();
                    self.send_data(to, from, Payload::Snapshot { turn, data });
                }
            }
            Payload::Snapshot { turn, data } => {
                if server.turn == turn && !server.joined {
                    let takes = self.plan.setup.host.max(self.nodes[to].ills.host_slow);
                    let at = self.now() + self.rng.below(takes);
                    let life = self.nodes[to].life;
                    self.push(at, Event::Loaded { node: to, life, turn, data });
                }
            }
            Payload::Stream { turn, offsets } => {
                if server.turn == turn && server.joined {
                    let part = server.data.last_mut();
                    for (mine, theirs) in part.offsets.iter_mut().zip(offsets) {
                        *mine = (*mine).max(theirs);
                    }
                    self.acknowledge(to);
                }
            }
            Payload::Ack { epoch, offsets } => self.on_ack(from, to, epoch, offsets),
        }
    }

    pub(super) fn on_loaded(&mut self, node: usize, turn: u64, data: Data) {
        let server = &mut self.nodes[node].server;
        if server.turn == turn && !server.joined {
            server.joined = true;
            server.data = data;
            self.log(|| format!("n{node} host: joined"));
            self.tell_position(node);
            self.acknowledge(node);
        }
    }

    fn acknowledge(&mut self, node: usize) {
        let server = &self.nodes[node].server;
        if let Some((epoch, primary)) = server.target
            && server.joined
        {
            let offsets = server.data.last().offsets;
            self.send_data(node, primary, Payload::Ack { epoch, offsets });
        }
    }

    /// Confirmations reach clients of a fenced primary too, as kevy does it.
    fn on_ack(&mut self, from: usize, to: usize, epoch: Epoch, offsets: Offsets) {
        let replicas = self.quorum() - 1;
        let server = &mut self.nodes[to].server;
        if server.serving != Some(epoch) {
            return;
        }
        for (old, new) in server.acked[from].iter_mut().zip(offsets) {
            *old = (*old).max(new);
        }
        let mut confirmed = [0; SHARDS];
        let kinds = &self.plan.setup.kinds;
        for (shard, confirmed) in confirmed.iter_mut().enumerate().take(self.plan.setup.shards) {
            // An observer has no vote: what it holds binds no election.
            let mut acked: Vec<_> = server
                .acked
                .iter()
                .zip(kinds)
                .map(|(acked, kind)| if *kind == MemberKind::Voter { acked[shard] } else { 0 })
                .collect();
            acked.sort_unstable_by(|a, b| b.cmp(a));
            *confirmed = if replicas == 0 { server.data.last().offsets[shard] } else { acked[replicas - 1] };
        }
        self.judge_confirmed(epoch, confirmed);
    }

    /// The server's own work.
    pub(super) fn on_tick(&mut self, node: usize, life: Life) {
        if self.nodes[node].life != life || self.nodes[node].plugin.is_none() {
            return;
        }
        let at = self.now() + self.rng.between(TICK / 2, TICK);
        self.push(at, Event::Tick { node, life });
        if !self.nodes[node].runs() {
            return;
        }
        self.client(node);
        if !self.modelled {
            return;
        }
        self.tell_position(node);
        let (server, now) = (&self.nodes[node].server, self.now());
        if server.serving.is_some() {
            self.push_stream(node);
        } else if server.following && !server.joined && now >= server.asked_at + ASK_AGAIN {
            self.ask_to_join(node);
        }
    }

    /// A client tries to write here: what the real gate says, counts.
    pub(super) fn client(&mut self, node: usize) {
        let open = self.nodes[node].plugin.as_ref().is_some_and(|plugin| plugin.write_gate().is_open());
        if !open {
            return;
        }
        self.judge_write(node);
        self.stats.writes += 1;
        let shard = self.rng.below(self.plan.setup.shards as u64) as usize;
        let more = self.rng.between(1, 3);
        let server = &mut self.nodes[node].server;
        if server.serving.is_some() {
            server.data.last_mut().offsets[shard] += more;
        }
    }

    fn push_stream(&mut self, node: usize) {
        for peer in 0..self.nodes.len() {
            let server = &self.nodes[node].server;
            if let Some(turn) = server.attached[peer] {
                let offsets = server.data.last().offsets;
                self.send_data(node, peer, Payload::Stream { turn, offsets });
            }
        }
    }

    /// Tells the plugin how far the data goes, as a host does from its own threads.
    pub(super) fn tell_position(&mut self, node: usize) {
        let shards = self.plan.setup.shards;
        let machine = &mut self.nodes[node];
        let last = machine.server.data.last();
        // Before it has said where it starts, a host tells nothing.
        let (Some(plugin), Some(told)) = (&machine.plugin, &mut machine.server.told) else { return };
        if std::mem::replace(told, last.epoch) != last.epoch {
            plugin.on_joined(last.epoch, &last.offsets[..shards]);
        } else {
            last.offsets[..shards].iter().enumerate().for_each(|(shard, at)| plugin.on_offset(shard, *at));
        }
    }

    /// The process starts: nothing was told yet.
    pub(super) fn start_server(&mut self, node: usize) {
        self.nodes[node].server.told = None;
    }
}
