//! The timings of a cluster are changed node by node, under writes: nobody loses the office by that, and no write waits (L7).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, confirmed, primary};
use common::{Cluster, within};
use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const LONGER: &str = "election_timeout_ms = 20000\n";
/// Less than the lease that goes with the other one.
const SHORTER: &str = "election_timeout_ms = 8000\n";
/// A node starts and follows in so long at most, on a machine that has other work.
const THERE_MAX: Duration = Duration::from_secs(60);
/// What handing over may cost on a machine that has other work. Whoever waits for a promise or a start to end waits longer.
const GAP_MAX: Duration = Duration::from_millis(7600);

/// Writes one after the other to whoever takes it; gives how many, and the longest time between two.
fn writes(ports: &[u16], over: &AtomicBool) -> (usize, Duration) {
    let (mut written, mut longest, mut last) = (0, Duration::ZERO, Instant::now());
    for port in ports.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let Ok(mut client) = RespClient::connect("127.0.0.1", *port) else { continue };
        while !over.load(Ordering::Relaxed) {
            let command = format!("SET load {written}\r\n");
            match client.pipeline_raw(command.as_bytes(), 1) {
                Ok(replies) if matches!(replies[..], [Reply::Simple(_)]) => {
                    (written, longest) = (written + 1, longest.max(last.elapsed()));
                    last = Instant::now();
                }
                _ => break,
            }
        }
    }
    (written, longest.max(last.elapsed()))
}

/// All nodes are started anew with these timings, the primary last. Gives the longest time without a write.
fn change(cluster: &Cluster, nodes: &mut [Process], timings: &str) -> Duration {
    let over = Arc::new(AtomicBool::new(false));
    let (ended, ports) = (Arc::clone(&over), cluster.ports.clone());
    let load = std::thread::spawn(move || writes(&ports, &ended));
    let first = primary(nodes);
    for node in [(first + 1) % 3, (first + 2) % 3, first] {
        nodes[node].signal(Signal::TERM);
        nodes[node].wait();
        nodes[node] = Process::start(cluster, node, timings);
        let there = within(THERE_MAX, || {
            let reigns = nodes.iter().find(|node| node.ask("SET probe 1").as_deref() == Some("OK"))?;
            (reigns.ask("WAIT 2 1000")? == "2").then_some(())
        });
        assert!(there.is_some(), "nobody takes writes that all confirm, with node {node} on {timings:?}");
    }
    over.store(true, Ordering::Relaxed);
    let (written, longest) = load.join().unwrap();
    println!("{timings:?}: {written} writes, longest time without one {longest:?}");
    assert!(written > 100, "{written} writes are no load");
    longest
}

#[test]
fn timings_are_lowered_and_raised_node_by_node_under_writes() {
    let cluster = Cluster::new(3, 1);
    let mut nodes = Process::start_three(&cluster, LONGER);
    confirmed(&nodes[primary(&nodes)], "SET probe 1");
    let ordinary = change(&cluster, &mut nodes, LONGER);
    for (timings, why) in [(SHORTER, "lowered"), (LONGER, "raised")] {
        let longest = change(&cluster, &mut nodes, timings);
        assert!(longest < GAP_MAX, "{why}: no write for {longest:?}, for {ordinary:?} where nothing changes");
    }
}
