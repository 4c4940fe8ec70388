//! Whoever watches a transport's sockets may keep duplicates of them: links and the open port end as without, and a watcher
//! can end them for a process that is dead. Sentences T5, T9 and T11 of `docs/protocol.md`.

// The allowance for tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use kevy_elect_plugin::ids::{Incarnation, NodeId};
use kevy_elect_plugin::message::{Hello, PROTOCOL};
use kevy_elect_plugin::time::Duration;
use kevy_elect_plugin::transport::tcp::SocketWatch;
use kevy_elect_plugin::transport::{LinkEvent, RefuseReason, TcpTransport, Transport, TransportEvent};
use kevy_elect_plugin::wire::encode_hello;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

const PATIENCE: Duration = Duration::from_secs(60);

/// Keeps a duplicate of each socket, for as long as it is told to.
#[derive(Clone, Default)]
struct Keeper(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    links: Vec<TcpStream>,
    ports: Vec<TcpListener>,
    /// How many of the sockets are not closed.
    open: usize,
}

struct Open(Keeper);

impl Drop for Open {
    fn drop(&mut self) {
        // The duplicate stays: the worst that a watcher can do.
        self.0.0.lock().unwrap().open -= 1;
    }
}

impl SocketWatch for Keeper {
    fn listening(&self, socket: &TcpListener) -> Box<dyn Send> {
        let mut kept = self.0.lock().unwrap();
        kept.ports.push(socket.try_clone().unwrap());
        kept.open += 1;
        Box::new(Open(self.clone()))
    }

    fn linked(&self, socket: &TcpStream) -> Box<dyn Send> {
        let mut kept = self.0.lock().unwrap();
        kept.links.push(socket.try_clone().unwrap());
        kept.open += 1;
        Box::new(Open(self.clone()))
    }
}

impl Keeper {
    fn open(&self) -> usize {
        self.0.lock().unwrap().open
    }

    /// What a companion does when the process is dead.
    fn end_all(&self) {
        let kept = self.0.lock().unwrap();
        kept.links.iter().for_each(|link| drop(link.shutdown(Shutdown::Both)));
        for port in &kept.ports {
            rustix::net::shutdown(port, rustix::net::Shutdown::Both).unwrap();
        }
    }
}

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn hello(node: &str) -> Hello {
    Hello {
        protocol: PROTOCOL,
        cluster: "test".into(),
        node: id(node),
        incarnation: Incarnation(1),
        terms: String::new(),
        pass: None,
    }
}

fn run(transport: &Arc<TcpTransport>, node: &str) -> smol::Task<()> {
    let (running, hello) = (transport.clone(), hello(node));
    smol::spawn(async move { running.run(hello).await.unwrap() })
}

/// The next event about a link.
fn next(transport: &TcpTransport) -> LinkEvent {
    let event = async {
        loop {
            if let TransportEvent::Link { event, .. } = transport.recv().await {
                return event;
            }
        }
    };
    smol::block_on(smol::future::or(event, async {
        smol::Timer::after(PATIENCE).await;
        panic!("waits in vain")
    }))
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waits in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Node `a`, watched, and node `b`, which is not, linked in both directions.
struct Pair {
    keeper: Keeper,
    a: Arc<TcpTransport>,
    b: Arc<TcpTransport>,
    run_a: Option<smol::Task<()>>,
    _run_b: smol::Task<()>,
}

fn pair() -> Pair {
    let (door_a, door_b) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (at_a, at_b) = (door_a.local_addr().unwrap().to_string(), door_b.local_addr().unwrap().to_string());
    let keeper = Keeper::default();
    let a = TcpTransport::with_listener(door_a).peer(id("b"), at_b).watch(Arc::new(keeper.clone()));
    let a = Arc::new(a.build());
    let b = Arc::new(TcpTransport::with_listener(door_b).peer(id("a"), at_a).build());
    let (run_a, _run_b) = (Some(run(&a, "a")), run(&b, "b"));
    assert_eq!(next(&b), LinkEvent::Up { incarnation: Incarnation(1) });
    wait_until("both links", || {
        let both = |node: &TcpTransport, peer| node.directions(id(peer)).is_some_and(|l| l.out && l.back);
        both(&a, "b") && both(&b, "a") && keeper.open() == 3
    });
    Pair { keeper, a, b, run_a, _run_b }
}

#[test]
fn a_watcher_hears_of_the_port_and_of_each_link_and_of_their_ends() {
    let mut pair = pair();
    smol::block_on(pair.a.close());
    smol::block_on(pair.run_a.take().unwrap());
    assert_eq!(pair.keeper.open(), 0);
}

#[test]
fn t5_closing_ends_links_in_order_and_the_port_whoever_keeps_duplicates() {
    let pair = pair();
    smol::block_on(pair.a.close());
    assert_eq!(next(&pair.b), LinkEvent::Closed);
    assert_eq!(next(&pair.b), LinkEvent::Refused);
}

#[test]
fn t11_a_watcher_that_ends_the_sockets_makes_the_evidence_of_a_death() {
    let pair = pair();
    pair.keeper.end_all();
    assert_eq!(next(&pair.b), LinkEvent::Closed);
    assert_eq!(next(&pair.b), LinkEvent::Refused);
}

#[cfg(target_os = "linux")]
#[test]
fn t5_a_link_that_has_to_go_is_reset_whoever_keeps_duplicates() {
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = door.local_addr().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let keeper = Keeper::default();
    let a = TcpTransport::with_listener(door).peer(id("b"), nobody.local_addr().unwrap().to_string());
    let a = Arc::new(a.watch(Arc::new(keeper.clone())).build());
    let _run = run(&a, "a");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    encode_hello(&hello("b"), &mut bytes);
    stream.write_all(&bytes).unwrap();
    assert_eq!(next(&a), LinkEvent::Up { incarnation: Incarnation(1) });
    assert!(stream.read(&mut [0; 4096]).unwrap() > 0, "the answer");
    stream.write_all(b"*1\r\nnonsense").unwrap();
    assert_eq!(stream.read(&mut [0; 64]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(next(&a), LinkEvent::Reset);
    assert_eq!(a.stats().unwrap().refused_for(RefuseReason::Garbage), 1);
    wait_until("the end of the link", || keeper.open() == 1);
}
