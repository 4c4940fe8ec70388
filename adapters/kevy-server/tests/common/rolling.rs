//! Three real processes, what they hold, and how often they copied.

use super::contents::{contents, differences};
use super::process::{Process, confirmed, primary};
use super::{Client, Cluster, until};
use kevy_resp_client::RespClient;

/// Heartbeats may be late on a busy machine.
pub const PATIENT: &str = "election_timeout_ms = 5000\n";

/// Three real processes that hold `keys` keys.
pub fn processes(cluster: &Cluster, keys: usize) -> (Vec<Process>, usize) {
    let nodes = Process::start_three(cluster, PATIENT);
    let first = primary(&nodes);
    confirmed(&nodes[first], "SET probe 1");
    write_many(&nodes[first], "k", keys);
    all_hold_the_same(&nodes, first);
    (nodes, first)
}

pub fn write_many(node: &Process, name: &str, count: usize) {
    let mut client = RespClient::connect("127.0.0.1", node.port).unwrap();
    let numbers: Vec<usize> = (0..count).collect();
    for part in numbers.chunks(1_000) {
        let batch: String = part.iter().map(|n| format!("SET {name}:{n} {n:0100}\r\n")).collect();
        assert_eq!(client.pipeline_raw(batch.as_bytes(), part.len()).unwrap().len(), part.len());
    }
}

/// Every write is confirmed by all, and contents are equal.
#[track_caller]
pub fn all_hold_the_same(nodes: &[Process], primary: usize) {
    let others = nodes.len() - 1;
    until("all confirm", || {
        nodes[primary].ask("SET whole 1")?;
        (nodes[primary].ask(&format!("WAIT {others} 1000"))? == others.to_string()).then_some(())
    });
    let here = contents(&mut Client::connect(nodes[primary].port));
    for (i, node) in nodes.iter().enumerate().filter(|(i, _)| *i != primary) {
        until(&format!("node {i} holds the same"), || {
            differences(&here, &contents(&mut Client::connect(node.port))).is_empty().then_some(())
        });
    }
}

pub fn told_by(node: &Process, name: &str) -> u64 {
    let info = until("it answers", || node.ask("INFO replication"));
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap().trim().parse().unwrap()
}

pub fn all_copies(nodes: &[Process]) -> Vec<u64> {
    nodes.iter().map(|node| told_by(node, "elect_copies")).collect()
}
