//! At most one primary per epoch, over 200 seeds of 200 random steps each, and the same run twice is the same
//! to the bit. The count is this file's own; the invariants of the simulator are watched too.
#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of a test that fails says where")]

use kevy_elect_plugin::ids::{Epoch, NodeId};
use kevy_elect_plugin::message::Role;
use kevy_elect_plugin::sim::Cluster;
use kevy_elect_plugin::time::Duration;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

const SEEDS: u64 = 200;
const STEPS: usize = 200;

/// What a run came to: everything anybody said, and the primaries seen.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    trace: u64,
    primaries: BTreeMap<Epoch, NodeId>,
    elections: usize,
}

fn run(seed: u64) -> Run {
    let nodes = if seed.is_multiple_of(2) { 3 } else { 5 };
    let ids: Vec<_> = (1..=nodes).map(|n| NodeId::new(&format!("n{n}")).unwrap()).collect();
    let mut cluster = Cluster::new(seed, ids.iter().map(|id| (*id, Role::Replica)));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut down = Vec::new();
    let mut primaries = BTreeMap::new();
    cluster.run_for(Duration::from_millis(500));
    for step in 0..STEPS {
        let mut node = ids[random.usize(0..nodes)];
        if random.bool() {
            node = cluster.current_primary().unwrap_or(node);
        }
        match random.u8(0..12) {
            0 if down.len() < nodes / 2 && !down.contains(&node) => {
                cluster.kill_node(node);
                down.push(node);
            }
            1 | 2 => {
                if let Some(node) = down.pop() {
                    cluster.revive_node(node);
                }
            }
            3 => {
                let side: Vec<_> = ids.iter().filter(|_| random.bool()).copied().collect();
                cluster.partition(&side);
            }
            4 | 5 => cluster.heal_partition(),
            6 => cluster.set_link(node, ids[random.usize(0..nodes)], random.bool()),
            _ => {}
        }
        cluster.run_for(Duration::from_millis(random.u64(10..150)));
        for id in &ids {
            if matches!(cluster.role(*id), Some(Role::Primary | Role::Promoting)) {
                let epoch = cluster.epoch(*id).unwrap();
                let first = *primaries.entry(epoch).or_insert(*id);
                assert_eq!(first, *id, "seed {seed}, step {step}: two primaries of epoch {epoch}");
            }
        }
        assert_eq!(cluster.violation(), None, "seed {seed}, step {step}");
    }
    let mut hasher = DefaultHasher::new();
    cluster.trace().hash(&mut hasher);
    Run { trace: hasher.finish(), elections: primaries.len(), primaries }
}

#[test]
fn one_primary_per_epoch_over_200_seeds_of_200_steps_and_the_same_twice() {
    let twice = |seed| {
        let first = run(seed);
        assert_eq!(first, run(seed), "seed {seed} gave two different runs");
        first.elections
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let elections: usize = std::thread::scope(|scope| {
        let share = |first: usize| {
            scope.spawn(move || (first as u64..SEEDS).step_by(threads).map(twice).sum::<usize>())
        };
        let shares: Vec<_> = (0..threads).map(share).collect();
        shares.into_iter().map(|share| share.join().unwrap()).sum()
    });
    assert!(elections > 5 * SEEDS as usize, "too quiet: {elections} elections");
    println!("{SEEDS} seeds of {STEPS} steps, twice: {elections} elections");
}
