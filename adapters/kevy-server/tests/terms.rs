//! Members that are configured otherwise than each other say so, both of them, and name the entries. Sentence W19 of
//! `docs/protocol.md`. On real processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, primary};
use common::rolling::PATIENT;
use common::{Cluster, until};
use std::io::{Read, Write};
use std::net::TcpStream;

fn log(cluster: &Cluster, node: usize) -> String {
    std::fs::read_to_string(cluster.dirs[node].0.join("log")).unwrap()
}

fn page(cluster: &Cluster, node: usize, path: &str) -> String {
    let log = log(cluster, node);
    let address = log.rsplit_once("status page at http://").unwrap().1.split('/').next().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn w19_both_ends_name_what_differs_until_it_agrees() {
    const HTTP: &str = "http = \"127.0.0.1:0\"\n";
    const OTHER: &str = "http = \"127.0.0.1:0\"\nelection_timeout_ms = 1200\n";
    let cluster = Cluster::new(3, 1);
    let mut nodes: Vec<Process> =
        [HTTP, HTTP, OTHER].iter().enumerate().map(|(n, more)| Process::start(&cluster, n, more)).collect();
    primary(&nodes);
    let says = |node: usize, peer: &str, what: &str| {
        let log = log(&cluster, node);
        log.lines().any(|line| {
            line.contains("event=terms_differ")
                && line.contains(&format!("peer={peer} "))
                && line.contains(what)
        })
    };
    until("both ends say it", || {
        let here =
            says(0, "n2", "election_timeout_us: 1000000 here, 1200000 there") && says(1, "n2", "lease_us: ");
        (here
            && says(2, "n0", "election_timeout_us: 1200000 here, 1000000 there")
            && says(2, "n1", "lease_us: "))
        .then_some(())
    });
    let differs = |node: usize, peer: &str| {
        let name = format!("peer=\"{peer}\"");
        let metrics = page(&cluster, node, "/metrics");
        let line = metrics
            .lines()
            .find(|line| line.starts_with("kevy_elect_peer_terms_differ{") && line.contains(&name))?;
        Some(line.ends_with(" 1"))
    };
    until("metrics say it", || (differs(0, "n2")? && differs(2, "n0")?).then_some(()));
    until("those that agree are linked", || (!differs(0, "n1")? && !differs(1, "n0")?).then_some(()));
    for path in ["/status", "/"] {
        until(&format!("{path} says it"), || {
            page(&cluster, 1, path).contains("election_timeout_us: 1000000 here, 1200000 there").then_some(())
        });
    }

    nodes[2].child.kill().unwrap();
    nodes[2].wait();
    nodes[2] = Process::start(&cluster, 2, HTTP);
    until("they agree", || (!differs(0, "n2")? && !differs(1, "n2")?).then_some(()));
    until("it is said", || log(&cluster, 0).contains("event=terms_agree").then_some(()));
}

/// Says in n2's name, whose process does not run, that it is configured in this way.
fn greet(port: u16, incarnation: u64, terms: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port + 200)).unwrap();
    let incarnation = incarnation.to_string();
    let words = ["HELLO", "1", "kevy", "n2", &incarnation, terms];
    let bulks: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    stream.write_all(format!("*{}\r\n{bulks}", words.len()).as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    // A reset does as well.
    drop(stream.read_to_end(&mut Vec::new()));
}

#[test]
fn w19_a_member_that_lies_about_its_configuration_is_named_and_decides_nothing() {
    const LIES: u64 = 400;
    let cluster = Cluster::new(3, 1);
    // Nobody loses the office because this machine has other work.
    let start = |node| Process::start(&cluster, node, &format!("{PATIENT}http = \"127.0.0.1:0\"\n"));
    let nodes: Vec<Process> = (0..2).map(start).collect();
    let reigns = primary(&nodes);
    let standing = |node: usize| {
        let status: serde_json::Value =
            serde_json::from_str(page(&cluster, node, "/status").split_once("\r\n\r\n").unwrap().1).unwrap();
        ["role", "epoch", "primary"].map(|what| status[what].to_string())
    };
    until("the other one follows", || (nodes[reigns].ask("SET k v")? == "OK").then_some(()));
    until("and confirms", || (nodes[reigns].ask("WAIT 1 500")? == "1").then_some(()));
    let before = [standing(0), standing(1)];
    let now = u64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    for lie in 0..LIES {
        let timeout = if lie % 2 == 0 { 1 } else { u64::MAX };
        let entries = format!("@election_timeout_us:{timeout},n0@observer:0,n2@voter:255,@lie:{lie}");
        greet(cluster.ports[lie as usize % 2], now + lie, &format!("{lie:016x},{entries}"));
    }
    for node in 0..2 {
        until("it is said", || log(&cluster, node).contains("event=terms_differ").then_some(()));
        let told = log(&cluster, node).matches("event=terms_differ").count();
        assert!(told < LIES as usize, "n{node} says it {told} times");
    }
    assert_eq!([standing(0), standing(1)], before, "role, epoch or primary changed");
    assert_eq!(nodes[reigns].ask("SET k w").as_deref(), Some("OK"));
    until("it confirms as before", || (nodes[reigns].ask("WAIT 1 1000")? == "1").then_some(()));
}
