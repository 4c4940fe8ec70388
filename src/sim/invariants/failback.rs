//! H18: a primary gives the office back to a member of higher priority, after it has had it for the delay and not before.

use super::found::{Check, Found, INVARIANTS};
use crate::time::{Duration, nanos};

/// Of the delay, what has to have gone by in real time: the node's clock may be fast, and the event is told a moment late.
const PERCENT: u64 = 80;

#[derive(Debug)]
pub(in crate::sim) struct Failbacks;

impl Failbacks {
    /// `node` has written for `reigned` nanoseconds of real time, and begins to give its office to `to`.
    pub(in crate::sim) fn on_begin(
        &self,
        (node, to): (usize, usize),
        priorities: &[u8],
        reigned: u64,
        delay: Duration,
    ) -> Found {
        let violated = |text| Some((INVARIANTS[Check::Failback as usize], text));
        let (ours, theirs) = (priorities[node], priorities[to]);
        if theirs <= ours {
            return violated(format!(
                "n{node} of priority {ours} gives its office back to n{to} of {theirs}"
            ));
        }
        let least = nanos(delay) / 100 * PERCENT;
        if reigned < least {
            return violated(format!(
                "n{node} has written for {reigned} ns, and gives its office back before {least}"
            ));
        }
        None
    }
}
