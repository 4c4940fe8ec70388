//! What both worlds have of a run: the plan, the time, the servers, the judge's memory, and what is told of it.

use super::impairments::Active;
use super::invariants::{Found, Invariants, Violation};
use super::plan::Plan;
use super::rng::Rng;
use super::server::Server;
use super::stats::Stats;
use crate::identity::Identity;
use crate::ids::{Epoch, Incarnation, NodeId};
use crate::message::Standing;
use crate::pause::Pause;
use crate::position::{Position, Progress};
use crate::state::HardState;
use crate::time::Duration;

/// What the others promise by themselves while a member lies.
const BESIDE_LIES: [&str; 7] = [
    "one vote per epoch (E2)",
    "vote durable before spoken (E3)",
    "epochs only grow (E4)",
    "settles after the heal (E6)",
    "fence before resignation (F2)",
    "no single node moves another one far (E10)",
    "an id that is settled stays (I3)",
];

/// What waits until epochs have come together: a healthy primary steps towards the highest.
const BESIDE_EPOCHS_APART: [&str; 1] = ["a healthy primary stays (E5)"];

pub(super) struct Run {
    pub(super) plan: Plan,
    pub(super) ids: Vec<NodeId>,
    /// Real time since the beginning, in nanoseconds.
    pub(super) now: u64,
    pub(super) rng: Rng,
    /// For each node that reigns: by whom it counts, and by whom it did before.
    pub(super) lists: Vec<[Vec<usize>; 2]>,
    /// One for each node. Without a model of their own hosts (`stack::run_hosts`) they do nothing.
    pub(super) servers: Vec<Server>,
    pub(super) invariants: Invariants,
    pub(super) stats: Stats,
    /// What happened, in words; kept only where somebody wants to read it.
    pub(super) trace: Option<Vec<String>>,
    /// A number that differs where two runs differ.
    pub(super) fingerprint: u64,
    pub(super) violation: Option<Violation>,
    pub(super) active: Vec<Active>,
    pub(super) healed: bool,
    /// The newest order that elections pause. A message may still have it when nobody has.
    pub(super) paused: Option<Pause>,
    pub(super) settled: Option<u64>,
    /// What the primary had when all had joined it: settled is who has that.
    pub(super) settling: Option<(usize, Epoch, super::data::Offsets)>,
    /// Where the run ends.
    pub(super) end: u64,
}

impl Run {
    pub(super) fn new(plan: Plan, ids: Vec<NodeId>, rng: Rng, traced: bool) -> Self {
        Self {
            lists: vec![[Vec::new(), Vec::new()]; ids.len()],
            servers: (0..ids.len()).map(|node| Server::new(&plan, node)).collect(),
            invariants: Invariants::new(&plan),
            active: vec![Active::default(); plan.faults.len()],
            plan,
            ids,
            now: 0,
            rng,
            stats: Stats::default(),
            trace: traced.then(Vec::new),
            fingerprint: 0xcbf2_9ce4_8422_2325,
            violation: None,
            healed: false,
            paused: None,
            settled: None,
            settling: None,
            end: u64::MAX,
        }
    }

    pub(super) fn number(&self, id: NodeId) -> Option<usize> {
        self.ids.iter().position(|other| *other == id)
    }

    pub(super) fn quorum(&self) -> usize {
        self.plan.setup.voters() / 2 + 1
    }

    /// The numbers of the voters.
    pub(super) fn voters(&self) -> std::ops::Range<usize> {
        0..self.plan.setup.voters()
    }

    pub(super) fn log(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>12.6} ms  {}", self.now as f64 / 1e6, line()));
        }
    }

    pub(super) fn violate(&mut self, invariant: &'static str, text: String) {
        if self.violation.is_none() {
            self.log(|| format!("VIOLATION of {invariant}: {text}"));
            self.violation = Some(Violation { invariant, at: self.now, text });
        }
    }

    pub(super) fn take(&mut self, found: Found) {
        if let Some((invariant, text)) = found
            && self.promises(invariant)
        {
            self.violate(invariant, text);
        }
    }

    /// Whether an invariant is promised in this run.
    fn promises(&self, invariant: &str) -> bool {
        let setup = &self.plan.setup;
        // Lies make up quorums, and promises and positions that nobody has.
        !setup.lies && (setup.epochs.is_empty() || !BESIDE_EPOCHS_APART.contains(&invariant))
            || setup.lies && BESIDE_LIES.contains(&invariant)
    }

    pub(super) fn mix(&mut self, value: u64) {
        self.fingerprint = (self.fingerprint ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }
}

/// What a member has on its disk where the run does not begin with a new cluster.
pub(super) fn member_in(epoch: Epoch, identity: Option<Identity>) -> HardState {
    HardState {
        identity,
        members: None,
        promise: Duration::from_secs(1),
        pause: None,
        floor: Progress::NONE,
        epoch,
        voted_for: None,
        standing: Standing::Member,
        incarnation: Incarnation(1),
        position: Position::NONE,
    }
}
