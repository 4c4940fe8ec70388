//! Somebody who says what it likes on a connection to one node's election port: with a member's key, or with none that anybody has.

use super::sockets::dial;
use super::stage::Addresses;
use kevy_elect_noise::{PROLOGUE, PrivateKey};
use kevy_noise::{Frames, Initiator, Keypair, Transport, frame};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

pub struct Speaker {
    stream: TcpStream,
    link: Transport,
}

/// The most bytes of frames in one record.
const RECORD: usize = 4000;

impl Speaker {
    /// Speaks to `node` as the last member, whose process does not run.
    pub fn member(doors: &Addresses, node: usize) -> Option<Self> {
        let name = doors.secured.keys.len() - 1;
        let key = PrivateKey::load(&doors.secured.keys[name].0).unwrap();
        let mut speaker = Self::connect(doors, node, *key.expose())?;
        let incarnation = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis().to_string();
        speaker.say(&words(&["HELLO", "1", "kevy", &format!("n{name}"), &incarnation]))?;
        // Its HELLO, or the end.
        speaker.stream.read(&mut [0; 4096]).ok().filter(|read| *read > 0)?;
        Some(speaker)
    }

    /// Greets as far as the other end lets it.
    pub fn connect(doors: &Addresses, node: usize, secret: [u8; 32]) -> Option<Self> {
        let mut stream = dial(doors.election(node), Duration::from_secs(5))?;
        let own = Keypair::from_secret(secret);
        let theirs = *doors.secured.keys[node].1[0].as_bytes();
        // Nobody has to be unable to guess it.
        let once = Keypair::from_secret([7; 32]);
        let (first, greets) = Initiator::start(&own, &theirs, once, PROLOGUE, b"").ok()?;
        stream.write_all(&frame(&first).ok()?).ok()?;
        let (mut frames, mut part) = (Frames::default(), [0; 4096]);
        let second = loop {
            if let Some(second) = frames.next() {
                break second;
            }
            let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
            frames.push(&part[..read]);
        };
        let (_, link) = greets.finish(&second).ok()?;
        Some(Self { stream, link })
    }

    /// Sends whole frames, as many as fit into records.
    pub fn say(&mut self, frames: &[u8]) -> Option<()> {
        for part in frames.chunks(RECORD) {
            let sealed = frame(&self.link.seal(part).ok()?).ok()?;
            self.stream.write_all(&sealed).ok()?;
        }
        Some(())
    }
}

/// One frame.
pub fn words(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| bytes.push_str(&format!("${}\r\n{word}\r\n", word.len())));
    bytes.into_bytes()
}
