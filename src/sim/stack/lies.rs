//! A member that lies: beside what its driver sends, it says anything in its own name, to whom it likes.

use super::event::Event;
use super::state::State;
use crate::config::MemberKind;
use crate::ids::Epoch;
use crate::sim::clock::MS;
use crate::sim::fault::FaultKind;
use crate::sim::lies::forgery;
use crate::time::nanos;
use crate::transport::Transport;

impl State {
    pub(super) fn on_lie(&mut self, index: usize) {
        let FaultKind::Lie { to, .. } = self.run.plan.faults[index].kind else { return };
        if !self.run.active[index].on {
            return;
        }
        let (liar, nodes) = (self.run.active[index].node, self.nodes.len());
        for node in 0..nodes {
            // Observers count for nothing in the protocol, so they may all lie with it.
            let lies = node == liar || self.run.plan.setup.kinds[node] == MemberKind::Observer;
            for peer in (0..nodes).filter(|peer| lies && *peer != node && *peer != liar) {
                if to >> peer & 1 == 1 && self.nodes[node].runs() && self.run.rng.chance(700) {
                    let theirs = self.epoch(peer).unwrap_or(Epoch::ZERO);
                    let message = forgery(&mut self.run, node, theirs);
                    let to = self.nodes[peer].id;
                    self.run.log(|| format!("n{node} lies to {to}: {message:?}"));
                    if let Some(voice) = &self.nodes[node].voice {
                        // Where there is no link nobody hears it.
                        let _ = voice.send(to, &message);
                    }
                }
            }
        }
        let pause = self.run.rng.between(MS / 2, nanos(self.run.plan.setup.timeout) / 6);
        self.push(self.run.now + pause, Event::Lie(index));
    }
}
