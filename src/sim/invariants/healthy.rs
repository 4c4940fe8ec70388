//! E5: a healthy primary that a quorum hears is neither deposed nor fenced.
//!
//! Healthy: for two election timeouts nothing was wrong with it, with a quorum of voters (itself included),
//! or with the links between them, nobody asked for a transfer, and it reigned all the time. The one thing
//! that may still depose it is an epoch that is older than that: one which a candidate raised, with a
//! quorum's pre-votes, while the primary was out of reach.

use super::found::Found;
use crate::sim::plan::Plan;
use crate::time::nanos;

#[derive(Debug)]
pub(in crate::sim) struct Healthy {
    /// How long everything must have been in order.
    pub(in crate::sim) window: u64,
}

impl Healthy {
    pub(in crate::sim) fn new(plan: &Plan) -> Self {
        Self { window: 2 * nanos(plan.setup.timeout) + 2 * plan.setup.delay }
    }

    /// A primary that was healthy for the window lost its office or its lease. `young`: no epoch above its own
    /// is older than the window.
    pub(in crate::sim) fn lost(&self, node: usize, why: &str, hearing: usize, young: bool) -> Found {
        young.then(|| {
            let text = format!("n{node} was healthy and heard by {hearing} voters, and was fenced: {why}");
            ("a healthy primary stays (E5)", text)
        })
    }
}
