//! A member that lies: beside what its elector says, it says anything in its own name, to whom it likes.

use super::World;
use super::event::Event;
use crate::config::MemberKind;
use crate::ids::Epoch;
use crate::message::Message;
use crate::sim::clock::MS;
use crate::sim::fault::FaultKind;
use crate::sim::lies::lie;
use crate::time::nanos;

impl World {
    pub(super) fn on_lie(&mut self, index: usize) {
        let FaultKind::Lie { to, .. } = self.run.plan.faults[index].kind else { return };
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
                    let message = lie(&mut self.run, node, theirs);
                    self.forge(node, peer, message);
                }
            }
        }
        let pause = self.run.rng.between(MS / 2, nanos(self.run.plan.setup.timeout) / 6);
        self.push(self.run.now + pause, Event::Lie(index));
    }

    /// Says something in a node's name, on its own link.
    pub(in crate::sim) fn forge(&mut self, from: usize, to: usize, message: Message) {
        if self.machines[from].runs() {
            self.note_sent(from, to, &message);
            self.send_message(from, to, message);
        }
    }
}
