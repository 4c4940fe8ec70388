//! Who votes is changed while clients write, on real servers (M1 to M8 of `docs/protocol.md`), and what files say changes nothing of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, primary};
use common::{Cluster, until};
use kevy_elect_ops::members::MemberList;
use rustix::process::Signal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Nobody loses the office because this machine has other work.
const SETTINGS: &str = "election_timeout_ms = 5000\n";

/// What a node says of the members, once its election has started.
fn list(node: &Process) -> Option<MemberList> {
    MemberList::read(&node.ask("ELECT MEMBERS").filter(|said| !said.starts_with('-'))?).ok()
}

/// Asks the primary for a change and waits until every running node counts by the list that comes of it.
#[track_caller]
fn change(nodes: &[Process], order: &str) -> String {
    let voters = until(order, || {
        let said = nodes[primary(nodes)].ask(&format!("ELECT MEMBERS {order} TIMEOUT 20000"))?;
        let again = ["under way", "no writes now", "not primary"].iter().any(|word| said.contains(word));
        assert!(again || !said.starts_with('-'), "{order}: {said}");
        (!said.starts_with('-')).then_some(said)
    });
    for node in nodes {
        until(&format!("{order}: a node counts by {voters}"), || {
            let said = list(node)?;
            (said.voters.join(",") == voters && said.change.is_none()).then_some(())
        });
    }
    voters
}

fn id(node: usize) -> String {
    Cluster::id(node).to_string()
}

/// Writes one key after the other and remembers those that `WAIT` confirmed.
fn write(ports: &[u16], stop: &AtomicBool, confirmed: &AtomicU64) {
    let mut next = 1;
    while !stop.load(Ordering::SeqCst) {
        for port in ports {
            let Ok(mut client) = kevy_resp_client::RespClient::connect("127.0.0.1", *port) else { continue };
            while !stop.load(Ordering::SeqCst) {
                let key = format!("w{next}");
                let set = client.request_borrowed(&[b"SET", key.as_bytes(), b"1"]);
                if !matches!(set, Ok(kevy_resp::Reply::Simple(_))) {
                    break;
                }
                // Of five, and of three, a quorum has it.
                match client.request_borrowed(&[b"WAIT", b"2", b"2000"]) {
                    Ok(kevy_resp::Reply::Int(n)) if n >= 2 => {
                        confirmed.store(next, Ordering::SeqCst);
                        next += 1;
                    }
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        }
    }
}

#[test]
fn m2_five_become_three_and_three_become_five_under_writes_with_a_restart_and_an_election_half_way() {
    let cluster = Cluster::new(5, 1);
    let mut nodes: Vec<Process> = (0..5).map(|node| Process::start(&cluster, node, SETTINGS)).collect();
    let first = until("replicas are there", || {
        let first = primary(&nodes);
        (nodes[first].ask("WAIT 4 1000")? == "4").then_some(first)
    });
    let others: Vec<usize> = (0..5).filter(|node| *node != first).collect();
    let (gone, also_gone) = (others[2], others[3]);
    let ports = cluster.ports.clone();
    let (stop, confirmed) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| write(&ports, &stop, &confirmed));
        until("writes are confirmed", || (confirmed.load(Ordering::SeqCst) > 20).then_some(()));
        let refused = nodes[others[0]].ask(&format!("ELECT MEMBERS REMOVE {}", id(gone))).unwrap();
        assert!(refused.contains("is not primary"), "{refused}");
        let refused = nodes[first].ask(&format!("ELECT MEMBERS REMOVE {}", id(first))).unwrap();
        assert!(refused.contains("transfer its office first"), "{refused}");
        change(&nodes, &format!("REMOVE {}", id(gone)));
        // Its file says that it votes, as all of them do; its record says that it does not.
        nodes[gone].signal(Signal::KILL);
        nodes[gone].wait();
        nodes[gone] = Process::start(&cluster, gone, SETTINGS);
        change(&nodes, &format!("REMOVE {}", id(also_gone)));
        let three = until("it counts by three", || list(&nodes[gone]).filter(|said| said.quorum == 2));
        assert_eq!(three.voters.len(), 3, "{three:?}");
        let kinds: Vec<&str> = three.members.iter().map(|member| member.kind.as_str()).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == "observer").count(), 2, "{three:?}");
        for (node, member) in three.members.iter().enumerate() {
            let clients = format!("127.0.0.1:{}", cluster.ports[node]);
            assert_eq!((&member.node, member.addresses.clients.as_ref()), (&id(node), Some(&clients)));
        }
        // Two of the three elect one of them; the two that have no vote neither stand nor confirm.
        let before = confirmed.load(Ordering::SeqCst);
        nodes[first].signal(Signal::KILL);
        nodes[first].wait();
        let second = until("one of the three takes over", || {
            others[..2].iter().copied().find(|node| nodes[*node].ask("SET probe 1").as_deref() == Some("OK"))
        });
        until("the other one of them confirms, and nobody else", || {
            let said: usize = nodes[second].ask("WAIT 4 1500")?.parse().ok()?;
            assert!(said < 2, "{said}: of those that follow it one has a vote");
            (said == 1).then_some(())
        });
        nodes[first] = Process::start(&cluster, first, SETTINGS);
        until("writes are confirmed again", || {
            (confirmed.load(Ordering::SeqCst) > before + 20).then_some(())
        });
        change(&nodes, &format!("ADD {}", id(gone)));
        change(&nodes, &format!("ADD {}", id(also_gone)));
        let before = confirmed.load(Ordering::SeqCst);
        until("writes go on", || (confirmed.load(Ordering::SeqCst) > before + 20).then_some(()));
        stop.store(true, Ordering::SeqCst);
    });
    let last = confirmed.load(Ordering::SeqCst);
    for node in &nodes {
        for key in 1..=last {
            until("what was confirmed is there", || {
                (node.ask(&format!("GET w{key}")).as_deref() == Some("1")).then_some(())
            });
        }
    }
}

#[test]
fn m1_a_file_that_calls_a_voter_an_observer_changes_nothing() {
    let cluster = Cluster::new(3, 1);
    let mut nodes: Vec<Process> = Process::start_three(&cluster, SETTINGS);
    // On a busy machine the first one may lose its office.
    let first = until("replicas are there", || {
        let first = primary(&nodes);
        (nodes[first].ask("WAIT 2 1000")? == "2").then_some(first)
    });
    let edited = (first + 1) % 3;
    nodes[edited].signal(Signal::TERM);
    nodes[edited].wait();
    let file = cluster.dirs[edited].0.join("kevy.toml");
    let whole = std::fs::read_to_string(&file).unwrap();
    let lacking = id((first + 2) % 3);
    // In `observers` it is named, and has its vote all the same.
    let observed = whole.replacen("[elect]\n", &format!("[elect]\nobservers = \"{lacking}\"\n"), 1);
    assert_ne!(observed, whole);
    std::fs::write(&file, &observed).unwrap();
    nodes[edited] = Process::start_file(&file, cluster.ports[edited]);
    let said = until("it counts by its record", || list(&nodes[edited]));
    assert_eq!(said.voters.len(), 3, "{said:?}");
}

/// A file that lacks a voter, or calls one a witness, is refused with both lists and with what to do; with its entry back the node starts.
#[test]
fn m1_a_file_that_contradicts_the_record_is_refused_with_both_lists() {
    let cluster = Cluster::new(3, 1);
    let mut nodes: Vec<Process> = Process::start_three(&cluster, SETTINGS);
    let first = until("replicas are there", || {
        let first = primary(&nodes);
        (nodes[first].ask("WAIT 2 1000")? == "2").then_some(first)
    });
    let edited = (first + 1) % 3;
    nodes[edited].signal(Signal::TERM);
    nodes[edited].wait();
    let file = cluster.dirs[edited].0.join("kevy.toml");
    let whole = std::fs::read_to_string(&file).unwrap();
    let other = (first + 2) % 3;
    let (voter, port) = (id(other), cluster.ports[other]);
    let entry = format!("\"{voter}@127.0.0.1:{}:{port}\"", port + 200);
    let without = whole.replace(&format!(", {entry}"), "").replace(&format!("{entry}, "), "");
    let as_witness = whole
        .replace(&entry, &format!("\"{voter}@127.0.0.1:{}\"", port + 200))
        .replace("[elect]\n", &format!("[elect]\nwitnesses = \"{voter}\"\n"));
    let two = [id(first), id(edited)];
    let lists = [two.to_vec(), [&two[..], &[format!("{voter}@witness")]].concat()].map(|mut list| {
        list.sort();
        list.join(",")
    });
    for (text, list) in [without, as_witness].iter().zip(&lists) {
        assert!(*text != whole && text.contains("peers = "), "{text}");
        std::fs::write(&file, text).unwrap();
        let log = file.with_file_name("log");
        let before = std::fs::read_to_string(&log).unwrap().len();
        let mut refused = Process::start_file(&file, cluster.ports[edited]);
        assert_eq!(refused.wait().code(), Some(1));
        let said = std::fs::read_to_string(&log).unwrap().split_off(before);
        let why = format!(
            "the file's voters are {list}, and by this node's vote record those of the cluster are n0,n1,n2: {voter} votes"
        );
        for words in [why.as_str(), "Put its entry back", "kevy-electctl members remove"] {
            assert!(said.contains(words), "{words} is not in: {said}");
        }
    }
    std::fs::write(&file, &whole).unwrap();
    nodes[edited] = Process::start_file(&file, cluster.ports[edited]);
    until("it follows again", || (nodes[primary(&nodes)].ask("WAIT 2 1000")? == "2").then_some(()));
}

/// A node that never had a record, and started beside a single voter, is admitted once it has a vote (A4). The primary keeps its lease
/// until that one has echoed (M11), so no write is refused meanwhile.
#[test]
fn m2_one_voter_becomes_two() {
    let cluster = Cluster::new(2, 1);
    let settings = format!("{SETTINGS}observers = \"n1\"\n");
    let nodes: Vec<Process> = (0..2).map(|node| Process::start(&cluster, node, &settings)).collect();
    until("the observer follows", || {
        nodes[0].ask("SET k 1")?;
        (nodes[1].ask("GET k").as_deref() == Some("1")).then_some(())
    });
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = kevy_resp_client::RespClient::connect("127.0.0.1", cluster.ports[0]).unwrap();
            while !stop.load(Ordering::SeqCst) {
                let said = client.request_borrowed(&[b"SET", b"all", b"1"]);
                if !matches!(said, Ok(kevy_resp::Reply::Simple(_))) {
                    return stop.store(true, Ordering::SeqCst);
                }
                written.fetch_add(1, Ordering::SeqCst);
            }
        });
        let more = |than: u64| (written.load(Ordering::SeqCst) > than + 100).then_some(());
        until("writes pass", || more(0));
        assert_eq!(change(&nodes, "ADD n1"), "n0,n1");
        let before = written.load(Ordering::SeqCst);
        until("writes go on", || stop.load(Ordering::SeqCst).then_some(()).or_else(|| more(before)));
        assert!(
            !stop.swap(true, Ordering::SeqCst),
            "a write was refused after {}",
            written.load(Ordering::SeqCst)
        );
    });
    until("the second voter confirms", || {
        let wrote = nodes[0].ask("SET after 1").as_deref() == Some("OK");
        (wrote && nodes[0].ask("WAIT 1 1000")? == "1").then_some(())
    });
}
