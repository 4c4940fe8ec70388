//! A node that is in nobody's file becomes a voter while clients write, as docs/operations.md says: entries into all files, restarts one
//! by one, then `members add`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::load::Load;
use common::process::{Process, primary};
use common::{Cluster, until};
use kevy_elect_ops::members::MemberList;
use rustix::process::Signal;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Heartbeats may be late on a busy machine.
const SETTINGS: &str = "election_timeout_ms = 20000\nheartbeat_interval_ms = 200\n";
/// Far less than it takes to notice a silence.
const HANDED_OVER_MAX: Duration = Duration::from_secs(15);
/// What whoever is asked for an admission says if it is to be asked of somebody else, or again.
const AGAIN: [&str; 3] = ["under way", "no writes now", "not primary"];

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
        let _over = load.ends();
        let writer = scope.spawn(|| load.run(&cluster.ports));
        load.goes_on();
        let refused = until("the primary answers", || {
            let said = nodes[primary(&nodes)].ask("ELECT MEMBERS ADD n3")?;
            (!AGAIN.iter().any(|words| said.contains(words))).then_some(said)
        });
        for words in ["n3 is unknown to this node", "`members reload`"] {
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
            let again = AGAIN.iter().any(|words| said.contains(words));
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
    assert!(longest < HANDED_OVER_MAX, "{longest:?}");
    for node in &nodes {
        for key in 0..load.confirmed.load(Ordering::SeqCst) {
            until("what was confirmed is there", || {
                (node.ask(&format!("GET w{key}")).as_deref() == Some("1")).then_some(())
            });
        }
    }
}
