//! The short run of `cargo peers`: this elector shows none of it, kevy-elect shows all of it, and a wrong one is caught.

#![allow(clippy::panic, reason = "a helper of a test that fails says where")]

use kevy_elect_peers::{Fault, Kind, Plan, Shape, System, Target, Wrong, run, run_wrong, shrink};
use kevy_elect_plugin::elector::Mutation;

const SEEDS: u64 = 150;
const MS: u64 = 1_000_000;

/// A run of three nodes whose first primary is the second one.
fn plan(faults: &[Fault]) -> Plan {
    Plan { seed: 1, nodes: 3, first: 1, delay: 2 * MS, faults: faults.to_vec(), heal_at: 60_000 * MS }
}

fn primary_suffers(lasts_ms: u64, kind: Kind) -> Fault {
    let target = Target { node: 0, primary: true };
    Fault { at: 20_000 * MS, lasts: lasts_ms * MS, target, kind }
}

#[test]
fn the_plugin_shows_none_of_it() {
    for seed in 0..SEEDS {
        for nodes in [3, 5] {
            let verdict = run(&Plan::draw(seed, nodes), System::Plugin, false);
            assert!(!verdict.is_bad(), "{nodes} nodes, seed {seed}: {verdict:?}");
            assert!(verdict.promotions > 0, "{nodes} nodes, seed {seed}: who elects nobody errs never");
        }
    }
}

#[test]
fn kevy_elect_shows_each_of_it_with_its_vote_file_and_without() {
    let kept = [(Wrong::TwoInOneEpoch, 59), (Wrong::TwoWriters, 11), (Wrong::NoneAfterHeal, 0)];
    for (wrong, seed) in kept {
        for system in [System::Kevy, System::KevyForgets] {
            let verdict = run(&Plan::draw(seed, 3), system, false);
            assert!(verdict.shows(wrong), "{} in seed {seed}: {verdict:?}", system.name());
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for &system in System::ALL {
        for seed in [0, 11, 59] {
            let plan = Plan::draw(seed, 5);
            let (one, other) = (run(&plan, system, true), run(&plan, system, true));
            assert_eq!(one, other);
            // To be looked at changes nothing.
            let unseen = run(&plan, system, false);
            assert!(!one.timeline.is_empty() && unseen.timeline.is_empty());
            assert_eq!(unseen, kevy_elect_peers::Verdict { timeline: Vec::new(), ..one });
        }
    }
}

#[test]
fn without_a_fault_every_system_has_one_primary_all_the_time() {
    for &system in System::ALL {
        let verdict = run(&plan(&[]), system, false);
        assert!(!verdict.is_bad() && !verdict.several_after_heal, "{verdict:?}");
        assert_eq!(verdict.promotions, 1, "{}", system.name());
        assert!(verdict.lasted - verdict.writable_for < 7_000 * MS, "{}: {verdict:?}", system.name());
    }
}

#[test]
fn a_primary_that_is_killed_and_started_at_once_leaves_kevy_elect_without_one() {
    let plan = plan(&[primary_suffers(300, Kind::Crash { power: false })]);
    assert!(run(&plan, System::Kevy, false).shows(Wrong::NoneAfterHeal));
    let ours = run(&plan, System::Plugin, false);
    assert!(!ours.is_bad() && ours.promotions == 2, "{ours:?}");
}

#[test]
fn a_primary_that_hears_a_quorum_which_does_not_hear_it_stays_one_beside_the_new_one_with_kevy_elect() {
    // The primary is the second node: cut off from the first, and from itself to the third.
    let direction = |from: usize, to: usize| 1_u128 << (from * 3 + to);
    let shape = Shape::Directions(direction(1, 0) | direction(0, 1) | direction(1, 2));
    let plan = plan(&[primary_suffers(20_000, Kind::Cut { shape, held: false })]);
    let theirs = run(&plan, System::Kevy, false);
    assert!(theirs.two_writers_for > 14_000 * MS, "until the heal: {theirs:?}");
    let ours = run(&plan, System::Plugin, false);
    assert!(!ours.is_bad() && ours.promotions == 2, "{ours:?}");
}

#[test]
fn a_primary_that_comes_back_from_isolation_writes_beside_the_new_one_with_kevy_elect() {
    let plan = plan(&[primary_suffers(15_000, Kind::Cut { shape: Shape::Side(0b010), held: true })]);
    let theirs = run(&plan, System::Kevy, false);
    assert!(theirs.shows(Wrong::TwoWriters), "{theirs:?}");
    let ours = run(&plan, System::Plugin, false);
    assert!(!ours.is_bad() && ours.promotions == 2, "{ours:?}");
}

#[test]
fn a_wrong_plugin_is_caught() {
    let caught = |mutation, wrong, seed| {
        let plan = Plan::draw(seed, 3);
        assert!(run_wrong(&plan, mutation).shows(wrong), "{mutation:?} in seed {seed}");
        assert!(!run(&plan, System::Plugin, false).is_bad(), "seed {seed}");
    };
    caught(Mutation::EchoOfAnotherEpoch, Wrong::TwoWriters, 4);
    caught(Mutation::NoPreVote, Wrong::NoneAfterHeal, 324);
}

#[test]
fn of_a_shrunk_plan_every_fault_is_needed() {
    let plan = shrink(&Plan::draw(59, 3), System::Kevy, Wrong::TwoInOneEpoch);
    assert!(run(&plan, System::Kevy, false).shows(Wrong::TwoInOneEpoch));
    for place in 0..plan.faults.len() {
        let mut smaller = plan.clone();
        smaller.faults.remove(place);
        assert!(!run(&smaller, System::Kevy, false).shows(Wrong::TwoInOneEpoch), "fault {place}: {plan:?}");
    }
}
