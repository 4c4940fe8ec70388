//! Ports that somebody else has when a server starts: a process that was killed a moment ago, whose ports the kernel still holds, or
//! another program. Here this process plays both.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, primary};
use common::{Cluster, PATIENCE, until};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

/// For how long a dead process holds its ports here once a node has found them taken. kevy waits 0.2 s, a node 5 s.
const HELD: Duration = Duration::from_secs(1);

/// What a node listens on, by its client port.
const PORTS: [(&str, u16); 5] = [
    ("clients", 0),
    ("replication of the first shard", 10_000),
    ("replication of the second shard", 10_001),
    ("elections", 200),
    ("the status page", 100),
];

fn cluster() -> (Cluster, String) {
    let cluster = Cluster::new(1, 2);
    let more = format!("http = \"127.0.0.1:{}\"\n", cluster.ports[0] + 100);
    (cluster, more)
}

fn hold(port: u16) -> TcpListener {
    // As kevy binds it: to every address.
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()
}

fn log(cluster: &Cluster) -> String {
    std::fs::read_to_string(cluster.dirs[0].0.join("log")).unwrap()
}

#[test]
fn a_restart_waits_for_the_ports_of_a_process_that_was_killed() {
    for (of, offset) in PORTS {
        let (cluster, more) = cluster();
        let held = hold(cluster.ports[0] + offset);
        let mut node = Process::start(&cluster, 0, &more);
        let said = format!("port {} is still taken", cluster.ports[0] + offset);
        until(&format!("it waits for the port of {of}"), || log(&cluster).contains(&said).then_some(()));
        let begun = Instant::now();
        while begun.elapsed() < HELD {
            assert_eq!(node.child.try_wait().unwrap(), None, "the port of {of}: {}", log(&cluster));
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(held);
        primary(std::slice::from_ref(&node));
    }
}

#[test]
fn a_port_that_stays_taken_ends_the_server_and_it_says_which_and_what_to_do() {
    for (of, offset) in PORTS {
        let (cluster, more) = cluster();
        let port = cluster.ports[0] + offset;
        let _held = hold(port);
        let begun = Instant::now();
        let mut node = Process::start(&cluster, 0, &more);
        assert_eq!(node.wait().code(), Some(1), "the port of {of}");
        assert!(begun.elapsed() > HELD && begun.elapsed() < PATIENCE, "{of}: {:?}", begun.elapsed());
        let log = log(&cluster);
        let last = log.lines().last().unwrap();
        assert!(last.contains(&port.to_string()) && last.contains("another"), "the port of {of}: {last}");
    }
}

/// The kernel itself, as far as it does so on this machine.
#[test]
fn a_killed_server_can_be_started_again_at_once() {
    let (cluster, more) = cluster();
    for _ in 0..3 {
        let mut node = Process::start(&cluster, 0, &more);
        primary(std::slice::from_ref(&node));
        node.child.kill().unwrap();
        until("it has ended", || node.child.try_wait().unwrap());
    }
}
