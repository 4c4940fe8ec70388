//! The model of [`crate::sim::server`] behind the real [`ReplicationHost`] trait.

use super::event::Event;
use super::state::{Scene, State};
use super::watch::Order;
use crate::elector::Mutation;
use crate::host::{HostError, ReplicationHost};
use crate::ids::{Epoch, NodeId};
use crate::plugin::ElectPlugin;
use crate::position::Position;
use crate::sim::data::Data;
use crate::sim::ills::Life;
use crate::sim::invariants::Check;
use crate::sim::server::{Act, End, Payload, Server, TICK};
use async_trait::async_trait;

/// The host of one node's process.
pub(super) struct ModelHost {
    pub(super) scene: Scene,
    pub(super) node: usize,
}

#[async_trait]
impl ReplicationHost for ModelHost {
    async fn start(&self, last: Option<Position>) -> Result<Position, HostError> {
        Ok(self.scene.with(|state| {
            let machine = &mut state.nodes[self.node];
            machine.server.start(last.as_ref());
            machine.told = Some(machine.server.claimed().0);
            machine.server.position()
        }))
    }

    async fn promote(&self, epoch: Epoch) -> Result<(), HostError> {
        self.scene.with(|state| {
            state.nodes[self.node].server.promote(epoch);
            state.judge_promotion(self.node, epoch);
            state.tell_position(self.node);
        });
        Ok(())
    }

    async fn follow(&self, _: Epoch, _: NodeId) -> Result<(), HostError> {
        self.scene.with(|state| state.with_server(self.node, |server, now, out| server.follow(now, out)));
        Ok(())
    }

    async fn detach(&self) -> Result<Position, HostError> {
        Ok(self.scene.with(|state| {
            let omitted = state.plan.mutation == Some(Mutation::DetachOmitted);
            state.nodes[self.node].server.detach(omitted, false)
        }))
    }

    async fn fence(&self, _: Epoch, _: crate::fence::FenceReason) -> Result<(), HostError> {
        self.scene.with(|state| state.tell_position(self.node));
        Ok(())
    }
}

impl State {
    /// The host was told to be something else: what it was is over, what it will be has not begun.
    pub(super) fn begin_order(&mut self, node: usize, order: Order) {
        let target = match order {
            Order::Promote(_) => None,
            Order::Follow(epoch, primary) => self.number(primary).map(|primary| (epoch, primary)),
        };
        self.nodes[node].server.turn_to(target);
    }

    /// A promotion that is not wanted any more: it may have happened all the same.
    pub(super) fn promotion_dropped(&mut self, node: usize, epoch: Epoch) {
        if self.modelled && self.rng.chance(500) {
            self.nodes[node].server.promote(epoch);
            self.invariants.continued.on_begun(epoch, &self.nodes[node].server.data);
        }
    }

    /// The process is gone; its data is on the disk, as far as the log has it.
    pub(super) fn stop_server(&mut self, node: usize, end: End) {
        self.nodes[node].server.stop(end);
    }

    pub(super) fn on_data(&mut self, from: usize, to: usize, payload: Payload) {
        if self.nodes[to].ills.hung == 0 {
            self.with_server(to, |server, now, out| server.on_data(now, from, payload, out));
        }
    }

    pub(super) fn on_loaded(&mut self, node: usize, turn: u64, data: Box<Data>) {
        self.with_server(node, |server, now, out| server.loaded(now, turn, data, out));
    }

    /// One step of a server, and all that follows from it at once.
    fn with_server(&mut self, node: usize, step: impl FnOnce(&mut Server, u64, &mut Vec<Act>)) {
        let now = self.now();
        let mut acts = std::mem::take(&mut self.acts);
        step(&mut self.nodes[node].server, now, &mut acts);
        for act in acts.drain(..) {
            self.act(node, act);
        }
        self.acts = acts;
    }

    fn act(&mut self, node: usize, act: Act) {
        match act {
            Act::Send(to, payload) => self.send_data(node, to, payload),
            Act::Load { turn, data } => {
                let takes = self.plan.setup.host.max(self.nodes[node].ills.host_slow);
                let at = self.now() + self.rng.below(takes);
                let life = self.nodes[node].life;
                self.push(at, Event::Loaded { node, life, turn, data });
            }
            Act::Joined { continued } => {
                self.stats.joined(continued);
                self.log(|| format!("n{node} host: joined{}", if continued { ", continues" } else { "" }));
            }
            Act::Continues(epoch, shard) => self.judge_continued(node, epoch, shard),
            Act::Moved => self.tell_position(node),
            Act::Confirmed(epoch, offsets) => self.judge_confirmed(epoch, offsets),
            Act::CopyLost => self.invariants.confirmed.copies_lost = true,
            Act::Note(text) => self.log(|| format!("n{node} host: {text}")),
        }
    }

    /// The server's own work.
    pub(super) fn on_tick(&mut self, node: usize, life: Life) {
        if self.nodes[node].life != life || self.nodes[node].plugin.is_none() {
            return;
        }
        let at = self.now() + self.rng.between(TICK / 2, TICK);
        self.push(at, Event::Tick { node, life });
        let machine = &self.nodes[node];
        if !machine.runs() || machine.ills.hung > 0 {
            return;
        }
        let low_memory = machine.ills.low_memory > 0;
        self.client(node);
        if !self.modelled {
            return;
        }
        self.tell_position(node);
        self.with_server(node, |server, now, out| server.tick(now, low_memory, out));
        if self.plan.setup.habits.is_some() {
            self.tell_position(node);
            self.judge_contents(node);
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
        let now = self.now();
        let _ = self.nodes[node].server.write(now, shard, more);
    }

    /// Tells the plugin how far the data goes, as a host does from its own threads.
    pub(super) fn tell_position(&mut self, node: usize) {
        let shards = self.plan.setup.shards;
        let machine = &mut self.nodes[node];
        let (epoch, offsets) = machine.server.claimed();
        // Before it has said where it starts, a host tells nothing.
        let (Some(plugin), Some(told)) = (&machine.plugin, &mut machine.told) else { return };
        if std::mem::replace(told, epoch) != epoch {
            plugin.on_joined(epoch, &offsets[..shards]);
        } else {
            offsets[..shards].iter().enumerate().for_each(|(shard, at)| plugin.on_offset(shard, *at));
        }
    }

    /// Two that hold the same history to the same place hold the same.
    fn judge_contents(&mut self, node: usize) {
        let server = &self.nodes[node].server;
        let Some((epoch, primary)) = server.target.filter(|_| server.joined) else { return };
        let theirs = &self.nodes[primary].server;
        if theirs.serving != Some(epoch) {
            return;
        }
        self.stats.checks[Check::Contents as usize] += 1;
        let found = self.invariants.contents.look(node, &server.data, primary, &theirs.data);
        self.take(found);
    }
}
