//! Streams of several shards are one history: of two replicas one holds all that the other one confirmed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::{Client, Cluster, Node, until, until_reads};
use kevy_elect_plugin::position::Position;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

const SHARDS: u16 = 4;

/// Whether `a` is behind `b` on no shard.
fn holds(a: &Position, b: &Position) -> bool {
    a.offsets().iter().zip(b.offsets()).all(|(a, b)| a >= b)
}

/// Writes keys of all shards without pause, and keeps those of which `WAIT` said that a replica has them.
fn write(mut client: Client, name: usize, over: &AtomicBool, confirmed: &Mutex<Vec<String>>) {
    for round in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let keys: Vec<String> = (0..8).map(|i| format!("w{name}.{round}.{i}")).collect();
        for key in &keys {
            assert_eq!(client.ask(&format!("SET {key} {round}")), "+OK");
        }
        if round % 4 == 0 && client.ask("WAIT 1 1000") != ":0" {
            confirmed.lock().unwrap().extend(keys);
        }
    }
}

#[test]
fn of_two_replicas_one_is_behind_on_no_shard_and_has_all_that_was_confirmed() {
    let cluster = Cluster::new(3, SHARDS);
    let (a, b, c) = (cluster.start(0), cluster.start(1), cluster.start(2));
    a.promote(1);
    let replicas = [&b, &c];
    replicas.iter().for_each(|replica| replica.follow(1, &a));
    replicas.iter().for_each(|replica| replica.wait_joined(1));
    let (over, confirmed) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let writers: Vec<_> = (0..3)
        .map(|name| {
            let (client, over, confirmed) = (a.client(), Arc::clone(&over), Arc::clone(&confirmed));
            std::thread::spawn(move || write(client, name, &over, &confirmed))
        })
        .collect();
    let mut compared = 0;
    for _ in 0..20 {
        let before = confirmed.lock().unwrap().len();
        until("more is confirmed", || (confirmed.lock().unwrap().len() > before + 16).then_some(()));
        let held = [b.host.detach(), c.host.detach()];
        let known = confirmed.lock().unwrap().clone();
        assert!(
            holds(&held[0], &held[1]) || holds(&held[1], &held[0]),
            "neither is the longer history: {held:?}"
        );
        let best = usize::from(held[1].progress() > held[0].progress());
        check(replicas[best], &known);
        compared += known.len();
        replicas.iter().for_each(|replica| replica.follow(1, &a));
    }
    assert!(compared > 1000, "only {compared} confirmed keys were looked at");
    over.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

#[track_caller]
fn check(node: &Node, keys: &[String]) {
    // What was received is applied before anything else is done.
    let mut client = node.client();
    for key in keys {
        until(&format!("{key} is there"), || (client.ask(&format!("EXISTS {key}")) == ":1").then_some(()));
    }
}

#[test]
fn a_flush_of_all_shards_does_not_stop_confirmations() {
    let cluster = Cluster::new(2, SHARDS);
    let (a, b) = (cluster.start(0), cluster.start(1));
    a.promote(1);
    b.follow(1, &a);
    b.wait_joined(1);
    let mut client = a.client();
    for round in 0..3 {
        for i in 0..50 {
            assert_eq!(client.ask(&format!("SET k{i} {round}")), "+OK");
        }
        assert_eq!(client.ask("WAIT 1 10000"), ":1");
        until_reads(&b, "k49", &round.to_string());
        assert_eq!(client.ask("FLUSHALL"), "+OK");
    }
    assert_eq!(client.ask("SET last 1"), "+OK");
    until("it is confirmed", || (client.ask("WAIT 1 1000") == ":1").then_some(()));
    until_reads(&b, "last", "1");
}

#[test]
fn a_client_cannot_cut() {
    let cluster = Cluster::new(1, 2);
    let node = cluster.start(0);
    node.promote(1);
    let mut client = node.client();
    for line in
        ["ELECT.CUT k 7", "ELECT.CUT k 0", "ELECT.CUT", "ELECT.CUT k", "ELECT.CUT k x", "elect.cut a 1 2"]
    {
        let answer = client.ask(line);
        assert!(answer.starts_with('-'), "{line}: {answer}");
    }
    assert_eq!(client.ask("DBSIZE"), ":0");
}
