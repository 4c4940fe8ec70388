//! A member that lies: beside what its elector says, it says anything in its own name, to whom it likes.

use super::World;
use super::event::Event;
use crate::config::MemberKind;
use crate::identity::Identity;
use crate::ids::Epoch;
use crate::message::Message;
use crate::sim::clock::MS;
use crate::sim::fault::{FaultKind, Loss};
use crate::sim::lies::{belie, lie};
use crate::sim::plan::cluster;
use crate::time::nanos;

impl World {
    pub(super) fn on_lie(&mut self, index: usize) {
        let FaultKind::Lie { to, ids, .. } = self.run.plan.faults[index].kind else { return };
        if !self.acts(index) {
            return;
        }
        let liar = self.run.active[index].node;
        let nodes = self.machines.len();
        for node in 0..nodes {
            // Observers count for nothing in the protocol, so they may all lie with it.
            let lies = node == liar || self.run.plan.setup.kinds[node] == MemberKind::Observer;
            for peer in (0..nodes).filter(|peer| lies && *peer != node && *peer != liar) {
                if to >> peer & 1 == 1 && self.run.rng.chance(700) {
                    let theirs =
                        self.machines[peer].process.as_ref().map_or(Epoch::ZERO, |p| p.elector.epoch());
                    let mut message = lie(&mut self.run, node, theirs);
                    // The others hold that against its process for as long as that lives, and those of observers live on.
                    if ids && node == liar {
                        belie(&mut self.run, &mut message, theirs);
                    }
                    self.forge(node, peer, message);
                }
            }
        }
        let pause = self.run.rng.between(MS / 2, nanos(self.run.plan.setup.timeout) / 6);
        self.push(self.run.now + pause, Event::Lie(index));
    }

    /// What its elector says, as a liar says it: of another cluster, if it lies about that.
    pub(super) fn belied(&mut self, from: usize, to: usize, mut message: Message) -> Message {
        let faults = self.run.active.iter().zip(&self.run.plan.faults);
        let lies = |kind| matches!(kind, FaultKind::Lie { ids: true, .. });
        if !self.run.plan.setup.belongs.is_empty()
            && faults.into_iter().any(|(active, fault)| active.on && active.node == from && lies(fault.kind))
        {
            let theirs = self.machines[to].process.as_ref().map_or(Epoch::ZERO, |p| p.elector.epoch());
            belie(&mut self.run, &mut message, theirs);
        }
        message
    }

    /// An operator takes away the records of those who belong to a cluster that is none: they know nothing then, and are admitted.
    pub(super) fn give_up_false_ids(&mut self) {
        if self.run.plan.setup.belongs.is_empty() {
            return;
        }
        let misled: Vec<usize> = (0..self.machines.len()).filter(|node| self.is_misled(*node)).collect();
        for node in misled {
            self.run.log(|| format!("n{node} believed a false id: an operator takes its record away"));
            self.run.stats.misled += 1;
            self.stop(node);
            let disk = &mut self.machines[node].disk;
            (disk.record, disk.before) = (None, None);
            self.run.invariants.confirmed.copies_lost |=
                self.run.servers[node].lose(Loss::Record, false, 1000);
            self.run.invariants.forgot(node);
            self.start(node);
        }
    }

    /// Whether a node's record says for good that it belongs to another cluster than the one that there is.
    fn is_misled(&self, node: usize) -> bool {
        let said = self.machines[node].disk.record.as_ref().and_then(|record| record.identity);
        said.is_some_and(|said| said.is_settled() && said.cluster != cluster())
    }

    /// Whether it could be told of any cluster, or has been: it helps as little as one without a record.
    pub(super) fn is_easily_misled(&self, node: usize) -> bool {
        let said = self.machines[node].disk.record.as_ref().and_then(|record| record.identity);
        !self.run.plan.setup.belongs.is_empty() && said != Some(Identity::settled(cluster()))
    }

    /// Says something in a node's name, on its own link.
    pub(in crate::sim) fn forge(&mut self, from: usize, to: usize, message: Message) {
        if self.machines[from].runs() {
            self.note_sent(from, to, &message);
            self.send_message(from, to, message);
        }
    }
}
