//! A network that drops everything for a while: how soon the peers hear each other again. Sentence T25 of `docs/protocol.md`.
#![cfg(target_os = "linux")]
// The allowance for tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId, Round};
use kevy_elect_plugin::message::{Grant, Hello, Message, PROTOCOL};
use kevy_elect_plugin::time::Duration;
use kevy_elect_plugin::transport::{TcpTransport, Transport, TransportEvent};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const PATIENCE: Duration = Duration::from_secs(20);
const HEARTBEAT: Duration = Duration::from_millis(20);
const INSIDE: &str = "TRANSPORT_CUT_INSIDE";

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

/// A node that says the number of its heartbeat to its peer, and what it heard last.
struct Node {
    transport: Arc<TcpTransport>,
    said: Arc<AtomicU64>,
    heard: Arc<AtomicU64>,
    /// Events about links.
    told: Arc<AtomicU64>,
    _tasks: Vec<smol::Task<()>>,
}

fn node(name: &str, door: TcpListener, peer: &'static str, address: String) -> Node {
    let transport = TcpTransport::with_listener(door).peer(id(peer), address).silence(3 * HEARTBEAT);
    let transport = Arc::new(transport.build());
    let [said, heard, told] = [0; 3].map(|zero| Arc::new(AtomicU64::new(zero)));
    let incarnation = Incarnation(1);
    let hello = Hello {
        protocol: PROTOCOL,
        cluster: "test".into(),
        node: id(name),
        incarnation,
        terms: String::new(),
        pass: None,
    };
    let running = transport.clone();
    let run = smol::spawn(async move { running.run(hello).await.unwrap() });
    let (speaking, saying) = (transport.clone(), said.clone());
    let speak = smol::spawn(async move {
        for round in 1.. {
            saying.store(round, Ordering::SeqCst);
            let grant = Grant { epoch: Epoch(1), round: Round(round), identity: None };
            let _ = speaking.send(id(peer), &Message::Accept(grant));
            smol::Timer::after(HEARTBEAT).await;
        }
    });
    let (listening, hearing, telling) = (transport.clone(), heard.clone(), told.clone());
    let listen = smol::spawn(async move {
        loop {
            match listening.recv().await {
                TransportEvent::Message { message: Message::Accept(grant), .. } => {
                    hearing.store(grant.round.0, Ordering::SeqCst);
                }
                TransportEvent::Link { .. } => {
                    telling.fetch_add(1, Ordering::SeqCst);
                }
                _ => {}
            }
        }
    });
    Node { transport, said, heard, told, _tasks: vec![run, speak, listen] }
}

fn tool(command: &str) {
    let mut words = command.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status();
    assert!(status.is_ok_and(|status| status.success()), "{command}");
}

/// How long it takes until both hear something that was said from here on.
fn until_heard(a: &Node, b: &Node) -> Duration {
    let began = Instant::now();
    let (from_a, from_b) = (a.said.load(Ordering::SeqCst), b.said.load(Ordering::SeqCst));
    while a.heard.load(Ordering::SeqCst) <= from_b || b.heard.load(Ordering::SeqCst) <= from_a {
        assert!(began.elapsed() < PATIENCE, "waits in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
    began.elapsed()
}

#[test]
#[ignore = "needs root: a network namespace of its own, and iptables in it"]
fn t25_peers_hear_each_other_soon_after_a_cut_and_nothing_is_told_of_it() {
    if std::env::var_os(INSIDE).is_none() {
        let mut inside = Command::new("unshare");
        inside.arg("--net").arg(std::env::current_exe().unwrap()).env(INSIDE, "1");
        inside.args(["--exact", "t25_peers_hear_each_other_soon_after_a_cut_and_nothing_is_told_of_it"]);
        let status = inside.args(["--ignored", "--nocapture"]).status().unwrap();
        assert!(status.success());
        return;
    }
    tool("ip link set lo up");
    let doors = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let [port_a, port_b] = [0, 1].map(|door| doors[door].local_addr().unwrap().port());
    let [door_a, door_b] = doors;
    let a = node("a", door_a, "b", format!("127.0.0.1:{port_b}"));
    let b = node("b", door_b, "a", format!("127.0.0.1:{port_a}"));
    until_heard(&a, &b);
    let both = |node: &Node, peer| node.transport.directions(id(peer)).is_some_and(|l| l.out && l.back);
    while !both(&a, "b") || !both(&b, "a") {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Everything; and one direction of one link alone, whose sender hears its peer all the time.
    let all = "INPUT -p tcp -j DROP".to_owned();
    let one_way = format!("INPUT -p tcp --dport {port_b} -j DROP");
    for rule in [all, one_way] {
        for cut in [300, 700, 900, 1500] {
            until_heard(&a, &b);
            // Nobody answers in kind more often than once a second.
            std::thread::sleep(Duration::from_secs(1));
            tool(&format!("iptables -A {rule}"));
            // The fault itself takes this long.
            std::thread::sleep(Duration::from_millis(cut));
            tool(&format!("iptables -D {rule}"));
            let took = until_heard(&a, &b);
            println!("after a cut of {cut} ms ({rule}): {took:?}");
            // The kernel alone takes up to as long as the cut was.
            assert!(took < Duration::from_millis(250), "{took:?} after a cut of {cut} ms ({rule})");
            assert_eq!([&a, &b].map(|node| node.told.load(Ordering::SeqCst)), [1; 2], "`Up`, once");
        }
    }
}
