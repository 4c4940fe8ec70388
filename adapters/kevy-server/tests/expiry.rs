//! Only the primary's clock ends a key. On real processes: the servers of one process share a clock.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::contents::{contents, differences};
use common::process::{Process, primary};
use common::rolling::PATIENT;
use common::{Client, Cluster, until};
use rustix::process::Signal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One cluster at a time: on a busy machine they would take each other's leases away.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Three nodes, the first of them the primary.
fn three(shards: u16) -> (Cluster, Vec<Process>) {
    with_timeout(shards, PATIENT)
}

fn with_timeout(shards: u16, timeout: &str) -> (Cluster, Vec<Process>) {
    let cluster = Cluster::new(3, shards);
    // Nothing here is about processes that are stopped while they write.
    let more = format!("watchdog = false\n{timeout}");
    let start = |node| Process::start(&cluster, node, &more);
    let mut nodes: Vec<Process> = (0..3).map(start).collect();
    let first = primary(&nodes);
    nodes.swap(0, first);
    until("both follow", || (client(&nodes[0]).ask("WAIT 2 1000") == ":2").then_some(()));
    (cluster, nodes)
}

fn client(node: &Process) -> Client {
    Client::connect(node.port)
}

#[track_caller]
fn same(nodes: &[Process]) {
    let right = contents(&mut client(&nodes[0]));
    for node in &nodes[1..] {
        let mut seen = Vec::new();
        let same = common::within(common::PATIENCE, || {
            seen = differences(&right, &contents(&mut client(node)));
            seen.is_empty().then_some(())
        });
        assert!(same.is_some(), "port {}: {seen:#?}", node.port);
    }
}

/// D5
#[test]
fn a_lock_that_was_renewed_in_time_is_there_on_a_replica_that_was_late() {
    // Until it is renewed, however slow the machine is.
    const HELD: Duration = Duration::from_secs(8);
    let _alone = alone();
    let (_cluster, nodes) = three(1);
    let mut primary = client(&nodes[0]);
    let start = Instant::now();
    assert_eq!(primary.ask(&format!("SET lock owner NX PX {}", HELD.as_millis())), "+OK");
    assert_eq!(primary.ask("WAIT 2 5000"), ":2");
    nodes[1].signal(Signal::STOP);
    assert_eq!(primary.ask("PEXPIRE lock 1000000"), ":1", "in time");
    std::thread::sleep((HELD + Duration::from_millis(300)).saturating_sub(start.elapsed()));
    nodes[1].signal(Signal::CONT);
    until("both have it all", || (primary.ask("WAIT 2 1000") == ":2").then_some(()));
    for node in &nodes {
        until("the lock is there", || (client(node).ask("GET lock") == "owner").then_some(()));
    }
    assert_eq!(primary.ask("SET lock another NX PX 1000"), "nil");
    same(&nodes);
}

#[test]
fn a_lock_that_was_renewed_is_there_after_all_were_killed() {
    const HELD: Duration = Duration::from_secs(5);
    let _alone = alone();
    let (cluster, mut nodes) = three(1);
    let mut primary = client(&nodes[0]);
    assert_eq!(primary.ask(&format!("SET lock owner PX {}", HELD.as_millis())), "+OK");
    assert_eq!(primary.ask("PEXPIRE lock 1000000"), ":1", "in time");
    assert_eq!(primary.ask("RPUSH l a"), ":1");
    assert_eq!(primary.ask(&format!("PEXPIRE l {}", HELD.as_millis())), ":1");
    let start = Instant::now();
    assert_eq!(primary.ask("PERSIST l"), ":1", "in time");
    assert_eq!(primary.ask("WAIT 2 30000"), ":2");
    // Until the log is on disk, and the first deadlines are over.
    std::thread::sleep((HELD + Duration::from_millis(300)).saturating_sub(start.elapsed()));
    drop(primary);
    for node in &mut nodes {
        node.signal(Signal::KILL);
        node.wait();
    }
    let nodes = Process::start_three(&cluster, PATIENT);
    let first = common::process::primary(&nodes);
    assert_eq!(client(&nodes[first]).ask("GET lock"), "owner");
    assert_eq!(client(&nodes[first]).ask("LLEN l"), ":1");
}

#[test]
fn what_ended_on_the_primary_is_gone_from_the_replicas_although_nobody_asks_for_it() {
    let _alone = alone();
    let (_cluster, nodes) = three(2);
    let mut primary = client(&nodes[0]);
    for i in 0..300 {
        assert_eq!(primary.ask(&format!("SET short{i} v PX 200")), "+OK");
        assert_eq!(primary.ask(&format!("SET long{i} v EX 1000")), "+OK");
    }
    assert_eq!(primary.ask("HSET hash f v g v"), ":2");
    assert_eq!(primary.ask("HPEXPIRE hash 200 FIELDS 1 f"), "[:1]");
    for node in &nodes {
        let mut client = client(node);
        until("all have ended", || {
            let keys = client.ask_list("KEYS short*");
            (keys.is_empty() && client.ask("HLEN hash") == ":1").then_some(())
        });
    }
    same(&nodes);
}

/// D5
#[test]
fn a_key_that_ended_and_was_made_again_is_only_the_new_one_everywhere() {
    let _alone = alone();
    let (_cluster, nodes) = three(1);
    let mut primary = client(&nodes[0]);
    let kinds = [
        "RPUSH {k} x",
        "SADD {k} x",
        "ZADD {k} 1 x",
        "HSET {k} f x",
        "APPEND {k} x",
        "XADD {k} * f x",
        "SETNX {k} x",
        "SET {k} x NX",
    ];
    let script = "return(redis.call('RPUSH',KEYS[1],'x'))";
    for round in 0..10 {
        for (i, kind) in kinds.iter().enumerate() {
            let key = format!("k{round}.{i}");
            assert!(!primary.ask(&kind.replace("{k}", &key).replace('x', "old")).starts_with('-'));
            assert_eq!(primary.ask(&format!("PEXPIRE {key} 30")), ":1");
        }
        assert_eq!(primary.ask(&format!("HSET fields{round} f 5 g 7 i 1")), ":3");
        assert_eq!(primary.ask(&format!("HPEXPIRE fields{round} 30 FIELDS 2 f g")), "[:1 :1]");
        assert_eq!(primary.ask(&format!("SET from{round} new")), "+OK");
        for key in ["script", "xx", "pop", "to"] {
            assert_eq!(primary.ask(&format!("RPUSH {key}{round} old")), ":1");
            assert_eq!(primary.ask(&format!("PEXPIRE {key}{round} 30")), ":1");
        }
        // Some of them are found by the write itself, some by what looks for them.
        std::thread::sleep(Duration::from_millis(32 + round * 5));
        for (i, kind) in kinds.iter().enumerate() {
            let reply = primary.ask(&kind.replace("{k}", &format!("k{round}.{i}")).replace('x', "new"));
            assert!(!reply.starts_with('-') && reply != "nil" && reply != ":0", "{kind}: {reply}");
        }
        assert_eq!(primary.ask_words(&["EVAL", script, "1", &format!("script{round}")]), ":1");
        assert_eq!(primary.ask(&format!("SET xx{round} v XX")), "nil");
        assert_eq!(primary.ask(&format!("LPOP pop{round}")), "nil");
    }
    until("both have it all", || (primary.ask("WAIT 2 1000") == ":2").then_some(()));
    same(&nodes);
}

/// D5: the write that finds that a key has ended drops the last one with a deadline.
#[test]
fn the_last_key_with_a_deadline_ends_everywhere_whoever_finds_it() {
    let _alone = alone();
    let (_cluster, nodes) = three(1);
    let mut primary = client(&nodes[0]);
    let mut found = 0;
    for round in 0..40 {
        assert_eq!(primary.ask(&format!("RPUSH last{round} old")), ":1");
        assert_eq!(primary.ask(&format!("PEXPIRE last{round} 10")), ":1");
        std::thread::sleep(Duration::from_millis(11));
        found += usize::from(primary.ask(&format!("SET last{round} v XX")) == "nil");
    }
    assert!(found > 0, "all were in time");
    same(&nodes);
}

/// D5
#[test]
fn nothing_ends_on_a_primary_that_must_not_write() {
    let _alone = alone();
    // Its lease ends long before the key does.
    let (_cluster, nodes) = with_timeout(1, "election_timeout_ms = 2000\n");
    let mut primary = client(&nodes[0]);
    assert_eq!(primary.ask("SET k v PX 12000"), "+OK");
    assert_eq!(primary.ask("WAIT 2 5000"), ":2");
    nodes[1].signal(Signal::STOP);
    nodes[2].signal(Signal::STOP);
    until("it is fenced", || primary.ask("SET l v").starts_with("-READONLY").then_some(()));
    // It ends connections, also of those that only read.
    let ask = |line: &str| until("it answers", || client(&nodes[0]).try_ask(line));
    until("the time is up", || (ask("PTTL k") == ":-2").then_some(()));
    // Three times as long as kevy takes to look for what has ended.
    let looked = Instant::now();
    while looked.elapsed() < Duration::from_millis(300) {
        assert_eq!(ask("EXISTS k"), ":1", "nobody has decided that it ended");
    }
    nodes[1].signal(Signal::CONT);
    nodes[2].signal(Signal::CONT);
    for node in &nodes {
        until("it ends once somebody may write", || (client(node).ask("EXISTS k") == ":0").then_some(()));
    }
}
