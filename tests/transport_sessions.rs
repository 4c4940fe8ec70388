//! What an encrypted session changes, and what it must not: the other side has proven who it is, and evidence of death is the
//! kernel's end of the stream, as ever. Sentences T2, T4 and T7 of `docs/protocol.md`.

// The allowance for tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod sessions;

use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId, Round};
use kevy_elect_plugin::message::{Grant, Hello, Message, PROTOCOL};
use kevy_elect_plugin::time::Duration;
use kevy_elect_plugin::transport::{LinkEvent, RefuseReason, TcpTransport, Transport, TransportEvent};
use kevy_elect_plugin::wire::{encode, encode_hello};
use sessions::{Client, Kind};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

const PATIENCE: Duration = Duration::from_secs(20);
const UP: LinkEvent = LinkEvent::Up { incarnation: Incarnation(1) };

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn hello(node: &str) -> Vec<u8> {
    let (protocol, cluster, incarnation) = (PROTOCOL, "test".into(), Incarnation(1));
    let mut bytes = Vec::new();
    encode_hello(&Hello { protocol, cluster, node: id(node), incarnation }, &mut bytes);
    bytes
}

fn vote(round: u64) -> Message {
    Message::Accept(Grant { epoch: Epoch(1), round: Round(round) })
}

fn vote_bytes(round: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&vote(round), &mut bytes);
    bytes
}

/// Node `a`, which has the peers `b` and `c` and speaks Noise. Connections to these end at once.
struct Node {
    transport: Arc<TcpTransport>,
    address: SocketAddr,
    _run: smol::Task<()>,
}

fn node() -> Node {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let peers = nobody.local_addr().unwrap().to_string();
    std::thread::spawn(move || nobody.incoming().for_each(drop));
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = door.local_addr().unwrap();
    let builder = TcpTransport::with_listener(door).peer(id("b"), &*peers).peer(id("c"), &*peers);
    let transport = Arc::new(builder.sessions(Kind::Noise.sessions(id("a"))).build());
    let running = transport.clone();
    let hello =
        Hello { protocol: PROTOCOL, cluster: "test".into(), node: id("a"), incarnation: Incarnation(1) };
    let _run = smol::spawn(async move { running.run(hello).await.unwrap() });
    Node { transport, address, _run }
}

impl Node {
    fn next(&self) -> TransportEvent {
        smol::block_on(smol::future::or(self.transport.recv(), async {
            smol::Timer::after(PATIENCE).await;
            panic!("waits in vain")
        }))
    }

    fn link(&self, peer: &str, event: LinkEvent) {
        assert_eq!(self.next(), TransportEvent::Link { peer: id(peer), event });
    }

    fn refused(&self, claimed: Option<NodeId>, reason: RefuseReason) {
        assert_eq!(self.next(), TransportEvent::Refused { claimed, reason });
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn dialled_by(&self, peer: &str) -> Client {
        Client::dial(Kind::Noise, self.connect(), id(peer), id("a")).unwrap()
    }

    fn linked(&self, peer: &str) -> Client {
        let mut client = self.dialled_by(peer);
        client.write_all(&hello(peer)).unwrap();
        assert!(client.read(&mut [0; 4096]).unwrap() > 0);
        self.link(peer, UP);
        client
    }
}

#[test]
fn t7_what_a_session_says_about_its_end_is_no_evidence_also_right_before_the_end_of_the_stream() {
    let a = node();
    let mut peer = a.linked("b");
    let goodbye = peer.seal(&[]);
    peer.wire().write_all(&goodbye).unwrap();
    peer.shutdown(Shutdown::Both).unwrap();
    a.refused(Some(id("b")), RefuseReason::Garbage);
    a.link("b", LinkEvent::Reset);

    // Without a word it is the kernel's, and the kernel's counts.
    let mut peer = a.linked("b");
    peer.write_all(&vote_bytes(1)).unwrap();
    peer.shutdown(Shutdown::Both).unwrap();
    assert_eq!(a.next(), TransportEvent::Message { from: id("b"), message: vote(1) });
    a.link("b", LinkEvent::Closed);
}

#[test]
fn t7_an_end_in_the_middle_of_a_record_is_not_orderly() {
    let a = node();
    let mut peer = a.linked("b");
    let record = peer.seal(&vote_bytes(1));
    for cut in [1, 2, record.len() - 1] {
        peer.wire().write_all(&record[..cut]).unwrap();
        peer.shutdown(Shutdown::Both).unwrap();
        a.link("b", LinkEvent::Reset);
        peer = a.linked("b");
        let _ = peer.seal(&vote_bytes(1));
    }
}

#[test]
fn t4_a_link_belongs_to_who_proved_to_be_somebody_and_not_to_who_says_so() {
    let a = node();
    let mut impostor = a.dialled_by("c");
    impostor.write_all(&hello("b")).unwrap();
    a.refused(Some(id("b")), RefuseReason::UnknownNode);
    a.linked("c");
}

#[test]
fn who_proves_nothing_is_turned_away_before_any_frame_of_it_is_read() {
    let a = node();
    for (bytes, reason) in [
        (hello("b"), RefuseReason::TooLarge),
        (vec![0, 4, 1, 2, 3, 4], RefuseReason::Garbage),
        (vec![0; 64], RefuseReason::Garbage),
    ] {
        let mut stream = a.connect();
        stream.write_all(&bytes).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "nothing is said to a stranger: {answer:?}");
        a.refused(None, reason);
    }
    // The key of a node that is no member.
    let stream = a.connect();
    assert!(Client::dial(Kind::Noise, stream, id("d"), id("a")).is_err());
    a.refused(None, RefuseReason::UnknownNode);
}

#[test]
fn a_record_that_was_changed_repeated_or_left_out_resets_the_link() {
    type Harm = fn(&mut Vec<u8>, Vec<u8>);
    let harms: [Harm; 3] = [
        |record, _| record.last_mut().into_iter().for_each(|byte| *byte ^= 1),
        |record, _| record.extend(record.clone()),
        |record, next| *record = next,
    ];
    for (number, harm) in harms.into_iter().enumerate() {
        let a = node();
        let mut peer = a.linked("b");
        let (mut record, next) = (peer.seal(&vote_bytes(1)), peer.seal(&vote_bytes(2)));
        harm(&mut record, next);
        peer.wire().write_all(&record).unwrap();
        if number == 1 {
            assert_eq!(a.next(), TransportEvent::Message { from: id("b"), message: vote(1) });
        }
        a.refused(Some(id("b")), RefuseReason::Garbage);
        a.link("b", LinkEvent::Reset);
        assert_eq!(peer.wire().read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_recorded_connection_is_worth_nothing_the_second_time() {
    // Somebody between `b` and `a` writes down what passes.
    let a = node();
    let between = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(between.local_addr().unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (from_b, to_a) = (between.accept().unwrap().0, a.connect());
    let (mut from_a, mut to_b) = (to_a.try_clone().unwrap(), from_b.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut from_a, &mut to_b));
    let recorder = std::thread::spawn(move || {
        let (mut from_b, mut to_a, mut all) = (from_b, to_a, Vec::new());
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = from_b.read(&mut bytes) {
            to_a.write_all(&bytes[..read]).unwrap();
            all.extend(&bytes[..read]);
        }
        let _ = to_a.shutdown(Shutdown::Both);
        all
    });
    let mut peer = Client::dial(Kind::Noise, stream, id("b"), id("a")).unwrap();
    peer.write_all(&hello("b")).unwrap();
    assert!(peer.read(&mut [0; 4096]).unwrap() > 0);
    a.link("b", UP);
    peer.shutdown(Shutdown::Both).unwrap();
    a.link("b", LinkEvent::Closed);
    let recorded = recorder.join().unwrap();

    let mut stream = a.connect();
    stream.write_all(&recorded).unwrap();
    a.refused(None, RefuseReason::Garbage);
    // And `b` itself is linked as before.
    a.linked("b");
}
