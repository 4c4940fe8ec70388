//! The checks of the fuzz targets that need no fuzzer: a few thousand inputs from a fixed seed, so that they are compiled and hold in
//! every build. A fuzzer finds more (`tests/fuzz`).

// The allowance for tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, dead_code)]

#[path = "fuzz/src/bound.rs"]
mod bound;
#[path = "fuzz/src/codec.rs"]
mod codec;
#[path = "fuzz/src/hello.rs"]
mod hello;
mod samples;

use kevy_elect_plugin::ids::{Incarnation, NodeId};
use kevy_elect_plugin::message::{Hello, PROTOCOL};
use kevy_elect_plugin::wire::{encode, encode_hello, encode_refuse};

const INPUTS: usize = 5_000;
/// The most frames in one input: more than the buffer of a connection holds.
const FRAMES_MAX: usize = 300;

fn frames() -> Vec<Vec<u8>> {
    let hello = |protocol, cluster: &str, node: &str| {
        let (cluster, node) = (cluster.to_owned(), NodeId::new(node).unwrap());
        let mut bytes = Vec::new();
        encode_hello(
            &Hello { protocol, cluster, node, incarnation: Incarnation(3), terms: String::new(), pass: None },
            &mut bytes,
        );
        bytes
    };
    let mut refusal = Vec::new();
    encode_refuse("cluster", "by node n2 of cluster other", &mut refusal);
    let messages = samples::messages().into_iter().map(|message| {
        let mut bytes = Vec::new();
        encode(&message, &mut bytes);
        bytes
    });
    let greetings = [
        hello(PROTOCOL, "kevy", "n2"),
        hello(PROTOCOL, "kevy", "n1"),
        hello(PROTOCOL, "kevy", "n3"),
        hello(PROTOCOL + 1, "kevy", "n2"),
        hello(PROTOCOL, "other", "n2"),
        refusal,
        b"*2\r\n$5\r\nSHINY\r\n$1\r\n1\r\n".to_vec(),
    ];
    greetings.into_iter().chain(messages).collect()
}

/// Frames in a row, some of them hurt, and where the network cuts them.
fn input(rng: &mut fastrand::Rng, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![rng.u8(..)];
    if rng.bool() {
        bytes.extend(&frames[0]);
    }
    let more = if rng.u8(..) < 8 { rng.usize(..FRAMES_MAX) } else { rng.usize(..5) };
    (0..more).for_each(|_| bytes.extend(&frames[rng.usize(..frames.len())]));
    for _ in 0..rng.usize(..3) {
        let at = rng.usize(..bytes.len());
        match rng.u8(..3) {
            0 => bytes[at] = rng.u8(..),
            1 => bytes.truncate(at + 1),
            _ => bytes.insert(at, rng.u8(..)),
        }
    }
    bytes
}

#[test]
fn the_greeting_takes_any_bytes_however_they_are_cut() {
    let (mut rng, frames) = (fastrand::Rng::with_seed(1), frames());
    (0..INPUTS).for_each(|_| hello::check(&input(&mut rng, &frames)));
}

#[test]
fn the_decoder_takes_any_bytes_however_they_are_cut() {
    let (mut rng, frames) = (fastrand::Rng::with_seed(2), frames());
    (0..INPUTS).for_each(|_| codec::check(&input(&mut rng, &frames)[1..]));
}
