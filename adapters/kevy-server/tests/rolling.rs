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
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Writes that are answered together: with more, starts would take long for the length of their logs.
const BATCH: usize = 5;
/// A node starts and follows in so long at most, on a machine that has other work.
const THERE_MAX: Duration = Duration::from_secs(60);
/// Between two reads from one node.
const READ_INTERVAL: Duration = Duration::from_millis(2);

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

/// One client at each node that reads as long as this lives, and counts how often a node that runs says that its data comes in anew.
struct Readers {
    shared: Arc<Reading>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Reading {
    over: AtomicBool,
    /// The node that is being restarted: it loads what it has.
    restarted: AtomicUsize,
    answered: AtomicUsize,
    refused: AtomicUsize,
}

impl Readers {
    fn start(ports: &[u16]) -> Self {
        let shared = Arc::new(Reading::default());
        let read = |(node, port): (usize, &u16)| {
            let (shared, port) = (Arc::clone(&shared), *port);
            std::thread::spawn(move || shared.read(node, port))
        };
        let threads = ports.iter().enumerate().map(read).collect();
        Self { shared, threads }
    }

    /// How often it was answered, and how often with `-LOADING`.
    fn stop(self) -> (usize, usize) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        (self.shared.answered.load(Ordering::SeqCst), self.shared.refused.load(Ordering::SeqCst))
    }
}

impl Reading {
    fn read(&self, node: usize, port: u16) {
        let mut connection = None;
        while !self.over.load(Ordering::SeqCst) {
            let ran = self.restarted.load(Ordering::SeqCst) != node;
            let Some(mut client) = connection.take().or_else(|| RespClient::connect("127.0.0.1", port).ok())
            else {
                std::thread::sleep(READ_INTERVAL);
                continue;
            };
            if let Ok(reply) = client.request_borrowed(&[b"GET", b"k:1"]) {
                let loads = matches!(&reply, Reply::Error(why) if why.starts_with(b"LOADING"));
                if ran && self.restarted.load(Ordering::SeqCst) != node {
                    self.answered.fetch_add(1, Ordering::SeqCst);
                    self.refused.fetch_add(usize::from(loads), Ordering::SeqCst);
                }
                connection = Some(client);
            }
            std::thread::sleep(READ_INTERVAL);
        }
    }
}

/// The ways in which a node is asked to end in order.
#[derive(Clone, Copy)]
enum Ends {
    BySignal,
    ByClient,
}

impl Ends {
    /// Ends the node, which is the one of this turn.
    fn end(self, node: &mut Process, turn: usize) {
        match self {
            Self::BySignal => node.signal(Signal::TERM),
            Self::ByClient => {
                // With a snapshot and without one, and each node in two of these ways.
                let words = ["SHUTDOWN", "SHUTDOWN SAVE", "SHUTDOWN NOSAVE"][(turn + turn / 3) % 3];
                assert_eq!(node.ask(words), None, "no answer to {words}, but the end");
            }
        }
        assert_eq!(node.wait().code(), Some(0));
    }
}

/// Every node is restarted twice, one after the other, while clients write.
fn a_rolling_restart_copies_nothing(shards: u16, ends: Ends) {
    let cluster = Cluster::new(3, shards);
    let (mut nodes, _) = processes(&cluster, 2_000);
    let load = Load::start(cluster.ports.clone());
    let readers = Readers::start(&cluster.ports);
    let mut copied = 0;
    // The first copies are those of a new cluster.
    let new = all_copies(&nodes);
    for (turn, node) in [0, 1, 2, 0, 1, 2].into_iter().enumerate() {
        copied += told_by(&nodes[node], "elect_copies");
        readers.shared.restarted.store(node, Ordering::SeqCst);
        ends.end(&mut nodes[node], turn);
        nodes[node] = Process::start(&cluster, node, PATIENT);
        let there = within(THERE_MAX, || {
            let now = nodes.iter().find(|node| node.ask("SET probe 1").as_deref() == Some("OK"))?;
            (now.ask("WAIT 2 1000")? == "2").then_some(())
        });
        assert!(there.is_some(), "node {node} does not come back");
    }
    let written = load.stop();
    let (answered, refused) = readers.stop();
    assert_eq!(refused, 0, "of {answered} reads, on nodes that ran all the time");
    assert!(answered > 100, "{answered} reads tell nothing");
    copied += all_copies(&nodes).iter().sum::<u64>();
    assert_eq!(copied, new.iter().sum::<u64>(), "{written} writes meanwhile");
    assert!(written > 100, "{written} writes are no load");
    all_hold_the_same(&nodes, primary(&nodes));
}

#[test]
fn a_rolling_restart_under_load_copies_nothing_on_one_shard() {
    a_rolling_restart_copies_nothing(1, Ends::BySignal);
}

#[test]
fn a_rolling_restart_under_load_copies_nothing_on_several_shards() {
    a_rolling_restart_copies_nothing(2, Ends::BySignal);
}

#[test]
fn a_rolling_restart_by_shutdown_copies_nothing_on_one_shard() {
    a_rolling_restart_copies_nothing(1, Ends::ByClient);
}

#[test]
fn a_rolling_restart_by_shutdown_copies_nothing_on_several_shards() {
    a_rolling_restart_copies_nothing(2, Ends::ByClient);
}
