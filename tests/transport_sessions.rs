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

const PATIENCE: Duration = Duration::from_secs(60);
const UP: LinkEvent = LinkEvent::Up { incarnation: Incarnation(1) };

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn hello(node: &str) -> Vec<u8> {
    let (protocol, cluster, incarnation) = (PROTOCOL, "test".into(), Incarnation(1));
    let mut bytes = Vec::new();
    encode_hello(
        &Hello { protocol, cluster, node: id(node), incarnation, terms: String::new(), pass: None },
        &mut bytes,
    );
    bytes
}

fn vote(round: u64) -> Message {
    Message::Accept(Grant { epoch: Epoch(1), round: Round(round), identity: None })
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
    // Some tests greet thousands of times, each in its turn.
    let builder = TcpTransport::with_listener(door)
        .peer(id("b"), &*peers)
        .peer(id("c"), &*peers)
        .greetings_max(100_000);
    let transport = Arc::new(builder.sessions(Kind::Noise.sessions(id("a"))).build());
    let running = transport.clone();
    let hello = Hello {
        protocol: PROTOCOL,
        cluster: "test".into(),
        node: id("a"),
        incarnation: Incarnation(1),
        terms: String::new(),
        pass: None,
    };
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
        assert_eq!(self.next(), TransportEvent::Refused { claimed, reason, detail: None });
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
    // A record that carries nothing.
    peer.wire().write_all(&[0, 0]).unwrap();
    // By then it may have been reset.
    drop(peer.shutdown(Shutdown::Both));
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
    a.refused(Some(id("b")), RefuseReason::Key);
    assert_eq!(a.transport.stats().unwrap().refused_for(RefuseReason::Key), 1);
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
    a.refused(None, RefuseReason::Key);
}

/// The first message of `b` to `a`, and nothing else of it.
fn first_message() -> Vec<u8> {
    let mut message = Vec::new();
    Kind::Noise.sessions(id("b")).dial(id("a")).seal(&mut message).unwrap();
    message
}

#[test]
fn t26_no_bit_of_a_greeting_can_be_changed_and_no_part_of_it_left_out() {
    let a = node();
    let message = first_message();
    for byte in 2..message.len() {
        let mut changed = message.clone();
        changed[byte] ^= 1 << (byte % 8);
        let mut stream = a.connect();
        stream.write_all(&changed).unwrap();
        assert_eq!(stream.read(&mut [0; 64]).unwrap_or(0), 0, "byte {byte}");
    }
    // The highest bit of a key means nothing (RFC 7748), but it is mixed into the greeting as it came.
    let refused = || a.transport.stats().unwrap().refused_for(RefuseReason::Garbage);
    assert_eq!(refused(), message.len() as u64 - 2);
    for length in [1, 2, 3, message.len() / 2, message.len() - 1] {
        let mut stream = a.connect();
        stream.write_all(&message[..length]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0; 64]).unwrap(), 0, "{length} bytes are not answered");
    }
    // Cut short, and its length with it.
    let mut short = message[..message.len() - 1].to_vec();
    short[1] -= 1;
    a.connect().write_all(&short).unwrap();
    while refused() < message.len() as u64 - 1 {
        a.next();
    }
}

#[test]
fn t26_a_stolen_greeting_gets_an_answer_that_its_thief_cannot_use() {
    let a = node();
    let message = first_message();
    for _ in 0..2 {
        let mut thief = a.connect();
        thief.write_all(&message).unwrap();
        let mut answer = vec![0; 64];
        assert!(thief.read(&mut answer).unwrap() > 2, "as far as the first message goes it is `b`");
        // Whatever it says now, it has not the key that the answer leads to.
        thief.write_all(&message).unwrap();
        a.refused(None, RefuseReason::Garbage);
    }
    a.linked("b");
}

#[test]
fn t26_what_a_node_said_is_nothing_when_it_comes_back() {
    let a = node();
    let mut peer = a.linked("b");
    let sealed = peer.seal(&vote_bytes(1));
    peer.wire().write_all(&sealed).unwrap();
    assert_eq!(a.next(), TransportEvent::Message { from: id("b"), message: vote(1) });
    // The answer of `a` to a greeting, sent to it as one; and records of one direction in the other one.
    let mut stream = a.connect();
    stream.write_all(&first_message()).unwrap();
    let mut answer = vec![0; 256];
    let length = stream.read(&mut answer).unwrap();
    let mut mirror = a.connect();
    mirror.write_all(&answer[..length]).unwrap();
    a.refused(None, RefuseReason::Garbage);
    stream.write_all(&answer[..length]).unwrap();
    a.refused(None, RefuseReason::Garbage);
}

#[test]
fn t28_a_peer_is_linked_with_its_old_key_and_with_its_new_one() {
    use kevy_elect_noise::{Keys, NoiseSessions, PrivateKey};
    let (old, new) = (sessions::private(id("b")), PrivateKey::from_bytes([9; 32]));
    let own = |node: &str, key: PrivateKey| {
        let listed = [("a", sessions::private(id("a"))), ("b", old.clone()), ("b", new.clone())];
        let listed = listed.map(|(node, key)| (id(node), key.public()));
        NoiseSessions::new(&Keys::new(id(node), key, listed).unwrap())
    };
    let start =
        |node: &str, key: PrivateKey, incarnation: u64, door: TcpListener, peer: (&str, SocketAddr)| {
            let builder = TcpTransport::with_listener(door).peer(id(peer.0), peer.1.to_string());
            let transport = Arc::new(builder.sessions(Arc::new(own(node, key))).build());
            let (running, node) = (transport.clone(), id(node));
            let hello = Hello {
                protocol: PROTOCOL,
                cluster: "test".into(),
                node,
                incarnation: Incarnation(incarnation),
                terms: String::new(),
                pass: None,
            };
            (transport, smol::spawn(async move { running.run(hello).await.unwrap() }))
        };
    let doors = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = doors.each_ref().map(|door| door.local_addr().unwrap());
    let [door_a, door_b] = doors;
    let (a, _running) = start("a", sessions::private(id("a")), 1, door_a, ("b", addresses[1]));
    let both = |a: &TcpTransport| {
        let begun = std::time::Instant::now();
        while !a.directions(id("b")).is_some_and(|links| links.out && links.back) {
            assert!(begun.elapsed() < PATIENCE, "{:?}", a.directions(id("b")));
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let (b, running) = start("b", old.clone(), 1, door_b, ("a", addresses[0]));
    both(&a);
    smol::block_on(b.close());
    drop((b, running));
    let door = loop {
        match TcpListener::bind(addresses[1]) {
            Ok(door) => break door,
            Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse),
        }
    };
    let (_b, _running) = start("b", new.clone(), 2, door, ("a", addresses[0]));
    both(&a);
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
