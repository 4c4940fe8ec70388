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
mod impairments;
mod invariants;
mod judge;
mod lies;
mod note;
mod outcome;
mod plan;
mod profile;
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
pub use outcome::Outcome;
pub use plan::{Plan, Setup, Timing};
pub use profile::{PROFILES, Profile};
pub use server_mutation::ServerMutation;
pub use stats::Stats;

use outcome::{numbered, shrink_with};
use world::World;

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
