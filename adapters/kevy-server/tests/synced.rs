//! What a replica acknowledges is in the log that a restart reads: after a full copy, and under `appendfsync = "always"` at once.
//!
//! Processes, and a file of its own: they would inherit the ports of servers that run inside a test's process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, primary};
use common::{Cluster, until};
use kevy_persist::layout;
use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use rustix::process::Signal;
use std::sync::{Mutex, PoisonError};

/// Whether a node's log has a record that sets this key.
fn has_write(cluster: &Cluster, node: usize, key: &str) -> bool {
    let bytes = std::fs::read(layout::aof_path(&cluster.dirs[node].0, 0)).unwrap_or_default();
    bytes.windows(key.len()).any(|window| window == key.as_bytes())
}

/// Clusters of processes run one after the other: several at once on a small machine are late in all they do.
static ONE_CLUSTER: Mutex<()> = Mutex::new(());

/// Whether a write and its confirmation by two replicas succeeded.
fn set_and_wait(port: u16, key: &str) -> Option<bool> {
    let mut client = RespClient::connect("127.0.0.1", port).ok()?;
    let set = client.request_borrowed(&[b"SET", key.as_bytes(), b"v"]).ok()?;
    let waited = client.request_borrowed(&[b"WAIT", b"2", b"1000"]).ok()?;
    Some(matches!(set, Reply::Simple(_)) && matches!(waited, Reply::Int(2)))
}

/// After a full copy kevy replaces the log. What is acknowledged afterwards must be in the log that a restart reads.
fn a_log_grows_after_a_full_copy(appendfsync: &'static str) {
    let _one = ONE_CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::new(3, 1);
    cluster.appendfsync = appendfsync;
    let start = |node| Process::start(&cluster, node, "");
    let mut nodes: Vec<Process> = (0..3).map(start).collect();
    let first = primary(&nodes);
    // A node that loses its office closes its clients; who asks again finds the next one.
    let confirmed = |key: &str| {
        until(&format!("{key} is confirmed by both"), || {
            cluster.ports.iter().find(|port| set_and_wait(**port, key) == Some(true)).map(drop)
        });
    };
    confirmed("first:copy");
    // Another primary: the others copy again.
    nodes[first].signal(Signal::KILL);
    nodes[first].wait();
    nodes[first] = start(first);
    confirmed("second:copy");
    for node in 0..3 {
        until(&format!("the log of node {node} has what was confirmed"), || {
            (has_write(&cluster, node, "first:copy") && has_write(&cluster, node, "second:copy"))
                .then_some(())
        });
    }
}

#[test]
fn what_is_acknowledged_after_a_full_copy_is_in_the_log() {
    a_log_grows_after_a_full_copy("everysec");
}

#[test]
fn under_always_what_is_acknowledged_after_a_full_copy_is_in_the_log() {
    a_log_grows_after_a_full_copy("always");
}

#[test]
fn under_always_what_a_replica_acknowledges_is_in_its_file_already() {
    let _one = ONE_CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::new(3, 1);
    cluster.appendfsync = "always";
    let _nodes = Process::start_three(&cluster, "");
    for i in 0..50 {
        // On a busy machine the office may change hands meanwhile: the next one confirms it then.
        until(&format!("write {i} is confirmed by both"), || {
            cluster
                .ports
                .iter()
                .find(|port| set_and_wait(**port, &format!("key:{i}:")) == Some(true))
                .map(drop)
        });
        for node in 0..3 {
            assert!(has_write(&cluster, node, &format!("key:{i}:")), "node {node}, write {i}");
        }
    }
}
