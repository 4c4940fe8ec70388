//! A successor holds what its primary held. On real processes: the servers of one process share a clock, and the clock of a
//! replica rests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::contents::{Contents, contents, differences};
use common::process::Process;
use common::rolling::PATIENT;
use common::{Client, Cluster, until, writes};
use rustix::process::Signal;
use std::time::{SystemTime, UNIX_EPOCH};

/// Between two looks at one moment: a node that is asked answers a little later than the clock was read.
const CLOSE_MS: i64 = 3_000;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// A cluster of processes, and which of them is the primary.
struct World {
    cluster: Cluster,
    nodes: Vec<Option<Process>>,
}

impl World {
    fn new(shards: u16) -> Self {
        let cluster = Cluster::new(3, shards);
        let nodes = (0..3).map(|_| None).collect();
        let mut world = Self { cluster, nodes };
        world.start();
        world
    }

    /// Starts who is not there.
    fn start(&mut self) {
        let more = format!("{PATIENT}watchdog = false\n");
        for node in 0..self.nodes.len() {
            let start = || Process::start(&self.cluster, node, &more);
            self.nodes[node] = Some(self.nodes[node].take().unwrap_or_else(start));
        }
    }

    fn kill(&mut self, node: usize) {
        let mut process = self.nodes[node].take().unwrap();
        process.signal(Signal::KILL);
        process.wait();
    }

    /// The primary, once so many replicas have all that it has.
    #[track_caller]
    fn whole(&self, replicas: usize) -> usize {
        until("a primary has its replicas", || {
            let taken = |node: &usize| {
                let process = self.nodes[*node].as_ref();
                process.is_some_and(|process| process.ask("SET probe 1").as_deref() == Some("OK"))
            };
            let first = (0..self.nodes.len()).find(taken)?;
            (self.client(first).ask(&format!("WAIT {replicas} 1000")) == format!(":{replicas}"))
                .then_some(first)
        })
    }

    fn client(&self, node: usize) -> Client {
        Client::connect(self.cluster.ports[node])
    }
}

/// Who holds which entry, since when, and for the how manieth time.
fn held(client: &mut Client, key: &str, group: &str) -> Vec<(String, String, i64, String)> {
    let rows = client.ask_all(&format!("XPENDING {key} {group} - + 100"));
    let row = |row: Vec<String>| {
        let idle: i64 = row[2].trim_start_matches(':').parse().unwrap();
        (row[0].clone(), row[1].clone(), now_ms() - idle, row[3].clone())
    };
    rows.into_iter().map(row).collect()
}

#[track_caller]
fn same_holders(right: &[(String, String, i64, String)], seen: &[(String, String, i64, String)]) {
    assert_eq!(right.len(), seen.len(), "{right:?}, {seen:?}");
    for (right, seen) in right.iter().zip(seen) {
        assert_eq!((&right.0, &right.1, &right.3), (&seen.0, &seen.1, &seen.3));
        let off = (right.2 - seen.2).abs();
        assert!(
            off < CLOSE_MS,
            "{} was delivered at {}, and is said to have been at {}",
            right.0,
            right.2,
            seen.2
        );
    }
}

/// D1: what a consumer works on is not taken away from it because the primary was replaced.
#[test]
fn entries_of_streams_were_delivered_when_they_were() {
    for shards in [1, 2] {
        let mut world = World::new(shards);
        let first = world.whole(2);
        let mut client = world.client(first);
        for i in 0..6 {
            assert!(client.ask(&format!("XADD jobs * job {i}")).contains('-'));
        }
        assert_eq!(client.ask("XGROUP CREATE jobs g 0"), "+OK");
        client.ask("XREADGROUP GROUP g reads COUNT 2 STREAMS jobs >");
        let ids: Vec<String> =
            client.ask_all("XRANGE jobs - +").into_iter().map(|row| row[0].clone()).collect();
        let an_hour_ago = now_ms() - 3_600_000;
        client.ask(&format!("XCLAIM jobs g claims 0 {} TIME {an_hour_ago} RETRYCOUNT 7 FORCE", ids[2]));
        client.ask(&format!("XCLAIM jobs g claims 0 {} IDLE 60000", ids[1]));
        client.ask_words(&[
            "EVAL",
            "redis.call('XREADGROUP','GROUP','g','script','STREAMS',KEYS[1],'>')",
            "1",
            "jobs",
        ]);
        client.ask(&format!("XCLAIM jobs g gone 0 {}", ids[4]));
        client.ask(&format!("XDEL jobs {}", ids[4]));
        client.ask("XAUTOCLAIM jobs g auto 30000 0 COUNT 1");
        let right = held(&mut client, "jobs", "g");
        assert!(right.len() > 4, "{right:?}");
        world.whole(2);
        world.kill(first);
        let second = world.whole(1);
        same_holders(&right, &held(&mut world.client(second), "jobs", "g"));
        // Nobody was idle for ten hours.
        let idle = world.client(second).ask("XPENDING jobs g IDLE 36000000 - + 10");
        assert_eq!(idle, "[]");
        // After a copy, a log that was written anew, and a restart of all.
        world.start();
        world.whole(2);
        assert_eq!(world.client(first).ask("BGREWRITEAOF").get(..1), Some("+"));
        until("the log is written anew", || {
            let info = world.client(first).ask("INFO persistence");
            info.contains("aof_rewrite_in_progress:0").then_some(())
        });
        (0..3).for_each(|node| world.kill(node));
        world.start();
        let third = world.whole(2);
        same_holders(&right, &held(&mut world.client(third), "jobs", "g"));
    }
}

/// What is there and will not end within the time that a look takes.
fn lasting(mut contents: Contents) -> Contents {
    contents.remove("probe");
    contents.retain(|_, (_, ends)| ends.is_none_or(|ends| ends > now_ms() + CLOSE_MS));
    contents
}

#[track_caller]
fn same(right: &Contents, seen: Contents, when: &str) {
    let right = lasting(right.clone());
    let seen: Contents = seen.into_iter().filter(|(key, _)| right.contains_key(key)).collect();
    let wrong = differences(&right, &seen);
    assert!(
        wrong.is_empty(),
        "{when}: {} differences, among them {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(20)]
    );
}

/// D1
#[test]
fn every_command_leaves_the_same_on_a_successor_and_after_a_restart_of_all() {
    let mut world = World::new(2);
    let first = world.whole(2);
    let (done, tried) = writes::all(&mut world.client(first), 3);
    println!("{done} of {tried} commands did something");
    assert!(done > 1_000, "{done} of {tried}");
    world.whole(2);
    let right = contents(&mut world.client(first));
    world.kill(first);
    let second = world.whole(1);
    same(&right, contents(&mut world.client(second)), "on the successor");
    (0..3).filter(|node| *node != first).for_each(|node| world.kill(node));
    world.start();
    let third = world.whole(2);
    same(&right, contents(&mut world.client(third)), "after a restart of all");
}
