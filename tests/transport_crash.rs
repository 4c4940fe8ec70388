//! Link events of processes that really die: the evidence for a fast election must come when a process is
//! killed, and must not come while one lives. Sentences T5 to T12 of `docs/protocol.md`.

// The allowance for tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod sessions;

use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId, Round};
use kevy_elect_plugin::message::{Grant, Hello, Message};
use kevy_elect_plugin::time::Duration;
use kevy_elect_plugin::transport::{LinkEvent, TcpTransport, Transport, TransportEvent};
use kevy_elect_plugin::wire::PROTOCOL;
use sessions::Kind;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

const PATIENCE: Duration = Duration::from_secs(60);
const PARENT: &str = "TRANSPORT_CRASH_PARENT";
const NOISE: &str = "TRANSPORT_CRASH_NOISE";
const READS: &str = "TRANSPORT_CRASH_READS";
const INCARNATION: &str = "TRANSPORT_CRASH_INCARNATION";

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn hello(node: &str, incarnation: u64) -> Hello {
    let incarnation = Incarnation(incarnation);
    Hello {
        protocol: PROTOCOL,
        cluster: "test".into(),
        node: id(node),
        incarnation,
        terms: String::new(),
        pass: None,
    }
}

fn vote(round: u64) -> Message {
    Message::Accept(Grant { epoch: Epoch(1), round: Round(round), identity: None })
}

/// Not a test: node `b`, run as a process of its own by the tests below.
#[test]
#[ignore = "the child process of the other tests"]
fn child() {
    let parent = std::env::var(PARENT).unwrap();
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("address {}", door.local_addr().unwrap());
    let kind = if std::env::var(NOISE).is_ok() { Kind::Noise } else { Kind::Plain };
    let transport = TcpTransport::with_listener(door).peer(id("a"), parent);
    let transport = transport.sessions(kind.sessions(id("b"))).build();
    let echo = async {
        while transport.directions(id("a")).is_none_or(|links| !(links.out && links.back)) {
            smol::Timer::after(Duration::from_millis(1)).await;
        }
        // Not everybody who started this process listens.
        let _ = writeln!(std::io::stdout(), "linked");
        loop {
            // Without reading, the parent's bytes pile up in this process's kernel buffers.
            if std::env::var(READS).is_err() {
                std::future::pending::<()>().await;
            }
            if let TransportEvent::Message { message, .. } = transport.recv().await {
                while transport.send(id("a"), &message).is_err() {
                    smol::Timer::after(Duration::from_millis(1)).await;
                }
            }
        }
    };
    let incarnation = std::env::var(INCARNATION).unwrap().parse().unwrap();
    smol::block_on(smol::future::or(async { transport.run(hello("b", incarnation)).await.unwrap() }, echo));
}

type Said = Lines<BufReader<ChildStdout>>;

/// Node `b` as a process, what it goes on to say, and where it listens.
fn spawn(kind: Kind, parent: SocketAddr, incarnation: u64, reads: bool) -> (Child, Said, SocketAddr) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--ignored", "--nocapture"]).stdout(Stdio::piped());
    command.env(PARENT, parent.to_string()).env(INCARNATION, incarnation.to_string());
    if reads {
        command.env(READS, "1");
    }
    if kind == Kind::Noise {
        command.env(NOISE, "1");
    }
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = said
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| line.split_once("address ").map(|(_, address)| address.parse().unwrap()))
        .expect("the child says where it listens");
    (child, said, address)
}

struct Pair {
    kind: Kind,
    child: Child,
    parent: SocketAddr,
    transport: Arc<TcpTransport>,
    _run: smol::Task<()>,
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Pair {
    fn start(kind: Kind, reads: bool) -> Self {
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let parent = door.local_addr().unwrap();
        let (child, said, address) = spawn(kind, parent, 1, reads);
        let transport = TcpTransport::with_listener(door).peer(id("b"), address.to_string());
        let transport = Arc::new(transport.sessions(kind.sessions(id("a"))).build());
        let running = transport.clone();
        let run = smol::spawn(async move { running.run(hello("a", 1)).await.unwrap() });
        let pair = Self { kind, child, parent, transport, _run: run };
        assert_eq!(pair.next(), link(LinkEvent::Up { incarnation: Incarnation(1) }));
        // A link is up with its first direction. The kernel ends the one with something unread with a reset, so a process that is
        // killed before the other one is there, or before it has read the greeting of the one that it dialled, may leave no orderly
        // end at all.
        assert!(
            said.map_while(Result::ok).any(|line| line.ends_with("linked")),
            "the child is linked both ways"
        );
        let began = Instant::now();
        while pair.transport.directions(id("b")).is_none_or(|links| !(links.out && links.back)) {
            assert!(began.elapsed() < PATIENCE, "waits in vain for the second direction");
            std::thread::yield_now();
        }
        pair
    }

    fn next(&self) -> TransportEvent {
        self.next_within(PATIENCE).expect("waits in vain")
    }

    fn next_within(&self, limit: Duration) -> Option<TransportEvent> {
        smol::block_on(smol::future::or(async { Some(self.transport.recv().await) }, async {
            smol::Timer::after(limit).await;
            None
        }))
    }

    fn send(&self, round: u64) {
        let began = Instant::now();
        while let Err(error) = self.transport.send(id("b"), &vote(round)) {
            assert!(began.elapsed() < PATIENCE, "{error}");
            std::thread::yield_now();
        }
    }

    /// Stops the child and waits until all its threads have stopped: the signal only asks them to.
    fn stop(&self) {
        self.signal("-STOP");
        let tasks = format!("/proc/{}/task", self.child.id());
        let stopped = |stat: String| stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('T'));
        while !std::fs::read_dir(&tasks)
            .unwrap()
            .flatten()
            .all(|task| std::fs::read_to_string(task.path().join("stat")).map_or(true, stopped))
        {
            std::thread::yield_now();
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

fn link(event: LinkEvent) -> TransportEvent {
    TransportEvent::Link { peer: id("b"), event }
}

over_each_session! {
    a_killed_process_is_closed_and_refused_within_milliseconds,
    t6_a_process_that_dies_with_unread_input_still_ends_in_order_on_the_link_it_dialled,
    #[cfg(target_os = "linux")] a_stopped_process_is_neither_closed_nor_refused_and_goes_on_where_it_was,
    #[cfg(target_os = "linux")] t13_a_later_process_is_no_evidence_about_an_earlier_one_that_lives_and_its_death_still_is,
    t13_a_process_that_is_killed_and_started_again_at_once_is_known_to_be_gone,
}

fn a_killed_process_is_closed_and_refused_within_milliseconds(kind: Kind) {
    let mut pair = Pair::start(kind, true);
    pair.send(1);
    assert_eq!(pair.next(), TransportEvent::Message { from: id("b"), message: vote(1) });
    pair.child.kill().unwrap();
    let began = Instant::now();
    assert_eq!(pair.next(), link(LinkEvent::Closed));
    let closed = began.elapsed();
    assert_eq!(pair.next(), link(LinkEvent::Refused));
    println!("closed after {closed:?}, refused after {:?}", began.elapsed());
    // Far above what it takes, below any timeout that could have told it instead: that of a greeting, and that of what is not confirmed.
    assert!(began.elapsed() < Duration::from_millis(1800), "{:?}", began.elapsed());
    assert_eq!(pair.next_within(Duration::from_millis(100)), None, "further refusals are not told");
}

fn t6_a_process_that_dies_with_unread_input_still_ends_in_order_on_the_link_it_dialled(kind: Kind) {
    let mut pair = Pair::start(kind, false);
    // Far more than the child's inbox holds and far less than the kernel's buffers: the rest waits there, and nobody will read it.
    (0..4096).for_each(|round| pair.send(round));
    pair.child.kill().unwrap();
    assert_eq!(pair.next(), link(LinkEvent::Closed));
    assert_eq!(pair.next(), link(LinkEvent::Refused));
}

#[cfg(target_os = "linux")]
fn a_stopped_process_is_neither_closed_nor_refused_and_goes_on_where_it_was(kind: Kind) {
    let pair = Pair::start(kind, true);
    pair.send(1);
    assert_eq!(pair.next(), TransportEvent::Message { from: id("b"), message: vote(1) });
    pair.stop();
    pair.send(2);
    assert_eq!(pair.next_within(Duration::from_millis(300)), None, "its kernel keeps the links");
    pair.signal("-CONT");
    assert_eq!(pair.next(), TransportEvent::Message { from: id("b"), message: vote(2) });
}

/// A second process with the node's id, while the first one lives and cannot speak: nothing may be told that sounds like
/// the first one's death. When it dies, it is told, although its place is taken.
#[cfg(target_os = "linux")]
fn t13_a_later_process_is_no_evidence_about_an_earlier_one_that_lives_and_its_death_still_is(kind: Kind) {
    let mut pair = Pair::start(kind, true);
    pair.send(1);
    assert_eq!(pair.next(), TransportEvent::Message { from: id("b"), message: vote(1) });
    pair.stop();
    // Not dialled: this process dials the first one's address. It dials this process, and that is enough for `Up`.
    let (mut second, _said, _) = spawn(pair.kind, pair.parent, 2, true);
    assert_eq!(pair.next(), link(LinkEvent::Up { incarnation: Incarnation(2) }));
    assert_eq!(pair.next_within(Duration::from_millis(100)), None, "the first one lives");
    pair.child.kill().unwrap();
    let event = pair.next();
    second.kill().unwrap();
    second.wait().unwrap();
    assert_eq!(event, link(LinkEvent::OlderClosed { incarnation: Incarnation(1) }));
}

fn t13_a_process_that_is_killed_and_started_again_at_once_is_known_to_be_gone(kind: Kind) {
    let mut pair = Pair::start(kind, true);
    pair.child.kill().unwrap();
    let (second, _said, _) = spawn(pair.kind, pair.parent, 2, true);
    let mut told = vec![pair.next()];
    while told.last() != Some(&link(LinkEvent::Up { incarnation: Incarnation(2) })) {
        told.push(pair.next());
    }
    if !told.contains(&link(LinkEvent::Closed)) {
        // The end was read after the `HELLO`.
        told.extend(pair.next_within(PATIENCE));
        assert_eq!(
            told.last(),
            Some(&link(LinkEvent::OlderClosed { incarnation: Incarnation(1) })),
            "{told:?}"
        );
    }
    let _ = pair.child.wait();
    pair.child = second;
}
