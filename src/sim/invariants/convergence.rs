//! E6: after all faults have healed there is one writable primary, and everybody has joined it, within a
//! bound that follows from the configuration.
//!
//! The bound is [`Bounds::settled`], and what hosts, disks and the network of the plan take. A host that had just begun to
//! hang costs its promotion time.

use super::Found;
use crate::bounds::Bounds;
use crate::sim::clock::MS;
use crate::sim::data_nanos;
use crate::sim::fault::FaultKind;
use crate::sim::plan::Plan;

#[derive(Debug)]
pub(in crate::sim) struct Convergence {
    pub(in crate::sim) bound: u64,
    /// How long after a storm frames that it delayed may still come in.
    pub(in crate::sim) residue: u64,
}

impl Convergence {
    pub(in crate::sim) fn new(plan: &Plan) -> Self {
        let setup = &plan.setup;
        // Without drift: the rest below is on slow clocks, too.
        let settled = data_nanos(Bounds::new(setup.heartbeat, setup.timeout, 0.0, setup.members()).settled);
        // What a storm delayed, and what a slow host was at, ends after the heal.
        let residue = plan.faults.iter().map(|fault| match fault.kind {
            // Storms overlap, and what they delay adds up.
            FaultKind::Storm { delay_ms, .. } => delay_ms * MS,
            FaultKind::SlowHost { ms } => ms * MS,
            _ => 0,
        });
        let residue = residue.sum();
        let work = 4 * setup.host + 20 * setup.delay + 10 * setup.save + 300 * MS;
        let real = settled + residue + work;
        // All of it on clocks that may be slow.
        let percent = (setup.drift_percent * 10.0) as u64;
        Self { bound: real + real * percent / 1000, residue }
    }

    pub(in crate::sim) fn waited(&self, waited: u64, state: impl FnOnce() -> String) -> Found {
        (waited > self.bound).then(|| {
            let text = format!("{} ms after the heal: {}", waited / MS, state());
            ("settles after the heal (E6)", text)
        })
    }
}
