//! What every transport must do, run for each of them over `Arc<dyn Transport>`.

// The allowance for tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod samples;
mod sessions;

use futures::FutureExt;
use kevy_elect_plugin::clock::SystemClock;
use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId, Round};
use kevy_elect_plugin::message::{Grant, Heartbeat, Hello, Message, Resign, Role, Standing};
use kevy_elect_plugin::position::Progress;
use kevy_elect_plugin::time::Duration;
use kevy_elect_plugin::transport::{
    INBOX_EVENTS_MAX, LinkEvent, MemoryNetwork, RefuseReason, SendError, TcpTransport, Transport,
    TransportEvent,
};
use kevy_elect_plugin::wire::PROTOCOL;
use sessions::Kind;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

/// Longer than a process takes to start again on a busy machine.
const STALE_AFTER: Duration = Duration::from_secs(3);
/// Only ever reached by a failing test.
const PATIENCE: Duration = Duration::from_secs(60);

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

/// Makes the transports of one cluster of three: a, b, c.
trait Fixture: Send + Sync {
    fn transport(&self, node: NodeId) -> Arc<dyn Transport>;
    /// One more node, which knows the three and whom none of them knows, and where it is.
    fn newcomer(&self, node: NodeId) -> (Arc<dyn Transport>, String);
    /// One of the three, which is not where it was, and where it is.
    fn moved(&self, node: NodeId) -> (Arc<dyn Transport>, String) {
        self.newcomer(node)
    }
}

struct Memory(MemoryNetwork);

impl Fixture for Memory {
    fn transport(&self, node: NodeId) -> Arc<dyn Transport> {
        Arc::new(self.0.transport(node))
    }

    fn newcomer(&self, node: NodeId) -> (Arc<dyn Transport>, String) {
        (self.transport(node), String::new())
    }
}

/// Holds the doors of nodes that have not started yet, so that nobody else gets their ports: dialling them
/// connects and then waits for a `HELLO`.
struct Tcp {
    doors: Mutex<BTreeMap<NodeId, TcpListener>>,
    addresses: BTreeMap<NodeId, SocketAddr>,
    sessions: Kind,
}

impl Fixture for Tcp {
    fn transport(&self, node: NodeId) -> Arc<dyn Transport> {
        let door = self.doors.lock().unwrap().remove(&node);
        let door = door.unwrap_or_else(|| TcpListener::bind(self.addresses[&node]).unwrap());
        self.behind(door, node)
    }

    fn newcomer(&self, node: NodeId) -> (Arc<dyn Transport>, String) {
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = door.local_addr().unwrap().to_string();
        (self.behind(door, node), address)
    }
}

impl Tcp {
    fn behind(&self, door: TcpListener, node: NodeId) -> Arc<dyn Transport> {
        let mut builder = TcpTransport::with_listener(door).stale_after(STALE_AFTER);
        builder = builder.sessions(self.sessions.sessions(node));
        for (peer, address) in self.addresses.iter().filter(|(peer, _)| **peer != node) {
            builder = builder.peer(*peer, address.to_string());
        }
        Arc::new(builder.build())
    }
}

fn memory() -> Memory {
    let members = ["a", "b", "c"].map(id);
    Memory(MemoryNetwork::builder(SystemClock::new(), 1, members).stale_after(STALE_AFTER).build())
}

fn tcp(sessions: Kind) -> Tcp {
    let doors: BTreeMap<_, _> =
        ["a", "b", "c"].into_iter().map(|n| (id(n), TcpListener::bind("127.0.0.1:0").unwrap())).collect();
    let addresses = doors.iter().map(|(node, door)| (*node, door.local_addr().unwrap())).collect();
    Tcp { doors: Mutex::new(doors), addresses, sessions }
}

/// A process: dropping it ends it.
struct Process {
    transport: Arc<dyn Transport>,
    node: NodeId,
    run: Option<smol::Task<()>>,
}

fn hello(node: &str, incarnation: u64) -> Hello {
    Hello {
        protocol: PROTOCOL,
        cluster: "test".into(),
        node: id(node),
        incarnation: Incarnation(incarnation),
        terms: String::new(),
        pass: None,
    }
}

fn start_as(fixture: &dyn Fixture, hello: Hello) -> Process {
    run(fixture.transport(hello.node), hello)
}

fn run(transport: Arc<dyn Transport>, hello: Hello) -> Process {
    let node = hello.node;
    let running = transport.clone();
    let run = smol::spawn(async move { running.run(hello).await.unwrap() });
    Process { transport, node, run: Some(run) }
}

fn start(fixture: &dyn Fixture, node: &str, incarnation: u64) -> Process {
    start_as(fixture, hello(node, incarnation))
}

impl Process {
    async fn next(&self) -> TransportEvent {
        let timeout = async {
            smol::Timer::after(PATIENCE).await;
            panic!("{} waits in vain", self.node)
        };
        smol::future::or(self.transport.recv(), timeout).await
    }

    /// The next event about `peer`'s link; messages and others' links pass by.
    async fn link(&self, peer: &str) -> LinkEvent {
        loop {
            match self.next().await {
                TransportEvent::Link { peer: p, event } if p == id(peer) => return event,
                _ => {}
            }
        }
    }

    async fn message(&self) -> (NodeId, Message) {
        loop {
            if let TransportEvent::Message { from, message } = self.next().await {
                return (from, message);
            }
        }
    }

    /// What `peer` says that all members have to agree on, once that differs from what this one says, or does not any more.
    async fn terms(&self, peer: &str) -> String {
        let began = std::time::Instant::now();
        loop {
            // Others may go on being refused.
            assert!(began.elapsed() < PATIENCE, "{} waits in vain for what {peer} says", self.node);
            match self.next().await {
                TransportEvent::Terms { peer: p, terms } if p == id(peer) => return terms,
                _ => {}
            }
        }
    }

    async fn refusal(&self) -> (Option<NodeId>, RefuseReason) {
        loop {
            if let TransportEvent::Refused { claimed, reason, .. } = self.next().await {
                return (claimed, reason);
            }
        }
    }

    /// Sends as soon as there is a link and room.
    async fn send(&self, to: &str, message: &Message) {
        let began = std::time::Instant::now();
        loop {
            match self.transport.send(id(to), message) {
                Ok(()) => return,
                Err(SendError::NoLink(_) | SendError::QueueFull(_)) if began.elapsed() < PATIENCE => {
                    smol::Timer::after(Duration::from_millis(1)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn end(mut self) {
        self.run.take().unwrap().cancel().await;
    }
}

fn vote(round: u64) -> Message {
    Message::Accept(Grant { epoch: Epoch(1), round: Round(round), identity: None })
}

fn heartbeat(round: u64) -> Message {
    Message::Heartbeat(Heartbeat {
        epoch: Epoch(1),
        round: Round(round),
        role: Role::Primary,
        standing: Standing::Member,
        progress: Progress { stream_epoch: Epoch(1), offset: 12 },
        primary: Some(id("a")),
        lease: Duration::from_millis(900),
        ..Heartbeat::blank()
    })
}

fn up(incarnation: u64) -> LinkEvent {
    LinkEvent::Up { incarnation: Incarnation(incarnation) }
}

async fn links_come_up_in_both_directions_and_tell_the_incarnation(f: &dyn Fixture) {
    let (a, b) = (start(f, "a", 7), start(f, "b", 9));
    assert_eq!(a.link("b").await, up(9));
    assert_eq!(b.link("a").await, up(7));
    a.send("b", &vote(1)).await;
    b.send("a", &vote(2)).await;
    assert_eq!(b.message().await, (id("a"), vote(1)));
    assert_eq!(a.message().await, (id("b"), vote(2)));
}

async fn every_message_arrives_as_it_was_and_in_order(f: &dyn Fixture) {
    let (a, b) = (start(f, "a", 1), start(f, "b", 1));
    let messages = samples::messages();
    for message in &messages {
        a.send("b", message).await;
    }
    for message in messages {
        assert_eq!(b.message().await, (id("a"), message));
    }
}

async fn sending_says_why_it_cannot(f: &dyn Fixture) {
    let a = start(f, "a", 1);
    assert_eq!(a.transport.send(id("x"), &vote(1)), Err(SendError::UnknownPeer(id("x"))));
    assert_eq!(a.transport.send(id("b"), &vote(1)), Err(SendError::NoLink(id("b"))));
    a.transport.close().await;
    assert_eq!(a.transport.send(id("b"), &vote(1)), Err(SendError::Closed));
}

async fn a_process_that_ends_is_told_as_closed_and_then_refused_once(f: &dyn Fixture) {
    let (a, b, c) = (start(f, "a", 1), start(f, "b", 1), start(f, "c", 1));
    for peer in ["b", "c"] {
        a.send(peer, &heartbeat(1)).await;
    }
    for survivor in [&b, &c] {
        survivor.send("a", &heartbeat(1)).await;
        survivor.message().await;
        // Nothing is on its way to the one that ends: the kernel would reset that link.
        a.message().await;
    }
    a.end().await;
    for survivor in [&b, &c] {
        let mut told = Vec::new();
        while told.last() != Some(&LinkEvent::Refused) {
            told.push(survivor.link("a").await);
        }
        assert!(told.ends_with(&[LinkEvent::Closed, LinkEvent::Refused]), "{told:?}");
    }
    // Several more attempts are refused meanwhile; none is told.
    b.send("c", &vote(77)).await;
    smol::Timer::after(Duration::from_millis(100)).await;
    b.send("c", &vote(78)).await;
    loop {
        match c.next().await {
            TransportEvent::Message { message, .. } if message == vote(78) => break,
            TransportEvent::Link { peer, event } if peer == id("a") => panic!("{event:?}"),
            _ => {}
        }
    }
}

async fn a_restarted_process_is_up_with_its_new_incarnation(f: &dyn Fixture) {
    let (a, b) = (start(f, "a", 1), start(f, "b", 1));
    assert_eq!(b.link("a").await, up(1));
    a.end().await;
    let a = start(f, "a", 2);
    loop {
        match b.link("a").await {
            event if event == up(2) => break,
            // What the first one had answered just before its end may be read behind the end of the other link.
            event if event == up(1) => {}
            LinkEvent::Up { incarnation } => panic!("{incarnation}"),
            _ => {}
        }
    }
    a.send("b", &vote(5)).await;
    assert_eq!(b.message().await, (id("a"), vote(5)));
    b.send("a", &vote(6)).await;
    assert_eq!(a.message().await, (id("b"), vote(6)));
}

async fn an_older_incarnation_is_refused_until_the_newer_was_gone_for_a_while(f: &dyn Fixture) {
    let (a, b) = (start(f, "a", 5), start(f, "b", 1));
    assert_eq!(b.link("a").await, up(5));
    a.end().await;
    let _a = start(f, "a", 4);
    let mut refused = false;
    loop {
        match b.next().await {
            // The third one is not there, and is given up meanwhile.
            TransportEvent::Refused { claimed, reason, .. } if claimed == Some(id("a")) => {
                assert_eq!(reason, RefuseReason::StaleIncarnation);
                refused = true;
            }
            TransportEvent::Link { event, .. } if event == up(4) => break,
            _ => {}
        }
    }
    assert!(refused);
}

async fn another_cluster_or_protocol_is_refused_with_the_reason_on_both_sides(f: &dyn Fixture) {
    let a = start(f, "a", 1);
    let b = start_as(f, Hello { cluster: "other".into(), ..hello("b", 1) });
    let c = start_as(f, Hello { protocol: PROTOCOL + 1, ..hello("c", 1) });
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let refusal = a.refusal().await;
        if !seen.contains(&refusal) {
            seen.push(refusal);
        }
    }
    assert!(seen.contains(&(Some(id("b")), RefuseReason::Cluster)), "{seen:?}");
    assert!(seen.contains(&(Some(id("c")), RefuseReason::Protocol)), "{seen:?}");
    for (refused, reason) in [(&b, RefuseReason::Cluster), (&c, RefuseReason::Protocol)] {
        while refused.refusal().await != (Some(id("a")), reason) {}
    }
    assert_eq!(a.transport.send(id("b"), &vote(1)), Err(SendError::NoLink(id("b"))));
}

async fn a_cancelled_recv_loses_nothing(f: &dyn Fixture) {
    let (a, b) = (start(f, "a", 1), start(f, "b", 1));
    assert_eq!(b.link("a").await, up(1));
    let mut received = 0;
    for round in 0..50 {
        a.send("b", &vote(round)).await;
        // Polled once and dropped, whether or not something was there.
        while let Some(event) = b.transport.recv().now_or_never() {
            assert_eq!(event, TransportEvent::Message { from: id("a"), message: vote(received) });
            received += 1;
        }
    }
    for round in received..50 {
        assert_eq!(b.next().await, TransportEvent::Message { from: id("a"), message: vote(round) });
    }
}

async fn a_receiver_that_does_not_read_loses_no_vote_and_sees_them_in_order(f: &dyn Fixture) {
    let (a, b) = (start(f, "a", 1), start(f, "b", 1));
    assert_eq!(b.link("a").await, up(1));
    let votes = 20 * INBOX_EVENTS_MAX as u64;
    let sender = async {
        for round in 0..votes {
            a.send("b", &vote(round)).await;
        }
    };
    let receiver = async {
        smol::Timer::after(Duration::from_millis(50)).await;
        for round in 0..votes {
            assert_eq!(b.message().await.1, vote(round));
        }
    };
    smol::future::zip(sender, receiver).await;
}

async fn closing_writes_out_what_is_queued_and_then_ends_in_order(f: &dyn Fixture) {
    let (a, b) = (start(f, "a", 1), start(f, "b", 1));
    a.send("b", &vote(0)).await;
    assert_eq!(b.message().await, (id("a"), vote(0)));
    let resign = Message::Resign(Resign { epoch: Epoch(1), successor: Some(id("b")) });
    for round in 1..20 {
        a.send("b", &vote(round)).await;
    }
    a.send("b", &resign).await;
    a.transport.close().await;
    for round in 1..20 {
        assert_eq!(b.next().await, TransportEvent::Message { from: id("a"), message: vote(round) });
    }
    assert_eq!(b.next().await, TransportEvent::Message { from: id("a"), message: resign });
    assert_eq!(b.link("a").await, LinkEvent::Closed);
    assert_eq!(b.link("a").await, LinkEvent::Refused);
    let mut a = a;
    a.run.take().unwrap().await;
}

async fn t43_a_peer_that_is_met_later_is_linked_and_whoever_was_linked_hears_of_it(f: &dyn Fixture) {
    let said = |node, terms: &str| Hello { terms: terms.to_owned(), ..hello(node, 1) };
    let (a, b) = (start_as(f, said("a", "old")), start_as(f, said("b", "old")));
    assert_eq!((a.link("b").await, b.link("a").await), (up(1), up(1)));
    let (transport, address) = f.newcomer(id("later"));
    let later = run(transport, said("later", "new"));
    assert_eq!(a.refusal().await, (Some(id("later")), RefuseReason::UnknownNode));
    assert_eq!(a.transport.send(id("later"), &vote(1)), Err(SendError::UnknownPeer(id("later"))));

    assert!(a.transport.can_meet());
    for _ in 0..2 {
        a.transport.meet(id("later"), &address, "new");
    }
    assert_eq!((a.link("later").await, later.link("a").await), (up(1), up(1)));
    a.send("later", &vote(2)).await;
    assert_eq!(later.message().await, (id("a"), vote(2)));
    later.send("a", &vote(3)).await;
    assert_eq!(a.message().await, (id("later"), vote(3)));
    // Their links are as they were, for all that anybody is told, and one of them says something else than the other.
    assert_eq!(b.terms("a").await, "new");
    b.transport.meet(id("later"), &address, "new");
    assert_eq!(later.link("b").await, up(1));
    assert_eq!(b.terms("a").await, "new", "it is the same as here now");
    b.send("a", &vote(4)).await;
    loop {
        match a.next().await {
            TransportEvent::Message { from, message } => {
                assert_eq!((from, message), (id("b"), vote(4)));
                break;
            }
            TransportEvent::Link { peer, event } => panic!("{peer}: {event:?}"),
            _ => {}
        }
    }
}

async fn t44_a_peer_that_moved_is_found_whether_that_is_told_before_it_does_or_after(f: &dyn Fixture) {
    let (a, mut b) = (start(f, "a", 1), start(f, "b", 1));
    assert_eq!((a.link("b").await, b.link("a").await), (up(1), up(1)));
    // A link is up with its first direction. The one whose greeting is on its way when the process ends would be reset.
    b.send("a", &vote(1)).await;
    assert_eq!(a.message().await, (id("b"), vote(1)));
    for (incarnation, before) in [(2, true), (3, false)] {
        let (transport, address) = f.moved(id("b"));
        let tell = || [id("b"), id("nobody")].map(|peer| a.transport.relocate(peer, &address));
        if before {
            tell();
            // The link that stands stays.
            a.send("b", &vote(incarnation)).await;
            assert_eq!(b.message().await, (id("a"), vote(incarnation)));
        }
        b.end().await;
        // What was lost is looked for where it was: otherwise nobody would know that the process is gone.
        assert_eq!((a.link("b").await, a.link("b").await), (LinkEvent::Closed, LinkEvent::Refused));
        b = run(transport, hello("b", incarnation));
        assert_eq!((a.link("b").await, b.link("a").await), (up(incarnation), up(1)));
        b.send("a", &vote(incarnation)).await;
        assert_eq!(a.message().await, (id("b"), vote(incarnation)));
        if !before {
            tell();
        }
        a.send("b", &vote(incarnation)).await;
        assert_eq!(b.message().await, (id("a"), vote(incarnation)));
    }
    assert_eq!(a.transport.send(id("nobody"), &vote(1)), Err(SendError::UnknownPeer(id("nobody"))));
}

async fn what_is_said_to_all_comes_to_each_and_who_is_not_linked_is_named(f: &dyn Fixture) {
    let (a, b, c) = (start(f, "a", 1), start(f, "b", 1), start(f, "c", 1));
    // Once both are linked.
    a.send("b", &vote(1)).await;
    a.send("c", &vote(1)).await;
    let to = ["nobody", "b", "c"].map(id);
    assert_eq!(a.transport.send_all(&to, &vote(2)), [SendError::UnknownPeer(id("nobody"))]);
    assert_eq!(a.transport.send_all(&[], &vote(3)), []);
    for node in [&b, &c] {
        for round in [1, 2] {
            assert_eq!(node.message().await, (id("a"), vote(round)));
        }
    }
}

macro_rules! conformance {
    ($($test:ident),* $(,)?) => {
        mod memory_transport {
            $(#[test] fn $test() { smol::block_on(super::$test(&super::memory())) })*
        }
        mod tcp_transport {
            $(#[test] fn $test() { smol::block_on(super::$test(&super::tcp(super::Kind::Plain))) })*
        }
        mod tcp_transport_with_noise {
            $(#[test] fn $test() { smol::block_on(super::$test(&super::tcp(super::Kind::Noise))) })*
        }
    };
}

conformance! {
    links_come_up_in_both_directions_and_tell_the_incarnation,
    every_message_arrives_as_it_was_and_in_order,
    sending_says_why_it_cannot,
    a_process_that_ends_is_told_as_closed_and_then_refused_once,
    a_restarted_process_is_up_with_its_new_incarnation,
    an_older_incarnation_is_refused_until_the_newer_was_gone_for_a_while,
    another_cluster_or_protocol_is_refused_with_the_reason_on_both_sides,
    a_cancelled_recv_loses_nothing,
    a_receiver_that_does_not_read_loses_no_vote_and_sees_them_in_order,
    closing_writes_out_what_is_queued_and_then_ends_in_order,
    t44_a_peer_that_moved_is_found_whether_that_is_told_before_it_does_or_after,
    what_is_said_to_all_comes_to_each_and_who_is_not_linked_is_named,
    t43_a_peer_that_is_met_later_is_linked_and_whoever_was_linked_hears_of_it,
}
