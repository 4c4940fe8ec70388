//! What a real process writes into its log while others try to fill it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::Process;
use common::{Cluster, until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

/// The most lines at once, of both kinds, and the most per second after that (`src/driver/log_limit.rs`).
const BURSTS_MAX: usize = 64 + 512;
const PER_SECOND_MAX: usize = 1 + 10;

fn frame(words: &[&str]) -> Vec<u8> {
    let bulks: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{bulks}", words.len()).into_bytes()
}

/// What the process has written so far, without what kevy itself says.
fn lines(cluster: &Cluster) -> Vec<String> {
    let text = std::fs::read_to_string(cluster.dirs[0].0.join("log")).unwrap();
    text.lines().filter(|line| line.contains("elect event=")).map(str::to_owned).collect()
}

/// Whether the process has dealt with all that came on `link`: it answers our end with its own.
fn drained(mut link: TcpStream) {
    link.shutdown(std::net::Shutdown::Write).unwrap();
    link.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let mut rest = Vec::new();
    // A reset does as well.
    drop(link.read_to_end(&mut rest));
}

#[test]
fn neither_strangers_nor_a_bad_peer_fill_the_log() {
    let cluster = Cluster::new(3, 1);
    let node = Process::start(&cluster, 0, "");
    until("it serves", || node.ask("PING"));
    let begun = Instant::now();
    let connect = || TcpStream::connect(("127.0.0.1", cluster.ports[0] + 200)).unwrap();
    let hello = |id: &str, cluster: &str| frame(&["HELLO", "1", cluster, id, "5"]);
    for bytes in [b"garbage\r\n".to_vec(), hello("n1", "other"), hello("n9", "kevy")].iter().cycle().take(600)
    {
        let mut stream = connect();
        stream.write_all(bytes).unwrap();
        drained(stream);
    }
    assert!(lines(&cluster).iter().any(|line| line.contains("event=refused")), "it is not silent either");
    let as_peer = || {
        let mut link = connect();
        link.write_all(&hello("n1", "kevy")).unwrap();
        assert!(link.read(&mut [0; 4096]).unwrap() > 0);
        link
    };
    // A member that asks, and one that claims to be primary, then not, then again, each time of a newer epoch.
    let mut link = as_peer();
    for round in 1..=3000_u32 {
        link.write_all(&frame(&["PREOFFER", "5", &round.to_string(), "4:7"])).unwrap();
    }
    drained(link);
    let mut link = as_peer();
    for epoch in 10..3000_u32 {
        link.write_all(&frame(&["ANNOUNCE", &epoch.to_string()])).unwrap();
    }
    drained(link);
    // The election's task may be behind its sockets.
    until("it has seen the last epoch", || {
        lines(&cluster).last().is_some_and(|line| line.contains("epoch=2999")).then_some(())
    });
    let (seen, seconds) = (lines(&cluster), begun.elapsed().as_secs() as usize + 1);
    for word in ["event=judged", "event=primary", "event=suppressed"] {
        assert!(seen.iter().any(|line| line.contains(word)), "{word}");
    }
    // Each of the limited lines may be led by one that tells how many are missing.
    let most = 2 * (BURSTS_MAX + PER_SECOND_MAX * seconds) + 50;
    assert!(seen.len() < most, "{} lines in {seconds} s, {most} allowed", seen.len());
    assert_eq!(node.ask("PING").as_deref(), Some("PONG"));
}
