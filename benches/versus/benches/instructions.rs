//! Instructions, counted by valgrind: `cargo instructions`. They are the same on a busy machine as on an idle one,
//! so a change of a few percent is a change of the code.
//!
//! Needs `valgrind`, and `cargo install gungraun-runner --version 0.20.0`.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot be set up must not go on")]
#![allow(missing_docs, reason = "written by a macro")]

#[path = "../../support/mod.rs"]
mod support;

use gungraun::{library_benchmark, library_benchmark_group, main};
use kevy_elect_noise::{Keys, NoiseSessions, PrivateKey};
use kevy_elect_plugin::clock::{Clock, ManualClock};
use kevy_elect_plugin::fence::Health;
use kevy_elect_plugin::ids::{Epoch, NodeId, Round};
use kevy_elect_plugin::message::{Heartbeat, Message, Role, Standing};
use kevy_elect_plugin::plugin::WriteGate;
use kevy_elect_plugin::position::Progress;
use kevy_elect_plugin::time::Duration;
use kevy_elect_plugin::transport::session::{Session, Sessions};
use kevy_elect_plugin::wire::{FRAME_BYTES_MAX, decode, encode};
use std::hint::black_box;
use std::sync::Arc;
use support::Cluster;

const LEASE: Duration = Duration::from_secs(3600);

fn reigning((voters, observers): (usize, usize)) -> Cluster {
    let mut cluster = Cluster::with_observers(voters, observers);
    cluster.elect();
    // What is done once is done.
    cluster.primary_interval();
    cluster.primary_interval();
    cluster
}

fn after_a_heartbeat(shape: (usize, usize)) -> (Cluster, Round) {
    let mut cluster = reigning(shape);
    let sent = cluster.heartbeat();
    (cluster, sent)
}

fn observing((voters, observers): (usize, usize)) -> Cluster {
    let mut cluster = Cluster::observer(voters, observers);
    cluster.observer_interval();
    cluster
}

// The primary's timer: a round to everybody.
#[library_benchmark]
#[bench::voters_3(args = ((3, 0)), setup = reigning)]
#[bench::voters_9(args = ((9, 0)), setup = reigning)]
#[bench::voters_101(args = ((101, 0)), setup = reigning)]
#[bench::observers_100(args = ((3, 100)), setup = reigning)]
#[bench::observers_1000(args = ((3, 1000)), setup = reigning)]
fn heartbeat(mut cluster: Cluster) -> Cluster {
    cluster.heartbeat();
    cluster
}

// That, and all echoes and heartbeats that come in until the next.
#[library_benchmark]
#[bench::voters_3(args = ((3, 0)), setup = reigning)]
#[bench::voters_9(args = ((9, 0)), setup = reigning)]
#[bench::voters_101(args = ((101, 0)), setup = reigning)]
#[bench::observers_100(args = ((3, 100)), setup = reigning)]
#[bench::observers_1000(args = ((3, 1000)), setup = reigning)]
fn interval(mut cluster: Cluster) -> Cluster {
    cluster.primary_interval();
    cluster
}

// One voter's answer to it.
#[library_benchmark]
#[bench::voters_3(args = ((3, 0)), setup = after_a_heartbeat)]
#[bench::voters_9(args = ((9, 0)), setup = after_a_heartbeat)]
#[bench::voters_101(args = ((101, 0)), setup = after_a_heartbeat)]
#[bench::observers_1000(args = ((3, 1000)), setup = after_a_heartbeat)]
fn echo((mut cluster, sent): (Cluster, Round)) -> Cluster {
    cluster.echo(1, sent);
    cluster
}

// Everything that an observer does in an interval.
#[library_benchmark]
#[bench::observers_10(args = ((3, 10)), setup = observing)]
#[bench::observers_100(args = ((3, 100)), setup = observing)]
#[bench::observers_1000(args = ((3, 1000)), setup = observing)]
fn observer(mut cluster: Cluster) -> Cluster {
    cluster.observer_interval();
    cluster
}

// From the expired timer to the announced victory.
#[library_benchmark]
#[bench::voters_3(args = (3), setup = Cluster::new)]
#[bench::voters_9(args = (9), setup = Cluster::new)]
#[bench::voters_101(args = (101), setup = Cluster::new)]
fn election(mut cluster: Cluster) -> Cluster {
    cluster.elect();
    cluster
}

fn message() -> (Message, Vec<u8>) {
    let heartbeat = Heartbeat {
        epoch: Epoch(42),
        round: Round(1_234_567),
        role: Role::Primary,
        standing: Standing::Member,
        progress: Progress { stream_epoch: Epoch(42), offset: 1_234_567 },
        primary: Some(NodeId::new("node-a").unwrap()),
        promise: Duration::ZERO,
        lease: Duration::from_micros(970_297),
        health: Health::Good,
        identity: None,
        pause: None,
    };
    (Message::Heartbeat(heartbeat), Vec::with_capacity(FRAME_BYTES_MAX))
}

fn frame() -> Vec<u8> {
    let (message, mut buffer) = message();
    encode(&message, &mut buffer);
    buffer
}

#[library_benchmark]
#[bench::heartbeat(setup = message)]
fn encode_ours((message, mut buffer): (Message, Vec<u8>)) -> (Message, Vec<u8>) {
    encode(black_box(&message), &mut buffer);
    (message, buffer)
}

#[library_benchmark]
#[bench::heartbeat(setup = frame)]
fn decode_ours(bytes: Vec<u8>) -> Vec<u8> {
    drop(black_box(decode(black_box(&bytes))));
    bytes
}

/// The two ends of a link that proves who speaks, and a heartbeat: as it is, and as it comes in.
struct Sealed {
    ends: [Box<dyn Session>; 2],
    plain: Vec<u8>,
    wire: Vec<u8>,
}

fn sealed() -> Sealed {
    let ids = ["a", "b"].map(|name| NodeId::new(name).unwrap());
    let private = |node: usize| PrivateKey::from_bytes([node as u8 + 1; 32]);
    let listed = [0, 1].map(|node| (ids[node], private(node).public()));
    let sessions =
        [0, 1].map(|node| NoiseSessions::new(&Keys::new(ids[node], private(node), listed).unwrap()));
    let mut ends = [sessions[0].dial(ids[1]), sessions[1].accept()];
    let (mut first, mut second) = (Vec::new(), Vec::new());
    ends[0].seal(&mut first).unwrap();
    ends[1].open(&mut first, &mut second).unwrap();
    ends[0].open(&mut second, &mut Vec::new()).unwrap();
    // What is allocated once is allocated.
    for _ in 0..2 {
        let mut wire = frame();
        ends[0].seal(&mut wire).unwrap();
        ends[1].open(&mut wire, &mut Vec::new()).unwrap();
    }
    let mut wire = frame();
    ends[0].seal(&mut wire).unwrap();
    Sealed { ends, plain: frame(), wire }
}

// What keys add to a heartbeat for who sends it, and for who receives it.
#[library_benchmark]
#[bench::heartbeat(setup = sealed)]
fn seal(mut link: Sealed) -> Sealed {
    link.ends[0].seal(black_box(&mut link.plain)).unwrap();
    link
}

#[library_benchmark]
#[bench::heartbeat(setup = sealed)]
fn open(mut link: Sealed) -> Sealed {
    let opened = link.ends[1].open(black_box(&mut link.wire), &mut Vec::new()).unwrap();
    assert!(opened.used > 0);
    link
}

fn theirs() -> kevy_elect::Message {
    let role = kevy_elect::Role::Primary;
    kevy_elect::Message::Hb { epoch: 42, node_id: "node-a".into(), role, repl_offset: 1_234_567 }
}

fn their_frame() -> Vec<u8> {
    theirs().encode()
}

#[library_benchmark]
#[bench::heartbeat(setup = theirs)]
fn encode_theirs(message: kevy_elect::Message) -> (kevy_elect::Message, Vec<u8>) {
    let bytes = black_box(&message).encode();
    (message, bytes)
}

#[library_benchmark]
#[bench::heartbeat(setup = their_frame)]
fn decode_theirs(bytes: Vec<u8>) -> Vec<u8> {
    drop(black_box(kevy_elect::Message::decode(black_box(&bytes))));
    bytes
}

// Without the system's clock, which valgrind does not let rustix find; what that costs is in the bench `gate`.
fn open_gate() -> WriteGate {
    let clock = ManualClock::new();
    let until = clock.now() + LEASE;
    WriteGate::open_until(Arc::new(clock), LEASE, until)
}

fn shut_gate() -> WriteGate {
    WriteGate::new(Arc::new(ManualClock::new()), LEASE)
}

#[library_benchmark]
#[bench::open(setup = open_gate)]
#[bench::shut(setup = shut_gate)]
fn gate(gate: WriteGate) -> WriteGate {
    let _ = black_box(black_box(&gate).check());
    gate
}

library_benchmark_group!(name = elector; benchmarks = heartbeat, interval, echo, observer, election);
library_benchmark_group!(name = wire; benchmarks = encode_ours, decode_ours, seal, open, encode_theirs, decode_theirs);
library_benchmark_group!(name = write; benchmarks = gate);
main!(library_benchmark_groups = elector, wire, write);
