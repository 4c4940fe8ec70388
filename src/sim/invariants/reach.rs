//! E10, E11: no single node moves the others' epochs far. Elections count one by one, so within a run the highest epoch grows by
//! next to nothing but the budget that each election timeout brings.

use super::found::Found;
use crate::ids::{EPOCH_STEP_MAX, Epoch};
use crate::sim::plan::Plan;
use crate::time::nanos;

/// What elections, and claims that are near, may add in a run.
const COUNTED_MAX: u64 = EPOCH_STEP_MAX / 8;

#[derive(Debug)]
pub(in crate::sim) struct Reach {
    /// The highest epoch that anybody began with.
    first: u64,
    /// An election timeout on the fastest clock.
    timeout: u64,
    /// The highest epoch that was in order until then.
    until: u64,
    most: u64,
    /// What was claimed by hand, by whom.
    claims: Vec<(usize, u64)>,
}

impl Reach {
    pub(in crate::sim) fn new(plan: &Plan) -> Self {
        let setup = &plan.setup;
        let first = setup.epochs.iter().max().map_or(0, |epoch| epoch.0);
        let timeout = nanos(setup.timeout.mul_f64(1.0 - setup.drift_percent / 100.0)).max(1);
        Self { first, timeout, until: 0, most: first + COUNTED_MAX, claims: Vec::new() }
    }

    /// Somebody who drives the run by hand has a voter claim this: if a quorum does, it is no single node's.
    pub(in crate::sim) fn claimed(&mut self, voter: usize, epoch: Epoch, quorum: usize) {
        self.claims.retain(|(of, _)| *of != voter);
        self.claims.push((voter, epoch.0));
        self.claims.sort_unstable_by_key(|(_, epoch)| std::cmp::Reverse(*epoch));
        if let Some((_, epoch)) = self.claims.get(quorum - 1) {
            (self.first, self.until) = (self.first.max(*epoch), 0);
        }
    }

    pub(in crate::sim) fn on_epoch(&mut self, node: usize, epoch: Epoch, now: u64) -> Found {
        if now >= self.until {
            // The first timeout brings nothing; each later one a step.
            let timeouts = now / self.timeout;
            self.until = (timeouts + 1) * self.timeout;
            self.most = self.first + timeouts * EPOCH_STEP_MAX + COUNTED_MAX;
        }
        (epoch.0 > self.most).then(|| {
            let text =
                format!("n{node} is in epoch {epoch}; elections and steps lead to {} at most", self.most);
            ("no single node moves another one far (E10)", text)
        })
    }
}
