//! A copy while clients write. Each assertion about the server was seen to fail with code that was broken for it, but the last one: the commit that
//! added this line says how.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::{Cluster, Node, until, within};
use kevy_elect_compare::{Options, Outcome, compare};
use kevy_elect_plugin::host::FenceReason;
use kevy_resp_client::RespClient;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Far more is written while a copy is made. Not less: what is written in a second is to fit.
const BUFFER_BYTES: usize = 16 << 20;
/// A copy takes so long at most, on a machine that has other work: as long as anybody waits for it.
const COPY_MAX: Duration = Duration::from_secs(300);
/// Of one batch of a writer.
const BATCH: usize = 100;

/// Clients that write without a pause, until they are dropped.
struct Writers {
    over: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Writers {
    fn start(port: u16, count: usize) -> Self {
        let (over, bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let write = |writer: usize| {
            let (over, bytes) = (Arc::clone(&over), Arc::clone(&bytes));
            std::thread::spawn(move || {
                let mut client = RespClient::connect("127.0.0.1", port).unwrap();
                for round in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let sets: String = (0..BATCH)
                        .map(|n| format!("SET w{writer}:{}:{n} {round:0500}\r\n", round % 50))
                        .collect();
                    client.pipeline_raw(sets.as_bytes(), BATCH).unwrap();
                    bytes.fetch_add(sets.len() as u64, Ordering::Relaxed);
                }
            })
        };
        let threads = (0..count).map(write).collect();
        Self { over, bytes, threads }
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

fn fill(node: &Node, megabytes: usize) {
    let mut client = RespClient::connect("127.0.0.1", node.port).unwrap();
    for part in 0..megabytes {
        let sets: String = (0..1_000).map(|n| format!("SET k{part}:{n} {n:01000}\r\n")).collect();
        client.pipeline_raw(sets.as_bytes(), 1_000).unwrap();
        // A replica is not to lose its place meanwhile.
        until("it is confirmed", || (node.client().ask("WAIT 1 1000") == ":1").then_some(()));
    }
}

/// Waits until they hold the same.
fn all_hold_the_same(nodes: &[&Node]) {
    let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let mut last = None;
    let same = within(COPY_MAX, || {
        last = Some(compare(&addresses, &Options::default()));
        matches!(&last, Some(Ok(seen)) if seen.outcome() == Outcome::Equal && seen.at_one_position())
            .then_some(())
    });
    assert!(same.is_some(), "{last:?}");
}

fn copies(node: &Node) -> u64 {
    let info = node.client().ask("INFO replication");
    info.lines().find_map(|line| line.strip_prefix("elect_copies:")).unwrap().trim().parse().unwrap()
}

/// One after the other: on a small machine two would starve each other's replicas.
static ONE_CLUSTER: Mutex<()> = Mutex::new(());

/// What is written meanwhile is many times what the primary keeps of its stream.
fn a_copy_ends(shards: u16) {
    let _one = ONE_CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = Cluster::new(3, shards);
    let small = format!("[replication]\nreplication_buffer_size = {BUFFER_BYTES}\n");
    let (a, b) = (cluster.start_with(0, &small), cluster.start_with(1, &small));
    a.promote(3);
    b.follow(3, &a);
    b.wait_joined(3);
    // Enough that more is written meanwhile than is kept, although writers wait.
    fill(&a, 250);
    let writers = Writers::start(a.port, 2);
    let c = cluster.start_with(2, &small);
    let (begun, before) = (Instant::now(), writers.bytes());
    c.follow(3, &a);
    let joined = within(COPY_MAX, || c.has_joined(3).then_some(()));
    let (took, written) = (begun.elapsed(), writers.bytes() - before);
    println!(
        "joined: {}, {took:?}, {} MB written meanwhile, {} copies",
        joined.is_some(),
        written >> 20,
        copies(&c)
    );
    assert!(joined.is_some(), "still not there after {took:?}, {} copies", copies(&c));
    assert!(written > BUFFER_BYTES as u64 * u64::from(shards), "the test is too weak: {written} bytes");
    assert_eq!(copies(&c), u64::from(shards), "one for each shard");
    // It keeps up, too.
    let confirmed = within(COPY_MAX, || (a.client().ask("WAIT 2 1000") == ":2").then_some(()));
    assert!(confirmed.is_some());
    drop(writers);
    all_hold_the_same(&[&a, &b, &c]);
    assert_eq!(copies(&c), u64::from(shards));
}

#[test]
fn a_copy_ends_however_much_is_written_meanwhile_to_one_shard() {
    a_copy_ends(1);
}

#[test]
fn a_copy_ends_however_much_is_written_meanwhile_to_several_shards() {
    a_copy_ends(2);
}

/// Whether a copy comes in there just now.
fn is_at_it(node: &Node) -> bool {
    node.client().ask("INFO replication").contains("elect_copy_bytes:")
}

#[test]
fn one_replica_copies_at_a_time() {
    let _one = ONE_CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = Cluster::new(3, 1);
    let a = cluster.start(0);
    a.promote(3);
    let mut client = RespClient::connect("127.0.0.1", a.port).unwrap();
    for part in 0..150 {
        let sets: String = (0..1_000).map(|n| format!("SET k{part}:{n} {n:01000}\r\n")).collect();
        client.pipeline_raw(sets.as_bytes(), 1_000).unwrap();
    }
    let (b, c) = (cluster.start(1), cluster.start(2));
    b.follow(3, &a);
    c.follow(3, &a);
    let (mut seen, mut together) = ([false; 2], 0);
    let joined = within(COPY_MAX, || {
        let at_it = [&b, &c].map(is_at_it);
        // Asked one after the other: between the two answers one may have ended and the other begun.
        together += usize::from(at_it == [true; 2] && is_at_it(&b) && is_at_it(&c));
        seen.iter_mut().zip(at_it).for_each(|(seen, now)| *seen |= now);
        (b.has_joined(3) && c.has_joined(3)).then_some(())
    });
    assert!(joined.is_some(), "not both have copied");
    assert_eq!((seen, together), ([true; 2], 0), "one after the other");
    assert_eq!((copies(&b), copies(&c)), (1, 1));
    all_hold_the_same(&[&a, &b, &c]);
}

#[test]
fn a_failover_while_a_replica_copies_leaves_it_with_the_next_primary() {
    let _one = ONE_CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = Cluster::new(3, 1);
    let (a, b) = (cluster.start(0), cluster.start(1));
    a.promote(3);
    b.follow(3, &a);
    b.wait_joined(3);
    fill(&a, 150);
    let writers = Writers::start(a.port, 1);
    let c = cluster.start(2);
    c.follow(3, &a);
    until("it copies", || is_at_it(&c).then_some(()));
    drop(writers);
    a.fence(FenceReason::StepDown);
    b.host.detach();
    c.host.detach();
    b.promote(4);
    a.stop();
    c.follow(4, &b);
    let joined = within(COPY_MAX, || c.has_joined(4).then_some(()));
    assert!(joined.is_some(), "still not there, {} copies", copies(&c));
    assert_eq!(b.client().ask("SET after 1"), "+OK");
    until("it is confirmed", || (b.client().ask("WAIT 1 1000") == ":1").then_some(()));
    all_hold_the_same(&[&b, &c]);
}
