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
use crate::sim::impairments::Life;
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
            let server = &mut state.run.servers[self.node];
            server.start(last.as_ref());
            state.nodes[self.node].told = Some(server.claimed().0);
            server.position()
        }))
    }

    async fn promote(&self, epoch: Epoch) -> Result<(), HostError> {
        self.scene.with(|state| {
            state.run.servers[self.node].promote(epoch);
            state.run.judge_promotion(self.node, epoch);
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
            let omitted = state.run.plan.mutation == Some(Mutation::DetachOmitted);
            state.run.servers[self.node].detach(omitted, false)
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
            Order::Follow(epoch, primary) => self.run.number(primary).map(|primary| (epoch, primary)),
        };
        self.run.servers[node].turn_to(target);
    }

    /// A promotion that is not wanted any more: it may have happened all the same.
    pub(super) fn promotion_dropped(&mut self, node: usize, epoch: Epoch) {
        if self.modelled && self.run.rng.chance(500) {
            self.run.promote_late(node, epoch);
        }
    }

    /// The process is gone; its data is on the disk, as far as the log has it.
    pub(super) fn stop_server(&mut self, node: usize, end: End) {
        self.run.servers[node].stop(end);
    }

    pub(super) fn on_data(&mut self, from: usize, to: usize, payload: Payload) {
        if self.nodes[to].impairments.hung == 0 {
            self.with_server(to, |server, now, out| server.on_data(now, from, payload, out));
        }
    }

    pub(super) fn on_loaded(&mut self, node: usize, turn: u64, data: Box<Data>) {
        self.with_server(node, |server, now, out| server.loaded(now, turn, data, out));
    }

    /// One step of a server, and all that follows from it at once.
    fn with_server(&mut self, node: usize, step: impl FnOnce(&mut Server, u64, &mut Vec<Act>)) {
        let now = self.run.now;
        let mut acts = std::mem::take(&mut self.acts);
        step(&mut self.run.servers[node], now, &mut acts);
        for act in acts.drain(..) {
            self.act(node, act);
        }
        self.acts = acts;
    }

    fn act(&mut self, node: usize, act: Act) {
        let Some(act) = self.run.hear(node, act) else { return };
        match act {
            Act::Send(to, payload) => self.send_data(node, to, payload),
            Act::Load { turn, data } => {
                let takes = self.run.plan.setup.host.max(self.nodes[node].impairments.host_slow);
                let at = self.run.now + self.run.rng.below(takes);
                let life = self.nodes[node].life;
                self.push(at, Event::Loaded { node, life, turn, data });
            }
            Act::Moved => self.tell_position(node),
            _ => {}
        }
    }

    /// The server's own work.
    pub(super) fn on_tick(&mut self, node: usize, life: Life) {
        if self.nodes[node].life != life || self.nodes[node].plugin.is_none() {
            return;
        }
        let at = self.run.now + self.run.rng.between(TICK / 2, TICK);
        self.push(at, Event::Tick { node, life });
        let machine = &self.nodes[node];
        if !machine.runs() || machine.impairments.hung > 0 {
            return;
        }
        let low_memory = machine.impairments.low_memory > 0;
        self.client(node);
        if !self.modelled {
            return;
        }
        self.tell_position(node);
        self.with_server(node, |server, now, out| server.tick(now, low_memory, out));
        if self.run.plan.setup.habits.is_some() {
            self.tell_position(node);
            self.run.judge_contents(node);
        }
    }

    /// A client tries to write here: what the real gate says, counts.
    pub(super) fn client(&mut self, node: usize) {
        // After a sleep the gate does not know before the driver has looked: `docs/protocol.md` names that as a limit.
        let slept = self.nodes[node].clock.sleep_unseen();
        let open = self.nodes[node].plugin.as_ref().is_some_and(|plugin| plugin.write_gate().is_open());
        if slept || !open {
            return;
        }
        self.judge_write(node);
        self.run.stats.writes += 1;
        let shard = self.run.rng.below(self.run.plan.setup.shards as u64) as usize;
        let more = self.run.rng.between(1, 3);
        let now = self.run.now;
        let _ = self.run.servers[node].write(now, shard, more);
    }

    /// Tells the plugin how far the data goes, as a host does from its own threads.
    pub(super) fn tell_position(&mut self, node: usize) {
        let shards = self.run.plan.setup.shards;
        let machine = &mut self.nodes[node];
        let (epoch, offsets) = self.run.servers[node].claimed();
        // Before it has said where it starts, a host tells nothing.
        let (Some(plugin), Some(told)) = (&machine.plugin, &mut machine.told) else { return };
        if std::mem::replace(told, epoch) != epoch {
            plugin.on_joined(epoch, &offsets[..shards]);
        } else {
            offsets[..shards].iter().enumerate().for_each(|(shard, at)| plugin.on_offset(shard, *at));
        }
    }
}
