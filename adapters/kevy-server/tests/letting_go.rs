//! Who waits on a node that lost the office is let go at once, whatever it waits for; and what had begun is answered first.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, confirmed, primary};
use common::rolling::PATIENT;
use common::{Cluster, Node, PATIENCE, until};
use kevy_elect_plugin::host::{FenceReason, ReplicationHost};
use kevy_elect_plugin::ids::Epoch;
use rustix::process::Signal;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Every way to wait for data, and for messages.
const WAITS: [&str; 8] = [
    "BLPOP {n}list 0",
    "BRPOP {n}list {n}other 0",
    "BRPOPLPUSH {{n}}from {{n}}to 0",
    "BRPOPLPUSH {n}apart elsewhere 0",
    "BZPOPMIN {n}zset 0",
    "XREAD BLOCK 0 STREAMS {n}stream $",
    "XREADGROUP GROUP g c BLOCK 0 STREAMS {n}stream >",
    "SUBSCRIBE {n}channel",
];

/// Far more than a heartbeat, and far less than for ever.
const AT_ONCE: Duration = Duration::from_secs(30);

struct Waiter {
    stream: TcpStream,
    line: String,
}

impl Waiter {
    fn send(port: u16, line: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        Self { stream, line: line.to_owned() }
    }

    fn listens(&self) -> bool {
        self.line.starts_with("SUBSCRIBE")
    }

    /// Whether it was told so, before its connection ended (F24).
    fn heard_that_nothing_comes(&self, said: &str) {
        let told = said.starts_with("-UNBLOCKED");
        // kevy would move an element between two shards for one that is woken.
        let untold = self.line.contains("elsewhere") && said.is_empty();
        assert!(self.listens() || told || untold, "{}: {said}", self.line);
    }

    /// Waits until something has come.
    fn first(&mut self) {
        assert!(self.stream.read(&mut [0; 4096]).unwrap() > 0, "{}", self.line);
    }

    /// What came, if the connection ends after it. Every shard learns for itself that it is to let clients go.
    fn ended(mut self) -> Option<String> {
        const SHORT: Duration = Duration::from_millis(200);
        self.stream.set_read_timeout(Some(SHORT)).unwrap();
        let mut said = Vec::new();
        match self.stream.read_to_end(&mut said) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => None,
            _ => Some(String::from_utf8_lossy(&said).into_owned()),
        }
    }

    /// What comes until the connection ends, or an error comes.
    fn end(&mut self) -> String {
        let mut said = Vec::new();
        let begun = Instant::now();
        loop {
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => said.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{} goes on waiting: {error}", self.line),
            }
            if said.starts_with(b"-") {
                break;
            }
        }
        assert!(begun.elapsed() < AT_ONCE, "{} waited for {:?}", self.line, begun.elapsed());
        String::from_utf8_lossy(&said).into_owned()
    }
}

/// All of them, on several connections each, on the node at `port`.
fn wait(port: u16, ask: impl Fn(&str) -> String) -> Vec<Waiter> {
    let lines = (0..3).flat_map(|n| WAITS.map(|line| line.replace("{n}", &n.to_string())));
    let waiters: Vec<Waiter> = lines
        .map(|line| {
            if line.starts_with("XREADGROUP") {
                let stream = line.split(' ').nth(7).unwrap();
                ask(&format!("XGROUP CREATE {stream} g $ MKSTREAM"));
            }
            Waiter::send(port, &line)
        })
        .collect();
    let blocked = waiters.iter().filter(|waiter| !waiter.line.starts_with("SUBSCRIBE")).count();
    until("all wait", || ask("INFO clients").contains(&format!("blocked_clients:{blocked}\r")).then_some(()));
    waiters
}

#[test]
fn who_waits_on_a_primary_that_is_cut_off_is_let_go_when_its_lease_ends() {
    for shards in [1, 2] {
        let cluster = Cluster::new(1, shards);
        let node = cluster.start(0);
        node.promote(1);
        let mut waiters = wait(node.port, |line| node.client().ask(line));
        fence(&node, FenceReason::LeaseExpired);
        for waiter in &mut waiters {
            let said = waiter.end();
            waiter.heard_that_nothing_comes(&said);
        }
        // Who comes again is refused, and let go.
        assert!(Waiter::send(node.port, "BLPOP list 0").end().starts_with("-READONLY"));
        node.stop();
    }
}

/// Those whom nothing is refused, and who wait for no data: each of them would stay for as long as the node is cut off.
const STAY: [&str; 5] =
    ["SUBSCRIBE channel", "PSUBSCRIBE *", "HELLO 3\r\nSUBSCRIBE channel", "GET k", "HELLO 3\r\nGET k"];

#[test]
fn nobody_stays_with_a_primary_that_does_not_get_its_lease_back() {
    for shards in [1, 2] {
        let cluster = Cluster::new(1, shards);
        let node = cluster.start(0);
        node.promote(1);
        let mut clients = STAY.map(|line| Waiter::send(node.port, line));
        clients.iter_mut().for_each(Waiter::first);
        fence(&node, FenceReason::LeaseExpired);
        clients.iter_mut().for_each(|client| drop(client.end()));
        // The others may still have named this node: who comes back is answered, and let go.
        let closes = |line: &str, said: &str| {
            let heard = until(&format!("{line} ends"), || Waiter::send(node.port, line).ended());
            assert!(heard.starts_with(said), "{shards} shards, {line}: {heard}");
        };
        closes("GET k", "$-1\r\n");
        closes("MGET {1}k {2}k", "*2\r\n");
        closes("HELLO 3\r\nGET k", "%7\r\n");
        closes("MULTI\r\nGET k\r\nEXEC", "+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n");
        // What it would be told comes from nobody, and no client expects an error there.
        closes("SUBSCRIBE channel", "");
        closes("PSUBSCRIBE *", "");
        for line in ["XREAD BLOCK 0 STREAMS s $", "PUBLISH channel x", "SET k v"] {
            closes(line, "-READONLY");
        }
        // Who asks about the server itself may stay.
        let mut operator = node.client();
        assert_eq!(operator.ask("PING"), "+PONG");
        assert!(operator.ask("INFO replication").contains("role:slave"));
        assert_eq!(operator.ask("CONFIG GET maxmemory"), "[maxmemory 0]");
        // It goes on, and keeps whom it has.
        *node.office.gate.lock().unwrap() = Ok(());
        futures::executor::block_on(node.host.resume(Epoch(1))).unwrap();
        for _ in 0..3 {
            assert_eq!(operator.ask("GET k"), "nil", "the same connection");
        }
        node.stop();
    }
}

#[test]
fn a_lease_that_comes_back_soon_costs_nobody_the_connection() {
    /// Longer than it takes where the lease does not come back; soon is far less.
    const LONG: Duration = Duration::from_millis(3500);
    let cluster = Cluster::new(1, 1);
    let node = cluster.start_with(0, "election_timeout_ms = 3000\n");
    node.promote(1);
    let mut client = node.client();
    for reason in [FenceReason::LeaseExpired, FenceReason::StepDown] {
        fence(&node, reason);
        assert_eq!(client.ask("GET k"), "nil");
        *node.office.gate.lock().unwrap() = Ok(());
        let begun = Instant::now();
        while begun.elapsed() < LONG {
            assert_eq!(client.ask("GET k"), "nil", "the same connection");
        }
    }
    // A handover that goes on may still be taken back.
    fence(&node, FenceReason::StepDown);
    let begun = Instant::now();
    while begun.elapsed() < LONG {
        assert_eq!(client.ask("GET k"), "nil", "the same connection");
    }
    node.stop();
}

#[test]
fn nobody_stays_with_a_primary_whose_peers_are_dead() {
    let cluster = Cluster::new(3, 2);
    let mut nodes = Process::start_three(&cluster, PATIENT);
    let first = primary(&nodes);
    let mut clients = STAY.map(|line| Waiter::send(nodes[first].port, line));
    clients.iter_mut().for_each(Waiter::first);
    let others = (0..3).filter(|node| *node != first);
    for node in others.clone() {
        nodes[node].signal(Signal::KILL);
        nodes[node].wait();
    }
    clients.iter_mut().for_each(|client| drop(client.end()));
    for node in others {
        nodes[node] = Process::start(&cluster, node, PATIENT);
    }
    // Whoever reigns now keeps them.
    let next = primary(&nodes);
    let mut client = common::Client::connect(nodes[next].port);
    for _ in 0..3 {
        assert_eq!(client.ask("GET k"), "nil", "the same connection");
    }
}

fn fence(node: &Node, reason: FenceReason) {
    node.fence(reason);
    futures::executor::block_on(node.host.fence(Epoch(1), reason)).unwrap();
}

#[test]
fn who_waits_on_a_primary_that_is_killed_stopped_in_order_or_replaced_is_let_go_and_no_element_is_lost() {
    for signal in [Signal::KILL, Signal::TERM] {
        let cluster = Cluster::new(3, 2);
        let mut nodes = Process::start_three(&cluster, PATIENT);
        let first = primary(&nodes);
        confirmed(&nodes[first], "SET probe 1");
        let mut waiters = wait(nodes[first].port, |line| nodes[first].ask(line).unwrap_or_default());
        nodes[first].signal(signal);
        let mut old = nodes.remove(first);
        old.wait();
        for waiter in &mut waiters {
            let said = waiter.end();
            match signal {
                // Nobody is left who could tell them.
                Signal::KILL => assert!(waiter.listens() || said.is_empty(), "{}: {said}", waiter.line),
                _ => waiter.heard_that_nothing_comes(&said),
            }
        }
        // On a replica nobody takes anything.
        let second = primary(&nodes);
        let replica = &nodes[1 - second];
        until("the replica follows", || {
            replica.ask("INFO replication")?.contains("master_link_status:up").then_some(())
        });
        for line in ["BLPOP 0list 0", "BRPOPLPUSH 0list 0to 0", "BZPOPMIN 0zset 0"] {
            assert!(Waiter::send(replica.port, line).end().starts_with("-READONLY"), "{line}");
        }
        for n in 0..3 {
            assert_eq!(nodes[second].ask(&format!("RPUSH {n}list x")).as_deref(), Some("1"));
        }
    }
}

#[test]
fn a_handover_waits_for_a_transaction_and_answers_it() {
    let cluster = Cluster::new(3, 1);
    // It waits for a quarter of this (F21).
    let mut nodes =
        Process::start_three(&cluster, "election_timeout_ms = 60000\nheartbeat_interval_ms = 200\n");
    let first = primary(&nodes);
    confirmed(&nodes[first], "SET probe 1");
    let mut stream = TcpStream::connect(("127.0.0.1", nodes[first].port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut say = |line: &str, answer: &str| {
        stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        let mut said = vec![0; answer.len()];
        stream.read_exact(&mut said).unwrap();
        assert_eq!(String::from_utf8_lossy(&said), answer, "{line}");
    };
    say("MULTI", "+OK\r\n");
    say("SET one 1", "+QUEUED\r\n");
    nodes[first].signal(Signal::TERM);
    say("SET two 2", "+QUEUED\r\n");
    say("EXEC", "*2\r\n+OK\r\n+OK\r\n");
    let mut old = nodes.remove(first);
    assert_eq!(old.wait().code(), Some(0));
    let second = primary(&nodes);
    assert_eq!(nodes[second].ask("GET one").as_deref(), Some("1"));
    assert_eq!(nodes[second].ask("GET two").as_deref(), Some("2"));
}

/// Without the wait's end a client that never ends its transaction would keep the office where it is.
#[test]
fn a_handover_does_not_wait_for_ever_for_a_transaction_and_executes_none_of_it() {
    let cluster = Cluster::new(3, 1);
    let mut nodes = Process::start_three(&cluster, PATIENT);
    let first = primary(&nodes);
    confirmed(&nodes[first], "SET probe 1");
    let mut waiter = Waiter::send(nodes[first].port, "MULTI\r\nSET half 1");
    waiter.stream.read_exact(&mut [0; 14]).unwrap();
    nodes[first].signal(Signal::TERM);
    let mut old = nodes.remove(first);
    assert_eq!(old.wait().code(), Some(0));
    assert_eq!(waiter.end(), "");
    let second = primary(&nodes);
    assert_eq!(nodes[second].ask("EXISTS half").as_deref(), Some("0"));
}
