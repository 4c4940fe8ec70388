//! Power cuts, on real processes and real disk images: each node keeps its data on an ext4 file system of its own, in a file
//! that is mounted, and that stops between two of its writes, with all that was not synced yet lost.
//!
//! Needs root, loop devices, `mkfs.ext4` and `perl`; so it runs only when asked to:
//! `cargo test --ignore-rust-version -p kevy-server --test power -- --ignored`. `POWER_ROUNDS` says how many rounds each
//! test does (1 without it). Where a file system cannot be mounted it fails.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "../common/mod.rs"]
mod common;
mod machine;
mod rows;
mod writers;

use common::until;
use machine::Machine;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use writers::{Confirmed, Stop, missing, write};

fn rounds() -> u64 {
    std::env::var("POWER_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap())
}

/// What is lost, and what must not be.
struct Loss {
    /// `appendfsync`, or none for a node without a log.
    policy: &'static str,
    shards: u16,
    nodes: usize,
    /// By how many replicas a write is confirmed.
    replicas: i64,
    /// Confirmed so long before the loss; what comes later may be gone.
    before: Duration,
}

/// Rounds in which somebody writes and has it confirmed by so many replicas, `fail` breaks nodes meanwhile and starts them
/// again, and afterwards everything that was ever confirmed must be there, on the primary of then.
fn nothing_confirmed_is_lost(
    policy: &'static str,
    shards: u16,
    nodes: usize,
    replicas: i64,
    fail: impl Fn(&mut Machine, usize),
) {
    let loss = Loss { policy, shards, nodes, replicas, before: Duration::ZERO };
    survives(&loss, |machine, primary, _| {
        fail(machine, primary);
        None
    });
}

/// The same. `fail` may end the writing, and says when the loss was, if what was confirmed just before may be gone. Nodes that it leaves
/// dead are not there when the writes are looked for, and come back for the next round.
fn survives(loss: &Loss, fail: impl Fn(&mut Machine, usize, &AtomicBool) -> Option<Instant>) {
    let Loss { policy, shards, nodes, replicas, before } = *loss;
    let mut machine = Machine::new(policy, shards, nodes);
    let all: Mutex<Vec<Confirmed>> = Mutex::default();
    // What has to be there for good: everything before this round.
    let mut kept: Vec<String> = Vec::new();
    let begun = Instant::now();
    for round in 0..rounds() {
        let primary = machine.whole();
        let ports = machine.cluster.ports.clone();
        let stop = AtomicBool::new(false);
        let at = std::thread::scope(|scope| {
            for writer in 0..4 {
                let name = format!("r{round}w{writer}");
                let (stop, all, ports) = (&stop, &all, &ports);
                scope.spawn(move || write(ports, &name, replicas, stop, all));
            }
            // Also if something fails here: the others would write for ever.
            let _stop = Stop(&stop);
            until("writes are confirmed", || {
                machine.tend();
                (all.lock().unwrap().len() > 20).then_some(())
            });
            std::thread::sleep(Duration::from_millis(machine.draw(300)) + before);
            fail(&mut machine, primary, &stop)
        });
        let all = std::mem::take(&mut *all.lock().unwrap());
        let confirmed = all.len();
        let in_time = |(when, _): &&Confirmed| at.is_none_or(|at| *when + before <= at);
        let held: Vec<String> = all.iter().filter(in_time).map(|(_, key)| key.clone()).collect();
        assert!(held.len() > 20, "nothing was confirmed in time");
        let late: Vec<String> = all.iter().filter(|one| !in_time(one)).map(|(_, key)| key.clone()).collect();
        kept.extend(held);
        let (gone, also) = until("one primary is asked for all of them", || {
            let primary = machine.whole();
            let port = machine.cluster.ports[primary];
            Some((missing(port, &kept)?, missing(port, &late)?))
        });
        assert_eq!(gone, Vec::<&String>::new(), "{policy}: confirmed writes are gone in round {round}");
        println!(
            "{policy}, {nodes} nodes, {shards} shards, round {round}: {confirmed} confirmed, none lost that the table promises, \
             {} of {} later ones, {:.1} s",
            also.len(),
            late.len(),
            begun.elapsed().as_secs_f64()
        );
        kept.extend(late.iter().filter(|key| !also.contains(key)).cloned());
        machine.start_all();
    }
}

/// So many nodes as may be missing lose their power, any of them, and the primary is killed; all come back, in any order.
fn minority_and_primary(machine: &mut Machine, primary: usize) {
    let count = machine.count();
    let first = machine.draw(count as u64) as usize;
    let distance = 1 + machine.draw(count as u64 - 1) as usize;
    let cut: Vec<usize> = [first, (first + distance) % count].into_iter().take((count - 1) / 2).collect();
    for node in &cut {
        machine.cut(*node);
    }
    for node in &cut {
        machine.power_up(*node);
        if machine.draw(2) == 0 {
            // Back before the primary dies.
            machine.start(*node);
            let wait = machine.draw(1500);
            std::thread::sleep(Duration::from_millis(wait));
        }
    }
    machine.kill(primary);
    for node in &cut {
        if machine.nodes[*node].is_none() {
            machine.start(*node);
        }
    }
    if machine.nodes[primary].is_none() {
        let wait = machine.draw(2) * machine.draw(3000);
        std::thread::sleep(Duration::from_millis(wait));
        machine.start(primary);
    }
}

/// All nodes lose their power at once, and come back in any order.
fn everybody(machine: &mut Machine, _primary: usize) {
    machine.cut_all();
    machine.start_all();
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn always_confirmed_by_a_quorum_survives_a_power_cut_of_any_node_and_a_kill_of_the_primary() {
    nothing_confirmed_is_lost("always", 1, 3, 1, minority_and_primary);
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn everysec_confirmed_by_all_survives_a_power_cut_of_any_node_and_a_kill_of_the_primary() {
    nothing_confirmed_is_lost("everysec", 1, 3, 2, minority_and_primary);
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn no_sync_confirmed_by_all_survives_a_power_cut_of_any_node_and_a_kill_of_the_primary() {
    nothing_confirmed_is_lost("no", 1, 3, 2, minority_and_primary);
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn always_confirmed_by_a_quorum_survives_a_power_cut_of_all() {
    nothing_confirmed_is_lost("always", 1, 3, 1, everybody);
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn always_confirmed_by_a_quorum_survives_a_power_cut_of_all_with_two_shards() {
    nothing_confirmed_is_lost("always", 2, 3, 1, everybody);
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn always_confirmed_by_a_quorum_of_five_survives_a_power_cut_of_any_two_and_a_kill_of_the_primary() {
    nothing_confirmed_is_lost("always", 1, 5, 2, minority_and_primary);
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn everysec_confirmed_by_all_of_five_survives_a_power_cut_of_any_two_and_a_kill_of_the_primary() {
    nothing_confirmed_is_lost("everysec", 2, 5, 4, minority_and_primary);
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn no_sync_confirmed_by_all_of_five_survives_a_power_cut_of_any_two_and_a_kill_of_the_primary() {
    nothing_confirmed_is_lost("no", 1, 5, 4, minority_and_primary);
}
