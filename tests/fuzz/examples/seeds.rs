//! Writes the seed corpora for the fuzzers: one frame of each verb, good and bad greetings, and short noise of
//! several lengths for scripts.

use kevy_elect_plugin::fence::Health;
use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId, Round};
use kevy_elect_plugin::message::{
    Announce, Echo, Grant, Heartbeat, Hello, Message, Offer, OfferKind, Reject, RejectReason, Resign, Role,
    Standing,
};
use kevy_elect_plugin::position::{Position, Progress};
use kevy_elect_plugin::time::Duration;
use kevy_elect_plugin::wire::{encode, encode_hello, encode_refuse};
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "tests/fuzz/corpus".to_owned()));
    let greetings = greetings()?;
    for (target, seeds) in
        [("codec", frames(&greetings)?), ("hello", pieces(&greetings)), ("elector", noise())]
    {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder)?;
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number:02}")), seed)?;
        }
        println!("{}: {} seeds", folder.display(), seeds.len());
    }
    Ok(())
}

fn greetings() -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let hello = |protocol, cluster: &str, node: &str| -> Result<Vec<u8>, Box<dyn Error>> {
        let (cluster, node) = (cluster.to_owned(), NodeId::new(node)?);
        let mut bytes = Vec::new();
        encode_hello(&Hello { protocol, cluster, node, incarnation: Incarnation(3) }, &mut bytes);
        Ok(bytes)
    };
    let mut refusal = Vec::new();
    encode_refuse("cluster", "by node n2 of cluster other", &mut refusal);
    let unknown_first = [b"*2\r\n$4\r\nPING\r\n$1\r\n1\r\n".as_slice(), &hello(1, "kevy", "n2")?].concat();
    Ok(vec![
        hello(1, "kevy", "n2")?,
        hello(1, "kevy", "n1")?,
        hello(1, "kevy", "n3")?,
        hello(2, "kevy", "n2")?,
        hello(1, "other", "n2")?,
        refusal,
        unknown_first,
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"*5\r\n$5\r\nHELLO\r\n$5000\r\n".to_vec(),
    ])
}

/// The first byte of a `hello` input says where the network cuts it.
fn pieces(greetings: &[Vec<u8>]) -> Vec<Vec<u8>> {
    greetings.iter().map(|greeting| [&[128], greeting.as_slice()].concat()).collect()
}

fn frames(greetings: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let (epoch, round, node) = (Epoch(7), Round(1201), NodeId::new("n1")?);
    let progress = Progress { stream_epoch: epoch, offset: 48_213 };
    let position = Position::new(epoch, &[48_000, 213]).ok_or("two shards")?;
    let offer = Offer { epoch, round, position };
    let (grant, lease) = (Grant { epoch, round }, Duration::from_micros(970_297));
    let (primary, standing, primary_age) = (Some(node), Standing::Member, Duration::ZERO);
    let (kind, reason) = (OfferKind::Vote, RejectReason::Position);
    let role = Role::Primary;
    let messages = [
        Message::Heartbeat(Heartbeat { epoch, round, role, standing, progress, primary, primary_age, lease, health: Health::Good }),
        Message::Echo(Echo { epoch, round, primary: None, standing: Standing::New, progress }),
        Message::PreOffer(offer.clone()),
        Message::Offer(offer),
        Message::PreAccept(grant),
        Message::Accept(grant),
        Message::Reject(Reject { epoch, round, kind, reason, progress }),
        Message::Announce(Announce { epoch }),
        Message::Resign(Resign { epoch, successor: Some(node) }),
    ];
    let encoded = messages.iter().map(|message| {
        let mut bytes = Vec::new();
        encode(message, &mut bytes);
        bytes
    });
    Ok(encoded.chain(greetings.iter().cloned()).collect())
}

/// Scripts are drawn from any bytes; a few lengths to begin with are enough.
fn noise() -> Vec<Vec<u8>> {
    let mut state = 1_u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    [64, 256, 1024, 4096].iter().map(|length| (0..*length).map(|_| byte()).collect()).collect()
}
