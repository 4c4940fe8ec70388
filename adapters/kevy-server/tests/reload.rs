//! A node that is in nobody's file becomes a voter while clients write, without a restart: entries into all files, `ELECT MEMBERS RELOAD` or
//! `SIGHUP`, start it, `members add` (M12 and M13 of `docs/protocol.md`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::load::Load;
use common::process::{Process, primary};
use common::secured::Secured;
use common::{Cluster, until};
use kevy_elect_ops::members::MemberList;
use kevy_elect_ops::reload::Reloaded;
use rustix::process::Signal;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Heartbeats may be late on a busy machine.
const SETTINGS: &str = "election_timeout_ms = 15000\nobservers = \"n3\"\n";
/// Whoever waits for silence waits longer; evidence takes milliseconds, and more on a busy machine.
const BY_EVIDENCE: Duration = Duration::from_secs(10);

/// The file of a node, which names all four.
type Write<'a> = &'a dyn Fn(usize) -> PathBuf;

/// Writes it without what it says of the fourth.
fn write_without(write: Write<'_>, node: usize) -> PathBuf {
    let file = write(node);
    let text = std::fs::read_to_string(&file).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("observers"));
    let without = lines.map(|line| {
        let words: Vec<&str> = line.split(", ").collect();
        let known = words.iter().filter(|word| !word.trim_start_matches('[').starts_with("\"n3"));
        let joined = known.copied().collect::<Vec<_>>().join(", ");
        let closed = !line.ends_with(']') || joined.ends_with(']');
        if closed { joined } else { joined + "]" }
    });
    std::fs::write(&file, without.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    file
}

fn list(node: &Process) -> Option<MemberList> {
    let said = node.ask("ELECT MEMBERS").filter(|said| !said.starts_with('-'))?;
    Some(MemberList::read(&said).unwrap())
}

fn epoch(node: &Process) -> Option<String> {
    let said = node.ask("ELECT STATUS")?;
    said.lines().find_map(|line| line.strip_prefix("epoch:").map(str::to_owned))
}

fn reload(node: &Process) -> Result<Reloaded, String> {
    let said = node.ask("ELECT MEMBERS RELOAD").unwrap();
    match said.strip_prefix('-') {
        Some(why) => Err(why.to_owned()),
        None => Ok(Reloaded::read(&said).unwrap()),
    }
}

/// Four nodes of which the fourth is added while clients write.
fn adds_the_fourth(cluster: &Cluster, write: Write<'_>) {
    let file = |node: usize| cluster.dirs[node].0.join("kevy.toml");
    let mut nodes: Vec<Process> =
        (0..3).map(|node| Process::start_file(&write_without(write, node), cluster.ports[node])).collect();
    let first = primary(&nodes);
    until("replicas are there", || (nodes[first].ask("WAIT 2 1000")? == "2").then_some(()));
    let (begun, before) = (epoch(&nodes[first]).unwrap(), list(&nodes[first]).unwrap());
    assert_eq!(before.members.len(), 3, "{before:?}");
    let load = Load::default();
    load.replicas.store(1, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let _over = load.ends();
        let writer = scope.spawn(|| load.run(&cluster.ports));
        load.goes_on();
        // It had to find the primary.
        load.refused.store(0, Ordering::SeqCst);
        let refused = nodes[first].ask("ELECT MEMBERS ADD n3").unwrap();
        assert!(refused.contains("`members reload`"), "{refused}");
        assert_eq!(reload(&nodes[first]).unwrap().taken, Vec::<String>::new(), "nothing is new");

        // A file that cannot be read changes nothing, and where it is wrong is said.
        let [one, other] = [1, 2].map(|step| (first + step) % 3);
        write(one);
        let right = std::fs::read_to_string(file(one)).unwrap();
        std::fs::write(file(one), right.clone() + "\nnonsense = [\n").unwrap();
        let why = reload(&nodes[one]).unwrap_err();
        assert!(why.contains("nothing has changed") && why.contains("kevy.toml"), "{why}");
        // So is what would take a restart, and the rest is taken.
        std::fs::write(
            file(one),
            right.replace("election_timeout_ms = 15000", "election_timeout_ms = 16000"),
        )
        .unwrap();
        let said = reload(&nodes[one]).unwrap();
        assert_eq!((said.node, said.taken), (format!("n{one}"), vec!["n3".to_owned()]));
        let named =
            |what: &str| said.waits.iter().any(|line| line.contains(what) && line.contains("restart"));
        assert!(named("election_timeout_us is 16000000"), "{:?}", said.waits);
        std::fs::write(file(one), right).unwrap();
        let again = reload(&nodes[one]).unwrap();
        assert_eq!((again.taken, again.waits), (Vec::<String>::new(), Vec::<String>::new()));
        // Only one of them knows it for a while.
        std::thread::sleep(Duration::from_secs(1));
        load.goes_on();
        // Whether each is heard at this moment is another matter.
        let names =
            |list: &MemberList| list.members.iter().map(|member| member.node.clone()).collect::<Vec<_>>();
        let now = list(&nodes[first]).unwrap();
        assert_eq!(
            (&now.generation, &now.voters, names(&now)),
            (&before.generation, &before.voters, names(&before))
        );

        write(other);
        nodes[other].signal(Signal::HUP);
        until("it has read its file", || (list(&nodes[other])?.members.len() == 4).then_some(()));
        write(first);
        assert_eq!(reload(&nodes[first]).unwrap().taken, ["n3"]);
        let known = until("it is known", || list(&nodes[first]).filter(|known| known.members.len() == 4));
        assert_eq!((&known.voters, &known.generation), (&before.voters, &before.generation));
        assert!(
            known.members.iter().any(|member| member.node == "n3" && member.kind == "observer"),
            "{known:?}"
        );

        nodes.push(Process::start_file(&write(3), cluster.ports[3]));
        until("the new one has a vote", || {
            let said = nodes[first].ask("ELECT MEMBERS ADD n3 TIMEOUT 20000")?;
            let again = said.contains("under way") || said.contains("no writes now");
            assert!(again || !said.starts_with('-') || said.contains("votes already"), "{said}");
            nodes.iter().all(|node| list(node).is_some_and(|list| list.voters.len() == 4)).then_some(())
        });
        // A quorum of four is three.
        load.replicas.store(2, Ordering::SeqCst);
        load.goes_on();
        assert_eq!(load.refused.load(Ordering::SeqCst), 0, "no write was refused");
        assert_eq!(epoch(&nodes[first]), Some(begun.clone()), "nobody was elected");
        until("all have all", || (nodes[first].ask("WAIT 3 1000")? == "3").then_some(()));

        // It had no vote record: a quorum tells it that it has forgotten nothing (A4).
        let log = cluster.dirs[3].0.join("log");
        until("it is admitted", || {
            std::fs::read_to_string(&log).unwrap().contains("event=admitted").then_some(())
        });

        // Three are left of four: nobody is elected without the vote of the new one.
        nodes[first].child.kill().unwrap();
        nodes[first].wait();
        let killed = Instant::now();
        let next = until("the next one takes writes", || {
            (0..4).find(|node| *node != first && nodes[*node].ask("SET probe 1").as_deref() == Some("OK"))
        });
        println!("the next one took writes after {:?}", killed.elapsed());
        // By evidence, and not by silence.
        assert!(killed.elapsed() < BY_EVIDENCE, "{:?}", killed.elapsed());
        assert_ne!(epoch(&nodes[next]), Some(begun));
        load.goes_on();
        load.over.store(true, Ordering::SeqCst);
        println!("longest gap {:?}", writer.join().unwrap());
    });
    let confirmed = load.confirmed.load(Ordering::SeqCst);
    println!("{confirmed} writes confirmed");
    for (_, node) in nodes.iter().enumerate().filter(|(node, _)| *node != first) {
        for key in 0..confirmed {
            until("what was confirmed is there", || {
                (node.ask(&format!("GET w{key}")).as_deref() == Some("1")).then_some(())
            });
        }
    }
}

#[test]
fn m12_a_node_becomes_a_voter_while_clients_write_and_nobody_is_restarted() {
    let cluster = Cluster::new(4, 1);
    adds_the_fourth(&cluster, &|node| {
        drop(cluster.settings(node, SETTINGS));
        cluster.dirs[node].0.join("kevy.toml")
    });
}

#[test]
fn m12_a_node_with_a_key_becomes_a_voter_while_clients_write_and_nobody_is_restarted() {
    let secured = Secured::of(Cluster::new(4, 2));
    adds_the_fourth(&secured.cluster, &|node| secured.write_with(node, SETTINGS));
}
