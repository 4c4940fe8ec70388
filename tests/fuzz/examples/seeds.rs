//! Writes the seed corpora for the fuzzers: one frame of each verb, good and bad greetings, and short noise of
//! several lengths for scripts.

#[path = "../../samples/mod.rs"]
mod samples;

use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId};
use kevy_elect_plugin::message::{Announce, Hello, Message};
use kevy_elect_plugin::wire::{encode, encode_hello, encode_refuse};
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "tests/fuzz/corpus".to_owned()));
    let greetings = greetings()?;
    for (target, seeds) in
        [("codec", frames(&greetings)), ("hello", pieces(&greetings)), ("elector", noise())]
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
        encode_hello(&Hello { protocol, cluster, node, incarnation: Incarnation(3), terms: String::new(), pass: None }, &mut bytes);
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

/// The first byte of a `hello` input says where the network cuts it. A message follows each greeting.
fn pieces(greetings: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut message = Vec::new();
    encode(&Message::Announce(Announce { epoch: Epoch(7) }), &mut message);
    greetings.iter().map(|greeting| [&[128], greeting.as_slice(), &message].concat()).collect()
}

fn frames(greetings: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let encoded = samples::messages().into_iter().map(|message| {
        let mut bytes = Vec::new();
        encode(&message, &mut bytes);
        bytes
    });
    encoded.chain(greetings.iter().cloned()).collect()
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
