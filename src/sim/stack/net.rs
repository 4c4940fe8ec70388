//! The network: the real [`MemoryNetwork`] for the electors, a small one beside it for the servers' data.

use super::state::{Event, State};
use crate::clock::ManualClock;
use crate::ids::NodeId;
use crate::sim::clock::MS;
use crate::sim::data_nanos;
use crate::sim::plan::Plan;
use crate::sim::rng::Rng;
use crate::sim::server::Payload;
use crate::time::Duration;
use crate::transport::MemoryNetwork;
use std::collections::VecDeque;

/// The most frames of replication that wait behind a cut, per direction.
const STALLED_MAX: usize = 64;
/// The share of messages that may overtake others, where the plan has them out of order.
const REORDER: f64 = 0.5;
/// The longest pause between two attempts to dial, with its jitter (T16), and what connecting takes.
const REDIAL_MAX: u64 = 330 * MS;

pub(super) struct Net {
    /// What carries the electors' messages.
    pub(super) electors: MemoryNetwork,
    nodes: usize,
    /// The longest delay without a storm.
    delay: u64,
    /// Per direction: how many faults cut it.
    cut: Vec<u16>,
    /// Per direction: how many firewalls refuse it.
    refused: Vec<u16>,
    /// Lost and duplicated, in a thousand, and the longest delay.
    storms: Vec<(u64, u64, u64)>,
    /// Replication that waits behind a cut, per direction.
    stalled: Vec<VecDeque<Event>>,
    /// Per direction: when something was last not in order.
    disturbed: Vec<u64>,
    /// How long what storms delayed may be under way.
    residue: u64,
}

impl Net {
    pub(super) fn new(plan: &Plan, real: &ManualClock, ids: &[NodeId]) -> Self {
        let nodes = ids.len();
        let mut rng = Rng::new(plan.seed, 4);
        let timeout = data_nanos(plan.setup.timeout);
        let electors = MemoryNetwork::builder(real.clone(), rng.next(), ids.iter().copied())
            .delay(Duration::from_nanos(plan.setup.delay / 8), Duration::from_nanos(plan.setup.delay))
            .reorder(if plan.setup.unordered { REORDER } else { 0.0 })
            .link_timeout(Duration::from_nanos(rng.between(timeout / 2, 2 * timeout)))
            .build();
        Self {
            electors,
            nodes,
            delay: plan.setup.delay,
            cut: vec![0; nodes * nodes],
            refused: vec![0; nodes * nodes],
            storms: Vec::new(),
            stalled: (0..nodes * nodes).map(|_| VecDeque::new()).collect(),
            disturbed: vec![0; nodes * nodes],
            residue: crate::sim::invariants::convergence::Convergence::new(plan).residue,
        }
    }

    /// What this network takes longer to be in order again than the one of `super::super::world`: a pause
    /// between attempts to dial, and an attempt that began in a storm and takes its delay there and back.
    pub(super) fn heal_time(&self) -> u64 {
        REDIAL_MAX + 2 * self.residue + 4 * self.delay
    }

    fn index(&self, from: usize, to: usize) -> usize {
        from * self.nodes + to
    }

    /// Nothing was wrong between the two, in both directions, since then.
    pub(super) fn well(&self, a: usize, b: usize, since: u64) -> bool {
        [(a, b), (b, a)].iter().all(|(from, to)| {
            let index = self.index(*from, *to);
            self.cut[index] == 0 && self.refused[index] == 0 && self.disturbed[index] <= since
        })
    }

    pub(super) fn calm(&self) -> bool {
        self.storms.is_empty()
    }

    /// Makes the weather what all storms together make of it.
    fn set_weather(&mut self) {
        let through = |share: fn(&(u64, u64, u64)) -> u64, storms: &[(u64, u64, u64)]| {
            1.0 - storms.iter().map(|storm| 1.0 - share(storm) as f64 / 1000.0).product::<f64>()
        };
        let longest: u64 = self.delay + self.storms.iter().map(|(_, _, delay)| delay).sum::<u64>();
        self.electors.set_loss(through(|(loss, ..)| *loss, &self.storms));
        self.electors.set_duplicate(through(|(_, duplication, _)| *duplication, &self.storms));
        self.electors.set_delay(Duration::from_nanos(self.delay / 8), Duration::from_nanos(longest));
    }
}

impl State {
    pub(super) fn storm_begins(&mut self, storm: (u64, u64, u64)) {
        self.net.storms.push(storm);
        self.net.set_weather();
        let now = self.now();
        self.net.disturbed.fill(now);
    }

    pub(super) fn storm_ends(&mut self, storm: (u64, u64, u64)) {
        if let Some(at) = self.net.storms.iter().position(|other| *other == storm) {
            self.net.storms.remove(at);
        }
        self.net.set_weather();
        // What is under way was delayed as well, and what queues up behind it.
        let until = self.now() + self.net.residue;
        self.net.disturbed.fill(until);
    }

    /// Something is wrong, or was until now, from one node to another.
    fn disturb(&mut self, from: usize, to: usize) {
        let (index, now) = (self.net.index(from, to), self.now());
        self.net.disturbed[index] = self.net.disturbed[index].max(now);
    }

    /// A link went up or down.
    pub(super) fn disturb_link(&mut self, node: usize, peer: NodeId) {
        if let Some(peer) = self.number(peer) {
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
            match self.rng.chance(700) {
                true => self.net.electors.cut_queued(self.ids[from], self.ids[to]),
                false => self.net.electors.cut(self.ids[from], self.ids[to]),
            }
        }
    }

    pub(super) fn heal(&mut self, from: usize, to: usize) {
        self.disturb(from, to);
        let index = self.net.index(from, to);
        self.net.cut[index] -= 1;
        if self.net.cut[index] == 0 {
            self.net.electors.heal(self.ids[from], self.ids[to]);
            for event in std::mem::take(&mut self.net.stalled[index]) {
                let at = self.now() + self.rng.below(30 * MS);
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
            self.net.electors.refuse(self.ids[from], self.ids[to]);
            return;
        }
        self.net.refused[index] -= 1;
        if self.net.refused[index] == 0 {
            self.net.electors.accept(self.ids[from], self.ids[to]);
        }
    }

    /// The links between two nodes break within that time, at both ends or at the first one alone.
    pub(super) fn reset_within(&mut self, node: usize, peer: usize, within: u64, seen: bool) {
        let at = self.now() + self.rng.below(within);
        self.push(at, Event::Reset { node, peer, seen });
    }

    pub(super) fn on_reset(&mut self, node: usize, peer: usize, seen: bool) {
        self.disturb(node, peer);
        self.disturb(peer, node);
        let (node, peer) = (self.ids[node], self.ids[peer]);
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
        let mut delay = self.rng.between(self.net.delay / 8, self.net.delay);
        for storm in 0..self.net.storms.len() {
            let (loss, _, delay_max) = self.net.storms[storm];
            if self.rng.chance(loss) {
                return;
            }
            delay += self.rng.below(delay_max);
        }
        let life = self.nodes[to].life;
        self.push(self.now() + delay, Event::Data { from, to, life, payload });
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
