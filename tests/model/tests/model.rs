//! The short run of `cargo model`: the real elector holds, the wrong ones do not, and the abstraction is sound.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of a test that fails says where")]

use kevy_elect_model::{Action, Beats, Broken, Cluster, Start, World};
use kevy_elect_plugin::elector::Mutation;
use stateright::{Checker, Model};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

fn sparse(start: Start, depth: u32, crashes: u8) -> Cluster {
    Cluster { crashes, beats: Beats::Primaries, ..Cluster::new(start, depth) }
}

/// Explores, and wants every sentence to hold and at least so many states.
fn holds(cluster: Cluster, unique_min: usize) {
    let checker = cluster.checker().spawn_bfs().join();
    for &broken in Broken::ALL {
        if let Some(path) = checker.discovery(broken.as_str()) {
            panic!("{}:\n{}", broken.as_str(), cluster.trace(&path));
        }
    }
    let unique = checker.unique_state_count();
    assert!(unique >= unique_min, "{unique} states: the model has lost some of its actions");
}

/// A shortest path to what a mutation breaks, told to people.
fn caught(cluster: Cluster, mutation: Mutation, broken: Broken) -> String {
    let wrong = Cluster { mutation: Some(mutation), ..cluster };
    let path = wrong.shortest(broken).unwrap_or_else(|| panic!("{mutation:?} breaks nothing in {wrong:?}"));
    let trace = wrong.trace(&path);
    let actions = path.into_actions();
    assert_eq!(actions.len(), cluster.depth as usize, "{mutation:?} is caught at another depth:\n{trace}");
    assert!(trace.contains(&format!("BROKEN: {}", broken.as_str())), "{trace}");
    // The very same happens to the right elector without harm.
    let right = Cluster { mutation: None, ..cluster };
    let mut world = right.init_states().remove(0);
    for action in actions {
        let mut possible = Vec::new();
        right.actions(&world, &mut possible);
        if !possible.contains(&action) {
            break;
        }
        world = right.next_state(&world, action).unwrap();
        let whole =
            right.properties().iter().all(|p| p.name == right.elected() || (p.condition)(&right, &world));
        assert!(whole, "{world}");
    }
    trace
}

#[test]
fn a_settled_cluster_stays_safe_in_every_interleaving() {
    holds(Cluster::new(Start::Settled, 5), 3_000);
    holds(sparse(Start::Settled, 6, 1), 2_000);
}

#[test]
fn a_cluster_whose_primary_has_died_stays_safe_in_every_interleaving() {
    holds(sparse(Start::Crashed, 5, 1), 2_000);
}

#[test]
fn a_cluster_that_starts_stays_safe_in_every_interleaving() {
    holds(Cluster::new(Start::Cold, 4), 1_000);
    holds(sparse(Start::Cold, 5, 1), 3_000);
}

#[test]
fn a_lease_as_long_as_the_promise_outlasts_it_on_a_slow_clock() {
    let trace = caught(sparse(Start::Settled, 4, 0), Mutation::LeaseIsPromise, Broken::WriterWithoutQuorum);
    assert!(trace.contains("n0 primary e2 WRITES | n1 replica e2 | n2 replica e2\n"), "{trace}");
}

#[test]
fn a_vote_that_is_spoken_before_it_is_saved_is_caught() {
    let trace = caught(sparse(Start::Cold, 5, 0), Mutation::VoteNotPersisted, Broken::VoteNotDurable);
    assert!(trace.contains("saving"), "{trace}");
}

#[test]
fn a_restart_that_forgets_promises_leaves_a_writer_without_its_quorum() {
    let cluster = Cluster { beats: Beats::Primaries, ..Cluster::new(Start::Settled, 9) };
    // What lies around this path is left to `cargo model --mutation`; here the path itself is walked.
    let wrong = Cluster { mutation: Some(Mutation::PromiseForgottenOnRestart), ..cluster };
    let path = [
        Action::Tick,
        Action::Tick,
        Action::Wake(0),
        Action::Deliver { from: 0, to: 2, at: 0 },
        Action::Deliver { from: 2, to: 0, at: 0 },
        Action::Crash { node: 2, saved: false },
        Action::Restart(2),
        Action::Tick,
        Action::Tick,
    ];
    let walk = |cluster: &Cluster| {
        let start = cluster.init_states().remove(0);
        path.iter().fold(start, |world, action| {
            let mut possible = Vec::new();
            cluster.actions(&world, &mut possible);
            assert!(possible.contains(action), "{action:?} is not possible: {world}");
            cluster.next_state(&world, *action).unwrap()
        })
    };
    let bound = |cluster: &Cluster, world: &World| {
        let properties = cluster.properties();
        let sentence = Broken::WriterWithoutQuorum.as_str();
        let property = properties.iter().find(|property| property.name == sentence).unwrap();
        (property.condition)(cluster, world)
    };
    assert!(bound(&cluster, &walk(&cluster)));
    assert!(!bound(&wrong, &walk(&wrong)));
}

/// Two states that hash alike must go on alike, or the checker would skip what it has never seen. Random walks find
/// pairs that different actions led to; then both do the same for a while.
#[test]
fn what_looks_the_same_goes_on_the_same() {
    const WALKS: usize = 250;
    const STEPS: usize = 22;
    const TOGETHER: usize = 10;
    const PAIRS_MAX: usize = 500;

    let mut chance = 1_u64;
    let mut below = |bound: usize| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) as usize % bound
    };
    for cluster in
        [sparse(Start::Settled, 64, 1), sparse(Start::Settled, 64, 0), Cluster::new(Start::Cold, 64)]
    {
        let mut seen: HashMap<u64, (World, Vec<String>)> = HashMap::new();
        let (mut pairs, mut actions, mut others) = (0, Vec::new(), Vec::new());
        for _ in 0..WALKS {
            let mut world = cluster.init_states().remove(0);
            let mut path = Vec::new();
            for _ in 0..STEPS {
                actions.clear();
                cluster.actions(&world, &mut actions);
                let action = actions[below(actions.len())];
                world = cluster.next_state(&world, action).unwrap();
                path.push(format!("{action:?}"));
                path.sort();
                let (twin, its_path) =
                    seen.entry(digest(&world)).or_insert_with(|| (world.clone(), path.clone()));
                if *its_path == path || pairs == PAIRS_MAX {
                    continue;
                }
                pairs += 1;
                let (mut one, mut two) = (world.clone(), twin.clone());
                for _ in 0..TOGETHER {
                    actions.clear();
                    others.clear();
                    cluster.actions(&one, &mut actions);
                    cluster.actions(&two, &mut others);
                    assert_eq!(actions, others, "\n{one}\n{two}");
                    let action = actions[below(actions.len())];
                    one = cluster.next_state(&one, action).unwrap();
                    two = cluster.next_state(&two, action).unwrap();
                    assert_eq!(digest(&one), digest(&two), "{action:?} tells apart\n{one}\n{two}");
                }
            }
        }
        assert!(pairs > 100, "only {pairs} pairs were found");
    }
}

fn digest(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}
