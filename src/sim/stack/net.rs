//! The network: the real [`MemoryNetwork`] for the electors, a small one beside it for the servers' data.

use super::event::Event;
use crate::clock::ManualClock;
use crate::ids::NodeId;
use crate::sim::clock::MS;
use crate::sim::plan::Plan;
use crate::sim::rng::Rng;
use crate::time::Duration;
use crate::time::nanos;
use crate::transport::MemoryNetwork;
use std::collections::VecDeque;

/// The share of messages that may overtake others, where the plan has them out of order.
const REORDER: f64 = 0.5;
/// The longest pause between two attempts to dial, with its jitter (T16), and what connecting takes.
const REDIAL_MAX: u64 = 330 * MS;

pub(super) struct Net {
    /// What carries the electors' messages.
    pub(super) electors: MemoryNetwork,
    nodes: usize,
    /// The longest delay without a storm.
    pub(super) delay: u64,
    /// Per direction: how many faults cut it.
    pub(super) cut: Vec<u16>,
    /// Per direction: how many firewalls refuse it.
    pub(super) refused: Vec<u16>,
    /// Lost and duplicated, in a thousand, and the longest delay.
    pub(super) storms: Vec<(u64, u64, u64)>,
    /// Replication that waits behind a cut, per direction.
    pub(super) stalled: Vec<VecDeque<Event>>,
    /// Per direction: when something was last not in order.
    pub(super) disturbed: Vec<u64>,
    /// How long what storms delayed may be under way.
    pub(super) residue: u64,
}

impl Net {
    pub(super) fn new(plan: &Plan, real: &ManualClock, ids: &[NodeId]) -> Self {
        let nodes = ids.len();
        let mut rng = Rng::new(plan.seed, 4);
        let timeout = nanos(plan.setup.timeout);
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

    pub(super) fn index(&self, from: usize, to: usize) -> usize {
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

    /// Sets the conditions to what all storms together make of them.
    pub(super) fn set_weather(&mut self) {
        let through = |share: fn(&(u64, u64, u64)) -> u64, storms: &[(u64, u64, u64)]| {
            1.0 - storms.iter().map(|storm| 1.0 - share(storm) as f64 / 1000.0).product::<f64>()
        };
        let longest: u64 = self.delay + self.storms.iter().map(|(_, _, delay)| delay).sum::<u64>();
        self.electors.set_loss(through(|(loss, ..)| *loss, &self.storms));
        self.electors.set_duplicate(through(|(_, duplication, _)| *duplication, &self.storms));
        self.electors.set_delay(Duration::from_nanos(self.delay / 8), Duration::from_nanos(longest));
    }
}
