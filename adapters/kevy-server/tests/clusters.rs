//! A cluster has an id of its own: what happens where a majority of the disks is lost. On real processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::Process;
use common::rolling::PATIENT;
use common::{Cluster, until};
use futures::executor::block_on;
use kevy_elect_ops::giving_up::give_up;
use kevy_elect_ops::order::Order;
use kevy_elect_plugin::ids::ClusterId;
use kevy_elect_plugin::store::{FileVoteStore, VoteStore, decode_vote};
use rustix::process::Signal;
use std::fs;

struct World {
    cluster: Cluster,
    nodes: Vec<Option<Process>>,
}

impl World {
    fn new() -> Self {
        let cluster = Cluster::new(3, 1);
        let mut world = Self { cluster, nodes: (0..3).map(|_| None).collect() };
        (0..3).for_each(|node| world.start(node));
        world
    }

    fn start(&mut self, node: usize) {
        self.nodes[node] = Some(Process::start(&self.cluster, node, &format!("watchdog = false\n{PATIENT}")));
    }

    fn kill(&mut self, node: usize) {
        let mut process = self.nodes[node].take().unwrap();
        process.signal(Signal::KILL);
        process.wait();
    }

    /// The disk is lost, but for the configuration and the log, by which this test sees.
    fn wipe(&self, node: usize) {
        let dir = &self.cluster.dirs[node].0;
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            match name.as_str() {
                "kevy.toml" | "log" => {}
                _ if entry.path().is_dir() => fs::remove_dir_all(entry.path()).unwrap(),
                _ => fs::remove_file(entry.path()).unwrap(),
            }
        }
    }

    fn ask(&self, node: usize, line: &str) -> Option<String> {
        self.nodes[node].as_ref()?.ask(line)
    }

    /// The primary of these nodes, once so many replicas have all that it has.
    #[track_caller]
    fn primary(&self, of: &[usize], replicas: usize) -> usize {
        until("a primary has its replicas", || {
            let taken = |node: &&usize| self.ask(**node, "SET probe 1").as_deref() == Some("OK");
            let first = *of.iter().find(taken)?;
            (self.ask(first, &format!("WAIT {replicas} 1000"))? == replicas.to_string()).then_some(first)
        })
    }

    fn log(&self, node: usize) -> String {
        fs::read_to_string(self.cluster.dirs[node].0.join("log")).unwrap()
    }

    /// What the log of a node says of the cluster it belongs to, newest last.
    fn ids(&self, node: usize) -> Vec<String> {
        let log = self.log(node);
        let of = |line: &str| {
            Some(line.split_once("event=belongs ")?.1.split_once("cluster=")?.1[..32].to_owned())
        };
        log.lines().filter_map(of).collect()
    }

    #[track_caller]
    fn says(&self, node: usize, words: &[&str]) {
        until(&format!("n{node} says {words:?}"), || {
            let log = self.log(node);
            log.lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
        });
    }

    /// What the log of a node says last of the cluster it belongs to, once it does.
    #[track_caller]
    fn belongs(&self, node: usize, to: &str) {
        until(&format!("n{node} belongs to {to}"), || self.ids(node).last().filter(|id| *id == to).map(drop));
    }

    /// The answer of a node that may have been started only just now, and may be the last to come.
    #[track_caller]
    fn answers(&self, node: usize, line: &str) -> String {
        until(&format!("n{node} answers {line}"), || self.ask(node, line))
    }

    /// Writes to the primary of two nodes, and waits until the other one has it: all may be killed then.
    #[track_caller]
    fn write(&self, primary: usize, line: &str) {
        assert_eq!(self.ask(primary, line).as_deref(), Some("OK"), "{line}");
        until("it is confirmed", || (self.ask(primary, "WAIT 1 1000")? == "1").then_some(()));
    }

    /// All nodes hold the key.
    #[track_caller]
    fn everywhere(&self, key: &str, value: &str) {
        for node in 0..3 {
            until(&format!("n{node} holds {key}"), || {
                (self.ask(node, &format!("GET {key}")).as_deref() == Some(value)).then_some(())
            });
        }
    }
}

/// Both of the operator's ways out, one after the other: first the old data is given up on the node that has it, then, after the
/// same once more, the new one.
#[test]
fn two_wiped_nodes_form_a_new_cluster_and_the_third_keeps_its_data_until_an_operator_decides() {
    let mut world = World::new();
    let first = world.primary(&[0, 1, 2], 2);
    assert_eq!(world.ask(first, "SET precious 1").as_deref(), Some("OK"));
    world.everywhere("precious", "1");
    let old = until("n2 belongs to a cluster", || world.ids(2).pop());
    (0..2).for_each(|node| world.belongs(node, &old));

    (0..3).for_each(|node| world.kill(node));
    [0, 1].iter().for_each(|node| world.wipe(*node));
    [0, 1].iter().for_each(|node| world.start(*node));
    let primary = world.primary(&[0, 1], 1);
    world.write(primary, "SET new 1");
    let new = until("a new cluster has an id", || world.ids(1).pop().filter(|id| *id != old));

    world.start(2);
    world.says(2, &["event=foreign", "peer=n0", &old, &new]);
    world.says(2, &["event=foreign", "peer=n1", &old, &new]);
    world.says(0, &["event=foreign", "peer=n2", &old, &new]);
    world.says(1, &["event=foreign", "peer=n2", &old, &new]);
    // The new one works, and the old data is where it was.
    world.write(primary, "SET new 2");
    assert_eq!(world.answers(2, "GET precious"), "1", "nothing is overwritten");
    assert!(world.answers(2, "SET precious 2").starts_with('-'));

    // Likewise after restarts, also of the new cluster's nodes.
    (0..3).for_each(|node| world.kill(node));
    (0..3).for_each(|node| world.start(node));
    let primary = world.primary(&[0, 1], 1);
    assert_eq!(world.answers(2, "GET precious"), "1");
    assert_eq!(world.answers(primary, "GET new"), "2");

    // The old data wins: the new cluster's nodes are given up, and one of them is ordered to be admitted.
    [0, 1].iter().for_each(|node| world.kill(*node));
    [0, 1].iter().for_each(|node| world.wipe(*node));
    [0, 1].iter().for_each(|node| world.start(*node));
    let order = Order { node: Cluster::id(0), cluster: ClusterId::from_digits(old.as_bytes()).unwrap() };
    until("n0 has made its directory", || order.leave(&world.cluster.dirs[0].0).ok());
    world.says(0, &["event=admitted_by_order", &old]);
    world.everywhere("precious", "1");
    assert_eq!(world.primary(&[0, 1, 2], 2), 2, "the one with the data");
    world.belongs(1, &old);
    until("the order is gone", || Order::read(&world.cluster.dirs[0].0).unwrap().is_none().then_some(()));
}

/// The runbook's case, with the third node up all the time.
#[test]
fn where_two_disks_are_lost_an_order_brings_the_data_of_the_third_back() {
    let mut world = World::new();
    let first = world.primary(&[0, 1, 2], 2);
    assert_eq!(world.ask(first, "SET precious 1").as_deref(), Some("OK"));
    world.everywhere("precious", "1");
    let id = until("n2 belongs to a cluster", || world.ids(2).pop());
    [0, 1].iter().for_each(|node| world.kill(*node));
    [0, 1].iter().for_each(|node| world.wipe(*node));
    [0, 1].iter().for_each(|node| world.start(*node));
    // An order for somebody else, or for another cluster, is none.
    let dir = world.cluster.dirs[1].0.clone();
    let of = |node, bits: u128| Order { node: Cluster::id(node), cluster: ClusterId::from_bits(bits) };
    until("n1 has made its directory", || of(0, 7).leave(&dir).ok());
    world.says(1, &["event=order_refused", "for=n0"]);
    of(1, 7).leave(&dir).unwrap();
    world.says(1, &["event=order ", &of(1, 7).cluster.to_string()]);
    for node in 0..3 {
        assert!(world.answers(node, "SET precious 2").starts_with('-'), "nobody reigns");
    }
    let order = Order { node: Cluster::id(1), cluster: ClusterId::from_digits(id.as_bytes()).unwrap() };
    order.leave(&dir).unwrap();
    world.says(1, &["event=admitted_by_order", &id]);
    world.everywhere("precious", "1");
    assert_eq!(world.primary(&[0, 1, 2], 2), 2, "the one with the data");
}

/// The new cluster wins: the node that has the old data gives it up, and copies.
#[test]
fn i6_a_node_that_has_lost_its_record_alone_keeps_its_data_from_a_new_cluster_until_it_is_given_up() {
    let mut world = World::new();
    let first = world.primary(&[0, 1, 2], 2);
    assert_eq!(world.ask(first, "SET precious 1").as_deref(), Some("OK"));
    world.everywhere("precious", "1");
    let old = until("n2 belongs to a cluster", || world.ids(2).pop());
    until("its data says so", || {
        let dir = &world.cluster.dirs[2].0;
        let logs = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let mut logs = logs.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("aof-"));
        let digits = old.as_bytes();
        logs.any(|path| fs::read(path).unwrap().windows(digits.len()).any(|at| at == digits)).then_some(())
    });

    (0..3).for_each(|node| world.kill(node));
    [0, 1].iter().for_each(|node| world.wipe(*node));
    fs::remove_dir_all(world.cluster.dirs[2].0.join("elect")).unwrap();
    [0, 1].iter().for_each(|node| world.start(*node));
    let primary = world.primary(&[0, 1], 1);
    world.write(primary, "SET new 1");
    let new = until("a new cluster has an id", || world.ids(1).pop().filter(|id| *id != old));

    world.start(2);
    for (node, peer) in [(2, "peer=n0"), (2, "peer=n1"), (0, "peer=n2"), (1, "peer=n2")] {
        world.says(node, &["event=foreign", peer, &old, &new]);
    }
    assert_eq!(world.answers(2, "GET precious"), "1", "nothing is overwritten");
    assert!(world.answers(2, "SET precious 2").starts_with('-'));
    // Likewise after another start, with the record that it has made meanwhile.
    world.kill(2);
    world.start(2);
    world.write(primary, "SET new 2");
    assert_eq!(world.answers(2, "GET precious"), "1", "it serves what it has");

    world.kill(2);
    let dir = world.cluster.dirs[2].0.clone();
    let id = |text: &str| ClusterId::from_digits(text.as_bytes()).unwrap();
    assert!(give_up(&dir, id(&new)).unwrap_err().contains("does not belong"));
    let given_up = give_up(&dir, id(&old)).unwrap();
    assert!(given_up.moved.iter().any(|(name, bytes)| name.starts_with("aof-") && *bytes > 0));
    world.start(2);
    world.everywhere("new", "2");
    assert_eq!(world.ask(2, "GET precious").as_deref(), None);
    world.belongs(2, &new);
    assert_eq!(world.primary(&[0, 1, 2], 2), primary, "nobody was deposed");

    // Its old data under its new record: files of two nodes, and none of them is touched.
    world.kill(2);
    for (name, _) in given_up.moved.iter().filter(|(name, _)| !name.starts_with("elect")) {
        drop(fs::remove_file(dir.join(name)));
        fs::rename(given_up.to.join(name), dir.join(name)).unwrap();
    }
    world.start(2);
    world.says(2, &["its vote record is of cluster", &new, &old]);
}

/// E14, A6: no disk is lost and all vote records are. Epochs that were won are not won again, and nobody has to decide anything.
#[test]
fn a6_where_all_vote_records_are_lost_and_the_data_is_not_the_cluster_goes_on_in_epochs_that_nobody_can_have_voted_in()
 {
    let mut world = World::new();
    let first = world.primary(&[0, 1, 2], 2);
    assert_eq!(world.ask(first, "SET precious 1").as_deref(), Some("OK"));
    world.everywhere("precious", "1");
    (0..3).for_each(|node| world.kill(node));
    let records: Vec<_> = world.cluster.dirs.iter().map(|dir| dir.0.join("elect/vote")).collect();
    records.iter().for_each(|record| fs::remove_file(record).unwrap());

    let others: Vec<usize> = (0..3).filter(|node| *node != first).collect();
    others.iter().for_each(|node| world.start(*node));
    let second = world.primary(&others, 1);
    assert_eq!(world.ask(second, "SET precious 2").as_deref(), Some("OK"));
    assert_eq!(world.ask(second, "WAIT 1 60000").as_deref(), Some("1"));
    world.start(first);
    assert_eq!(world.primary(&[0, 1, 2], 2), second, "nobody was deposed");
    world.everywhere("precious", "2");
    (0..3).for_each(|node| world.kill(node));
    for record in &records {
        let store = block_on(FileVoteStore::open(record).unwrap().load()).unwrap();
        let epoch = decode_vote(&store.unwrap()).unwrap().epoch;
        assert!(epoch.0 > 1 << 20, "{record:?} is in epoch {epoch}, which may have been won before");
    }
}
