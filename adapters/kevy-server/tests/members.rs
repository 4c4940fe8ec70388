//! What members are for: witnesses, observers and priorities, on real processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, WITNESS, primary};
use common::rolling::PATIENT;
use common::{Cluster, until};
use kevy_config::CliOverrides;
use kevy_elect_ops::config::Settings;
use rustix::process::Signal;
use std::path::PathBuf;

/// No test: the process of a witness, which the tests below start.
#[test]
#[ignore = "a process that other tests start"]
fn acts_as_the_witness() {
    let Some(file) = std::env::var_os(WITNESS).map(PathBuf::from) else { return };
    let settings = Settings::load(Some(&file), [], CliOverrides::default()).unwrap();
    kevy_witness::run(settings).unwrap();
}

fn kill(node: &mut Process) {
    node.signal(Signal::KILL);
    node.wait();
}

#[track_caller]
fn confirmed(node: &Process, replicas: usize) {
    until("as many replicas confirm", || {
        node.ask("SET confirmed 1")?;
        (node.ask(&format!("WAIT {replicas} 1000"))? == replicas.to_string()).then_some(())
    });
}

/// So many confirm, and nobody else ever does. On a busy machine they may take longer than one `WAIT`.
#[track_caller]
fn no_more_confirm(node: &Process, replicas: usize, why: &str) {
    let more = replicas + 1;
    until("as many replicas confirm, and no more", || {
        let said: usize = node.ask(&format!("WAIT {more} 300"))?.parse().ok()?;
        assert!(said < more, "{said}: {why}");
        (said == replicas).then_some(())
    });
}

/// Two servers and a witness lose either server, and keep what both had confirmed.
#[test]
fn a_witness_elects_the_server_that_is_left() {
    let mut cluster = Cluster::new(3, 1);
    cluster.witness = Some(2);
    let mut nodes: Vec<_> = (0..2).map(|node| Process::start(&cluster, node, PATIENT)).collect();
    let mut witness = Process::start_witness(&cluster, PATIENT);
    for round in 0..2 {
        let first = primary(&nodes);
        confirmed(&nodes[first], 1);
        assert_eq!(nodes[first].ask(&format!("SET round{round} kept")).as_deref(), Some("OK"));
        confirmed(&nodes[first], 1);
        no_more_confirm(&nodes[first], 1, "a witness confirms nothing");
        kill(&mut nodes[first]);
        let left = 1 - first;
        until("the one that is left takes writes", || {
            (nodes[left].ask("SET probe 1").as_deref() == Some("OK")).then_some(())
        });
        assert_eq!(nodes[left].ask(&format!("GET round{round}")).as_deref(), Some("kept"));
        nodes[first] = Process::start(&cluster, first, PATIENT);
    }
    let first = primary(&nodes);
    confirmed(&nodes[first], 1);
    agree(&cluster);
    // Without the witness the two are a quorum still; with one of them alone, nobody writes.
    kill(&mut witness);
    confirmed(&nodes[first], 1);
    kill(&mut nodes[1 - first]);
    until("the one that is left loses its lease", || {
        let refused = nodes[first].ask("SET probe 2");
        refused.is_none_or(|said| said.starts_with("-READONLY")).then_some(())
    });
}

/// Members of different kinds with the same file say the same of all that they have to agree on (W19).
fn agree(cluster: &Cluster) {
    for dir in &cluster.dirs {
        let log = std::fs::read_to_string(dir.0.join("log")).unwrap();
        assert!(!log.contains("terms_differ"), "{log}");
    }
}

/// A server that was told to be a witness says what to start instead.
#[test]
fn a_server_refuses_to_be_a_witness() {
    let mut cluster = Cluster::new(3, 1);
    cluster.witness = Some(0);
    let mut server = Process::start(&cluster, 0, "");
    assert_eq!(server.wait().code(), Some(1));
    let said = std::fs::read_to_string(cluster.dirs[0].0.join("log")).unwrap();
    assert!(
        said.contains("n0 is a witness ([elect] witnesses), which holds no data: start kevy-witness"),
        "{said}"
    );
}

/// An observer has the data, counts for no confirmation, and is never primary.
#[test]
fn an_observer_follows_and_counts_for_nothing() {
    let cluster = Cluster::new(4, 1);
    let more = format!("{PATIENT}observers = \"n3\"\n");
    let mut nodes: Vec<_> = (0..4).map(|node| Process::start(&cluster, node, &more)).collect();
    let mut first = primary(&nodes);
    for _ in 0..2 {
        assert_eq!(nodes[first].ask("SET seen 1").as_deref(), Some("OK"));
        until("the observer has it", || (nodes[3].ask("GET seen")? == "1").then_some(()));
        assert_ne!(first, 3);
        assert_eq!(nodes[first].ask("DEL seen").as_deref(), Some("1"));
        confirmed(&nodes[first], 2);
        no_more_confirm(&nodes[first], 2, "three voters, and the primary is one");
        kill(&mut nodes[first]);
        let gone = first;
        first = primary(&nodes);
        assert_ne!(first, 3);
        nodes[gone] = Process::start(&cluster, gone, &more);
    }
    confirmed(&nodes[first], 2);
    agree(&cluster);
    // Two of three voters gone: the observer makes no quorum.
    let others: Vec<_> = (0..3).filter(|node| *node != first).collect();
    others.iter().for_each(|node| kill(&mut nodes[*node]));
    until("nobody takes writes", || {
        [first, 3]
            .iter()
            .all(|node| nodes[*node].ask("SET probe 2").is_none_or(|said| said != "OK"))
            .then_some(())
    });
}

/// Whose priority is 0 is never elected, and a preferred one is again when it is its turn.
#[test]
fn priorities_decide_who_is_elected() {
    let cluster = Cluster::new(3, 1);
    let more = format!("{PATIENT}priorities = \"n0=0,n2=200\"\n");
    let start = |node| Process::start(&cluster, node, &more);
    let (n0, n2) = (start(0), start(2));
    until("n2 takes writes", || (n2.ask("SET probe 1")? == "OK").then_some(()));
    // Not before: where n2 comes late, n1 is elected without it.
    let mut nodes = vec![n0, start(1), n2];
    assert_eq!(primary(&nodes), 2);
    confirmed(&nodes[2], 2);
    kill(&mut nodes[2]);
    assert_eq!(primary(&nodes), 1, "n0 is never primary");
    confirmed(&nodes[1], 1);
    nodes[2] = start(2);
    // The preferred one does not take the office back by itself.
    confirmed(&nodes[1], 2);
    assert_eq!(primary(&nodes), 1);
    // A write that n0 alone had would keep n2 out, and n0 never stands (docs/limits.md).
    confirmed(&nodes[1], 2);
    kill(&mut nodes[1]);
    assert_eq!(primary(&nodes), 2);
    agree(&cluster);
}
