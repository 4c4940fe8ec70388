//! Every node is restarted, one after the other, while clients write.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, primary};
use common::rolling::{PATIENT, all_copies, all_hold_the_same, processes, told_by};
use common::{Cluster, within};
use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Writes that are answered together: with more, starts would take long for the length of their logs.
const BATCH: usize = 5;
/// A node starts and follows in so long at most, on a machine that has other work.
const THERE_MAX: Duration = Duration::from_secs(60);

/// Writes to whoever takes it, as fast as both replicas follow, until it is stopped.
struct Load {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<usize>>,
}

impl Load {
    fn start(ports: Vec<u16>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let write = move || {
            let mut written = 0;
            for port in ports.iter().cycle() {
                if ended.load(Ordering::Relaxed) {
                    return written;
                }
                let Ok(mut client) = RespClient::connect("127.0.0.1", *port) else { continue };
                loop {
                    let batch: String = (0..BATCH)
                        .map(|n| format!("SET load:{} {written}\r\n", (written + n) % 5_000))
                        .collect();
                    match client.pipeline_raw(batch.as_bytes(), BATCH) {
                        Ok(replies) if replies.iter().all(|reply| matches!(reply, Reply::Simple(_))) => {
                            written += BATCH
                        }
                        _ => break,
                    }
                    if ended.load(Ordering::Relaxed) {
                        return written;
                    }
                }
            }
            written
        };
        Self { over, thread: Some(std::thread::spawn(write)) }
    }

    /// How much it wrote.
    fn stop(mut self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// Every node is restarted twice, one after the other, while clients write.
fn a_rolling_restart_copies_nothing(shards: u16) {
    let cluster = Cluster::new(3, shards);
    let (mut nodes, _) = processes(&cluster, 2_000);
    let load = Load::start(cluster.ports.clone());
    let mut copied = 0;
    // The first copies are those of a new cluster.
    let new = all_copies(&nodes);
    for node in [0, 1, 2, 0, 1, 2] {
        copied += told_by(&nodes[node], "elect_copies");
        nodes[node].signal(Signal::TERM);
        nodes[node].wait();
        nodes[node] = Process::start(&cluster, node, PATIENT);
        let there = within(THERE_MAX, || {
            let now = nodes.iter().find(|node| node.ask("SET probe 1").as_deref() == Some("OK"))?;
            (now.ask("WAIT 2 1000")? == "2").then_some(())
        });
        assert!(there.is_some(), "node {node} does not come back");
    }
    let written = load.stop();
    copied += all_copies(&nodes).iter().sum::<u64>();
    assert_eq!(copied, new.iter().sum::<u64>(), "{written} writes meanwhile");
    assert!(written > 100, "{written} writes are no load");
    all_hold_the_same(&nodes, primary(&nodes));
}

#[test]
fn a_rolling_restart_under_load_copies_nothing_on_one_shard() {
    a_rolling_restart_copies_nothing(1);
}

#[test]
fn a_rolling_restart_under_load_copies_nothing_on_several_shards() {
    a_rolling_restart_copies_nothing(2);
}
