//! Contents are compared: what `ELECT DIGEST` tells on real servers, and what is made of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, primary};
use common::rolling::PATIENT;
use common::{Client, Cluster, Node, until};
use kevy_elect_compare::{CompareError, Comparison, Disagreement, Options, Outcome, compare};
use std::sync::atomic::{AtomicBool, Ordering};

/// Some keys of every type, in every encoding, some with an end.
const CONTENTS: [&str; 14] = [
    "SET text hello",
    "SET number 41",
    "SET empty ",
    "SET lock owner-1 EX 1000",
    "RPUSH list a b c",
    "SADD set x y z",
    "SADD numbers 3 1 2",
    "ZADD zset 1 one 2.5 more",
    "HSET hash field value other 7",
    "HSET fields a 1 b 2",
    // Not HPEXPIRE: the stream says it as it was said here, and so each node's fields would end at another time.
    "HPEXPIREAT fields 4102444800000 FIELDS 1 a",
    "XADD stream 5-1 field value",
    "XADD stream 5-2 field more",
    "XGROUP CREATE stream group 0",
];

fn addresses(ports: &[u16]) -> Vec<String> {
    ports.iter().map(|port| format!("127.0.0.1:{port}")).collect()
}

fn write(client: &mut Client, lines: &[&str]) {
    for line in lines {
        let said = client.ask(line);
        assert!(!said.starts_with('-'), "{line}: {said}");
    }
}

/// Two servers, the second follows the first.
fn two(cluster: &Cluster) -> [Node; 2] {
    let nodes = [cluster.start(0), cluster.start(1)];
    nodes[0].promote(1);
    nodes[1].follow(1, &nodes[0]);
    nodes[1].wait_joined(1);
    nodes
}

/// Waits until the second has everything: an end mark in every shard's stream.
fn settle(nodes: &[Node; 2]) {
    let (mut here, mut there) = (nodes[0].client(), nodes[1].client());
    for i in 0..16 {
        write(&mut here, &[&format!("SET mark:{i} 1")]);
    }
    for i in 0..16 {
        until("the marks arrive", || (there.ask(&format!("GET mark:{i}")) == "1").then_some(()));
    }
    write(&mut here, &["FLUSHALL"]);
    until("the marks are gone", || (there.ask("DBSIZE") == ":0").then_some(()));
}

fn run(cluster: &Cluster) -> Comparison {
    compare(&addresses(&cluster.ports), &Options::default()).unwrap()
}

#[test]
fn equal_contents_are_equal_and_every_kind_of_difference_is_named() {
    let cluster = Cluster::new(2, 2);
    let nodes = two(&cluster);
    settle(&nodes);
    let (mut here, mut there) = (nodes[0].client(), nodes[1].client());
    write(&mut here, &CONTENTS);
    let members: Vec<String> = (0..2000).map(|i| format!("m{i}")).collect();
    write(&mut here, &[&format!("SADD many {}", members.join(" ")), "SET last 1"]);
    until("all of it has arrived", || (there.ask("DBSIZE") == here.ask("DBSIZE")).then_some(()));
    until("the group has arrived", || there.ask("XINFO GROUPS stream").contains("group").then_some(()));
    until("the fields' end has arrived", || (there.ask("HPTTL fields FIELDS 1 a") != "[:-1]").then_some(()));
    // What is applied is counted a moment later.
    let seen = until("both are at one position", || Some(run(&cluster)).filter(Comparison::at_one_position));
    assert_eq!(seen.outcome(), Outcome::Equal, "{seen:?}");
    assert_eq!(seen.nodes.iter().map(|node| node.keys).collect::<Vec<_>>(), [13, 13]);
    assert_eq!((seen.reference, seen.nodes[0].primary), (0, true));

    // Behind the stream's back, as a server would that let a write pass which it must not.
    *nodes[1].office.gate.lock().unwrap() = Ok(());
    write(
        &mut there,
        &[
            "SET text hullo",
            "DEL number",
            "SET stray 1",
            "DEL list",
            "SADD list a b c",
            "EXPIRE lock 2000",
            "ZADD zset 1.5 one",
            "HPERSIST fields FIELDS 1 a",
            "XDEL stream 5-1",
            "SREM many m1999",
        ],
    );
    let seen = run(&cluster);
    assert_eq!(seen.outcome(), Outcome::Different);
    let found: Vec<_> =
        seen.differences.iter().map(|d| (String::from_utf8_lossy(&d.key).into_owned(), d.how)).collect();
    let expected = [
        ("fields", Disagreement::Value),
        ("list", Disagreement::Type),
        ("lock", Disagreement::Expiry),
        ("many", Disagreement::Value),
        ("number", Disagreement::Missing),
        ("stray", Disagreement::Missing),
        ("stream", Disagreement::Value),
        ("text", Disagreement::Value),
        ("zset", Disagreement::Value),
    ];
    assert_eq!(found, expected.map(|(key, how)| (key.to_owned(), how)));
    assert!(seen.differences.iter().all(|d| d.node == 1) && !seen.more && seen.undecided.is_empty());
    let list = &seen.differences[1];
    assert_eq!((list.there.unwrap().type_name(), list.here.unwrap().type_name()), ("list", "set"));
}

#[test]
fn a_node_that_lost_everything_differs_in_more_keys_than_are_named() {
    let cluster = Cluster::new(2, 1);
    let nodes = two(&cluster);
    let mut here = nodes[0].client();
    for i in 0..3000 {
        write(&mut here, &[&format!("SET k{i} v")]);
    }
    let mut there = nodes[1].client();
    until("all of it has arrived", || (there.ask("DBSIZE") == ":3000").then_some(()));
    *nodes[1].office.gate.lock().unwrap() = Ok(());
    write(&mut there, &["FLUSHALL"]);
    let seen = run(&cluster);
    assert_eq!(seen.outcome(), Outcome::Different);
    assert!(seen.more && seen.differences.len() == 1000, "{}", seen.differences.len());
    assert!(seen.differences.iter().all(|d| d.how == Disagreement::Missing && d.here.is_none()));
}

/// Ends the load also where the test fails, or its thread would be waited for in vain.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn nodes_that_are_written_to_are_compared_all_the_same() {
    let cluster = Cluster::new(3, 2);
    let nodes = Process::start_three(&cluster, PATIENT);
    let first = primary(&nodes);
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ends = Ends(&end);
        scope.spawn(|| {
            let mut n = 0;
            while !end.load(Ordering::Relaxed) {
                n += 1;
                // So many that none of them changes with every look, however long a look takes.
                nodes[first].ask(&format!("SET k{} {n}", n % 5_000));
                nodes[first].ask("INCR hot");
            }
        });
        until("there are keys", || nodes.iter().all(|node| node.ask("GET k400").is_some()).then_some(()));
        until("nodes are seen at more than one position", || {
            let seen = compare(&addresses(&cluster.ports), &Options::default()).unwrap();
            // A key that changes with every look may stay undecided; none differs.
            assert_eq!(seen.differences, [], "{seen:?}");
            assert!(seen.undecided.keys().all(|key| key == b"hot"), "{seen:?}");
            assert_eq!(seen.nodes[seen.reference].name, format!("n{first}"));
            assert!(seen.nodes[first].primary);
            (!seen.at_one_position()).then_some(())
        });
        drop(ends);
    });
    let settled = until("all nodes are at one position", || {
        compare(&addresses(&cluster.ports), &Options::default()).ok().filter(Comparison::at_one_position)
    });
    assert_eq!(settled.outcome(), Outcome::Equal, "{settled:?}");
    assert!(settled.nodes[0].before.offset > 500);
}

#[test]
fn what_cannot_be_compared_is_said_in_words() {
    let (one, two) = (Cluster::new(1, 1), Cluster::new(1, 2));
    let nodes = [one.start(0), two.start(0)];
    let ports = [nodes[0].port, nodes[1].port];
    let error = compare(&addresses(&ports), &Options::default()).unwrap_err();
    assert!(matches!(error, CompareError::Shards { .. }), "{error}");
    assert!(error.to_string().contains("has 1 shards and"), "{error}");
    let mut client = nodes[0].client();
    assert!(client.ask("ELECT DIGEST").starts_with("-ERR use ELECT DIGEST INFO"));
    assert!(client.ask("ELECT DIGEST SCAN 7 0 0").contains("no shard 7"));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closes = silent.local_addr().unwrap().to_string();
    std::thread::spawn(move || silent.incoming().for_each(drop));
    let error =
        compare(&[closes.clone(), format!("127.0.0.1:{}", ports[0])], &Options::default()).unwrap_err();
    assert!(error.to_string().starts_with(&closes), "{error}");
}
