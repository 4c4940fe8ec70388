//! An operator pauses automatic elections, on real servers (H12 to H16 of `docs/protocol.md`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, primary};
use common::{Cluster, until};
use rustix::process::Signal;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(1);
const SETTINGS: &str = "election_timeout_ms = 1000\n";

/// Until this node says that a quorum has an order which begins so.
fn agreed(node: &Process, word: &str) {
    until(&format!("a quorum has {word}"), || {
        let said = node.ask("ELECT PAUSED")?;
        (said.starts_with(word) && said.ends_with(" agreed")).then_some(())
    });
}

#[test]
fn h15_a_paused_cluster_elects_nobody_over_restarts_and_h16_hands_over_as_ever() {
    let cluster = Cluster::new(3, 1);
    let mut nodes: Vec<Process> = (0..3).map(|node| Process::start(&cluster, node, SETTINGS)).collect();
    // On a busy machine the first one may lose its office before elections are paused.
    let first = until("replicas are there", || {
        let first = primary(&nodes);
        (nodes[first].ask("WAIT 2 1000")? == "2").then_some(first)
    });
    let said = until("it takes the order", || {
        nodes[(first + 1) % 3].ask("ELECT PAUSE").filter(|said| !said.starts_with('-'))
    });
    assert!(said.starts_with("paused@"), "{said}");
    nodes.iter().for_each(|node| agreed(node, "paused@"));
    let info = nodes[first].ask("INFO replication").unwrap();
    assert!(info.contains("elect_paused:yes"), "{info}");

    // Planned is planned.
    until("it hands over", || nodes[first].ask("ELECT STEPDOWN").filter(|said| !said.starts_with('-')));
    let second = until("another one takes writes", || {
        (0..3).find(|node| *node != first && nodes[*node].ask("SET probe 1").as_deref() == Some("OK"))
    });
    until("replicas are there", || (nodes[second].ask("WAIT 2 1000")? == "2").then_some(()));

    nodes[second].signal(Signal::KILL);
    nodes[second].wait();
    let third = 3 - first - second;
    nodes[third].signal(Signal::KILL);
    nodes[third].wait();
    nodes[third] = Process::start(&cluster, third, SETTINGS);
    agreed(&nodes[third], "paused@");
    let begun = Instant::now();
    while begun.elapsed() < 5 * TIMEOUT {
        for node in [first, third] {
            let said = nodes[node].ask("SET probe 1");
            assert!(said.as_deref() != Some("OK"), "node {node} was elected while elections are paused");
        }
        std::thread::sleep(TIMEOUT / 20);
    }
    let said = until("it takes the order", || {
        nodes[first].ask("ELECT RESUME").filter(|said| !said.starts_with('-'))
    });
    assert!(said.starts_with("running@"), "{said}");
    primary(&nodes);
    [first, third].iter().for_each(|node| agreed(&nodes[*node], "running@"));
}

#[test]
fn h14_a_node_that_hears_no_quorum_takes_no_order() {
    let cluster = Cluster::new(3, 1);
    let alone = Process::start(&cluster, 0, SETTINGS);
    // Before its election has begun it has no vote to speak of.
    let said =
        until("its election has begun", || alone.ask("ELECT PAUSE").filter(|said| !said.contains("no vote")));
    assert!(said.starts_with("-ERR") && said.contains("1 of 2 voters"), "{said}");
    assert_eq!(alone.ask("ELECT PAUSED").as_deref(), Some("none spreading"));
    assert!(alone.ask("ELECT STEPDOWN now").unwrap().contains("use ELECT STEPDOWN"));
}
