//! How long the host takes. The limits are loose, so that only a wait for a kevy timer (50 ms to 250 ms)
//! breaks them; run with `--nocapture` for the numbers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::{Cluster, Node, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_millis(500);

fn median(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    (times[times.len() / 2], times[times.len() - 1])
}

/// Hands the office to and fro between two nodes.
fn failovers(shards: u16, busy: bool) {
    const ROUNDS: u64 = 10;
    let cluster = Cluster::new(2, shards);
    let nodes = [cluster.start(0), cluster.start(1)];
    let primary = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    nodes[0].promote(1);
    nodes[1].follow(1, &nodes[0]);
    nodes[1].wait_joined(1);
    let ports = [nodes[0].port, nodes[1].port];
    let writer = busy.then(|| {
        let (primary, stop) = (Arc::clone(&primary), Arc::clone(&stop));
        std::thread::spawn(move || {
            let connect = |i: usize| kevy_resp_client::RespClient::connect("127.0.0.1", ports[i]).unwrap();
            let mut clients = [connect(0), connect(1)];
            let batch: Vec<u8> = (0..100)
                .flat_map(|i| format!("*3\r\n$3\r\nSET\r\n$4\r\nk{:03}\r\n$1\r\nv\r\n", i).into_bytes())
                .collect();
            while !stop.load(Ordering::Relaxed) {
                clients[primary.load(Ordering::Relaxed)].pipeline_raw(&batch, 100).unwrap();
            }
        })
    });
    let (mut promotions, mut joins) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let epoch = round + 2;
        let (old, new): (&Node, &Node) =
            if round.is_multiple_of(2) { (&nodes[0], &nodes[1]) } else { (&nodes[1], &nodes[0]) };
        // Past the hurry of the round before, so that each starts from rest.
        std::thread::sleep(Duration::from_millis(2_100));
        old.fence(kevy_elect_plugin::host::FenceReason::StepDown);
        new.host.detach();
        promotions.push(new.promote(epoch));
        primary.store(usize::from(round.is_multiple_of(2)), Ordering::Relaxed);
        let start = Instant::now();
        old.follow(epoch, new);
        until("it has joined", || old.has_joined(epoch).then_some(()));
        joins.push(start.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    if let Some(writer) = writer {
        writer.join().unwrap();
    }
    let (promotion, join) = (median(promotions), median(joins));
    let state = if busy { "busy" } else { "idle" };
    println!("{shards} shards, {state}: promotion {promotion:?}, join {join:?} (median, maximum)");
    assert!(promotion.0 < LIMIT && join.0 < LIMIT, "{promotion:?} {join:?}");
}

#[test]
#[ignore = "takes a minute; for the numbers"]
fn a_failover_takes_milliseconds() {
    for shards in [1, 2, 4] {
        for busy in [false, true] {
            failovers(shards, busy);
        }
    }
}

#[test]
fn an_idle_server_is_promoted_without_waiting_for_its_timers() {
    let cluster = Cluster::new(1, 2);
    let node = cluster.start(0);
    let mut epochs = 1..;
    // Whatever else this machine does: some in a row find it at leisure.
    until("half of them take less than 50 ms", || {
        let (median, worst) = median(epochs.by_ref().take(5).map(|epoch| node.promote(epoch)).collect());
        println!("promotion: {median:?}, at worst {worst:?}");
        (median < Duration::from_millis(50)).then_some(())
    });
}

#[test]
fn wait_does_not_wait_for_the_tick_when_it_is_used_often() {
    let cluster = Cluster::new(2, 2);
    let [a, _b] = cluster.reigning(1);
    let mut client = a.client();
    let mut confirmed = |i: usize| {
        let start = Instant::now();
        client.ask(&format!("SET k{i} v"));
        assert_eq!(client.ask("WAIT 1 60000"), ":1");
        start.elapsed()
    };
    // Whatever else this machine does: some in a row find it at leisure.
    until("half of them take less than 50 ms", || {
        let (median, worst) = median((0..50).map(&mut confirmed).collect());
        println!("SET and WAIT 1: {median:?}, at worst {worst:?}");
        (median < Duration::from_millis(50)).then_some(())
    });
}
