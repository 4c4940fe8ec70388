//! What a run, or many of them, did.

use std::collections::BTreeMap;

/// Counts. Those of many runs add up with [`Stats::add`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Runs.
    pub runs: u64,
    /// Events taken from the queue.
    pub events: u64,
    /// Inputs handed to electors.
    pub steps: u64,
    /// Messages handed to electors.
    pub messages: u64,
    /// Messages lost in storms.
    pub lost: u64,
    /// Messages duplicated in storms.
    pub duplicated: u64,
    /// Connections refused.
    pub refused: u64,
    /// Writes that passed a gate.
    pub writes: u64,
    /// How often each invariant was checked, in the order of [`crate::sim::INVARIANTS`].
    pub(crate) checks: [u64; super::invariants::INVARIANTS.len()],
    /// Changes of a node's role.
    pub role_changes: u64,
    /// Campaigns that ended.
    pub campaigns: u64,
    /// Promotions.
    pub promoted: u64,
    /// Nodes admitted as voters.
    pub admitted: u64,
    /// Nodes without an id that believed a liar's.
    pub misled: u64,
    /// Healthy primaries that an epoch from before their recovery deposed.
    pub deposed_by_old_epoch: u64,
    /// Runs in which lost copies left nobody who may be elected under `dominate`.
    pub stuck_by_policy: u64,
    /// Answers that left a server while another one might write: only without a watchdog.
    pub answered_late: u64,
    /// Replicas that joined a primary's history by going on in it.
    pub continued: u64,
    /// Replicas that joined by a copy.
    pub copied: u64,
    /// Simulated time, in nanoseconds.
    pub virtual_ns: u64,
    /// Faults that came, by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Runs by the time they took to settle after the heal, in tenths of an election timeout.
    pub settled: BTreeMap<u64, u64>,
}

impl Stats {
    /// How often each invariant was checked, in the order of [`crate::sim::INVARIANTS`].
    pub fn checks(&self) -> &[u64] {
        &self.checks
    }

    /// Notes a settled run.
    pub(super) fn settled(&mut self, took: u64, timeout: u64) {
        *self.settled.entry(took * 10 / timeout.max(1)).or_default() += 1;
    }

    /// Notes a replica that joined its primary.
    pub(super) fn joined(&mut self, continued: bool) {
        *if continued { &mut self.continued } else { &mut self.copied } += 1;
    }

    /// Adds the counts of other runs.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.runs, other.runs),
            (&mut self.events, other.events),
            (&mut self.steps, other.steps),
            (&mut self.messages, other.messages),
            (&mut self.lost, other.lost),
            (&mut self.duplicated, other.duplicated),
            (&mut self.refused, other.refused),
            (&mut self.writes, other.writes),
            (&mut self.role_changes, other.role_changes),
            (&mut self.campaigns, other.campaigns),
            (&mut self.promoted, other.promoted),
            (&mut self.admitted, other.admitted),
            (&mut self.misled, other.misled),
            (&mut self.deposed_by_old_epoch, other.deposed_by_old_epoch),
            (&mut self.stuck_by_policy, other.stuck_by_policy),
            (&mut self.answered_late, other.answered_late),
            (&mut self.continued, other.continued),
            (&mut self.copied, other.copied),
            (&mut self.virtual_ns, other.virtual_ns),
        ] {
            *mine += theirs;
        }
        for (mine, theirs) in self.checks.iter_mut().zip(other.checks) {
            *mine += theirs;
        }
        for (name, count) in &other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        for (took, count) in &other.settled {
            *self.settled.entry(*took).or_default() += count;
        }
    }

    /// The time after which `percent` of the runs had settled, in tenths of an election timeout.
    pub fn settled_percentile(&self, percent: f64) -> u64 {
        let all: u64 = self.settled.values().sum();
        let wanted = (all as f64 * percent / 100.0).ceil() as u64;
        let mut seen = 0;
        for (took, count) in &self.settled {
            seen += count;
            if seen >= wanted {
                return *took;
            }
        }
        0
    }
}
