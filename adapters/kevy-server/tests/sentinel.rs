//! What clients hear on the Sentinel port of real servers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, primary};
use common::rolling::PATIENT;
use common::talk::{Talk, Value};
use common::{Cluster, free_port, until};

const NAME: &str = "mymaster";

struct Nodes {
    cluster: Cluster,
    ports: Vec<u16>,
    running: Vec<Process>,
}

impl Nodes {
    fn start(count: usize) -> Self {
        let cluster = Cluster::new(count, 1);
        let ports: Vec<u16> = (0..count).map(|_| free_port(1)).collect();
        let mut nodes = Self { cluster, ports, running: Vec::new() };
        nodes.running =
            (0..count).map(|node| Process::start(&nodes.cluster, node, &nodes.more(node))).collect();
        nodes
    }

    fn more(&self, node: usize) -> String {
        let all = self.ports.iter().enumerate().map(|(n, port)| format!("n{n}@127.0.0.1:{port}"));
        let all: Vec<_> = all.collect();
        format!(
            "{PATIENT}sentinel = \"127.0.0.1:{}\"\nsentinel_peers = \"{}\"\n",
            self.ports[node],
            all.join(",")
        )
    }

    fn restart(&mut self, node: usize) {
        self.running[node] = Process::start(&self.cluster, node, &self.more(node));
    }

    fn named_by(&self, node: usize) -> Option<u16> {
        named(&mut Talk::connect(self.ports[node])?)
    }

    /// Waits until every node that runs names the one that takes writes. Gives that.
    fn agreed(&self, nodes: &[usize]) -> usize {
        let primary = primary(&self.running);
        let port = Some(self.cluster.ports[primary]);
        until("all name the primary", || nodes.iter().all(|node| self.named_by(*node) == port).then_some(()));
        primary
    }

    /// Somebody who listens to all that the node says.
    fn listener(&self, node: usize) -> Talk {
        let mut talk = Talk::connect(self.ports[node]).unwrap();
        assert_eq!(talk.ask("PSUBSCRIBE *").texts(), ["psubscribe", "*"]);
        talk
    }
}

fn named(talk: &mut Talk) -> Option<u16> {
    let address = talk.ask(&format!("SENTINEL GET-MASTER-ADDR-BY-NAME {NAME}"));
    address.texts().get(1)?.parse().ok()
}

/// Channel and words of the next message.
fn message(listener: &mut Talk) -> (String, String) {
    let value = listener.next().unwrap();
    let texts = value.texts();
    assert_eq!(texts[..2], ["pmessage", "*"], "{value:?}");
    (texts[2].to_owned(), texts[3].to_owned())
}

/// Nothing is on its way to somebody who listens: an answer would come behind it.
fn assert_silent(listener: &mut Talk) {
    assert_eq!(listener.ask("PING").texts(), ["pong", ""]);
}

/// What a node says of a switch from `old` to `new`, where the third one is `other`.
fn told(ports: &[u16], old: usize, new: usize) -> Vec<(String, String)> {
    let switch = format!("{NAME} 127.0.0.1 {} 127.0.0.1 {}", ports[old], ports[new]);
    let others = (0..ports.len()).filter(|node| *node != new).map(|node| {
        let port = ports[node];
        (
            "+slave".to_owned(),
            format!("slave 127.0.0.1:{port} 127.0.0.1 {port} @ {NAME} 127.0.0.1 {}", ports[new]),
        )
    });
    std::iter::once(("+switch-master".to_owned(), switch)).chain(others).collect()
}

#[test]
fn every_survivor_tells_of_a_switch_once_when_writes_succeed_there() {
    let mut nodes = Nodes::start(3);
    let old = nodes.agreed(&[0, 1, 2]);
    let survivors: Vec<usize> = (0..3).filter(|node| *node != old).collect();
    let ports = nodes.cluster.ports.clone();
    std::thread::scope(|scope| {
        let listeners: Vec<_> = survivors
            .iter()
            .map(|node| {
                let (mut listener, at) = (nodes.listener(*node), nodes.ports[*node]);
                let ports = &ports;
                scope.spawn(move || {
                    let first = message(&mut listener);
                    // Whoever acts on it finds the same answer, and a node that takes writes.
                    let named = named(&mut Talk::connect(at).unwrap()).unwrap();
                    let wrote = Talk::connect(named).unwrap().ask("SET told 1");
                    assert_eq!(wrote, Value::Line('+', "OK".to_owned()));
                    let all = [first, message(&mut listener), message(&mut listener)];
                    let new = ports.iter().position(|port| *port == named).unwrap();
                    assert_eq!(all.to_vec(), told(ports, old, new));
                    assert_silent(&mut listener);
                    listener
                })
            })
            .collect();
        nodes.running[old].child.kill().unwrap();
        let mut listeners: Vec<_> = listeners.into_iter().map(|thread| thread.join().unwrap()).collect();
        nodes.running[old].wait();
        nodes.restart(old);
        let new = nodes.agreed(&[0, 1, 2]);
        assert_ne!(new, old);
        // A node that comes back is no switch, and nobody hears of the last one again.
        listeners.iter_mut().for_each(assert_silent);
        (0..3).for_each(|node| assert_silent(&mut nodes.listener(node)));
    });
}

#[test]
fn a_planned_transfer_is_asked_for_here_and_told_by_all() {
    let nodes = Nodes::start(3);
    let old = nodes.agreed(&[0, 1, 2]);
    let other = (old + 1) % 3;
    let mut listeners: Vec<_> = (0..3).map(|node| nodes.listener(node)).collect();
    // Whichever node is asked.
    let mut talk = Talk::connect(nodes.ports[other]).unwrap();
    until("replicas are there", || {
        (nodes.running[old].ask("WAIT 2 1000").as_deref() == Some("2")).then_some(())
    });
    // It is refused in Redis' word, and nothing changes, as long as the primary has not heard that they are.
    let mut asked = || match talk.ask(&format!("SENTINEL FAILOVER {NAME}")) {
        Value::Line('+', ok) => (ok == "OK").then_some(()),
        Value::Line('-', why) => {
            assert!(why.starts_with("NOGOODSLAVE No suitable replica to promote: "), "{why}");
            None
        }
        other => panic!("{other:?}"),
    };
    until("the office is asked to move", &mut asked);
    let moved = || nodes.named_by(other).filter(|port| *port != nodes.cluster.ports[old]);
    until("the office moves", moved);
    let all: Vec<Vec<_>> =
        listeners.iter_mut().map(|listener| (0..3).map(|_| message(listener)).collect()).collect();
    let new = nodes.agreed(&[0, 1, 2]);
    assert_ne!(new, old);
    assert!(all.iter().all(|heard| *heard == told(&nodes.cluster.ports, old, new)), "{all:?}");
    listeners.iter_mut().for_each(assert_silent);
    // It goes on, as a replica.
    until("the old primary follows", || {
        let replicas = Talk::connect(nodes.ports[new])?.ask(&format!("SENTINEL REPLICAS {NAME}"));
        let Value::List(_, replicas) = replicas else { return None };
        let port = nodes.cluster.ports[old].to_string();
        let of = replicas.iter().find(|replica| replica.field("port") == Some(&*port))?;
        (of.field("flags") == Some("slave") && of.field("master-link-status") == Some("ok")).then_some(())
    });
}

#[test]
fn who_knows_of_no_primary_answers_nobody_until_there_is_one() {
    let mut nodes = Nodes::start(3);
    let old = nodes.agreed(&[0, 1, 2]);
    let (gone, left) = ((old + 1) % 3, (old + 2) % 3);
    let mut asks = Talk::connect(nodes.ports[left]).unwrap();
    for node in [gone, old] {
        nodes.running[node].child.kill().unwrap();
        nodes.running[node].wait();
    }
    // Nobody is named once the promise is over: who waits for an answer is sent away, and who comes later is not let in.
    let question = format!("SENTINEL GET-MASTER-ADDR-BY-NAME {NAME}");
    until("it sends clients away", || {
        asks.say(&question);
        asks.next().is_err().then_some(())
    });
    until("it lets nobody in", || Talk::connect(nodes.ports[left]).is_none().then_some(()));
    nodes.restart(gone);
    let new = nodes.agreed(&[gone, left]);
    assert!(new != old);
    assert_eq!(nodes.named_by(left), Some(nodes.cluster.ports[new]));
}

#[test]
fn addresses_are_those_that_clients_reach_and_the_password_comes_first() {
    let cluster = Cluster::new(1, 1);
    let port = free_port(1);
    let more = format!(
        "sentinel = \"127.0.0.1:{port}\"\nsentinel_master = \"orders\"\nsentinel_password = \"secret\"\n\
         sentinel_announce = \"n0@db.example:7000\"\n"
    );
    let node = [Process::start(&cluster, 0, &more)];
    primary(&node);
    let mut talk = until("it listens", || Talk::connect(port));
    assert_eq!(talk.ask("PING"), Value::Line('-', "NOAUTH Authentication required.".to_owned()));
    assert!(matches!(talk.ask("AUTH wrong"), Value::Line('-', text) if text.starts_with("WRONGPASS ")));
    assert_eq!(talk.ask("AUTH secret"), Value::Line('+', "OK".to_owned()));
    assert_eq!(talk.ask("SENTINEL GET-MASTER-ADDR-BY-NAME orders").texts(), ["db.example", "7000"]);
    let masters = talk.ask("SENTINEL MASTERS");
    let Value::List('*', masters) = masters else { panic!("{masters:?}") };
    assert_eq!((masters[0].field("name"), masters[0].field("ip")), (Some("orders"), Some("db.example")));
    assert_eq!(talk.ask("SENTINEL GET-MASTER-ADDR-BY-NAME mymaster"), Value::Nothing("*-1".to_owned()));
}
