//! Questions of members to members at the clients' port, asked by others. Sentences C16 and T41 of `docs/protocol.md`. On real processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::metrics::{metric, with_pages};
use common::process::{Process, confirmed, primary};
use common::secured::Secured;
use common::{Client, Cluster};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Nobody loses the office because this machine has other work.
const PATIENT: &str = "heartbeat_interval_ms = 50\nelection_timeout_ms = 5000\n";

/// For how long a stranger asks where nothing may come of it.
const ASKS_FOR: Duration = Duration::from_secs(2);

/// With keys and without.
fn clusters() -> [(Secured, bool); 2] {
    [true, false].map(|keys| (Secured::new(1), keys))
}

fn start(cluster: &Secured, keys: bool, node: usize) -> Process {
    match keys {
        true => {
            let more = with_pages(cluster.cluster.ports[node], PATIENT);
            Process::start_file(&cluster.write_with(node, &more), cluster.cluster.ports[node])
        }
        false => Process::start(&cluster.cluster, node, &with_pages(cluster.cluster.ports[node], PATIENT)),
    }
}

/// Asks the same again and again, once at least, until it is told to end, and says what was answered last.
fn ask(port: u16, on: &AtomicBool, question: &str) -> String {
    let mut client = Client::connect(port);
    loop {
        let last = client.ask(question);
        if !on.load(Ordering::SeqCst) {
            return last;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A node whose disk is lost.
fn wipe(cluster: &Cluster, node: usize) {
    for entry in std::fs::read_dir(&cluster.dirs[node].0).unwrap() {
        let path = entry.unwrap().path();
        let kept = ["key", "kevy.toml", "log"].iter().any(|name| path.ends_with(name));
        match path.is_dir() {
            true => std::fs::remove_dir_all(path).unwrap(),
            false if kept => {}
            false => std::fs::remove_file(path).unwrap(),
        }
    }
}

#[test]
fn c16_a_stranger_does_not_take_the_turn_in_which_a_member_copies() {
    for (cluster, keys) in clusters() {
        let mut nodes: Vec<Process> = (0..3).map(|node| start(&cluster, keys, node)).collect();
        let first = primary(&nodes);
        confirmed(&nodes[first], "SET k v");
        let copies = (first + 1) % 3;
        nodes[copies].child.kill().unwrap();
        nodes[copies].wait();
        wipe(&cluster.cluster, copies);
        let on = AtomicBool::new(true);
        std::thread::scope(|scope| {
            // The primary is a member as well, and never says that it has joined.
            let question = format!("ELECT COPY 0 n{first}");
            let (port, on) = (nodes[first].port, &on);
            let stranger = scope.spawn(move || ask(port, on, &question));
            nodes[copies] = start(&cluster, keys, copies);
            let begun = Instant::now();
            let joined = common::within(common::PATIENCE / 2, || {
                nodes[first].ask("SET k w")?;
                (nodes[first].ask("WAIT 2 1000")? == "2").then_some(())
            });
            on.store(false, Ordering::SeqCst);
            let answer = stranger.join().unwrap();
            assert!(joined.is_some(), "{:?} after its start it has no copy: {answer}", begun.elapsed());
            assert!(answer.starts_with("-NOPERM"), "{answer}");
        });
    }
}

#[test]
fn c16_a_stranger_does_not_have_writers_wait() {
    for (cluster, keys) in clusters() {
        let nodes: Vec<Process> = (0..3).map(|node| start(&cluster, keys, node)).collect();
        let first = primary(&nodes);
        confirmed(&nodes[first], "SET k v");
        let on = AtomicBool::new(true);
        std::thread::scope(|scope| {
            let (port, on) = (nodes[first].port, &on);
            let stranger = scope.spawn(move || ask(port, on, "ELECT TRAIL 0 0 1000000000000"));
            let (begun, mut client) = (Instant::now(), Client::connect(port));
            while begun.elapsed() < ASKS_FOR {
                assert_eq!(client.ask("SET k w"), "+OK");
            }
            on.store(false, Ordering::SeqCst);
            assert!(stranger.join().unwrap().starts_with("-NOPERM"));
        });
        let log = cluster.log(first);
        assert!(!log.contains("writers wait"), "{log}");
    }
}

#[test]
fn c16_a_stranger_is_told_nothing_of_histories_and_their_frames() {
    for (cluster, keys) in clusters() {
        let nodes: Vec<Process> = (0..3).map(|node| start(&cluster, keys, node)).collect();
        let first = primary(&nodes);
        confirmed(&nodes[first], "SET k v");
        for node in &nodes {
            let refused = || metric(node, "kevy_server_questions_refused_total").unwrap();
            let before = refused();
            let questions = [
                "ELECT HISTORY 0",
                "ELECT OWN 0",
                "ELECT FRAMES 0 1 0 0 10",
                "ELECT COPY 0 n1",
                "ELECT TRAIL 0 0 1",
                "ELECT HISTORY 0 BY n1 0000000000000001.1 00000000000000000000000000000000",
                "ELECT HISTORY 7 BY nobody x y",
                "ELECT HISTORY",
            ];
            for question in questions {
                let answer = node.ask(question).unwrap();
                assert!(answer.starts_with("-NOPERM"), "{question}: {answer}");
            }
            assert_eq!(refused(), before + questions.len() as f64);
        }
    }
}
