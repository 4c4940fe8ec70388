//! The other rows of the table in `docs/protocol.md` ("The position is the data"), each at its edge: what is promised there is confirmed
//! by no more nodes, and no earlier, than the row says.

use super::machine::{Machine, NO_LOG};
use super::{Loss, minority_and_primary, nothing_confirmed_is_lost, survives};
use crate::common::until;
use kevy_persist::{AOF2_MAGIC, RecordStep, layout, next_record};
use std::fs::File;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Under `everysec` a sync begins every second, and this is what the longest that a node is fit with may take (K10).
const SYNCED: Duration = Duration::from_secs(6);
/// What the replicas may need to hand to the system what they have acknowledged.
const HANDED_OVER: Duration = Duration::from_millis(500);

fn loss(policy: &'static str, replicas: i64, before: Duration) -> Loss {
    Loss { policy, shards: 1, nodes: 3, replicas, before }
}

fn primary_for_good(policy: &'static str) {
    survives(&loss(policy, 1, Duration::ZERO), |machine, primary, _| {
        machine.cut(primary);
        machine.power_up(primary);
        None
    });
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn confirmed_by_a_quorum_survives_the_loss_of_the_primary_for_good() {
    ["always", "everysec", "no", NO_LOG].into_iter().for_each(primary_for_good);
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn always_confirmed_by_a_quorum_survives_a_kill_of_all() {
    nothing_confirmed_is_lost("always", 1, 3, 1, |machine, _| {
        machine.kill_all();
        machine.start_all();
    });
}

/// What nobody confirmed is on the primary alone: it is there where that one is back before anybody is elected.
#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn always_confirmed_by_nobody_survives_a_kill_of_all_if_the_primary_is_back_first() {
    nothing_confirmed_is_lost("always", 1, 3, 0, |machine, primary| {
        machine.kill_all_and_last(primary);
        machine.start(primary);
        until("it is back", || machine.nodes[primary].as_ref()?.ask("PING"));
        machine.start_all();
    });
}

/// What a replica acknowledges it hands to the system a few turns of its shard later.
fn kill_of_all(policy: &'static str) {
    survives(&loss(policy, 1, HANDED_OVER), |machine, _, stop| {
        stop.store(true, Ordering::Relaxed);
        std::thread::sleep(HANDED_OVER);
        let at = Instant::now();
        machine.kill_all();
        machine.start_all();
        Some(at)
    });
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn confirmed_by_a_quorum_a_moment_before_survives_a_kill_of_all() {
    ["everysec", "no"].into_iter().for_each(kill_of_all);
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn everysec_confirmed_before_the_last_sync_survives_a_power_cut_of_all() {
    survives(&loss("everysec", 1, SYNCED), |machine, _, _| {
        let at = Instant::now();
        machine.cut_all();
        machine.start_all();
        Some(at)
    });
}

/// The system writes everything back within half a minute or so; here it is told to, and what was confirmed before is there.
#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn no_sync_confirmed_before_the_system_wrote_back_survives_a_power_cut_of_all() {
    survives(&loss("no", 1, HANDED_OVER), |machine, _, _| {
        let at = Instant::now();
        (0..machine.count()).for_each(|node| machine.write_back(node));
        machine.cut_all();
        machine.start_all();
        Some(at)
    });
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn without_a_log_confirmed_by_all_survives_a_power_cut_of_any_node_and_a_kill_of_the_primary() {
    nothing_confirmed_is_lost(NO_LOG, 1, 3, 2, minority_and_primary);
}

/// Of what came after the snapshots nothing is left on any disk.
#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn without_a_log_what_the_snapshots_of_a_quorum_hold_survives_a_power_cut_of_all() {
    survives(&loss(NO_LOG, 2, HANDED_OVER), |machine, _, _| {
        let at = Instant::now();
        for node in [0, 1] {
            let process = machine.nodes[node].as_ref().unwrap();
            let file = layout::snapshot_path(&machine.cluster.dirs[node].0, 0);
            let there = || std::fs::metadata(&file).and_then(|file| file.modified()).ok();
            let before = there();
            until("a snapshot was begun", || {
                process.ask("BGSAVE").is_some_and(|said| !said.starts_with('-')).then_some(())
            });
            until("it is there", || (there() != before).then_some(()));
            // kevy syncs the file, and leaves its name to the system, which writes that back within seconds.
            File::open(&machine.cluster.dirs[node].0).unwrap().sync_all().unwrap();
        }
        machine.cut_all();
        machine.start_all();
        Some(at)
    });
}

/// Whole records follow the damage, so nobody knows what was between: the node claims nothing, and copies (K4).
fn damage(machine: &Machine, node: usize) {
    let path = layout::aof_path(&machine.cluster.dirs[node].0, 0);
    let mut bytes = std::fs::read(&path).unwrap();
    let (mut at, mut records) = (AOF2_MAGIC.len(), Vec::new());
    while let RecordStep::Ok { consumed, .. } = next_record(&bytes, at) {
        records.push(at);
        at += consumed;
    }
    assert!(records.len() > 20, "{} records", records.len());
    let middle = records.len() / 2;
    bytes[records[middle]..records[middle + 3]].fill(0);
    std::fs::write(&path, bytes).unwrap();
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and perl; see the head of the file"]
fn confirmed_by_all_survives_a_log_that_is_damaged_in_the_middle_and_the_loss_of_the_primary_for_good() {
    for policy in ["always", "everysec", "no"] {
        survives(&loss(policy, 2, Duration::ZERO), |machine, primary, _| {
            let damaged = (primary + 1 + machine.draw(2) as usize) % 3;
            machine.kill(damaged);
            damage(machine, damaged);
            machine.cut(primary);
            machine.power_up(primary);
            machine.start(damaged);
            None
        });
    }
}
