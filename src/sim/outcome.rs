//! What a run came to, and how a plan that ends badly is made smaller.

use super::invariants::Violation;
use super::plan::Plan;
use super::stats::Stats;
use crate::ids::NodeId;

/// What a run came to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Outcome {
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
    /// Time from the heal to one writable primary whom everybody has joined, in nanoseconds.
    pub settled: Option<u64>,
    /// What was done.
    pub stats: Stats,
    /// A number that differs where two runs differ.
    pub fingerprint: u64,
    /// What happened, line by line, where it was asked for.
    pub trace: Vec<String>,
}

/// Leaves out faults, and shortens them, as long as the same invariant is still violated.
pub(super) fn shrink_with(plan: &Plan, run: impl Fn(&Plan) -> Outcome) -> Plan {
    let Some(wanted) = run(plan).violation else { return plan.clone() };
    let still = |plan: &Plan| run(plan).violation.is_some_and(|v| v.invariant == wanted.invariant);
    let mut best = plan.clone();
    let mut size = best.faults.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        while at < best.faults.len() {
            let mut smaller = best.clone();
            let end = (at + size).min(smaller.faults.len());
            smaller.faults.drain(at..end);
            if still(&smaller) { best = smaller } else { at += size }
        }
        if size == 1 {
            return best;
        }
        size = size.div_ceil(2).min(size - 1).max(1);
    }
}

pub(super) fn numbered(nodes: usize) -> Vec<NodeId> {
    (0..nodes).filter_map(|node| NodeId::new(&format!("n{node:02}")).ok()).collect()
}
