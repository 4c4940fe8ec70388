//! A heartbeat through both codecs: `cargo versus`. First the ratio, taken in alternating batches so that a busy
//! machine slows both down, then each step on its own. Allocations are not counted here: counting them would slow
//! down only the codec that makes any, which is kevy-elect's.
//!
//! The frames are not equal: ours says more (lease, round, the primary and its age, the epoch of the data) and
//! is about twice as long. That is what has to be paid for as well.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up must not go on")]

use divan::{Bencher, Divan, black_box};
use kevy_elect_plugin::fence::Health;
use kevy_elect_plugin::ids::{Epoch, NodeId, Round};
use kevy_elect_plugin::message::{Heartbeat, Message, Role, Standing};
use kevy_elect_plugin::position::Progress;
use kevy_elect_plugin::time::Duration;
use kevy_elect_plugin::wire::{FRAME_BYTES_MAX, decode, encode};
use std::time::Instant;

const BATCHES: usize = 41;
const BATCH: u32 = 20_000;

fn main() {
    ratio();
    Divan::default().config_with_args().main();
}

fn ours() -> Message {
    Message::Heartbeat(Heartbeat {
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
    })
}

fn theirs() -> kevy_elect::Message {
    let role = kevy_elect::Role::Primary;
    kevy_elect::Message::Hb { epoch: 42, node_id: "node-a".into(), role, repl_offset: 1_234_567 }
}

fn ours_there_and_back(message: &Message, buffer: &mut Vec<u8>) {
    buffer.clear();
    encode(black_box(message), buffer);
    drop(black_box(decode(black_box(buffer))));
}

fn theirs_there_and_back(message: &kevy_elect::Message) {
    let bytes = black_box(message).encode();
    drop(black_box(kevy_elect::Message::decode(black_box(&bytes))));
}

fn ratio() {
    let (our, their, mut buffer) = (ours(), theirs(), Vec::with_capacity(FRAME_BYTES_MAX));
    let time = |work: &mut dyn FnMut()| {
        let begun = Instant::now();
        (0..BATCH).for_each(|_| work());
        begun.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH)
    };
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..BATCHES {
        let ns = time(&mut || ours_there_and_back(&our, &mut buffer));
        let their_ns = time(&mut || theirs_there_and_back(&their));
        ours.push(ns);
        theirs.push(their_ns);
        ratios.push(their_ns / ns);
    }
    println!(
        "encode + decode of a heartbeat, median of {BATCHES} batches: {:.0} ns ({} bytes), kevy-elect {:.0} ns ({} bytes): {:.1}x",
        median(ours),
        buffer.len(),
        median(theirs),
        their.encode().len(),
        median(ratios),
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[divan::bench]
fn encode_ours(bencher: Bencher<'_, '_>) {
    let (message, mut buffer) = (ours(), Vec::with_capacity(FRAME_BYTES_MAX));
    bencher.bench_local(|| {
        buffer.clear();
        encode(black_box(&message), &mut buffer);
    });
}

#[divan::bench]
fn encode_theirs(bencher: Bencher<'_, '_>) {
    let message = theirs();
    bencher.bench_local(|| black_box(&message).encode());
}

#[divan::bench]
fn decode_ours(bencher: Bencher<'_, '_>) {
    let mut bytes = Vec::new();
    encode(&ours(), &mut bytes);
    bencher.bench_local(|| drop(black_box(decode(black_box(&bytes)))));
}

#[divan::bench]
fn decode_theirs(bencher: Bencher<'_, '_>) {
    let bytes = theirs().encode();
    bencher.bench_local(|| drop(black_box(kevy_elect::Message::decode(black_box(&bytes)))));
}
