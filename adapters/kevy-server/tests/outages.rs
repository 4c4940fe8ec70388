//! Outages without any power cut, on real processes: what was confirmed is there when all have been killed and are started again, in
//! whatever order. Votes and data are synced at different times; what a node claims comes from its data alone (K1).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, confirmed, primary};
use common::rolling::PATIENT;
use common::{Cluster, until};
use kevy_persist::layout;
use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use rustix::process::Signal;

const ROUNDS: usize = 3;
/// Writes that nobody else has when their primary dies.
const UNCONFIRMED: usize = 200;

fn kill(process: &mut Process) {
    process.signal(Signal::KILL);
    process.wait();
}

fn others(of: usize) -> impl Iterator<Item = usize> {
    (0..3).filter(move |node| *node != of)
}

/// Writes that all nodes hold, then writes that only the primary has, which dies. The next one confirms one, and then all are dead.
fn stale_primary(shards: u16) {
    let cluster = Cluster::new(3, shards);
    let mut nodes = Process::start_three(&cluster, PATIENT);
    let stale = primary(&nodes);
    confirmed(&nodes[stale], "SET all hold");
    let mut client = RespClient::connect("127.0.0.1", nodes[stale].port).unwrap();
    others(stale).for_each(|node| nodes[node].signal(Signal::STOP));
    for i in 0..UNCONFIRMED {
        // As many as its lease lets pass.
        let set = client.request_borrowed(&[b"SET", format!("alone{i}").as_bytes(), b"v"]);
        if !matches!(set, Ok(Reply::Simple(_))) {
            assert!(i > 0, "the machine is too slow for this test: nothing was written alone");
            break;
        }
    }
    kill(&mut nodes[stale]);
    others(stale).for_each(|node| nodes[node].signal(Signal::CONT));
    let next = until("the next one confirms a write", || {
        others(stale).find(|node| {
            nodes[*node].ask("SET confirmed yes").as_deref() == Some("OK")
                && nodes[*node].ask("WAIT 1 1000").as_deref() == Some("1")
        })
    });
    let third = others(stale).find(|node| *node != next).unwrap();
    // Nothing is waited for: records and data are synced whenever they are.
    kill(&mut nodes[next]);
    kill(&mut nodes[third]);
    for node in [stale, third, next] {
        nodes[node] = Process::start(&cluster, node, PATIENT);
    }
    let now = primary(&nodes);
    assert_eq!(nodes[now].ask("GET confirmed").as_deref(), Some("yes"));
    assert_eq!(nodes[now].ask("GET all").as_deref(), Some("hold"));
}

#[test]
fn a_confirmed_write_survives_when_all_are_killed_and_a_stale_primary_comes_back_first() {
    for round in 0..ROUNDS {
        stale_primary(if round + 1 == ROUNDS { 2 } else { 1 });
    }
}

/// A replica without a log comes back with the hundred keys of its snapshot, and a vote record that knows of all of them. It would go
/// first: its id is the lower one.
fn old_snapshot() {
    const BEFORE: usize = 100;
    const AFTER: usize = 1000;
    let mut cluster = Cluster::new(3, 1);
    cluster.aof = false;
    let mut nodes = Process::start_three(&cluster, PATIENT);
    let first = primary(&nodes);
    let restarted = others(first).next().unwrap();
    let other = others(first).nth(1).unwrap();
    let mut client = RespClient::connect("127.0.0.1", nodes[first].port).unwrap();
    let mut write = |name: &str, count: usize| {
        for i in 0..count {
            let set = client.request_borrowed(&[b"SET", format!("{name}{i}").as_bytes(), b"v"]);
            assert!(matches!(set, Ok(Reply::Simple(_))), "{set:?}");
        }
    };
    write("before", BEFORE);
    confirmed(&nodes[first], "SET all hold");
    assert!(nodes[restarted].ask("BGSAVE").is_some_and(|said| !said.starts_with('-')));
    until("the snapshot is there", || {
        layout::snapshot_path(&cluster.dirs[restarted].0, 0).exists().then_some(())
    });
    write("after", AFTER);
    confirmed(&nodes[first], "SET confirmed yes");
    kill(&mut nodes[restarted]);
    kill(&mut nodes[first]);
    nodes[restarted] = Process::start(&cluster, restarted, PATIENT);
    let now = until("one of the two takes writes", || {
        [restarted, other].into_iter().find(|node| nodes[*node].ask("SET probe 1").as_deref() == Some("OK"))
    });
    let names = (0..BEFORE).map(|i| format!("before{i}")).chain((0..AFTER).map(|i| format!("after{i}")));
    let gone: Vec<_> =
        names.filter(|name| nodes[now].ask(&format!("GET {name}")).as_deref() != Some("v")).collect();
    assert_eq!(gone, Vec::<String>::new(), "confirmed by both replicas, and one of them was up all the time");
    assert_eq!(nodes[now].ask("GET confirmed").as_deref(), Some("yes"));
}

#[test]
fn without_a_log_a_replica_that_comes_back_with_an_old_snapshot_is_not_elected() {
    (0..ROUNDS).for_each(|_| old_snapshot());
}
