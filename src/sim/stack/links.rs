//! What goes wrong with the network, and what servers send over it.

use super::event::Event;
use super::state::State;
use crate::ids::NodeId;
use crate::sim::clock::MS;
use crate::sim::server::Payload;

/// The most frames of replication that wait behind a cut, per direction.
const STALLED_MAX: usize = 64;

impl State {
    pub(super) fn storm_begins(&mut self, storm: (u64, u64, u64)) {
        self.net.storms.push(storm);
        self.net.set_weather();
        let now = self.run.now;
        self.net.disturbed.fill(now);
    }

    pub(super) fn storm_ends(&mut self, storm: (u64, u64, u64)) {
        if let Some(at) = self.net.storms.iter().position(|other| *other == storm) {
            self.net.storms.remove(at);
        }
        self.net.set_weather();
        // What is under way was delayed as well, and what queues up behind it.
        let until = self.run.now + self.net.residue;
        self.net.disturbed.fill(until);
    }

    /// Something is wrong, or was until now, from one node to another.
    fn disturb(&mut self, from: usize, to: usize) {
        let (index, now) = (self.net.index(from, to), self.run.now);
        self.net.disturbed[index] = self.net.disturbed[index].max(now);
    }

    /// A link went up or down.
    pub(super) fn disturb_link(&mut self, node: usize, peer: NodeId) {
        if let Some(peer) = self.run.number(peer) {
            self.disturb(node, peer);
            self.disturb(peer, node);
        }
    }

    pub(super) fn cut(&mut self, from: usize, to: usize) {
        self.disturb(from, to);
        let index = self.net.index(from, to);
        self.net.cut[index] += 1;
        if self.net.cut[index] == 1 {
            // A cut that heals in time is only a delay, as TCP makes it; another one loses what was sent.
            match self.run.rng.chance(700) {
                true => self.net.electors.cut_queued(self.run.ids[from], self.run.ids[to]),
                false => self.net.electors.cut(self.run.ids[from], self.run.ids[to]),
            }
        }
    }

    pub(super) fn heal(&mut self, from: usize, to: usize) {
        self.disturb(from, to);
        let index = self.net.index(from, to);
        self.net.cut[index] -= 1;
        if self.net.cut[index] == 0 {
            self.net.electors.heal(self.run.ids[from], self.run.ids[to]);
            for event in std::mem::take(&mut self.net.stalled[index]) {
                let at = self.run.now + self.run.rng.below(30 * MS);
                self.push(at, event);
            }
        }
    }

    /// A firewall refuses the connections of `from` to `to`, or does no more.
    pub(super) fn set_refused(&mut self, from: usize, to: usize, refused: bool) {
        self.disturb(from, to);
        self.disturb(to, from);
        let index = self.net.index(from, to);
        if refused {
            self.net.refused[index] += 1;
            self.net.electors.refuse(self.run.ids[from], self.run.ids[to]);
            return;
        }
        self.net.refused[index] -= 1;
        if self.net.refused[index] == 0 {
            self.net.electors.accept(self.run.ids[from], self.run.ids[to]);
        }
    }

    /// The links between two nodes break within that time, at both ends or at the first one alone.
    pub(super) fn reset_within(&mut self, node: usize, peer: usize, within: u64, seen: bool) {
        let at = self.run.now + self.run.rng.below(within);
        self.push(at, Event::Reset { node, peer, seen });
    }

    pub(super) fn on_reset(&mut self, node: usize, peer: usize, seen: bool) {
        self.disturb(node, peer);
        self.disturb(peer, node);
        let (node, peer) = (self.run.ids[node], self.run.ids[peer]);
        match seen {
            true => self.net.electors.reset_links(node, peer),
            false => self.net.electors.reset_links_at(node, peer),
        }
    }

    /// Sends what a server wants sent, on a connection of its own.
    pub(super) fn send_data(&mut self, from: usize, to: usize, payload: Payload) {
        if self.nodes[to].plugin.is_none() || self.net.refused[self.net.index(from, to)] > 0 {
            return;
        }
        let mut delay = self.run.rng.between(self.net.delay / 8, self.net.delay);
        for storm in 0..self.net.storms.len() {
            let (loss, _, delay_max) = self.net.storms[storm];
            if self.run.rng.chance(loss) {
                return;
            }
            delay += self.run.rng.below(delay_max);
        }
        let life = self.nodes[to].life;
        self.push(self.run.now + delay, Event::Data { from, to, life, payload });
    }

    /// Keeps replication back that a cut holds; gives what gets through.
    pub(super) fn through_cuts(&mut self, from: usize, to: usize, event: Event) -> Option<Event> {
        let index = self.net.index(from, to);
        if self.net.cut[index] == 0 {
            return Some(event);
        }
        let stalled = &mut self.net.stalled[index];
        if stalled.len() == STALLED_MAX {
            stalled.pop_front();
        }
        stalled.push_back(event);
        None
    }
}
