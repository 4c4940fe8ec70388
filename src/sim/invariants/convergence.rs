//! E6: after all faults have healed there is one writable primary, and everybody has joined it, within a
//! bound that follows from the configuration.
//!
//! The bound is [`Bounds::settled`], and what hosts, disks and the network of the plan take. A host that had just begun to
//! hang costs its promotion time.
//!
//! Who had no id and believed a liar's waits for an operator (I4). Here he comes as soon as the liar has gone.

use super::found::Found;
use crate::bounds::Bounds;
use crate::sim::clock::MS;
use crate::sim::fault::FaultKind;
use crate::sim::plan::{Plan, STEPS_APART};
use crate::time::nanos;

/// How long a process is refused after a newer one of its id, and dials again.
const STALE: u64 = 2_500 * MS;

#[derive(Debug)]
pub(in crate::sim) struct Convergence {
    pub(in crate::sim) bound: u64,
    /// The same without what faults leave behind, and without copies: how long an election takes.
    pub(in crate::sim) election: u64,
    /// How long after a storm frames that it delayed may still come in.
    pub(in crate::sim) residue: u64,
}

impl Convergence {
    pub(in crate::sim) fn new(plan: &Plan) -> Self {
        let setup = &plan.setup;
        // Without drift: the rest below is on slow clocks, too.
        let settled = nanos(Bounds::new(setup.heartbeat, setup.timeout, 0.0, setup.members()).settled);
        // What a storm delayed, and what a slow host was at, ends after the heal.
        let residue = plan.faults.iter().map(|fault| match fault.kind {
            // Storms overlap, and what they delay adds up.
            FaultKind::Storm { delay_ms, .. } => delay_ms * MS,
            FaultKind::SlowHost { ms } => ms * MS,
            // Its peers still refuse the one that was there before (T14).
            FaultKind::Twin { .. } => STALE,
            _ => 0,
        });
        let residue: u64 = residue.sum();
        // Nodes that did not hear each other were led on by turns, and come together at the pace at which they were.
        let steps = match (setup.lies, setup.epochs.is_empty()) {
            (true, _) => plan.heal_at / nanos(setup.timeout) + 3,
            (_, false) => STEPS_APART + 3,
            _ => 0,
        };
        let residue = residue + steps * nanos(setup.timeout);
        // A stream that stands still is noticed, and what is missing is copied.
        let copies = if setup.habits.is_some() { 2_500 * MS + 4 * setup.host + 10 * setup.delay } else { 0 };
        let work = copies + 4 * setup.host + 12 * setup.late + 20 * setup.delay + 10 * setup.save + 300 * MS;
        let real = settled + residue + work;
        let election = real - residue - copies;
        // All of it on clocks that may be slow.
        let percent = (setup.drift_percent * 10.0) as u64;
        let slow = |real: u64| real + real * percent / 1000;
        Self { bound: slow(real), election: slow(election), residue }
    }

    pub(in crate::sim) fn waited(&self, waited: u64, state: impl FnOnce() -> String) -> Found {
        (waited > self.bound).then(|| {
            let text = format!("{} ms after the heal: {}", waited / MS, state());
            ("settles after the heal (E6)", text)
        })
    }
}
