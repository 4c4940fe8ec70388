//! The whole stack, simulated, in the normal test run: a short range of seeds, the same run twice, hosts of
//! one's own, and the proof that what is wrong in a driver is found.
#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests stand outside test functions")]

use async_trait::async_trait;
use kevy_elect_plugin::host::{HostError, ReplicationHost};
use kevy_elect_plugin::ids::{Epoch, NodeId};
use kevy_elect_plugin::plugin::ElectPlugin;
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::sim::stack::{Seat, run, run_hosts, shrink};
use kevy_elect_plugin::sim::{DriverMutation, INVARIANTS, Mutation, PROFILES, Plan, Profile, ServerMutation};
use kevy_elect_plugin::time::Duration;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

fn plan(seed: u64, nodes: usize, profile: &str) -> Plan {
    Plan::draw(seed, nodes, Profile::named(profile).unwrap())
}

/// Runs a seed and fails with everything that is needed to understand it.
fn holds(seed: u64, nodes: usize, profile: &str) {
    let plan = plan(seed, nodes, profile);
    if let Some(violation) = run(&plan, false).violation {
        let shrunk = shrink(&plan);
        let trace = run(&shrunk, true).trace.join("\n");
        panic!(
            "{violation:?}\n{:#?}\n{trace}\ncargo sim --stack --seeds {seed}..{} --nodes {nodes} --profile {profile}",
            shrunk.faults,
            seed + 1
        );
    }
}

#[test]
fn every_profile_holds_for_a_short_range_of_seeds() {
    for profile in PROFILES.iter().filter(|profile| !profile.beyond) {
        for (nodes, seeds) in [(1, 0..1), (2, 0..1), (3, 0..2), (5, 3..4)] {
            seeds.for_each(|seed| holds(seed, nodes, profile.name));
        }
    }
}

#[test]
fn two_runs_of_a_seed_are_bit_identical() {
    for seed in 0..8 {
        let plan = plan(seed, 3, "chaos");
        let (a, b) = (run(&plan, true), run(&plan, false));
        assert!(a.stats.steps >= 1000, "seed {seed}: {} polls", a.stats.steps);
        assert_eq!(
            (a.fingerprint, &a.stats),
            (b.fingerprint, &b.stats),
            "seed {seed}; a trace changes nothing"
        );
        assert_eq!(a.trace, run(&plan, true).trace, "seed {seed}");
    }
    assert_ne!(run(&plan(0, 3, "calm"), false).fingerprint, run(&plan(1, 3, "calm"), false).fingerprint);
}

#[test]
fn a_run_does_all_that_is_to_be_judged() {
    let mut stats = kevy_elect_plugin::sim::Stats::default();
    (0..12).for_each(|seed| stats.add(&run(&plan(seed, 3, "all"), false).stats));
    (0..4).for_each(|seed| stats.add(&run(&plan(seed, 3, "server"), false).stats));
    (0..24).for_each(|seed| stats.add(&run(&plan(seed, 3, "failback"), false).stats));
    assert!(stats.writes > 500 && stats.promoted > 12 && stats.messages > 5000, "{stats:#?}");
    // These are the elector's alone, and looked at there.
    let elsewhere =
        |name: &str| ["(E9)", "(E10)", "(A4)", "(R3)"].iter().any(|sentence| name.ends_with(sentence));
    for (name, checked) in INVARIANTS.iter().zip(stats.checks()).filter(|(name, _)| !elsewhere(name)) {
        assert!(*checked > 0, "{name}: {stats:#?}");
    }
    assert!(stats.faults.len() > 10, "{stats:#?}");
}

/// Frames on their way to a process that was killed came out at the next one of that node, whose links had the same numbers; after that
/// nothing arrived any more.
#[test]
fn what_is_on_its_way_to_a_process_never_reaches_the_next_one() {
    holds(54, 3, "apart");
    holds(172, 3, "server");
}

/// A node that was linked while a save was under way was never told of the later list, and then no list had a quorum.
#[test]
fn who_is_linked_during_a_save_is_told_who_votes_after_it() {
    holds(3312, 3, "liar");
}

/// The checker judged a client's write between the end of a machine's sleep and the driver's first look, which is a limit and no fault.
#[test]
fn what_passes_before_the_driver_has_looked_at_a_sleep_is_not_judged() {
    holds(7322, 5, "all");
}

/// Where each fault of the driver is caught: the first seed that `cargo sim --stack --mutations` finds.
const CAUGHT: &[(DriverMutation, &str, usize, u64)] = &[
    (DriverMutation::SpeakBeforeSaved, "calm", 3, 0),
    (DriverMutation::OpenBeforePromoted, "calm", 5, 0),
    (DriverMutation::SendBeforeShut, "host", 3, 1),
    (DriverMutation::PromoteAfterFence, "host", 3, 246),
    (DriverMutation::SleepUnseen, "suspend", 3, 8),
    (DriverMutation::DetachSkipped, "crash", 3, 0),
    (DriverMutation::OpenAfterEnd, "crash", 3, 0),
    (DriverMutation::OpenBeforeTold, "calm", 3, 0),
];

#[test]
fn every_fault_of_the_driver_is_caught() {
    for mutation in DriverMutation::ALL.iter().copied() {
        let Some((_, profile, nodes, seed)) = CAUGHT.iter().find(|(of, ..)| *of == mutation) else {
            panic!("no seed catches {mutation:?}");
        };
        holds(*seed, *nodes, profile);
        let mut plan = plan(*seed, *nodes, profile);
        plan.driver_mutation = Some(mutation);
        let found = run(&plan, false).violation;
        assert!(found.is_some(), "{mutation:?} is not caught by seed {seed} of {profile}");
    }
}

#[test]
fn faults_of_the_elector_are_caught_here_too() {
    for (mutation, profile, nodes, seed) in [
        (Mutation::VoteNotPersisted, "calm", 3, 0),
        (Mutation::LeaseIsPromise, "drift", 5, 1),
        (Mutation::PrimaryNotDemoted, "pause", 3, 0),
        (Mutation::OffsetWithoutEpoch, "disk", 3, 0),
        (Mutation::ResignWhileWriting, "operator", 3, 1),
    ] {
        holds(seed, nodes, profile);
        let mut plan = plan(seed, nodes, profile);
        plan.mutation = Some(mutation);
        assert!(run(&plan, false).violation.is_some(), "{mutation:?} is not caught");
    }
}

#[test]
fn faults_of_the_servers_are_caught_here_too() {
    for (mutation, profile, nodes, seed) in
        [(ServerMutation::EndsKeys, "server", 3, 0), (ServerMutation::CountsRefused, "memory", 3, 0)]
    {
        holds(seed, nodes, profile);
        let mut plan = plan(seed, nodes, profile);
        plan.server_mutation = Some(mutation);
        assert!(run(&plan, false).violation.is_some(), "{mutation:?} is not caught");
    }
}

/// A host of one's own: it counts its writes in a future beside the driver, and keeps them over restarts.
struct Counting {
    seat: Seat,
    written: Arc<AtomicU64>,
    stream: Arc<Mutex<Epoch>>,
}

impl Counting {
    fn joined(&self, epoch: Epoch) {
        *self.stream.lock().unwrap() = epoch;
        self.written.store(0, Ordering::Relaxed);
        if let Some(plugin) = self.seat.plugin() {
            plugin.on_joined(epoch, &[0]);
        }
    }
}

#[async_trait]
impl ReplicationHost for Counting {
    async fn start(&self, _: Option<Position>) -> Result<Position, HostError> {
        let (written, plugin, clock) = (self.written.clone(), self.seat.plugin(), self.seat.clock());
        let plugin = Arc::downgrade(&plugin.ok_or_else(|| HostError::new("no plugin"))?);
        self.seat.spawn(async move {
            loop {
                clock.timer(clock.now() + Duration::from_millis(10)).await;
                let Some(plugin) = plugin.upgrade() else { return };
                if plugin.write_gate().is_open() {
                    plugin.on_offset(0, written.fetch_add(1, Ordering::Relaxed) + 1);
                }
            }
        });
        self.detach().await
    }
    async fn promote(&self, epoch: Epoch) -> Result<(), HostError> {
        self.joined(epoch);
        Ok(())
    }
    async fn follow(&self, epoch: Epoch, _: NodeId) -> Result<(), HostError> {
        self.joined(epoch);
        Ok(())
    }
    async fn detach(&self) -> Result<Position, HostError> {
        let offset = self.written.load(Ordering::Relaxed);
        Ok(Position::new(*self.stream.lock().unwrap(), &[offset]).unwrap())
    }
}

#[test]
fn hosts_of_ones_own_run_under_the_same_faults() {
    for seed in 0..6 {
        let mut kept = Vec::new();
        let mut most = 0;
        let outcome = run_hosts(&plan(seed, 3, "all"), false, |seat| {
            kept.resize_with(kept.len().max(seat.number() + 1), Default::default);
            let (written, stream): &(Arc<AtomicU64>, Arc<Mutex<Epoch>>) = &kept[seat.number()];
            most = most.max(written.load(Ordering::Relaxed));
            Arc::new(Counting { written: written.clone(), stream: stream.clone(), seat })
        });
        assert_eq!(outcome.violation, None, "seed {seed}");
        let now = kept.iter().map(|(written, _)| written.load(Ordering::Relaxed)).max();
        assert!(most.max(now.unwrap_or_default()) > 10, "seed {seed}: nobody wrote");
    }
}
