//! Three real processes with the real election.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{BIN, Process, confirmed, primary};
use common::rolling::PATIENT;
use common::{Cluster, until};
use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// That of [`PATIENT`] nodes: so nobody loses its office because this machine has other work.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(5);

#[test]
fn the_killed_primary_is_replaced_and_confirmed_writes_stay() {
    let cluster = Cluster::new(3, 2);
    let mut nodes = Process::start_three(&cluster, PATIENT);
    let first = primary(&nodes);
    confirmed(&nodes[first], "SET k v");
    // Each connection is its own WAIT: confirm on one connection too.
    nodes[first].signal(Signal::KILL);
    nodes[first].wait();
    let dead = nodes.remove(first);
    let second = primary(&nodes);
    assert_eq!(nodes[second].ask("GET k").as_deref(), Some("v"));
    let role = nodes[1 - second].ask("INFO replication").unwrap();
    assert!(role.contains("role:slave"), "{role}");
    drop(dead);
    // It comes back as a replica with all data.
    let back = Process::start(&cluster, first, PATIENT);
    until("it has caught up", || {
        (back.ask("INFO replication")?.contains("master_link_status:up")).then_some(())
    });
    until("it answers", || (back.ask("GET k")? == "v").then_some(()));
    assert!(back.ask("SET k w").unwrap().starts_with("-READONLY"));
}

#[test]
fn a_wait_that_was_parked_while_the_process_was_stopped_ends_when_it_learns_that_it_was_replaced() {
    let cluster = Cluster::new(3, 2);
    // Or it would not live to learn it.
    let mut nodes = Process::start_three(&cluster, &format!("{PATIENT}watchdog = false\n"));
    let first = primary(&nodes);
    confirmed(&nodes[first], "SET probe 1");
    let mut client = TcpStream::connect(("127.0.0.1", nodes[first].port)).unwrap();
    client.set_read_timeout(Some(common::PATIENCE)).unwrap();
    // More than there are, so that nothing but its end can answer it.
    client.write_all(b"PING\r\nWAIT 3 0\r\n").unwrap();
    client.read_exact(&mut [0; 7]).unwrap();
    nodes[first].signal(Signal::STOP);
    let old = nodes.remove(first);
    primary(&nodes);
    old.signal(Signal::CONT);
    let mut answer = [0; 4];
    match client.read(&mut answer) {
        Ok(read) => assert_ne!(answer.get(..2), Some(&b":3"[..]), "after {read} bytes"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it waits on"),
    }
}

#[test]
fn a_terminated_primary_hands_over_and_ends_with_zero() {
    let cluster = Cluster::new(3, 1);
    let mut nodes = Process::start_three(&cluster, PATIENT);
    let first = primary(&nodes);
    confirmed(&nodes[first], "SET k v");
    nodes[first].signal(Signal::TERM);
    let status = nodes[first].wait();
    assert_eq!(status.code(), Some(0));
    nodes.remove(first);
    let second = primary(&nodes);
    assert_eq!(nodes[second].ask("GET k").as_deref(), Some("v"));
}

#[test]
fn an_idle_election_has_three_threads_and_its_pages_one_more() {
    let cluster = Cluster::new(3, 1);
    let page = format!("{PATIENT}http = \"127.0.0.1:{}\"\n", cluster.ports[2] + 5);
    let nodes: Vec<Process> = [PATIENT, PATIENT, page.as_str()]
        .iter()
        .enumerate()
        .map(|(node, more)| Process::start(&cluster, node, more))
        .collect();
    let first = primary(&nodes);
    confirmed(&nodes[first], "SET k v");
    for (node, added) in nodes.iter().zip([
        &["async-io", "probe", "stderr"][..],
        &["async-io", "probe", "stderr"],
        &["async-io", "http", "probe", "stderr"],
    ]) {
        let what = format!("the node on port {} has only {added:?}", node.port);
        until(&what, || (node.threads_beside_kevys() == added).then_some(()));
    }
}

/// Every way in which the election can end by itself ends the server: here its vote record is unreadable.
#[test]
fn a_server_whose_election_dies_ends_with_one_and_says_why() {
    let cluster = Cluster::new(1, 1);
    std::fs::create_dir_all(cluster.dirs[0].0.join("elect")).unwrap();
    std::fs::write(cluster.dirs[0].0.join("elect/vote"), "not a vote").unwrap();
    let mut node = Process::start(&cluster, 0, "");
    assert_eq!(node.wait().code(), Some(1));
    let log = std::fs::read_to_string(cluster.dirs[0].0.join("log")).unwrap();
    assert!(log.contains("elect/vote") && log.contains("stopped, because"), "{log}");
}

#[test]
fn shutdown_by_a_client_is_as_orderly() {
    let cluster = Cluster::new(1, 1);
    let mut node = Process::start(&cluster, 0, "");
    primary(std::slice::from_ref(&node));
    assert_eq!(node.ask("SHUTDOWN NOSAVE"), None);
    assert_eq!(node.wait().code(), Some(0));
    let node = Process::start(&cluster, 0, "");
    primary(std::slice::from_ref(&node));
    assert_eq!(node.ask("GET probe").as_deref(), Some("1"));
}

/// Stops the primary until another has taken over, and gives that one.
fn stop_over_a_failover(nodes: &[Process], first: usize) -> usize {
    nodes[first].signal(Signal::STOP);
    until("another takes writes", || {
        (0..nodes.len()).find(|n| *n != first && nodes[*n].ask("SET k new").as_deref() == Some("OK"))
    })
}

#[test]
fn a_stopped_primary_is_ended_by_its_watchdog() {
    let cluster = Cluster::new(3, 1);
    let mut nodes = Process::start_three(&cluster, PATIENT);
    let first = primary(&nodes);
    let second = stop_over_a_failover(&nodes, first);
    assert_eq!(nodes[first].wait().signal(), Some(Signal::KILL.as_raw()));
    let back = Process::start(&cluster, first, PATIENT);
    until("it is a replica", || back.ask("SET k old")?.starts_with("-READONLY").then_some(()));
    until("it has the data", || (back.ask("GET k")? == "new").then_some(()));
    assert_eq!(nodes[second].ask("GET k").as_deref(), Some("new"));
}

#[test]
fn without_a_watchdog_a_stopped_primary_is_fenced_when_it_wakes() {
    let cluster = Cluster::new(3, 1);
    let nodes = Process::start_three(&cluster, &format!("{PATIENT}watchdog = false\n"));
    let first = primary(&nodes);
    let mut client = RespClient::connect("127.0.0.1", nodes[first].port).unwrap();
    stop_over_a_failover(&nodes, first);
    nodes[first].signal(Signal::CONT);
    let reply = client.request_borrowed(&[b"SET", b"k", b"old"]);
    // Or it has lost its connection with the office.
    assert!(matches!(reply, Ok(Reply::Error(_)) | Err(_)), "the very first write after waking: {reply:?}");
}

/// The watchdog is for those that hang: one that is cut off fences itself, and goes on with the same process.
#[test]
fn a_primary_that_loses_its_quorum_outlives_its_lease() {
    let cluster = Cluster::new(3, 2);
    let mut nodes = Process::start_three(&cluster, PATIENT);
    let first = primary(&nodes);
    let others = [(first + 1) % 3, (first + 2) % 3];
    others.iter().for_each(|node| nodes[*node].signal(Signal::STOP));
    let refused = until("it is fenced", || nodes[first].ask("SET k v").filter(|said| said.starts_with('-')));
    assert!(refused.starts_with("-READONLY"), "{refused}");
    // Later than any watchdog of these settings would have gone off.
    let after = std::time::Instant::now() + ELECTION_TIMEOUT;
    until("the time is over", || (std::time::Instant::now() > after).then_some(()));
    others.iter().for_each(|node| nodes[*node].signal(Signal::CONT));
    primary(&nodes);
    assert!(nodes.iter_mut().all(|node| node.child.try_wait().unwrap().is_none()), "all live");
}

/// As client libraries' transactions come, and what kevy stores by itself where it uses io_uring.
#[test]
fn a_primary_without_a_quorum_takes_no_transaction_and_no_large_value() {
    let cluster = Cluster::new(3, 2);
    let nodes = Process::start_three(&cluster, PATIENT);
    let first = primary(&nodes);
    assert_eq!(nodes[first].ask("SET k 10").as_deref(), Some("OK"));
    let others = [(first + 1) % 3, (first + 2) % 3];
    others.iter().for_each(|node| nodes[*node].signal(Signal::STOP));
    until("it is fenced", || nodes[first].ask("SET probe 2").filter(|said| said.starts_with('-')));
    // Only now: on a busy machine a primary that loses its quorum closes its clients' connections.
    let connect = || RespClient::connect("127.0.0.1", nodes[first].port).unwrap();
    let mut client = connect();
    let value = vec![b'x'; 300_000];
    for _ in 0..8 {
        for watched in ["k", "elsewhere", "far"] {
            let mut ask = |words: &[&[u8]]| client.request_borrowed(words).unwrap();
            assert_eq!(ask(&[b"WATCH", watched.as_bytes()]), Reply::Simple(b"OK".to_vec()));
            assert_eq!(ask(&[b"MULTI"]), Reply::Simple(b"OK".to_vec()));
            assert!(
                matches!(ask(&[b"DECR", b"k"]), Reply::Error(_)),
                "refused before it is queued, as Redis does"
            );
            assert!(matches!(ask(&[b"EXEC"]), Reply::Error(_)));
            // Whoever is refused has to connect anew. On another shard, perhaps.
            client = connect();
            let said = client.request_borrowed(&[b"SET", watched.as_bytes(), &value]);
            assert!(matches!(said, Ok(Reply::Error(_)) | Err(_)), "{said:?}");
            client = connect();
        }
    }
    assert_eq!(nodes[first].ask("GET k").as_deref(), Some("10"));
    assert_eq!(nodes[first].ask("DBSIZE").as_deref(), Some("2"), "k and the probe");
    others.iter().for_each(|node| nodes[*node].signal(Signal::CONT));
}

#[test]
fn what_would_let_writes_past_the_gate_is_refused_at_the_start() {
    let cluster = Cluster::new(1, 1);
    drop(cluster.settings(0, ""));
    let file = cluster.dirs[0].0.join("kevy.toml");
    for name in ["KEVY_IO_URING", "KEVY_AOF_OFFLOAD"] {
        let output = Command::new(BIN).arg("--config").arg(&file).env(name, "1").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("remove it, or set {name}=0")), "{said}");
    }
}

#[test]
fn without_the_section_it_is_plain_kevy() {
    let dir = common::Dir::new();
    let port = common::free_port(1);
    let mut child = Command::new(BIN)
        .args(["--port", &port.to_string(), "--threads", "1", "--dir"])
        .arg(&dir.0)
        .current_dir(&dir.0)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut client = until("it answers", || {
        // It may accept before it is ready, and close again.
        let mut client = RespClient::connect("127.0.0.1", port).ok()?;
        client.request_borrowed(&[b"PING"]).ok()?;
        Some(client)
    });
    assert_eq!(client.request_borrowed(&[b"SET", b"k", b"v"]).unwrap(), Reply::Simple(b"OK".to_vec()));
    let Reply::Bulk(info) = client.request_borrowed(&[b"INFO", b"replication"]).unwrap() else {
        panic!("INFO")
    };
    let info = String::from_utf8(info).unwrap();
    assert!(info.contains("role:master") && !info.contains("elect_"), "{info}");
    assert!(TcpStream::connect(("127.0.0.1", port + 200)).is_err(), "no election port");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(until("it ends", || child.try_wait().unwrap()).code(), Some(0));
}

#[test]
fn a_refused_start_says_why_and_ends_with_one() {
    let dir = common::Dir::new();
    let file = dir.0.join("kevy.toml");
    std::fs::write(&file, "[elect]\nenabled = true\n").unwrap();
    let output = Command::new(BIN).arg("--config").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("[cluster] node_id: missing"), "{said}");
    assert_eq!(Command::new(BIN).arg("--bogus").output().unwrap().status.code(), Some(2));
    let help = Command::new(BIN).arg("--help").output().unwrap();
    assert!(help.status.success() && String::from_utf8(help.stdout).unwrap().contains("[elect]"));
}

/// From `kill -9` to the first write that another node takes.
#[test]
#[ignore = "takes half a minute; for the numbers"]
fn failover_after_a_kill() {
    const ROUNDS: usize = 8;
    let cluster = Cluster::new(3, 2);
    let mut nodes = Process::start_three(&cluster, PATIENT);
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let first = primary(&nodes);
        confirmed(&nodes[first], "SET k v");
        // A node that has just started does not vote for an election timeout.
        std::thread::sleep(std::time::Duration::from_secs(2));
        nodes[first].signal(Signal::KILL);
        let start = std::time::Instant::now();
        let others: Vec<&Process> = nodes.iter().filter(|node| node.port != nodes[first].port).collect();
        until("another takes writes", || {
            others.iter().find(|node| node.ask("SET k v").as_deref() == Some("OK")).map(drop)
        });
        times.push(start.elapsed());
        nodes[first].wait();
        nodes[first] = Process::start(&cluster, first, "");
    }
    times.sort();
    println!("kill -9 to the first write elsewhere: median {:?}, {times:?}", times[ROUNDS / 2]);
}
