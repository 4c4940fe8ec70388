//! A member that is known moves to other ports, and the others are told by their files, read anew: nobody but it is restarted (M14 and T44 of
//! `docs/protocol.md`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::load::Load;
use common::process::{Process, primary};
use common::secured::Secured;
use common::{Cluster, free_port, until};
use kevy_elect_ops::members::MemberList;
use kevy_elect_ops::reload::Reloaded;
use rustix::process::Signal;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Heartbeats may be late on a busy machine.
const SETTINGS: &str = "election_timeout_ms = 15000\n";
/// Whoever waits for silence waits longer; evidence takes milliseconds, and more on a busy machine.
const BY_EVIDENCE: Duration = Duration::from_secs(10);

/// Three nodes, with keys or without.
enum Nodes {
    Plain(Cluster),
    Secured(Secured),
}

impl Nodes {
    fn cluster(&mut self) -> &mut Cluster {
        match self {
            Self::Plain(cluster) => cluster,
            Self::Secured(secured) => &mut secured.cluster,
        }
    }

    fn write(&self, node: usize) -> PathBuf {
        match self {
            Self::Plain(cluster) => {
                drop(cluster.settings(node, SETTINGS));
                cluster.dirs[node].0.join("kevy.toml")
            }
            Self::Secured(secured) => secured.write_with(node, SETTINGS),
        }
    }

    fn start(&mut self, node: usize) -> Process {
        let file = self.write(node);
        Process::start_file(&file, self.cluster().ports[node])
    }

    /// The node gets other ports, which nobody has been told.
    fn relocate(&mut self, node: usize) {
        let shards = self.cluster().shards;
        self.cluster().ports[node] = free_port(shards);
    }
}

fn reload(nodes: &Nodes, node: usize, process: &Process, moved: usize) {
    nodes.write(node);
    let said = Reloaded::read(&process.ask("ELECT MEMBERS RELOAD").unwrap()).unwrap();
    assert_eq!((said.moved, said.taken), (vec![format!("n{moved}")], Vec::<String>::new()));
    assert_eq!(said.waits, Vec::<String>::new());
}

/// Where a node says that clients reach another one.
fn place(of: &Process, node: usize) -> Option<String> {
    let list = MemberList::read(&of.ask("ELECT MEMBERS")?).ok()?;
    list.members.into_iter().find(|member| member.node == format!("n{node}"))?.addresses.clients
}

fn epoch(node: &Process) -> Option<String> {
    let said = node.ask("ELECT STATUS")?;
    said.lines().find_map(|line| line.strip_prefix("epoch:").map(str::to_owned))
}

fn stop(node: &mut Process) {
    node.signal(Signal::TERM);
    assert!(node.wait().success());
}

/// The node becomes primary by the votes of the others.
fn transfer(nodes: &[Process], to: usize) {
    until("it takes writes", || {
        let from = nodes.iter().find(|node| node.ask("SET probe 1").as_deref() == Some("OK"))?;
        if from.port == nodes[to].port {
            return Some(());
        }
        from.ask(&format!("ELECT TRANSFER n{to} TIMEOUT 20000"));
        None
    });
}

/// What was confirmed is there, and whoever is primary by now takes writes soon after the present one is killed.
fn dies_and_is_replaced(nodes: &mut [Process], dies: usize, load: &Load) {
    nodes[dies].child.kill().unwrap();
    nodes[dies].wait();
    let killed = Instant::now();
    load.replicas.store(1, Ordering::SeqCst);
    until("the next one takes writes", || {
        (0..3).find(|node| *node != dies && nodes[*node].ask("SET probe 1").as_deref() == Some("OK"))
    });
    println!("the next one took writes after {:?}", killed.elapsed());
    // By evidence from its new place, and not by silence.
    assert!(killed.elapsed() < BY_EVIDENCE, "{:?}", killed.elapsed());
    load.goes_on();
    load.over.store(true, Ordering::SeqCst);
    let confirmed = load.confirmed.load(Ordering::SeqCst);
    for (_, node) in nodes.iter().enumerate().filter(|(node, _)| *node != dies) {
        for key in 0..confirmed {
            until("what was confirmed is there", || {
                (node.ask(&format!("GET w{key}")).as_deref() == Some("1")).then_some(())
            });
        }
    }
}

/// Three nodes that are written to. One of them has new ports, which nobody has been told and which take its restart.
struct Moving<'a> {
    nodes: &'a mut Nodes,
    all: &'a mut [Process],
    load: &'a Load,
    /// The first primary, and the two behind it.
    order: [usize; 3],
    /// Where its clients will be.
    now: String,
}

/// Which of them moves is said by how far it is behind the first primary.
fn under_load(mut nodes: Nodes, behind: usize, moves: impl FnOnce(Moving<'_>)) {
    let mut all: Vec<Process> = (0..3).map(|node| nodes.start(node)).collect();
    let first = primary(&all);
    let order = [0, 1, 2].map(|step| (first + step) % 3);
    until("replicas are there", || (all[first].ask("WAIT 2 1000")? == "2").then_some(()));
    let mut ports = nodes.cluster().ports.clone();
    nodes.relocate(order[behind]);
    let port = nodes.cluster().ports[order[behind]];
    ports.push(port);
    let load = Load::default();
    load.replicas.store(1, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let _over = load.ends();
        scope.spawn(|| load.run(&ports));
        load.goes_on();
        let now = format!("127.0.0.1:{port}");
        moves(Moving { nodes: &mut nodes, all: &mut all, load: &load, order, now });
    });
}

/// The others are told before it moves.
fn a_replica_moves(nodes: Nodes) {
    under_load(nodes, 1, |Moving { nodes, all, load, order: [first, moves, other], now }| {
        let begun = epoch(&all[first]).unwrap();
        let was = place(&all[first], moves).unwrap();
        load.refused.store(0, Ordering::SeqCst);
        [first, other].into_iter().for_each(|node| reload(nodes, node, &all[node], moves));
        assert_ne!(was, now);
        for node in [first, other] {
            assert_eq!(place(&all[node], moves), Some(now.clone()));
        }
        // Its links stand as they did.
        load.replicas.store(2, Ordering::SeqCst);
        load.goes_on();
        load.replicas.store(1, Ordering::SeqCst);
        stop(&mut all[moves]);
        all[moves] = nodes.start(moves);
        load.replicas.store(2, Ordering::SeqCst);
        load.goes_on();
        assert_eq!(load.refused.load(Ordering::SeqCst), 0, "no write was refused");
        assert_eq!(epoch(&all[first]), Some(begun), "nobody was elected");
        transfer(all, moves);
        load.goes_on();
        dies_and_is_replaced(all, moves, load);
    });
}

/// The others are told after it has moved, one of them only once it reigns.
fn the_primary_moves(nodes: Nodes) {
    under_load(nodes, 0, |Moving { nodes, all, load, order: [moves, told, untold], now }| {
        stop(&mut all[moves]);
        all[moves] = nodes.start(moves);
        load.goes_on();
        reload(nodes, told, &all[told], moves);
        // Whoever of these two reigns, the moved one follows once it is found.
        transfer(all, told);
        load.goes_on();
        transfer(all, moves);
        // The one that was not told hears that it reigns, and looks for its stream where it was.
        load.goes_on();
        until("the untold one knows who reigns", || {
            let said = all[untold].ask("ELECT STATUS")?;
            said.contains(&format!("n{moves}")).then_some(())
        });
        // The one that was told may be late on a busy machine.
        until("the told one alone confirms", || {
            let said = all[moves].ask("WAIT 2 300")?;
            assert_ne!(said, "2", "the untold one has found it");
            (said == "1").then_some(())
        });
        nodes.write(untold);
        all[untold].signal(Signal::HUP);
        load.replicas.store(2, Ordering::SeqCst);
        load.goes_on();
        assert_eq!(place(&all[untold], moves), Some(now));
        dies_and_is_replaced(all, moves, load);
    });
}

#[test]
fn m14_a_replica_moves_and_the_others_are_told_before() {
    a_replica_moves(Nodes::Plain(Cluster::new(3, 1)));
}

#[test]
fn m14_a_replica_with_a_key_moves_and_the_others_are_told_before() {
    a_replica_moves(Nodes::Secured(Secured::of(Cluster::new(3, 2))));
}

#[test]
fn m14_a_primary_moves_and_the_others_are_told_after() {
    the_primary_moves(Nodes::Plain(Cluster::new(3, 2)));
}

#[test]
fn m14_a_primary_with_a_key_moves_and_the_others_are_told_after() {
    the_primary_moves(Nodes::Secured(Secured::of(Cluster::new(3, 1))));
}
