//! How fast simulated clusters run: `cargo bench --features sim --bench sim`. An item is a step of a node (with the whole
//! stack: a poll of a driver), so the throughput is node-steps per second on one core.

use divan::counter::ItemsCount;
use divan::{Bencher, Divan};
use kevy_elect_plugin::sim::{Outcome, Plan, Profile, run, stack};

/// One seed, so that every sample does the same work.
const SEED: u64 = 1;
const NODES: [usize; 3] = [3, 5, 7];
const PROFILES: [&str; 2] = ["calm", "chaos"];

fn main() {
    Divan::default().config_with_args().main();
}

/// The elector alone.
#[divan::bench(args = PROFILES, consts = NODES)]
fn elector<const NODES: usize>(bencher: Bencher<'_, '_>, profile: &str) {
    measure(bencher, NODES, profile, |plan| run(plan, false));
}

/// Plugin, driver and in-memory transport too.
#[divan::bench(args = PROFILES, consts = NODES)]
fn whole_stack<const NODES: usize>(bencher: Bencher<'_, '_>, profile: &str) {
    measure(bencher, NODES, profile, |plan| stack::run(plan, false));
}

fn measure(bencher: Bencher<'_, '_>, nodes: usize, profile: &str, run: impl Fn(&Plan) -> Outcome + Sync) {
    let Some(profile) = Profile::named(profile) else { unreachable!("{profile} is built in") };
    let plan = Plan::draw(SEED, nodes, profile);
    let steps = run(&plan).stats.steps;
    bencher.counter(ItemsCount::new(steps)).bench(|| run(&plan));
}
