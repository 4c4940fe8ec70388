//! Bulk data delays no heartbeat: while a node copies a snapshot, and while it fetches frames that it lacks, each heartbeat of its primary
//! is sent in time, and echoed at once (C17 of `docs/protocol.md`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::metrics::{labelled, metrics, with_pages};
use common::process::{Process, confirmed, primary};
use common::rolling::{told_by, write_many};
use common::{Cluster, until, within};
use kevy_resp_client::RespClient;
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A tenth of the default election timeout. The one here is longer: the office is not to be lost because the machine is busy.
const INTERVAL: Duration = Duration::from_millis(100);
const SETTINGS: &str = "election_timeout_ms = 10000\nheartbeat_interval_ms = 100\n";
/// A heartbeat that was echoed within so long was in time (a bucket of the metric, in seconds): far from the timeout, on a machine that has other
/// work.
const IN_TIME: &str = "le=\"0.25\"";
/// Fewer heartbeats than this say nothing.
const HEARTBEATS_MIN: f64 = 8.0;
/// Of those that were due so many were sent at least: a scrape takes a moment, too.
const SENT_PART: f64 = 0.8;
/// Far more than anything here takes, on a machine that has other work.
const WHOLE_MAX: Duration = Duration::from_secs(120);

/// What a primary has told of the echoes of one peer: how many there were, how many of them in time, and how long they took together.
#[derive(Debug, Clone, Copy)]
struct Echoes {
    at: Instant,
    all: f64,
    in_time: f64,
    sum: f64,
}

impl Echoes {
    fn of(primary: &Process, peer: usize) -> Self {
        let peer = format!("peer=\"n{peer}\"");
        let metrics = until("it tells its metrics", || metrics(primary));
        let of = |what: &str, labels: &[&str]| {
            labelled(&metrics, &format!("kevy_elect_heartbeat_rtt_seconds_{what}"), labels)
        };
        // Not there before the first one.
        let all = of("count", &[&peer]).unwrap_or_default();
        let in_time = of("bucket", &[&peer, IN_TIME]).unwrap_or_default();
        let sum = of("sum", &[&peer]).unwrap_or_default();
        Self { at: Instant::now(), all, in_time, sum }
    }

    /// That all since were in time.
    #[track_caller]
    fn were_in_time(self, primary: &Process, peer: usize, meanwhile: &str) {
        let now = Self::of(primary, peer);
        let (all, in_time) = (now.all - self.all, now.in_time - self.in_time);
        let due = (now.at - self.at).as_secs_f64() / INTERVAL.as_secs_f64();
        let mean = (now.sum - self.sum) / all.max(1.0) * 1e3;
        println!(
            "{meanwhile}: {due:.0} heartbeats were due, {all} were echoed, {in_time} in time, {mean:.2} ms each"
        );
        assert!(all >= HEARTBEATS_MIN, "{meanwhile}: too short to say anything");
        assert!(
            all >= due * SENT_PART,
            "{meanwhile}: of {due:.0} heartbeats only {all} were sent and echoed"
        );
        assert!(all - in_time < 1.0, "{meanwhile}: {} of {all} echoes came late", all - in_time);
    }
}

/// Clients that write without a pause, until this is dropped.
struct Writer(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Writer {
    fn start(port: u16) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let write = move || {
            let mut client = RespClient::connect("127.0.0.1", port).unwrap();
            for round in 0.. {
                let batch: String = (0..64).map(|n| format!("SET w:{n} {round:0500}\r\n")).collect();
                if ends.load(Ordering::Relaxed) || client.pipeline_raw(batch.as_bytes(), 64).is_err() {
                    return;
                }
            }
        };
        Self(over, Some(std::thread::spawn(write)))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        drop(self.1.take().map(std::thread::JoinHandle::join));
    }
}

fn start(cluster: &Cluster, node: usize) -> Process {
    Process::start(cluster, node, &with_pages(cluster.ports[node], SETTINGS))
}

/// Starts `node`, looks at its primary's heartbeats from the time on at which it is linked until it confirms a write.
fn returns(cluster: &Cluster, node: usize, primary: &Process, others: usize, meanwhile: &str) -> Process {
    let process = start(cluster, node);
    let peer = format!("peer=\"n{node}\"");
    until("it is linked", || {
        (labelled(&metrics(primary)?, "kevy_elect_peer_up", &[&peer])? == 1.0).then_some(())
    });
    // It may have to be elected first.
    until("its primary takes writes", || (primary.ask("SET probe 1").as_deref() == Some("OK")).then_some(()));
    let before = Echoes::of(primary, node);
    let whole = within(WHOLE_MAX, || {
        primary.ask("SET probe 1")?;
        (primary.ask(&format!("WAIT {others} 1000"))? == others.to_string()).then_some(())
    });
    assert!(whole.is_some(), "{meanwhile}: it does not come back");
    before.were_in_time(primary, node, meanwhile);
    process
}

#[test]
fn bulk_data_delays_no_heartbeat() {
    let cluster = Cluster::new(3, 1);
    let mut nodes: Vec<Process> = (0..3).map(|node| start(&cluster, node)).collect();
    let first = primary(&nodes);
    confirmed(&nodes[first], "SET probe 1");
    (0..5).for_each(|part| write_many(&nodes[first], &format!("k{part}"), 50_000));
    confirmed(&nodes[first], "SET probe 1");

    // All of it anew, while clients write.
    let (second, third) = ((first + 1) % 3, (first + 2) % 3);
    nodes[third].signal(Signal::KILL);
    nodes[third].wait();
    for entry in std::fs::read_dir(&cluster.dirs[third].0).unwrap() {
        let path = entry.unwrap().path();
        // The vote record stays: a node that has lost it waits before it confirms anything.
        if path.is_file() {
            std::fs::remove_file(path).unwrap();
        }
    }
    let writer = Writer::start(nodes[first].port);
    nodes[third] = returns(&cluster, third, &nodes[first], 2, "a copy");
    drop(writer);
    assert_eq!(told_by(&nodes[third], "elect_copies"), 1);

    // What it lacks of the history before, out of the ring of who received it.
    nodes[third].signal(Signal::TERM);
    nodes[third].wait();
    (0..4).for_each(|part| write_many(&nodes[first], &format!("l{part}"), 50_000));
    until("the other one has it", || (nodes[first].ask("WAIT 1 1000")? == "1").then_some(()));
    nodes[first].signal(Signal::KILL);
    nodes[first].wait();
    // The two that are left elect one of them, and only one can win.
    nodes[third] = returns(&cluster, third, &nodes[second], 1, "frames");
    assert_eq!(told_by(&nodes[third], "elect_copies"), 0);
}
