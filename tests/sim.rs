//! The simulator in the normal test run: a short range of seeds, the same run twice, the basic calls,
//! and every seed that ever found something.
#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests stand outside test functions")]

use kevy_elect_plugin::ids::{Epoch, NodeId};
use kevy_elect_plugin::message::Role;
use kevy_elect_plugin::sim::{
    Cluster, FaultKind, Fsync, Habits, Loss, Mutation, PROFILES, Plan, Profile, ServerMutation, Stats, run,
    shrink,
};

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn nodes<const N: usize>(names: [&str; N]) -> [(NodeId, Role); N] {
    let mut first = true;
    names.map(|name| {
        let role = if std::mem::take(&mut first) { Role::Primary } else { Role::Replica };
        (id(name), role)
    })
}

/// Runs a seed and fails with everything that is needed to understand it.
fn holds(seed: u64, nodes: usize, profile: &str) {
    let plan = Plan::draw(seed, nodes, Profile::named(profile).unwrap());
    if let Some(violation) = run(&plan, false).violation {
        let shrunk = shrink(&plan);
        let trace = run(&shrunk, true).trace.join("\n");
        panic!(
            "{violation:?}\n{:#?}\n{trace}\ncargo sim --seeds {seed}..{} --nodes {nodes} --profile {profile}",
            shrunk.faults,
            seed + 1
        );
    }
}

#[test]
fn every_profile_holds_for_a_short_range_of_seeds() {
    for profile in PROFILES.iter().filter(|profile| !profile.beyond) {
        for nodes in [1, 2, 3, 4, 5, 7] {
            for seed in 0..8 {
                holds(seed, nodes, profile.name);
            }
        }
    }
}

#[test]
fn all_faults_at_once_hold_for_more_seeds() {
    for seed in 1000..1120 {
        holds(seed, 3, "all");
        holds(seed, 5, "chaos");
    }
}

#[test]
fn two_runs_of_a_seed_are_bit_identical() {
    let profile = Profile::named("chaos").unwrap();
    for seed in 0..200 {
        let plan = Plan::draw(seed, 5, profile);
        let (a, b) = (run(&plan, false), run(&plan, false));
        assert!(a.stats.steps >= 200, "seed {seed}: {} steps", a.stats.steps);
        assert_eq!((a.fingerprint, &a.stats), (b.fingerprint, &b.stats), "seed {seed}");
    }
    let plan = Plan::draw(3, 5, profile);
    assert_eq!(run(&plan, true).trace, run(&plan, true).trace);
    assert_eq!(run(&plan, true).fingerprint, run(&plan, false).fingerprint, "a trace changes nothing");
}

#[test]
fn seeds_that_found_something_hold() {
    // A failed retarget was not tried again after a suspicion.
    holds(6503, 5, "chaos");
    holds(6746, 7, "all");
    // A candidate that slept won with a lease that had run out.
    for seed in [9110, 10770, 19103, 35653] {
        holds(seed, 3, "suspend");
    }
    // A voter without its record renewed the lease of a primary from before, and confirmed its writes.
    holds(1158, 3, "chaos");
    holds(1524, 3, "all");
    // A voter whose disk was wiped took a member that knew of no election for proof of a new cluster.
    holds(8529, 3, "forget");
    // A second process with a node's id voided the promise to the first one.
    holds(3, 3, "twins");
    holds(0, 5, "twins");
    // A candidate whose promotion hung refused its vote as `settling` for as long as its shard did.
    holds(150, 3, "hung");
    // A server forgot a copy that had ended while its shard hung, and asked for no other one.
    holds(1772, 5, "hung");
    // A node that started beside a single voter, and was given a vote without ever having had a record, was never admitted.
    holds(3182, 3, "members");
    // The checker took a second process for the voter whose id it has.
    holds(482, 3, "twins");
    // The checker wanted the most senior node where nobody waited for it any more.
    holds(3065, 3, "seniority");
    // The checker took a link for one in order while frames of a storm that was over were still on it.
    holds(1_000_062, 5, "split");
    // The checker counted what a primary held, that had lost its office, by a list that was made in a later epoch.
    holds(11_096, 5, "members");
    // A single voter had no lease from the moment in which a second one was added until that one had echoed.
    holds(9338, 3, "members");
    // A voter that was never admitted, lost its vote and got it back, took what all had said when the cluster formed for lost records,
    // passed over epochs, and so ended a primary that was well.
    holds(1_045_337, 5, "members");
    // A voter that counted by a list in which the primary had no vote promised it nothing, and named it in its echoes all the same.
    holds(1_096_739, 5, "members");
    // A voter that was told the list in which the primary reigns before it was in that list's epoch was never told again.
    holds(1_222_978, 5, "members");
    // A primary that stepped down on the way to an epoch out of reach, for nobody, told its operator that its transfer was done.
    holds(1578, 5, "apart");
    holds(3219, 3, "apart");
    // The lease of the voters before one was added ended with the return of one that had given nothing to it (M11).
    holds(2_135_025, 5, "members");
    // A voter that was just added did not echo before the next heartbeat, and another one died before that (M11).
    holds(3_053_030, 3, "members");
    // Answers of voters that restarted since admitted a node without their id, and it drew a second one.
    holds(5036, 5, "apart");
}

/// The simulator's operator resumed elections while the order to pause them was in a message that nobody had read yet.
#[test]
fn an_order_to_pause_that_is_under_way_is_resumed_too() {
    for (seed, nodes) in [(428_671, 3), (68_391, 5)] {
        let mut plan = Plan::draw(seed, nodes, Profile::named("witness").unwrap());
        plan.setup.quiet = true;
        assert_eq!(run(&plan, false).violation, None, "seed {seed}");
    }
}

#[test]
fn a_killed_primary_is_replaced_and_comes_back_as_a_replica() {
    let mut cluster = Cluster::new(1, nodes(["a", "b", "c"]));
    cluster.tick_all(30);
    assert_eq!(cluster.current_primary(), Some(id("a")), "{:#?}", cluster.trace());
    let before = cluster.epoch(id("a"));
    cluster.kill_node(id("a"));
    assert_eq!(cluster.role(id("a")), None);
    cluster.tick_all(20);
    let next = cluster.current_primary().unwrap();
    assert_ne!(next, id("a"));
    cluster.revive_node(id("a"));
    cluster.tick_all(20);
    assert_eq!(cluster.current_primary(), Some(next));
    assert_eq!(cluster.role(id("a")), Some(Role::Replica));
    assert!(cluster.epoch(id("a")) > before && cluster.epoch(id("a")) == cluster.epoch(next));
    assert_eq!(cluster.violation(), None);
}

#[test]
fn the_majority_of_a_partition_promotes_and_the_minority_is_fenced() {
    let mut cluster = Cluster::new(2, nodes(["a", "b", "c", "d", "e"]));
    cluster.tick_all(30);
    assert_eq!(cluster.current_primary(), Some(id("a")));
    cluster.partition(&[id("a"), id("b")]);
    cluster.tick_all(8);
    assert_eq!(cluster.current_primary(), Some(id("a")), "its lease still runs");
    cluster.tick_all(16);
    let next = cluster.current_primary().unwrap();
    assert!([id("c"), id("d"), id("e")].contains(&next));
    cluster.heal_partition();
    cluster.tick_all(20);
    assert_eq!(cluster.current_primary(), Some(next));
    assert!(["a", "b"].iter().all(|name| cluster.role(id(name)) == Some(Role::Replica)));
    assert_eq!(cluster.violation(), None);
}

#[test]
fn one_cut_link_changes_nothing() {
    let mut cluster = Cluster::new(3, nodes(["a", "b", "c"]));
    cluster.tick_all(30);
    let epoch = cluster.epoch(id("a"));
    cluster.set_link(id("a"), id("b"), false);
    cluster.tick_all(100);
    cluster.set_link(id("a"), id("b"), true);
    cluster.tick_all(30);
    assert_eq!(cluster.current_primary(), Some(id("a")));
    assert_eq!(cluster.epoch(id("a")), epoch);
    assert_eq!(cluster.violation(), None);
}

#[test]
fn two_nodes_lock_when_one_dies_and_one_node_elects_itself() {
    let mut two = Cluster::new(4, nodes(["a", "b"]));
    two.tick_all(30);
    assert_eq!(two.current_primary(), Some(id("a")));
    two.kill_node(id("b"));
    two.tick_all(100);
    assert_eq!(two.current_primary(), None);
    two.revive_node(id("b"));
    two.tick_all(30);
    assert!(two.current_primary().is_some());

    let mut one = Cluster::new(5, nodes(["a"]));
    one.tick_all(1);
    assert_eq!(one.current_primary(), Some(id("a")));
    one.kill_node(id("a"));
    one.revive_node(id("a"));
    one.tick_all(1);
    assert_eq!((one.current_primary(), one.epoch(id("a"))), (Some(id("a")), Some(Epoch(2))));
}

#[test]
fn the_node_with_the_most_data_is_elected() {
    let mut cluster =
        Cluster::new(6, [(id("a"), Role::Replica), (id("b"), Role::Replica), (id("c"), Role::Replica)]);
    cluster.set_offset(id("c"), 50);
    cluster.set_offset(id("b"), 40);
    cluster.tick_all(30);
    assert_eq!(cluster.current_primary(), Some(id("c")));
}

/// A cluster whose servers have the habits of real ones.
fn real(seed: u64, wrong: Option<ServerMutation>) -> Cluster {
    let mut plan = Plan::calm(seed, 3);
    plan.setup.quiet = true;
    plan.setup.habits = Some(Habits { fsync: Fsync::Everysec, watchdog: true, continues: None });
    plan.server_mutation = wrong;
    Cluster::with_plan(plan, nodes(["a", "b", "c"]))
}

#[test]
fn a_hung_shard_on_one_replica_does_not_keep_the_other_from_the_office() {
    let mut cluster = real(11, None);
    cluster.tick_all(40);
    let first = cluster.current_primary().unwrap();
    let others: Vec<_> = ["a", "b", "c"].map(id).into_iter().filter(|id| *id != first).collect();
    cluster.begin_fault(others[0], FaultKind::HungShard).unwrap();
    cluster.tick_all(5);
    cluster.kill_node(first);
    cluster.tick_all(100);
    assert_eq!(cluster.violation(), None);
    assert_eq!(cluster.current_primary(), Some(others[1]), "{:#?}", cluster.trace());
}

/// All machines lose power soon after a write, and all but the primary come back: whether what was confirmed is there.
fn blackout(seed: u64, wrong: Option<ServerMutation>) -> bool {
    let mut plan = Plan::calm(seed, 3);
    plan.setup.quiet = true;
    plan.setup.habits = Some(Habits { fsync: Fsync::Always, watchdog: true, continues: None });
    plan.server_mutation = wrong;
    let mut cluster = Cluster::with_plan(plan, nodes(["a", "b", "c"]));
    cluster.tick_all(40);
    let primary = cluster.current_primary().unwrap();
    assert!(matches!(cluster.write(primary, 0, 1), Some(Ok(()))));
    cluster.run_for(std::time::Duration::from_millis(2 * seed));
    let power = FaultKind::Crash { power: true, loss: Loss::Tail };
    let cuts = ["a", "b", "c"].map(|name| (id(name), cluster.begin_fault(id(name), power).unwrap()));
    cluster.tick_all(1);
    cuts.into_iter().filter(|(node, _)| *node != primary).for_each(|(_, cut)| cluster.end_fault(cut));
    cluster.tick_all(60);
    assert!(cluster.violation().is_some() || cluster.current_primary().is_some());
    cluster.violation().is_none()
}

#[test]
fn what_was_confirmed_and_synced_survives_a_power_cut_of_all() {
    for seed in 0..20 {
        assert!(blackout(seed, None), "seed {seed}");
    }
    let lost = (0..60).filter(|seed| !blackout(*seed, Some(ServerMutation::AcknowledgesReceived))).count();
    assert!(lost > 0, "what was only received is confirmed, and nobody notices");
}

/// Members with an id keep it, whatever a liar says: the invariants. This is the limit of that.
#[test]
fn a_liar_misleads_who_has_no_id_and_the_cluster_is_whole_again_once_it_is_gone() {
    let mut stats = Stats::default();
    (0..100).for_each(|seed| {
        let outcome = run(&Plan::draw(seed, 5, Profile::named("liar").unwrap()), false);
        assert!(outcome.violation.is_none(), "seed {seed}: {:?}", outcome.violation);
        stats.add(&outcome.stats);
    });
    assert!(stats.misled > 0, "{stats:#?}");
}

#[test]
fn replicas_continue_and_copy() {
    let mut stats = Stats::default();
    (0..20).for_each(|seed| {
        let plan = Plan::draw(seed, 3, Profile::named("continuation").unwrap());
        stats.add(&run(&plan, false).stats);
    });
    assert!(stats.continued > 40 && stats.copied > 40, "{stats:#?}");
}

/// Where each mutation is caught: the first seed that `cargo sim --mutations` finds. Renew the table with that
/// command when the simulator's draws change.
const CAUGHT: &[(Mutation, &str, usize, u64)] = &[
    (Mutation::NoPreVote, "calm", 3, 1),
    (Mutation::NoStickiness, "reigns", 3, 42),
    (Mutation::LeaseIsPromise, "drift", 5, 1),
    (Mutation::VoteNotPersisted, "calm", 3, 0),
    (Mutation::VotesCountedTwice, "apart", 5, 355),
    (Mutation::VotesFromStrangers, "streams", 3, 132),
    (Mutation::OffsetWithoutEpoch, "disk", 3, 2),
    (Mutation::PromiseForgottenOnRestart, "apart", 5, 441),
    (Mutation::PrimaryNotDemoted, "pause", 3, 0),
    (Mutation::EchoOfAnotherEpoch, "partitions", 5, 0),
    (Mutation::RefusedIsCrash, "firewall", 3, 4),
    (Mutation::NewIncarnationIsProof, "twins", 5, 3),
    (Mutation::DetachOmitted, "crash", 3, 2),
    (Mutation::OldAnswerCounts, "late", 3, 609),
    (Mutation::ResignWhileWriting, "suspend", 3, 0),
    (Mutation::HandsOverUnfinished, "operator", 3, 49),
    (Mutation::PauseIgnored, "operator", 3, 13),
    (Mutation::RoundNeverEnds, "hung", 5, 454),
    (Mutation::TwoVotes, "calm", 3, 0),
    (Mutation::NoAdmission, "streams", 3, 132),
    (Mutation::NewVoterSupports, "forget", 3, 686),
    (Mutation::SleepIgnored, "suspend", 5, 3),
    (Mutation::PositionIgnored, "logs", 3, 2),
    (Mutation::SettlesUnserved, "hung", 3, 946),
    (Mutation::IdOfVotersIgnored, "server", 5, 205),
    (Mutation::EpochsUnbounded, "liar", 3, 0),
    (Mutation::BudgetOfEach, "liar", 3, 0),
    (Mutation::ClaimsOfObservers, "liar", 3, 0),
    (Mutation::ClaimsOutliveLinks, "liar", 3, 86),
    (Mutation::JumpsAreFree, "liar", 3, 6),
    (Mutation::IdNotKept, "liar", 3, 1),
    (Mutation::AdmittedOutOfReach, "apart", 3, 579),
    (Mutation::PromiseIsOwnTimeout, "timings", 3, 3),
    (Mutation::IdBeforeTimeUp, "seniority", 3, 320),
    (Mutation::VoteGoesToSenior, "seniority", 3, 52),
    (Mutation::FailsBackAtOnce, "failback", 3, 3),
    (Mutation::TwoVotersAtOnce, "members", 5, 403),
    (Mutation::ListIgnoresData, "members", 5, 8284),
    (Mutation::WitnessesForgotten, "witness", 3, 0),
];

/// What no seed shows: it takes more lost disks than a protocol survives, or a primary that dies before anybody heard of it, in the
/// first moments of a cluster. Scripts do.
const SHOWN_BY_SCRIPTS: &[Mutation] = &[
    Mutation::ListNotPersisted,
    Mutation::ListUnsettled,
    Mutation::OlderListsElect,
    Mutation::CarriedLeaseForgotten,
    Mutation::NamesUnpromised,
    Mutation::IdSettledAlone,
    Mutation::ForeignersCount,
    Mutation::DataIsNobodys,
    Mutation::EpochOfDataIgnored,
    Mutation::AdmittedInPlace,
    Mutation::AdmittedUnheard,
    Mutation::OrderWithoutFloor,
    Mutation::LongerPromiseForgotten,
];

/// Where each fault of a server is caught, likewise.
const CAUGHT_SERVERS: &[(ServerMutation, &str, usize, u64)] = &[
    (ServerMutation::ClaimsTheRecord, "logs", 3, 16),
    (ServerMutation::AcknowledgesUnnamed, "logs", 3, 8),
    (ServerMutation::AcknowledgesReceived, "memory", 5, 50),
    (ServerMutation::WaitsForStalled, "memory", 3, 0),
    (ServerMutation::CountsBehindCuts, "memory", 3, 107),
    (ServerMutation::CountsRefused, "memory", 3, 0),
    (ServerMutation::CountsOldReigns, "hung", 3, 12),
    (ServerMutation::CountsConnections, "hung", 5, 295),
    (ServerMutation::WaitOutlivesReign, "reigns", 3, 69),
    (ServerMutation::EndsKeys, "logs", 3, 0),
    (ServerMutation::NoWatchdog, "hung", 5, 38),
    (ServerMutation::HangsInSilence, "hung", 5, 25),
    (ServerMutation::OffsetAlone, "hung", 5, 3),
    (ServerMutation::ContinuesAhead, "streams", 5, 1),
    (ServerMutation::PointOfAnotherEpoch, "hung", 5, 3),
    (ServerMutation::PointIsCut, "hung", 5, 40),
    (ServerMutation::PathForgets, "hung", 5, 16),
    (ServerMutation::FlushesIgnored, "server", 5, 7),
    (ServerMutation::RingWithGaps, "continuation", 3, 2),
    (ServerMutation::RefillsMiscounted, "hung", 5, 1),
    (ServerMutation::FetchesBeyond, "logs", 5, 53),
    (ServerMutation::ContinuesUnapplied, "continuation", 3, 29),
    (ServerMutation::OrdersUnchecked, "logs", 5, 1),
    (ServerMutation::ClaimsByFirstShard, "memory", 5, 305),
    (ServerMutation::ContinuesByRecord, "reigns", 5, 16),
    (ServerMutation::AttachesBlindly, "answers", 5, 3),
    (ServerMutation::CopiesAlone, "continuation", 5, 9),
    (ServerMutation::NotedTooLate, "logs", 5, 1),
    (ServerMutation::WritesAreCuts, "logs", 5, 20),
];

#[test]
fn every_fault_of_a_server_is_caught() {
    let mut missed = Vec::new();
    for &mutation in ServerMutation::ALL {
        let Some((_, profile, nodes, seed)) = CAUGHT_SERVERS.iter().find(|(of, ..)| *of == mutation) else {
            panic!("no seed catches {mutation:?}");
        };
        let mut plan = Plan::draw(*seed, *nodes, Profile::named(profile).unwrap());
        assert_eq!(run(&plan, false).violation, None, "without {mutation:?}");
        plan.server_mutation = Some(mutation);
        if run(&plan, false).violation.is_none() {
            missed.push(format!("{mutation:?} is not caught by seed {seed} of {profile}"));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn every_mutation_is_caught() {
    let mut missed = Vec::new();
    for mutation in Mutation::ALL.iter().copied().filter(|mutation| !SHOWN_BY_SCRIPTS.contains(mutation)) {
        let Some((_, profile, nodes, seed)) = CAUGHT.iter().find(|(of, ..)| *of == mutation) else {
            panic!("no seed catches {mutation:?}");
        };
        let mut plan = Plan::draw(*seed, *nodes, Profile::named(profile).unwrap());
        assert_eq!(run(&plan, false).violation, None, "without {mutation:?}");
        plan.mutation = Some(mutation);
        if run(&plan, false).violation.is_none() {
            missed.push(format!("{mutation:?} is not caught by seed {seed} of {profile}"));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
