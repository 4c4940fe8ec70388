//! A node that is in nobody's file becomes a voter while clients write, as docs/operations.md says: entries into all files, restarts one
//! by one, then `members add`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, primary};
use common::{Cluster, until};
use kevy_elect_ops::members::MemberList;
use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use rustix::process::Signal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Heartbeats may be late on a busy machine.
const SETTINGS: &str = "election_timeout_ms = 5000\n";

/// What a client saw.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    /// How many replicas make a quorum with the primary.
    replicas: AtomicU64,
    /// Every number below it was confirmed by so many.
    confirmed: AtomicU64,
}

impl Load {
    /// Writes to whoever takes it; gives the longest time between two acknowledgements.
    fn run(&self, ports: &[u16]) -> Duration {
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        for port in ports.iter().cycle() {
            if self.over.load(Ordering::SeqCst) {
                break;
            }
            let Ok(mut client) = RespClient::connect("127.0.0.1", *port) else { continue };
            while !self.over.load(Ordering::SeqCst) {
                let next = self.confirmed.load(Ordering::SeqCst);
                let set = client.request_borrowed(&[b"SET", format!("w{next}").as_bytes(), b"1"]);
                if !matches!(set, Ok(Reply::Simple(_))) {
                    break;
                }
                longest = longest.max(last.elapsed());
                last = Instant::now();
                let replicas = self.replicas.load(Ordering::SeqCst);
                let wait = client.request_borrowed(&[b"WAIT", replicas.to_string().as_bytes(), b"50"]);
                match wait {
                    Ok(Reply::Int(n)) if n >= replicas.cast_signed() => {
                        self.confirmed.store(next + 1, Ordering::SeqCst);
                    }
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        }
        longest
    }

    /// Waits until more was confirmed.
    #[track_caller]
    fn goes_on(&self) {
        let before = self.confirmed.load(Ordering::SeqCst);
        until("writes are confirmed", || (self.confirmed.load(Ordering::SeqCst) > before + 20).then_some(()));
    }
}

fn voters(node: &Process) -> Option<Vec<String>> {
    let said = node.ask("ELECT MEMBERS").filter(|said| !said.starts_with('-'))?;
    Some(MemberList::read(&said).unwrap().voters)
}

#[test]
fn a_node_that_was_in_nobodys_file_becomes_a_voter_while_clients_write() {
    let cluster = Cluster::new(4, 1);
    let with_new = format!("{SETTINGS}observers = \"n3\"\n");
    let port = cluster.ports[3];
    let entry = format!(", \"n3@127.0.0.1:{}:{port}\"", port + 200);
    let mut nodes: Vec<Process> = (0..3)
        .map(|node| {
            drop(cluster.settings(node, SETTINGS));
            let file = cluster.dirs[node].0.join("kevy.toml");
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.contains(&entry), "{text}");
            std::fs::write(&file, text.replace(&entry, "")).unwrap();
            Process::start_file(&file, cluster.ports[node])
        })
        .collect();
    let first = primary(&nodes);
    until("replicas are there", || (nodes[first].ask("WAIT 2 1000")? == "2").then_some(()));
    let load = Load::default();
    load.replicas.store(1, Ordering::SeqCst);
    let longest = std::thread::scope(|scope| {
        let writer = scope.spawn(|| load.run(&cluster.ports));
        load.goes_on();
        let refused = nodes[first].ask("ELECT MEMBERS ADD n3").unwrap();
        for words in ["n3 is not in this node's file", "restart them one by one"] {
            assert!(refused.contains(words), "{refused}");
        }
        // The primary hands over when it ends; which one that is may change meanwhile.
        let mut left = vec![0, 1, 2];
        while !left.is_empty() {
            let reigns = primary(&nodes);
            let next = left.iter().position(|node| *node != reigns).unwrap_or(0);
            let node = left.remove(next);
            nodes[node].signal(Signal::TERM);
            nodes[node].wait();
            nodes[node] = Process::start(&cluster, node, &with_new);
            until("it follows, or reigns", || {
                let reigns = primary(&nodes);
                (nodes[reigns].ask("WAIT 2 1000")? == "2").then_some(())
            });
            load.goes_on();
        }
        nodes.push(Process::start(&cluster, 3, &with_new));
        until("the new one has a vote", || {
            let said = nodes[primary(&nodes)].ask("ELECT MEMBERS ADD n3 TIMEOUT 20000")?;
            let again =
                ["under way", "no writes now", "not primary"].iter().any(|words| said.contains(words));
            assert!(again || !said.starts_with('-') || said.contains("votes already"), "{said}");
            nodes.iter().all(|node| voters(node).is_some_and(|voters| voters.len() == 4)).then_some(())
        });
        // A quorum of four is three.
        load.replicas.store(2, Ordering::SeqCst);
        load.goes_on();
        load.over.store(true, Ordering::SeqCst);
        writer.join().unwrap()
    });
    println!("{} writes confirmed, longest gap {longest:?}", load.confirmed.load(Ordering::SeqCst));
    // No election by silence was needed: every office was handed over.
    assert!(longest < Duration::from_secs(4), "{longest:?}");
    for node in &nodes {
        for key in 0..load.confirmed.load(Ordering::SeqCst) {
            until("what was confirmed is there", || {
                (node.ask(&format!("GET w{key}")).as_deref() == Some("1")).then_some(())
            });
        }
    }
}
