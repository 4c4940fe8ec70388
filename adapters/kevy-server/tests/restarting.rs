//! All nodes are stopped, or killed, at once, and started again: they hold the same, so nothing is copied.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::Cluster;
use common::process::{Process, primary};
use common::rolling::{PATIENT, all_copies, all_hold_the_same, processes, write_many};
use rustix::process::Signal;

const ROUNDS: usize = 4;

fn nothing_is_copied_after(signal: Signal, shards: u16) {
    let cluster = Cluster::new(3, shards);
    let (mut nodes, mut reigns) = processes(&cluster, 500);
    for round in 0..ROUNDS {
        write_many(&nodes[reigns], &format!("round{round}"), 50);
        all_hold_the_same(&nodes, reigns);
        nodes.iter().for_each(|node| node.signal(signal));
        for node in &mut nodes {
            node.wait();
        }
        nodes = Process::start_three(&cluster, PATIENT);
        reigns = primary(&nodes);
        all_hold_the_same(&nodes, reigns);
        assert_eq!(all_copies(&nodes), [0; 3], "round {round}, node {reigns} reigns");
    }
}

#[test]
fn all_are_stopped_two_shards() {
    nothing_is_copied_after(Signal::TERM, 2);
}

#[test]
fn all_are_stopped_four_shards() {
    nothing_is_copied_after(Signal::TERM, 4);
}

#[test]
fn all_are_killed_two_shards() {
    nothing_is_copied_after(Signal::KILL, 2);
}

#[test]
fn all_are_killed_four_shards() {
    nothing_is_copied_after(Signal::KILL, 4);
}
