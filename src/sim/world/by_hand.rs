//! A world that is driven by hand: what [`crate::sim::Cluster`] does to it, and what it tells of it.

use super::World;
use super::faults::UNTIL_HEALED;
use crate::elector::{Command, Elector, GateState, HostReport};
use crate::fence::Denied;
use crate::message::Message;
use crate::position::Position;
use crate::rank::ForceRefused;
use crate::sim::data::SHARDS;
use crate::sim::fault::{Fault, FaultKind, Target};
use crate::sim::impairments::Active;
use crate::sim::note::{Note, What};

impl World {
    /// Ends a process; it stays down until [`World::revive`].
    pub(in crate::sim) fn kill(&mut self, node: usize) {
        if self.machines[node].process.is_some() {
            self.machines[node].impairments.down += 1;
            self.stop(node);
        }
    }

    /// Starts a process that was killed.
    pub(in crate::sim) fn revive(&mut self, node: usize) {
        let down = &mut self.machines[node].impairments.down;
        *down = down.saturating_sub(1);
        self.start(node);
    }

    /// Cuts or heals both directions between two nodes.
    pub(in crate::sim) fn set_cut(&mut self, a: usize, b: usize, cut: bool) {
        for (from, to) in [(a, b), (b, a)] {
            let index = self.net.index(from, to);
            let was = std::mem::replace(&mut self.net.cut[index], u16::from(cut));
            self.net.disturbed[index] = self.run.now;
            if was > 0 && !cut {
                self.heal_direction(from, to);
            }
        }
    }

    /// A fault that lasts until [`World::end_fault`]: its number, or `None` where it is not possible now.
    pub(in crate::sim) fn begin_fault(&mut self, node: usize, kind: FaultKind) -> Option<usize> {
        let target = Target { node, primary: false };
        let index = self.run.plan.faults.len();
        self.run.plan.faults.push(Fault { at: self.run.now, lasts: UNTIL_HEALED, target, kind });
        self.run.active.push(Active::default());
        self.on_fault(index);
        self.acts(index).then_some(index)
    }

    /// Ends a fault. What has ended already stays so.
    pub(in crate::sim) fn end_fault(&mut self, index: usize) {
        if index < self.run.active.len() {
            self.on_heal(index);
        }
    }

    /// An operator orders a node without a record to be admitted to the cluster that another one belongs to.
    pub(in crate::sim) fn order_admission(&mut self, node: usize) {
        let cluster = (0..self.machines.len()).find_map(|other| self.elector(other)?.cluster());
        if let Some(cluster) = cluster
            && self.machines[node].runs()
        {
            self.step(node, |elector, now| elector.handle_command(now, Command::Admit(cluster)));
        }
    }

    /// Clients of a node are in the middle of transactions from now on, or not any more.
    pub(in crate::sim) fn set_busy(&mut self, node: usize, busy: bool) {
        if self.machines[node].runs() {
            self.step(node, |elector, now| elector.handle_host(now, HostReport::Busy(busy)));
        }
    }

    /// A node's server answers, or does not.
    pub(in crate::sim) fn set_answers(&mut self, node: usize, answers: bool) {
        if self.machines[node].runs() {
            self.step(node, |elector, now| elector.handle_host(now, HostReport::Answers(answers)));
        }
    }

    /// A node's service has recorded so much work.
    pub(in crate::sim) fn set_work(&mut self, node: usize, work: u64) {
        if self.machines[node].runs() {
            self.step(node, |elector, now| elector.handle_host(now, HostReport::Work(work)));
        }
    }

    /// An operator orders a node to be primary by its own vote alone.
    pub(in crate::sim) fn order_force(&mut self, node: usize) -> Option<Result<(), ForceRefused>> {
        let can = self.elector(node)?.can_force();
        if can.is_ok() {
            // Somebody wants it: that is no automatic election.
            self.run.invariants.paused.on_plan();
        }
        self.step(node, |elector, now| elector.handle_command(now, Command::Force));
        Some(can)
    }

    /// Says how far a server's data goes in the history it holds; shards that are not named stay.
    pub(in crate::sim) fn set_offsets(&mut self, node: usize, offsets: &[u64]) {
        for (lane, new) in self.run.servers[node].data.lanes.iter_mut().zip(offsets) {
            *lane.offset_mut() = *new;
        }
        self.tell_position(node);
    }

    /// A client writes: `frames` more in a shard, if the gate lets them pass.
    pub(in crate::sim) fn write(
        &mut self,
        node: usize,
        shard: usize,
        frames: u64,
    ) -> Option<Result<(), Denied>> {
        let machine = &self.machines[node];
        if !machine.runs() || shard >= self.run.plan.setup.shards.min(SHARDS) {
            return None;
        }
        let process = machine.process.as_ref()?;
        let until = match process.gate {
            GateState::Open(until) => until,
            GateState::Shut(denied) => return Some(Err(denied)),
        };
        if machine.clock.local(self.run.now) >= until {
            return Some(Err(Denied::Fenced(crate::fence::FenceReason::LeaseExpired)));
        }
        self.judge_write(node);
        if self.run.servers[node].serving.is_some() {
            self.run.stats.writes += 1;
            let _ = self.run.servers[node].write(self.run.now, shard, frames);
            self.tell_position(node);
        }
        Some(Ok(()))
    }

    /// How far a server's data goes, whether its process runs or not.
    pub(in crate::sim) fn position(&self, node: usize) -> Position {
        self.run.servers[node].data.position(self.run.plan.setup.shards)
    }

    /// Whether a server holds the history of the primary that it was told to follow.
    pub(in crate::sim) fn has_joined(&self, node: usize) -> bool {
        self.run.servers[node].joined
    }

    /// The elector of a running process.
    pub(in crate::sim) fn elector(&self, node: usize) -> Option<&Elector> {
        self.machines[node].process.as_ref().map(|process| &process.elector)
    }

    /// Makes a node the one with data, before the first start: so it is elected first.
    pub(in crate::sim) fn begin_with_primary(&mut self, primary: usize) {
        let id = self.run.ids[primary];
        for node in 0..self.machines.len() {
            let server = &mut self.run.servers[node];
            *server.data.lanes[0].offset_mut() = u64::from(self.run.ids[node] == id);
        }
    }

    pub(super) fn note(&mut self, node: usize, what: impl FnOnce() -> What) {
        if let Some(notes) = &mut self.notes {
            notes.push(Note { at: self.run.now, node: self.machines[node].id, what: what() });
        }
    }

    pub(super) fn note_sent(&mut self, from: usize, to: usize, message: &Message) {
        if self.notes.is_some() && self.view(from, to).up {
            let (id, cut) = (self.machines[to].id, self.is_cut(from, to));
            self.note(from, || What::Sent { to: id, message: message.clone(), cut });
        }
    }
}
