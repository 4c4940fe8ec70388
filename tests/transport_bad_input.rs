//! What strangers and broken peers may send to a [`TcpTransport`]: nothing happens but a count, a bounded
//! number of events, and the end of their connection. Sentences T17 to T23 of `docs/protocol.md`.

// The allowance for tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod sessions;

use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId, Round};
use kevy_elect_plugin::message::{Grant, Hello, Message};
use kevy_elect_plugin::time::Duration;
use kevy_elect_plugin::transport::tcp::{
    ALLOWANCE_WINDOW, BYTES_PER_WINDOW_MAX, DECISION_FRAMES, FRAMES_PER_WINDOW_MAX, GREETINGS_PER_WINDOW_MAX,
    HELLO_PENDING_MAX,
};
use kevy_elect_plugin::transport::{
    LinkEvent, REFUSALS_QUEUED_MAX, RefuseReason, SendError, TcpTransport, Transport, TransportEvent,
};
use kevy_elect_plugin::wire::{Frame, PROTOCOL, decode, encode, encode_hello};
use sessions::{Client, Kind};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

const PATIENCE: Duration = Duration::from_secs(60);

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

fn hello_bytes(hello: &Hello) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_hello(hello, &mut bytes);
    bytes
}

fn vote_bytes(round: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&vote(round), &mut bytes);
    bytes
}

fn vote(round: u64) -> Message {
    Message::Accept(Grant { epoch: Epoch(1), round: Round(round), identity: None })
}

/// Node `a`, with a peer `b` that is played by the test or by `b`'s own transport.
struct Node {
    kind: Kind,
    transport: Arc<TcpTransport>,
    address: SocketAddr,
    _run: smol::Task<()>,
}

fn node(kind: Kind, name: &str, door: TcpListener, peer: &str, peer_address: SocketAddr) -> Node {
    hearing(kind, name, door, (peer, peer_address), GREETINGS_PER_WINDOW_MAX)
}

fn hearing(kind: Kind, name: &str, door: TcpListener, peer: (&str, SocketAddr), greetings: u32) -> Node {
    let address = door.local_addr().unwrap();
    let builder = TcpTransport::with_listener(door).peer(id(peer.0), peer.1.to_string());
    let builder = builder.greetings_max(greetings);
    let transport = Arc::new(builder.sessions(kind.sessions(id(name))).build());
    let (running, hello) = (transport.clone(), hello(name));
    let run = smol::spawn(async move { running.run(hello).await.unwrap() });
    Node { kind, transport, address, _run: run }
}

/// Node `a` alone: where `b` should listen, connections end at once.
fn alone(kind: Kind) -> Node {
    alone_hearing(kind, GREETINGS_PER_WINDOW_MAX)
}

fn alone_hearing(kind: Kind, greetings: u32) -> Node {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    std::thread::spawn(move || nobody.incoming().for_each(drop));
    hearing(kind, "a", TcpListener::bind("127.0.0.1:0").unwrap(), ("b", address), greetings)
}

impl Node {
    fn next(&self) -> TransportEvent {
        smol::block_on(smol::future::or(self.transport.recv(), async {
            smol::Timer::after(PATIENCE).await;
            panic!("waits in vain")
        }))
    }

    /// A connection on which nothing was said.
    fn connect_wire(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A connection of `b`, whose session is there.
    fn connect(&self) -> Client {
        Client::dial(self.kind, self.connect_wire(), id("b"), id("a")).unwrap()
    }

    /// Says `bytes` and gives what comes back until the end.
    fn say(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// A link on which `b` sends, established.
    fn linked_as_b(&self) -> Client {
        let mut stream = self.connect();
        stream.write_all(&hello_bytes(&hello("b"))).unwrap();
        let mut answer = [0; 4096];
        let read = stream.read(&mut answer).unwrap();
        assert!(matches!(decode(&answer[..read]), Ok(Some((Frame::Hello(_), _)))));
        assert_eq!(self.next(), link(LinkEvent::Up { incarnation: Incarnation(1) }));
        stream
    }

    fn refused(&self, bytes: &[u8], claimed: Option<NodeId>, reason: RefuseReason) {
        let answer = self.say(bytes);
        let expected = reason.as_str();
        match decode(&answer) {
            Ok(Some((Frame::Refuse { reason, .. }, _))) => assert_eq!(reason, expected),
            // What it sent too much may have turned the end into a reset that overtook the answer.
            Ok(None) if answer.is_empty() => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(self.next(), TransportEvent::Refused { claimed, reason, detail: None });
    }
}

fn link(event: LinkEvent) -> TransportEvent {
    TransportEvent::Link { peer: id("b"), event }
}

over_each_session! {
    every_kind_of_stranger_is_told_why_and_counted,
    who_says_nothing_is_closed_after_the_hello_timeout,
    a_thousand_idle_connections_keep_no_peer_out,
    t42_more_greetings_than_are_heard_are_counted_and_disturb_no_link,
    a_flood_of_refusals_does_not_fill_the_inbox,
    garbage_on_an_established_link_resets_it_so_that_nobody_takes_it_for_a_crash,
    t7_only_an_end_between_two_frames_is_an_orderly_one,
    verbs_of_a_newer_version_are_skipped_on_a_link,
    a_frame_that_comes_byte_by_byte_arrives,
    a_second_link_of_one_process_replaces_the_first,
    t24_closing_waits_for_a_slow_reader_and_loses_no_vote,
    random_bytes_before_and_after_hello_never_stop_the_transport,
    t40_of_a_flood_so_much_is_taken_in_each_window_and_nothing_is_lost,
}

fn every_kind_of_stranger_is_told_why_and_counted(kind: Kind) {
    let a = alone(kind);
    let oversized = b"*2\r\n$5\r\nHELLO\r\n$65536\r\n";
    let claimed = Some(id("b"));
    a.refused(b"GET / HTTP/1.1\r\n\r\n", None, RefuseReason::Garbage);
    a.refused(b"\x16\x03\x01\x02\x00\x01\x00", None, RefuseReason::Garbage);
    a.refused(b"*5\r\n$5\r\nHELLO\r\n$30\r\n111111111111111111111111111111\r\n", None, RefuseReason::Garbage);
    a.refused(&vote_bytes(1), None, RefuseReason::Garbage);
    a.refused(oversized, None, RefuseReason::TooLarge);
    a.refused(&hello_bytes(&Hello { cluster: "other".into(), ..hello("b") }), claimed, RefuseReason::Cluster);
    a.refused(&hello_bytes(&Hello { protocol: 9, ..hello("b") }), claimed, RefuseReason::Protocol);
    // Who has proven to be `b` is not even asked whether it knows the one that it says to be.
    let unknown = if kind == Kind::Plain { RefuseReason::UnknownNode } else { RefuseReason::Key };
    a.refused(&hello_bytes(&hello("zz")), Some(id("zz")), unknown);
    a.refused(&hello_bytes(&hello("a")), Some(id("a")), unknown);
    let stats = a.transport.stats().unwrap();
    assert_eq!(stats.refused_for(RefuseReason::Garbage), 4);
    assert_eq!(stats.refused_for(unknown), 2);
    a.linked_as_b();
}

/// Frames of one kind for as long as several windows, faster than they are taken.
fn t40_of_a_flood_so_much_is_taken_in_each_window_and_nothing_is_lost(kind: Kind) {
    const WINDOWS: u32 = 4;
    let unknown = [b"*2\r\n$5\r\nSHINY\r\n$4000\r\n".as_slice(), &[b'x'; 4000], b"\r\n"].concat();
    let in_one = FRAMES_PER_WINDOW_MAX / DECISION_FRAMES;
    for (frame, in_one) in
        [(vote_bytes(3), in_one), (unknown, u32::try_from(BYTES_PER_WINDOW_MAX).unwrap() / 4028)]
    {
        let a = alone(kind);
        let mut peer = a.linked_as_b();
        let begun = Instant::now();
        let sent = WINDOWS * in_one + in_one / 2;
        let writer = std::thread::spawn(move || {
            (0..sent).for_each(|_| peer.write_all(&frame).unwrap());
            peer.write_all(&vote_bytes(4)).unwrap();
            peer
        });
        let (mut votes, mut floods) = (0, 0);
        loop {
            match a.next() {
                TransportEvent::Message { message, .. } if message == vote(4) => break,
                TransportEvent::Message { .. } => votes += 1,
                TransportEvent::Refused { claimed, reason: RefuseReason::Flood, .. } => {
                    assert_eq!(claimed, Some(id("b")));
                    floods += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(votes == sent || votes == 0, "{votes} of {sent}");
        // A machine that seals more slowly than frames are taken floods nobody.
        assert!(floods > 0 || kind == Kind::Noise, "nothing was too much");
        assert!(begun.elapsed() >= (WINDOWS - 1) * ALLOWANCE_WINDOW, "{:?}", begun.elapsed());
        drop(writer.join().unwrap());
    }
}

fn who_says_nothing_is_closed_after_the_hello_timeout(kind: Kind) {
    let a = alone(kind);
    let mut silent = a.connect();
    let mut slow = a.connect();
    slow.write_all(b"*5\r\n$5\r\nHEL").unwrap();
    let refused = TransportEvent::Refused { claimed: None, reason: RefuseReason::HelloTimeout, detail: None };
    assert_eq!(a.next(), refused);
    assert_eq!(a.next(), refused);
    for stream in [&mut silent, &mut slow] {
        assert!(stream.read_to_end(&mut Vec::new()).is_ok(), "closed, not left open");
    }
}

fn t42_more_greetings_than_are_heard_are_counted_and_disturb_no_link(kind: Kind) {
    const HEARD: u32 = 3;
    let a = alone_hearing(kind, HEARD);
    let mut b = a.linked_as_b();
    let start = Instant::now();
    while a.transport.stats().unwrap().refused_for(RefuseReason::TooMany) == 0 {
        assert!(start.elapsed() < PATIENCE, "all are heard");
        let strangers: Vec<TcpStream> = (0..HEARD * 4).map(|_| a.connect_wire()).collect();
        for mut stranger in &strangers {
            // It may be turned away meanwhile.
            drop(stranger.write_all(&[0, 1, 9]));
        }
    }
    b.write_all(&vote_bytes(7)).unwrap();
    let heard = (0..1_000).map(|_| a.next()).find(|event| matches!(event, TransportEvent::Message { .. }));
    assert_eq!(heard, Some(TransportEvent::Message { from: id("b"), message: vote(7) }));
    // Who was turned away because of others is heard a moment later.
    let again = || {
        let mut stream = Client::dial(kind, a.connect_wire(), id("b"), id("a")).ok()?;
        stream.write_all(&hello_bytes(&hello("b"))).ok()?;
        let mut answer = [0; 4096];
        let read = stream.read(&mut answer).ok()?;
        matches!(decode(&answer[..read]), Ok(Some((Frame::Hello(_), _)))).then_some(())
    };
    while again().is_none() {
        assert!(start.elapsed() < PATIENCE, "nobody is heard any more");
    }
}

fn a_thousand_idle_connections_keep_no_peer_out(kind: Kind) {
    let (door_a, door_b) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (address_a, address_b) = (door_a.local_addr().unwrap(), door_b.local_addr().unwrap());
    let a = node(kind, "a", door_a, "b", address_b);
    let idle: Vec<_> = (0..1000).map(|_| a.connect_wire()).collect();
    let b = node(kind, "b", door_b, "a", address_a);
    while b.transport.send(id("a"), &vote(1)).is_err() {
        std::thread::yield_now();
    }
    loop {
        match a.next() {
            TransportEvent::Message { from, message } => {
                assert_eq!((from, message), (id("b"), vote(1)));
                break;
            }
            TransportEvent::Refused { claimed: None, .. } => {}
            other => assert_eq!(other, link(LinkEvent::Up { incarnation: Incarnation(1) })),
        }
    }
    let mut open = 0;
    for mut stream in idle {
        stream.set_nonblocking(true).unwrap();
        match stream.read(&mut [0; 16]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => open += 1,
            _ => {}
        }
    }
    assert!(open <= HELLO_PENDING_MAX, "{open} connections are held");
    let stats = a.transport.stats().unwrap();
    // Where it takes long to connect a thousand times, the time of some is over meanwhile.
    let [many, late] = [RefuseReason::TooMany, RefuseReason::HelloTimeout].map(|why| stats.refused_for(why));
    assert!(many > 0 && many + late >= 1000 - HELLO_PENDING_MAX as u64, "{many}, {late}");
}

fn a_flood_of_refusals_does_not_fill_the_inbox(kind: Kind) {
    let a = alone_hearing(kind, u32::MAX);
    for _ in 0..500 {
        a.say(b"garbage\r\n");
    }
    assert_eq!(a.transport.stats().unwrap().refused_for(RefuseReason::Garbage), 500);
    let mut peer = a.linked_as_b_behind_refusals();
    peer.write_all(&vote_bytes(7)).unwrap();
    let mut refusals = 0;
    loop {
        match a.next() {
            TransportEvent::Refused { .. } => refusals += 1,
            TransportEvent::Message { message, .. } => break assert_eq!(message, vote(7)),
            _ => {}
        }
    }
    assert!(refusals <= REFUSALS_QUEUED_MAX, "{refusals}");
}

impl Node {
    fn linked_as_b_behind_refusals(&self) -> Client {
        let mut stream = self.connect();
        stream.write_all(&hello_bytes(&hello("b"))).unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream
    }
}

fn garbage_on_an_established_link_resets_it_so_that_nobody_takes_it_for_a_crash(kind: Kind) {
    for (bytes, reason) in [
        (&b"nonsense"[..], RefuseReason::Garbage),
        (b"*1\r\n$65536\r\n", RefuseReason::TooLarge),
        (&hello_bytes(&hello("b")), RefuseReason::Garbage),
        (b"*2\r\n$8\r\nANNOUNCE\r\n$20\r\n18446744073709551615\r\n", RefuseReason::Garbage),
    ] {
        let a = alone(kind);
        let mut peer = a.linked_as_b();
        peer.write_all(&vote_bytes(1)).unwrap();
        peer.write_all(bytes).unwrap();
        assert_eq!(a.next(), TransportEvent::Message { from: id("b"), message: vote(1) });
        assert_eq!(a.next(), TransportEvent::Refused { claimed: Some(id("b")), reason, detail: None });
        assert_eq!(a.next(), link(LinkEvent::Reset));
        let error = peer.read(&mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "an end of stream would say: my process ends");
    }
}

fn t7_only_an_end_between_two_frames_is_an_orderly_one(kind: Kind) {
    let a = alone(kind);
    let mut peer = a.linked_as_b();
    peer.write_all(&vote_bytes(1)).unwrap();
    drop(peer);
    assert_eq!(a.next(), TransportEvent::Message { from: id("b"), message: vote(1) });
    assert_eq!(a.next(), link(LinkEvent::Closed));

    let mut peer = a.linked_as_b();
    let frame = vote_bytes(2);
    peer.write_all(&frame[..frame.len() - 1]).unwrap();
    drop(peer);
    assert_eq!(a.next(), link(LinkEvent::Reset), "half a frame is no orderly end");

    let peer = a.linked_as_b();
    rustix::net::sockopt::set_socket_linger(&*peer, Some(Duration::ZERO)).unwrap();
    drop(peer);
    assert_eq!(a.next(), link(LinkEvent::Reset), "a firewall can do that to a process that lives");
}

fn verbs_of_a_newer_version_are_skipped_on_a_link(kind: Kind) {
    let a = alone(kind);
    let mut peer = a.linked_as_b();
    peer.write_all(b"*2\r\n$5\r\nSHINY\r\n$1\r\n1\r\n").unwrap();
    peer.write_all(&vote_bytes(3)).unwrap();
    assert_eq!(a.next(), TransportEvent::Message { from: id("b"), message: vote(3) });
}

fn a_frame_that_comes_byte_by_byte_arrives(kind: Kind) {
    let a = alone(kind);
    let mut peer = a.linked_as_b();
    peer.set_nodelay(true).unwrap();
    for byte in vote_bytes(4).into_iter().chain(vote_bytes(5)) {
        peer.write_all(&[byte]).unwrap();
    }
    for round in [4, 5] {
        assert_eq!(a.next(), TransportEvent::Message { from: id("b"), message: vote(round) });
    }
}

fn a_second_link_of_one_process_replaces_the_first(kind: Kind) {
    let a = alone(kind);
    let mut first = a.linked_as_b();
    let mut second = a.linked_as_b_behind_refusals();
    assert_eq!(first.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    second.write_all(&vote_bytes(6)).unwrap();
    assert_eq!(a.next(), TransportEvent::Message { from: id("b"), message: vote(6) }, "and no link event");
}

fn t24_closing_waits_for_a_slow_reader_and_loses_no_vote(kind: Kind) {
    let door_b = TcpListener::bind("127.0.0.1:0").unwrap();
    let a = node(kind, "a", TcpListener::bind("127.0.0.1:0").unwrap(), "b", door_b.local_addr().unwrap());
    let (dialled, _) = door_b.accept().unwrap();
    dialled.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut dialled = Client::accept(kind, dialled, id("b")).unwrap();
    let ours = hello_bytes(&hello("a"));
    dialled.read_exact(&mut vec![0; ours.len()]).unwrap();
    dialled.write_all(&hello_bytes(&hello("b"))).unwrap();
    assert_eq!(a.next(), link(LinkEvent::Up { incarnation: Incarnation(1) }));
    // Faster than the transport writes, so that closing finds a full queue.
    let mut sent = 0;
    loop {
        match a.transport.send(id("b"), &vote(sent)) {
            Ok(()) => sent += 1,
            Err(SendError::QueueFull(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        dialled.read_to_end(&mut all).unwrap();
        all
    });
    smol::block_on(a.transport.close());
    let (all, mut at, mut received) = (reader.join().unwrap(), 0, 0);
    while at < all.len() {
        let (frame, used) = decode(&all[at..]).unwrap().unwrap();
        assert_eq!(frame, Frame::Message(vote(received)));
        (at, received) = (at + used, received + 1);
    }
    assert_eq!(received, sent);
}

fn random_bytes_before_and_after_hello_never_stop_the_transport(kind: Kind) {
    let a = alone_hearing(kind, u32::MAX);
    let mut state = 0x5EED_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let hello = hello_bytes(&hello("b"));
    for attempt in 0..400 {
        let mut bytes = if attempt % 2 == 0 { hello.clone() } else { Vec::new() };
        let mut vote = vote_bytes(attempt);
        if attempt % 4 == 0 {
            let at = random() % vote.len();
            vote[at] = random() as u8;
            bytes.extend_from_slice(&vote);
        }
        bytes.extend((0..random() % 200).map(|_| random() as u8));
        let mut stream = a.connect();
        let _ = stream.write_all(&bytes);
        // One after the other: a later link of the same process would replace the last one.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        while smol::block_on(smol::future::poll_once(a.transport.recv())).is_some() {}
    }
    let mut peer = a.linked_as_b_behind_refusals();
    peer.write_all(&vote_bytes(999_999)).unwrap();
    while a.next() != (TransportEvent::Message { from: id("b"), message: vote(999_999) }) {}
}
