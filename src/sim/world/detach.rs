//! Servers that let go of their primary, and say so: at once, or later and twice.

use super::World;
use super::event::Event;
use crate::elector::{DetachSeq, HostReport, Mutation};
use crate::position::Position;
use crate::sim::impairments::Life;
use crate::sim::note::What;

/// An answer is repeated after up to this many times the time that it may take.
const REPEATED_TIMES: u64 = 8;

impl World {
    /// The server is to let go; it is in another process.
    pub(super) fn ask_to_detach(&mut self, node: usize, seq: DetachSeq) {
        self.machines[node].jobs.detaching = Some(seq);
        let Some(life) = self.machines[node].process.as_ref().map(|process| process.life) else { return };
        let [before, _] = self.run.plan.setup.draw_late(&mut self.run.rng);
        self.push(self.run.now + before, Event::Detach { node, life, seq });
    }

    pub(super) fn on_detach(&mut self, node: usize, life: Life, seq: DetachSeq) {
        let machine = &mut self.machines[node];
        // The newest call wins: whom it was told to follow since, it follows.
        let newest = machine.jobs.detaching.take_if(|newest| *newest == seq).is_some();
        if !newest || machine.process.as_ref().is_none_or(|process| process.life != life) {
            return;
        }
        let position = self.detach(node);
        let [_, after] = self.run.plan.setup.draw_late(&mut self.run.rng);
        let again = [(); 2].map(|()| after + self.run.rng.below(self.run.plan.setup.late * REPEATED_TIMES));
        for after in [after, again[0], again[1]] {
            let position = position.clone();
            self.push(self.run.now + after, Event::Detached { node, life, seq, position });
        }
    }

    pub(super) fn on_detached(&mut self, event: Event) {
        let Event::Detached { node, life, .. } = event else { return };
        let Some((_, Event::Detached { seq, position, .. })) = self.machines[node].deliver(life, event)
        else {
            return;
        };
        self.step(node, |elector, now| elector.handle_host(now, HostReport::Detached(seq, &position)));
    }

    /// Lets go of the old primary: from here on nothing is acknowledged.
    pub(super) fn detach(&mut self, node: usize) -> Position {
        let omitted = self.run.plan.mutation == Some(Mutation::DetachOmitted);
        let machine = &mut self.machines[node];
        let position = self.run.servers[node].detach(omitted, machine.jobs.promoting.is_some());
        self.run.log(|| format!("n{node} host: detached at {position:?}"));
        self.note(node, || What::Detached(position.clone()));
        position
    }
}
