//! The codec: golden bytes, round trips, a naive twin, and hostile input. One test per sentence W1..W15 of
//! `docs/protocol.md`, or a test that names the sentences it covers.

// The allowance for tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod any;
mod fields;
mod frames;
mod golden;
mod naive;
mod random;

use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::message::Message;
use kevy_elect_plugin::wire::encode;

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn bytes_of(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    encode(message, &mut out);
    out
}

/// `HB|7` as a frame: an array of bulk strings.
fn frame(elements: &str) -> Vec<u8> {
    let elements: Vec<_> = elements.split('|').collect();
    let mut out = format!("*{}\r\n", elements.len());
    for element in elements {
        out += &format!("${}\r\n{element}\r\n", element.len());
    }
    out.into_bytes()
}
