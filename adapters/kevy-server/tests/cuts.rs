//! Streams of several shards are one history: of two replicas one holds all that the other one confirmed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::{Client, Cluster, Node, until, until_reads};
use kevy_elect_plugin::host::FenceReason;
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
    let [a, b] = cluster.reigning(1);
    let mut client = a.client();
    for round in 0..3 {
        for i in 0..50 {
            assert_eq!(client.ask(&format!("SET k{i} {round}")), "+OK");
        }
        until("it is confirmed", || (client.ask("WAIT 1 1000") == ":1").then_some(()));
        until_reads(&b, "k49", &round.to_string());
        assert_eq!(client.ask("FLUSHALL"), "+OK");
    }
    assert_eq!(client.ask("SET last 1"), "+OK");
    until("it is confirmed", || (client.ask("WAIT 1 1000") == ":1").then_some(()));
    until_reads(&b, "last", "1");
}

/// Keys of all shards; the last has a value that the stream itself does not bring, so its frame comes later than the others.
fn write_all_at_once(client: &mut Client, how: &str, round: usize) -> Vec<String> {
    let keys: Vec<String> = (0..8).map(|i| format!("t{round}.{i}")).collect();
    let large = "x".repeat(300_000);
    let values = |i: usize| if i == keys.len() - 1 { large.as_str() } else { "v" };
    if how == "MSET" {
        let mut words = vec!["MSET"];
        keys.iter().enumerate().for_each(|(i, key)| words.extend([key.as_str(), values(i)]));
        assert_eq!(client.ask_words(&words), "+OK");
    } else {
        assert_eq!(client.ask("MULTI"), "+OK");
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(client.ask_words(&["SET", key, values(i)]), "+QUEUED");
        }
        assert_eq!(client.list(&["EXEC"]), vec!["+OK"; keys.len()]);
    }
    keys
}

fn there(node: &Node, keys: &[String]) -> usize {
    let mut client = node.client();
    keys.iter().filter(|key| client.ask(&format!("EXISTS {key}")) == ":1").count()
}

/// What `docs/limits.md` tells of transactions.
#[test]
fn with_several_shards_a_transaction_can_survive_by_half_unless_wait_confirmed_it() {
    for how in ["MSET", "MULTI"] {
        until("half of one is seen", || {
            let cluster = Cluster::new(2, SHARDS);
            let [a, b] = cluster.reigning(1);
            let mut client = a.client();
            let whole = write_all_at_once(&mut client, how, 0);
            until("it is confirmed", || (client.ask("WAIT 1 1000") == ":1").then_some(()));
            let unconfirmed = write_all_at_once(&mut client, how, 1);
            until("some of it is there", || (there(&b, &unconfirmed) > 0).then_some(()));
            // The primary is gone.
            b.host.detach();
            b.promote(2);
            assert_eq!(there(&b, &whole), whole.len(), "{how}: what was confirmed is whole");
            // On a slow machine the rest may have come in time.
            (there(&b, &unconfirmed) < unconfirmed.len()).then_some(())
        });
    }
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

/// Whoever hands over waits until somebody has all. With the gate shut no client's write brings a cut any more.
#[test]
fn a_replica_can_say_that_it_has_all_while_the_primary_hands_over() {
    let cluster = Cluster::new(2, 3);
    let [a, b] = cluster.reigning(1);
    let mut client = a.client();
    for round in 0..20 {
        (0..10).for_each(|key| assert_eq!(client.ask(&format!("SET k{key} {round}")), "+OK"));
        a.fence(FenceReason::StepDown);
        let held = |node: &Node| node.office.offsets.lock().unwrap().iter().sum::<u64>();
        until("the replica has all", || (held(&b) == held(&a)).then_some(()));
        *a.office.gate.lock().unwrap() = Ok(());
    }
}
