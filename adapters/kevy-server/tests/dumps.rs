//! A rewrite of the log, or a snapshot, that is under way while the office changes hands: deadlines come back as they were. And one that is
//! under way while a primary is late, and keeps its office: it is not dropped.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, confirmed, primary};
use common::{Client, Cluster, PATIENCE, until, within};
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Enough that a dump takes longer than a failover.
const KEYS: usize = 60_000;
const BATCH: usize = 500;
/// All keys end in the second after this time.
const LIFE: Duration = Duration::from_secs(50_000);
/// kevy writes deadlines late by the time that a dump takes. What is to be seen here are hours and decades.
const OFF_MAX: Duration = Duration::from_secs(300);

/// A killed process is replaced at once all the same; one that is only slow is not.
const PATIENT: &str = "election_timeout_ms = 10000\nshard_timeout_ms = 9000\n";

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Keys with the same deadline. Says which.
fn fill(node: &Process) -> u64 {
    let end = now_ms() + u64::try_from(LIFE.as_millis()).unwrap();
    let mut socket = TcpStream::connect(("127.0.0.1", node.port)).unwrap();
    for first in (0..KEYS).step_by(BATCH) {
        let lines =
            (first..first + BATCH).map(|n| format!("SET key:{n} value\r\nPEXPIREAT key:{n} {end}\r\n"));
        socket.write_all(lines.collect::<String>().as_bytes()).unwrap();
        let mut answers = vec![0; BATCH * b"+OK\r\n:1\r\n".len()];
        socket.read_exact(&mut answers).unwrap();
        assert!(answers.chunks(9).all(|answer| answer == b"+OK\r\n:1\r\n"));
    }
    assert_eq!(Client::connect(node.port).ask("WAIT 2 60000"), ":2");
    end
}

/// Every key ends when it was to.
#[track_caller]
fn check(node: &Process, end: u64) {
    let mut client = Client::connect(node.port);
    let off_max = u64::try_from(OFF_MAX.as_millis()).unwrap();
    let mut seen = 0;
    for n in (0..KEYS).step_by(97) {
        let left = client.ask(&format!("PTTL key:{n}"));
        let left: u64 = left.trim_start_matches(':').parse().unwrap_or_else(|_| panic!("key:{n}: {left}"));
        let at = now_ms() + left;
        assert!(at.abs_diff(end) < off_max, "key:{n} ends at {at} and was to end at {end}");
        seen += 1;
    }
    assert!(seen > 600);
}

fn elected_while_it_dumps(command: &'static str) {
    let cluster = Cluster::new(3, 1);
    let mut nodes = Process::start_three(&cluster, PATIENT);
    let first = primary(&nodes);
    confirmed(&nodes[first], "SET probe 1");
    let end = fill(&nodes[first]);
    let old = nodes.remove(first);
    for node in &nodes {
        node.ask(command).unwrap();
    }
    drop(old);
    let second = nodes[primary(&nodes)].port;
    let second = cluster.ports.iter().position(|port| *port == second).unwrap();
    let node = nodes.iter().find(|node| node.port == cluster.ports[second]).unwrap();
    check(node, end);
    // kevy reads the clock once for a snapshot, at its beginning, and for every key of a log: the leap rarely comes before.
    let log = cluster.dirs[second].0.join("log");
    if command == "BGREWRITEAOF" {
        until("the dump that the clock leapt under was dropped", || {
            std::fs::read_to_string(&log).unwrap().contains("is dropped: it was begun before").then_some(())
        });
    }
    until_dumped(node, &log);
    assert_eq!(node.ask("SET newest 1").as_deref(), Some("OK"));
    until("its log has it", || {
        let files = fs::read_dir(&cluster.dirs[second].0).unwrap().map(|entry| entry.unwrap().path());
        let mut logs = files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("aof-"));
        // One that is written anew may be gone meanwhile.
        let has = |log: Vec<u8>| log.windows(b"newest".len()).any(|at| at == b"newest");
        logs.any(|path| fs::read(path).is_ok_and(has)).then_some(())
    });
    for node in &mut nodes {
        node.signal(Signal::KILL);
        node.wait();
    }
    // Without the third, which may hold the same: with the first, which died before, there is a quorum, and it is behind.
    let nodes: Vec<Process> = [first, second].map(|node| Process::start(&cluster, node, PATIENT)).into();
    assert_eq!(primary(&nodes), 1, "the node with the newest data reigns");
    assert_eq!(nodes[1].ask("GET newest").as_deref(), Some("1"));
    check(&nodes[1], end);
}

/// Waits until nothing is dumped any more. kevy takes seconds of calm before it rewrites a log by itself.
#[track_caller]
fn until_dumped(node: &Process, log: &Path) {
    let over = within(PATIENCE, || {
        node.ask("INFO persistence")?.contains("aof_rewrite_in_progress:0").then_some(())
    });
    assert!(over.is_some(), "it dumps for ever: {}", std::fs::read_to_string(log).unwrap());
}

#[test]
fn a_node_that_is_elected_while_it_rewrites_its_log_reads_the_right_deadlines_after_a_restart() {
    elected_while_it_dumps("BGREWRITEAOF");
}

#[test]
fn a_node_that_is_elected_while_it_takes_a_snapshot_reads_the_right_deadlines_after_a_restart() {
    elected_while_it_dumps("BGSAVE");
}

#[test]
fn a_primary_that_is_late_for_a_while_and_keeps_its_office_drops_no_dump() {
    let cluster = Cluster::new(3, 1);
    let nodes = Process::start_three(&cluster, PATIENT);
    let first = primary(&nodes);
    confirmed(&nodes[first], "SET probe 1");
    let end = fill(&nodes[first]);
    let log = cluster.dirs[first].0.join("log");
    for command in ["BGREWRITEAOF", "BGSAVE"] {
        nodes[first].ask(command).unwrap();
        nodes[first].signal(Signal::STOP);
        // Longer than a step of the clock that would spoil a dump.
        std::thread::sleep(Duration::from_millis(1500));
        nodes[first].signal(Signal::CONT);
        until_dumped(&nodes[first], &log);
    }
    assert_eq!(primary(&nodes), first, "it has kept its office");
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(!said.contains("is dropped"), "{said}");
    check(&nodes[first], end);
}
