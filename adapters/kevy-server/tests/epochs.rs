//! Epochs far ahead, on real servers (E10 to E13 of `docs/protocol.md`): what a lie of long ago left behind heals, and a member that
//! lies about its epoch, in its own name, costs time and never the cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod common;

use common::metrics::{labelled, metrics, with_pages};
use common::process::{Process, primary};
use common::{Cluster, within};
use futures::executor::block_on;
use kevy_elect_plugin::ids::{EPOCH_NEAR, EPOCH_STEP_MAX, Epoch, NodeId};
use kevy_elect_plugin::store::{FileVoteStore, HardState, VoteStore, decode_vote, encode_vote};
use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

const TIMEOUT: Duration = Duration::from_millis(600);
const MORE: &str = "election_timeout_ms = 600\nheartbeat_interval_ms = 60\ncluster_name = \"t\"\n";
/// A machine may be slow.
const PATIENCE: Duration = Duration::from_secs(90);

fn start(cluster: &Cluster) -> Vec<Process> {
    (0..3).map(|node| Process::start(cluster, node, &with_pages(cluster.ports[node], MORE))).collect()
}

/// The primary, once the other two confirm what it writes.
#[track_caller]
fn whole(nodes: &[Process]) -> usize {
    confirmed(nodes, "SET probe 1")
}

/// The same for this write. On a busy machine the office may move at any time.
#[track_caller]
fn confirmed(nodes: &[Process], write: &str) -> usize {
    let found = within(PATIENCE, || {
        nodes.iter().position(|node| {
            node.ask(write).as_deref() == Some("OK") && node.ask("WAIT 2 500").as_deref() == Some("2")
        })
    });
    found.expect("a primary whom both others have joined")
}

fn record(cluster: &Cluster, node: usize) -> (FileVoteStore, HardState) {
    let store = FileVoteStore::open(cluster.dirs[node].0.join("elect/vote")).unwrap();
    let record = block_on(store.load()).unwrap().expect("it has been a member");
    (store, decode_vote(&record).unwrap())
}

fn epochs(cluster: &Cluster) -> Vec<u64> {
    (0..3).map(|node| record(cluster, node).1.epoch.0).collect()
}

/// Three nodes, one of which is `apart` epochs ahead in its record: how long until it has joined.
fn come_together(apart: u64, more: &str) -> Duration {
    let cluster = Cluster::new(3, 1);
    let start = || -> Vec<Process> { (0..3).map(|node| Process::start(&cluster, node, more)).collect() };
    let nodes = start();
    confirmed(&nodes, "SET k v");
    drop(nodes);
    for (node, epoch) in [(0, 2 << 32), (1, 2 << 32), (2, (2 << 32) + apart)] {
        let (store, state) = record(&cluster, node);
        let state = HardState { epoch: Epoch(epoch), voted_for: None, ..state };
        block_on(store.save(&encode_vote(&state).unwrap())).unwrap();
    }
    let begun = Instant::now();
    let nodes = start();
    primary(&nodes);
    let majority = begun.elapsed();
    whole(&nodes);
    let all = begun.elapsed();
    for node in &nodes {
        let read = within(PATIENCE, || (node.ask("GET k").as_deref() == Some("v")).then_some(()));
        assert!(read.is_some(), "a node lacks what was there before");
    }
    drop(nodes);
    println!("a primary after {majority:?}, all joined after {all:?}");
    let epochs = epochs(&cluster);
    let (lowest, highest) = ((2 << 32) + apart, (2 << 32) + apart + EPOCH_NEAR);
    // They were not ended at the same time: some elections more.
    assert!(epochs.iter().all(|epoch| (lowest..highest).contains(epoch)), "{epochs:?}");
    all
}

#[test]
fn epochs_that_a_lie_pushed_apart_long_ago_come_together_after_a_restart() {
    come_together(6 * EPOCH_STEP_MAX, MORE);
}

/// What was seen before there was E10: seven frames were enough for it.
#[test]
#[ignore = "takes a minute: `cargo test --ignore-rust-version -p kevy-server --test epochs -- --ignored`"]
fn two_and_five_times_4_294_967_296_come_together_in_about_a_minute() {
    let took = come_together(3 << 32, "");
    assert!(took < Duration::from_secs(75), "{took:?}");
}

/// A member that says what it likes, on a connection to one peer. Its process is not there.
struct Liar(TcpStream);

impl Liar {
    fn connect(port: u16) -> Option<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        // Later than that of the process whose name it takes, and earlier than that of the next one.
        let incarnation = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis().to_string();
        stream.write_all(&frame(&["HELLO", "1", "t", "n2", &incarnation])).ok()?;
        let mut answer = [0; 256];
        let read = stream.read(&mut answer).ok()?;
        answer[..read].windows(5).any(|word| word == b"HELLO").then_some(Self(stream))
    }

    fn claim(&mut self, epoch: u64, round: u64) -> Option<()> {
        let (epoch, round) = (epoch.to_string(), round.to_string());
        let heartbeat = ["HB", &epoch, &round, "replica", "member", "0:0", "", "0", "0"];
        self.0.write_all(&frame(&heartbeat)).ok()
    }
}

fn frame(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len());
    for word in words {
        bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    bytes.into_bytes()
}

/// What a node says, beginning with this number of its frames, as often as `pause` lets it.
type Lie = fn(node: usize, frame: u64) -> Option<u64>;

/// A walk by steps that are near; the seven frames that push two nodes apart, and then nothing; all that there is.
const LIES: [(Lie, Duration); 3] = [
    (|_, frame| Some(250 * frame), Duration::from_millis(5)),
    (|node, frame| (frame < 2 + 3 * node as u64).then_some((frame + 1) << 32), Duration::from_millis(20)),
    (|_, frame| Some(if frame % 2 == 0 { 1 << 60 } else { (1 << 62) - 1 }), Duration::from_millis(5)),
];
const EACH: Duration = Duration::from_secs(4);

/// Lies to one peer, for as long as `on`.
fn lie(port: u16, node: usize, lie: Lie, pause: Duration, on: &AtomicBool) {
    let mut said = 0;
    while on.load(Ordering::SeqCst) {
        let Some(mut liar) = Liar::connect(port) else {
            std::thread::sleep(pause);
            continue;
        };
        while on.load(Ordering::SeqCst) {
            std::thread::sleep(pause);
            if let Some(epoch) = lie(node, said)
                && liar.claim(epoch, said + 1).is_none()
            {
                break;
            }
            said += 1;
        }
    }
}

/// Writes numbers to whoever takes them, until `on` ends; gives those that the other one confirmed, and when.
fn write(ports: [u16; 2], on: &AtomicBool, confirmed: &Mutex<Vec<(u64, Instant)>>) {
    let mut number = 0;
    while on.load(Ordering::SeqCst) {
        for port in ports {
            let Ok(mut client) = RespClient::connect("127.0.0.1", port) else { continue };
            loop {
                number += 1;
                let (key, value) = (format!("w{number}"), number.to_string());
                let set = client.request_borrowed(&[b"SET", key.as_bytes(), value.as_bytes()]);
                if !on.load(Ordering::SeqCst) || !matches!(set, Ok(Reply::Simple(_))) {
                    break;
                }
                match client.request_borrowed(&[b"WAIT", b"1", b"500"]) {
                    Ok(Reply::Int(1..)) => confirmed.lock().unwrap().push((number, Instant::now())),
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_member_that_claims_epochs_far_ahead_stops_nothing_for_good_and_loses_no_confirmed_write() {
    let cluster = Cluster::new(3, 1);
    let mut nodes = start(&cluster);
    whole(&nodes);
    let begun = Instant::now();
    // From here on somebody else speaks as n2.
    drop(nodes.pop());
    let ports = [cluster.ports[0], cluster.ports[1]];
    let (on, confirmed) = (AtomicBool::new(true), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        scope.spawn(|| write(ports, &on, &confirmed));
        let count = || confirmed.lock().unwrap().len();
        let writes_on = |than: usize| within(PATIENCE, || (count() > than).then_some(())).is_some();
        assert!(writes_on(0), "nothing is confirmed before the first lie");
        for (number, (kind, pause)) in LIES.into_iter().enumerate() {
            let (lies, before) = (AtomicBool::new(true), count());
            std::thread::scope(|scope| {
                for (node, port) in ports.into_iter().enumerate() {
                    let lies = &lies;
                    scope.spawn(move || lie(port + 200, node, kind, pause, lies));
                }
                std::thread::sleep(EACH);
                // The last lie is about all epochs that there are, and out of reach for as long as it is told.
                if number == LIES.len() - 1 {
                    let ahead = |node: &Process| {
                        labelled(&metrics(node)?, "kevy_elect_peer_epochs_ahead", &["peer=\"n2\""])
                    };
                    let seen =
                        within(PATIENCE, || nodes.iter().all(|node| ahead(node) > Some(1e12)).then_some(()));
                    assert!(seen.is_some(), "{:?}", nodes.iter().map(ahead).collect::<Vec<_>>());
                }
                lies.store(false, Ordering::SeqCst);
            });
            let (ended, during) = (Instant::now(), count());
            assert!(writes_on(during), "lie {number}: nothing is confirmed after it");
            println!(
                "lie {number}: {} confirmed during it, again {:?} after it",
                during - before,
                ended.elapsed()
            );
        }
        on.store(false, Ordering::SeqCst);
    });
    nodes.push(Process::start(&cluster, 2, MORE));
    let primary = whole(&nodes);
    let confirmed = confirmed.into_inner().unwrap();
    let lost = confirmed.iter().find(|(number, _)| {
        // Its connections may end once more.
        let there = within(PATIENCE, || {
            nodes[primary].ask(&format!("GET w{number}")).filter(|value| *value == number.to_string())
        });
        there.is_none()
    });
    assert_eq!(lost, None, "of {}", confirmed.len());
    let logs = |node: usize| std::fs::read_to_string(cluster.dirs[node].0.join("log")).unwrap();
    let said = [logs(0), logs(1)].concat();
    let id = NodeId::new("n2").unwrap();
    assert!(said.contains(&format!("peer={id} claimed_epoch=")), "nobody says that n2 claims what cannot be");
    drop(nodes);
    // The first timeout brings nothing, each later one a step; frames that are near are few beside that.
    let steps = begun.elapsed().as_secs_f64() / TIMEOUT.as_secs_f64() * 1.02 + 1.0;
    let epochs = epochs(&cluster);
    println!("{} writes confirmed, epochs {epochs:?} after {steps:.0} timeouts", confirmed.len());
    assert!(epochs.iter().all(|epoch| (*epoch as f64) < (steps + 1.0) * EPOCH_STEP_MAX as f64), "{epochs:?}");
}
