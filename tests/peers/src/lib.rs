//! Two electors in one world: this project's and kevy-elect 7.0.0's, under the same seeded faults.
//!
//! One seed draws a [`Plan`]: the faults and when they come. [`run`] plays it for one [`System`] on virtual time. Network,
//! crashes, data and judge are the same code for all systems; only what stands behind the `Node` trait differs, and that is
//! each project's real state machine. `docs/evidence/peers.md`, holds the counts.

mod event;
mod judge;
mod net;
mod node;
mod ours;
mod plan;
mod theirs;
mod timeline;
mod world;

pub use judge::{Verdict, Wrong};
pub use plan::{Fault, Kind, Plan, Shape, Target};
pub use timeline::{Line, What};

use kevy_elect_plugin::elector::Mutation;
use kevy_elect_plugin::words;
use node::Habits;
use world::World;

/// How often every node speaks to every other: kevy-elect's default.
pub const HEARTBEAT_MS: u64 = 200;
/// Silence after which a primary is given up: kevy-elect's default.
pub const TIMEOUT_MS: u64 = 5000;
/// How long kevy-elect is left without a tick, at most. It also ticks after every message, as its own transport does.
pub const TICK_MS: u64 = 20;
/// How long after the heal it is looked whether there is a primary.
pub const PATIENCE_MS: u64 = 60_000;

words! {
    /// What is under test.
    pub enum System {
        /// This project's elector.
        Plugin = "plugin" => "this plugin",
        /// kevy-elect, set up as kevy 7 does it: with its vote file, every process starting as a replica.
        Kevy = "kevy" => "kevy-elect 7.0.0",
        /// kevy-elect as its own documentation sets it up by default: nothing survives a restart.
        KevyForgets = "kevy-forgets" => "kevy-elect 7.0.0, no vote file",
    }
}

/// Plays the plan. With `traced`, [`Verdict::timeline`] tells what happened.
pub fn run(plan: &Plan, system: System, traced: bool) -> Verdict {
    let habits = Habits { keeps_votes: system != System::KevyForgets, mutation: None };
    match system {
        System::Plugin => World::<ours::Ours>::new(plan, habits, traced).run(),
        System::Kevy | System::KevyForgets => World::<theirs::Theirs>::new(plan, habits, traced).run(),
    }
}

/// Plays the plan for this project's elector, made wrong on purpose: the judge has to see that too.
pub fn run_wrong(plan: &Plan, mutation: Mutation) -> Verdict {
    let habits = Habits { keeps_votes: true, mutation: Some(mutation) };
    World::<ours::Ours>::new(plan, habits, false).run()
}

/// Leaves out faults as long as the run still shows the same wrong, until every one that is left is needed.
pub fn shrink(plan: &Plan, system: System, wrong: Wrong) -> Plan {
    let mut best = plan.clone();
    loop {
        let faults = best.faults.len();
        for place in (0..faults).rev() {
            let mut smaller = best.clone();
            smaller.faults.remove(place);
            if run(&smaller, system, false).shows(wrong) {
                best = smaller;
            }
        }
        if best.faults.len() == faults {
            return best;
        }
    }
}
