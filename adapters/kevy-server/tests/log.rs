//! What a real process writes into its log while others try to fill it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::metrics::{metric, with_pages};
use common::process::Process;
use common::{Cluster, until};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

/// The most lines of one kind at once, and per second after that (`src/driver/log_limit.rs`).
const OF_FRAMES: (usize, usize) = (64, 1);
const OF_DECISIONS: (usize, usize) = (256, 2);

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
    // Or it has ended.
    drop(link.shutdown(std::net::Shutdown::Write));
    link.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let mut rest = Vec::new();
    // A reset does as well.
    drop(link.read_to_end(&mut rest));
}

#[test]
fn neither_strangers_nor_a_bad_peer_fill_the_log() {
    let cluster = Cluster::new(3, 1);
    let node = Process::start(&cluster, 0, &with_pages(cluster.ports[0], ""));
    until("it serves", || node.ask("PING"));
    let begun = Instant::now();
    let connect = || TcpStream::connect(("127.0.0.1", cluster.ports[0] + 200)).unwrap();
    let hello = |id: &str, cluster: &str| frame(&["HELLO", "1", cluster, id, "5"]);
    for bytes in [b"garbage\r\n".to_vec(), hello("n1", "other"), hello("n9", "kevy")].iter().cycle().take(600)
    {
        let mut stream = connect();
        // Who greets too often is not even listened to.
        drop(stream.write_all(bytes));
        drained(stream);
    }
    until("it is not silent either", || {
        lines(&cluster).iter().any(|line| line.contains("event=refused")).then_some(())
    });
    // So many strangers greeted that for a moment nobody from their address is heard (T42).
    let as_peer = || {
        until("a member is greeted", || {
            let mut link = connect();
            link.write_all(&hello("n1", "kevy")).ok()?;
            let mut answer = [0; 4096];
            let read = link.read(&mut answer).ok()?;
            answer[..read].windows(5).any(|word| word == b"HELLO").then_some(link)
        })
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
        let record = std::fs::read(cluster.dirs[0].0.join("elect/vote")).unwrap();
        String::from_utf8_lossy(&record).contains("epoch 2999\n").then_some(())
    });
    let kind = |line: &String| line.split("event=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let kinds = until("its log is as far", || {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        lines(&cluster).iter().for_each(|line| *kinds.entry(kind(line)).or_default() += 1);
        ["judged", "primary", "suppressed"].iter().all(|word| kinds.contains_key(*word)).then_some(kinds)
    });
    let seconds = begun.elapsed().as_secs() as usize + 1;
    for (kind, count) in kinds.iter().filter(|(kind, _)| *kind != "suppressed") {
        let of_frames = ["judged", "refused"].contains(&kind.as_str());
        let (burst, per_second) = if of_frames { OF_FRAMES } else { OF_DECISIONS };
        let most = burst + per_second * seconds;
        assert!(*count <= most, "{count} lines of {kind} in {seconds} s, {most} allowed");
    }
    until("what is left out is counted", || {
        metric(&node, "kevy_elect_log_lines_left_out_total").filter(|left_out| *left_out > 1000.0)
    });
    assert_eq!(node.ask("PING").as_deref(), Some("PONG"));
}
