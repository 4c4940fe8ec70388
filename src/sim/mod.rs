//! A simulator: whole clusters on virtual time, with everything that can go wrong going wrong.
//!
//! One seed draws everything: the cluster's configuration, the faults, the network's delays, the clients'
//! writes. Time jumps from event to event, so a minute of a cluster's life takes a fraction of a millisecond
//! per node. The same seed gives the same run on every machine; a violation is replayed by its seed alone.
//!
//! [`run`] is one run of a [`Plan`]; [`shrink`] leaves out what a violation does not need; [`Cluster`] is a
//! cluster to drive by hand. The code under test there is the elector; [`stack`] runs the same plans with the real
//! plugin, driver and in-memory transport, and with hosts of your own. `cargo sim` runs many seeds.

mod clock;
mod cluster;
mod data;
mod fault;
mod habits;
mod ills;
mod invariants;
mod judge;
mod note;
mod plan;
mod rng;
mod run;
mod server;
mod server_mutation;
pub mod stack;
mod stats;
mod world;

pub use crate::driver::DriverMutation;
pub use crate::elector::Mutation;
pub use cluster::Cluster;
pub use fault::{Fault, FaultKind, Loss, Target};
pub use habits::{Fsync, Habits};
pub use invariants::{INVARIANTS, Violation};
pub use note::{Note, What};
pub use plan::{PROFILES, Plan, Profile, Setup};
pub use server_mutation::ServerMutation;
pub use stats::Stats;

use crate::ids::NodeId;
use crate::time::nanos as data_nanos;
use world::World;

/// What a run came to.
#[derive(Debug, Clone)]
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

/// Runs a plan to its end, or to the first violation.
pub fn run(plan: &Plan, traced: bool) -> Outcome {
    let mut world = World::new(plan.clone(), numbered(plan.setup.members()), traced);
    world.run();
    world.run.stats.runs = 1;
    Outcome {
        violation: world.run.violation,
        settled: world.run.settled.map(|at| at - plan.heal_at),
        stats: world.run.stats,
        fingerprint: world.run.fingerprint,
        trace: world.run.trace.unwrap_or_default(),
    }
}

/// Leaves out faults, and shortens them, as long as the same invariant is still violated.
pub fn shrink(plan: &Plan) -> Plan {
    shrink_with(plan, |plan| run(plan, false))
}

fn shrink_with(plan: &Plan, run: impl Fn(&Plan) -> Outcome) -> Plan {
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

fn numbered(nodes: usize) -> Vec<NodeId> {
    (0..nodes).filter_map(|node| NodeId::new(&format!("n{node:02}")).ok()).collect()
}
