//! What strangers, and members under another's name, get at the ports of the streams. Sentences S11, T29, T32 and T33 of
//! `docs/protocol.md`. On real processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, primary};
use common::rolling::PATIENT;
use common::secured::Secured;
use common::{Client, Cluster, until};
use kevy_noise::Keypair;
use kevy_replicate::feed::FeedPosition;
use kevy_replicate::replica::{ConnectOptions, ReplicaClient, ReplicaSecurity};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How many of each kind come.
const STRANGERS: usize = 300;
/// What they may cost a server for good in memory: far below a copy for each of them.
const MEMORY_KB_MAX: u64 = 48 << 10;
/// What a copy of the data takes here.
const DATA_BYTES: usize = 8 << 20;
/// And of so much that it takes more than a moment.
const LARGE: usize = 64 << 20;

fn status(process: &Process, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn descriptors(process: &Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", process.child.id())).unwrap().count()
}

/// What a replica says first, in plain.
fn greeting(name: &str, (generation, offset): (u64, u64)) -> Vec<u8> {
    let (generation, offset) = (generation.to_string(), offset.to_string());
    let words = ["REPLICATE", "FROM", &generation, &offset, "ID", name];
    let bulks: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*6\r\n{bulks}").into_bytes()
}

/// Connects and says something; nothing where it is not let in.
fn say(to: SocketAddr, bytes: &[u8]) -> Option<TcpStream> {
    let mut socket = TcpStream::connect_timeout(&to, Duration::from_secs(5)).ok()?;
    socket.write_all(bytes).ok()?;
    Some(socket)
}

/// Reads to the end; says how much came.
fn drain(mut socket: &TcpStream) -> usize {
    socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let (mut bytes, mut buffer) = (0, [0; 4096]);
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return bytes,
            Ok(read) => bytes += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("it stays"),
            Err(_) => return bytes,
        }
    }
}

/// Generation and end of the stream of the first shard.
fn tail(primary: &Process) -> (u64, u64) {
    let reply = Client::connect(primary.port).ask("FEED.TAIL 0");
    let mut numbers =
        reply.trim_matches(['[', ']']).split(' ').map(|n| n.trim_start_matches(':').parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// A line of `INFO replication`.
fn info(node: &Process, name: &str) -> String {
    let text = node.ask("INFO replication").unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap().trim().to_owned()
}

/// A write that exactly so many replicas can confirm.
#[track_caller]
fn confirmed(node: &Process, replicas: usize) {
    until(&format!("a write is confirmed by {replicas}"), || {
        node.ask("SET k v").filter(|said| said == "OK")?;
        (node.ask(&format!("WAIT {replicas} 1000"))? == replicas.to_string()).then_some(())
    });
}

fn fill(node: &Process) {
    fill_part(node, 0);
}

fn fill_part(node: &Process, part: usize) {
    let value = "v".repeat(64 << 10);
    let mut client = Client::connect(node.port);
    for n in 0..DATA_BYTES / value.len() {
        assert_eq!(client.ask(&format!("SET data{part}:{n} {value}")), "+OK");
    }
}

/// As a stranger would call himself who knows everything but the key: the name of this node's next connection.
fn name(cluster: &Cluster, primary: &Process, node: usize, number: u64) -> String {
    let (epoch, port) = (info(primary, "elect_epoch"), cluster.ports[node]);
    format!("kevy-replica-n{node}.{epoch}.0-{port}#0.{}", 99_999_999_999_999_999 + number)
}

#[test]
fn t32_who_acknowledges_under_another_members_name_is_not_counted() {
    let cluster = Secured::new(1);
    let mut nodes = cluster.start_all();
    let first = primary(&nodes);
    confirmed(&nodes[first], 2);
    let [honest, liar] = [1, 2].map(|n| (first + n) % 3);
    nodes[liar].child.kill().unwrap();
    nodes[liar].wait();
    confirmed(&nodes[first], 1);

    let (generation, offset) = tail(&nodes[first]);
    let claimed = name(&cluster.cluster, &nodes[first], honest, 0);
    // Without a proof, and with one that is made up.
    for name in [claimed.clone(), format!("{claimed}.{}", "0".repeat(32))] {
        let (own, theirs) = (Keypair::from_secret(cluster.private(liar)), cluster.public(first));
        let options = ConnectOptions::new(name)
            .with_from(FeedPosition::new(generation, offset))
            .with_timeout(common::PATIENCE)
            .with_security(ReplicaSecurity::new(own, theirs));
        let mut feed = ReplicaClient::connect_with(cluster.stream(first), &options).unwrap();
        // It may have been turned away by then.
        drop(feed.send_ack(u64::MAX / 4));
        feed.socket_handle().unwrap().set_read_timeout(Some(common::PATIENCE)).unwrap();
        // To its end, or until nothing comes any more.
        while let Some(Ok(_)) = feed.next_event() {}
        assert_eq!(nodes[first].ask("SET k w").as_deref(), Some("OK"));
        // 0 for as long as the connection is there (S11).
        until("the honest one alone is counted", || {
            let counted = nodes[first].ask("WAIT 2 300")?;
            assert!(counted == "0" || counted == "1", "{counted}");
            (counted == "1").then_some(())
        });
    }
    until("it is said", || cluster.log(first).contains("event=replica_refused").then_some(()));
}

#[test]
fn t29_strangers_cost_a_secure_cluster_neither_a_copy_nor_a_name_nor_descriptors_for_good() {
    let cluster = Secured::new(1);
    let nodes = cluster.start_all();
    let first = primary(&nodes);
    fill(&nodes[first]);
    confirmed(&nodes[first], 2);
    let (epoch, replica) = (info(&nodes[first], "elect_epoch"), (first + 1) % 3);
    for at in [first, replica] {
        let (stream, node) = (cluster.stream(at), &nodes[at]);
        let (memory, descriptors_before) = (status(node, "VmRSS"), descriptors(node));
        let mut held = Vec::new();
        for n in 0..STRANGERS as u64 {
            let name = name(&cluster.cluster, &nodes[first], replica, n);
            // Nothing; a piece of a greeting; two in plain; garbage.
            held.extend(say(stream, b""));
            held.extend(say(stream, &[0, 96, 1, 2, 3]));
            held.extend(say(stream, &greeting(&name, (0, 0))));
            // In plain kevy a name with a zero byte ends the shard.
            held.extend(say(stream, &greeting("a\0b", (0, 0))));
            held.extend(say(stream, &[255; 512]));
        }
        let options = ConnectOptions::new(name(&cluster.cluster, &nodes[first], replica, 0))
            .with_security(ReplicaSecurity::new(Keypair::from_secret([9; 32]), cluster.public(at)));
        for _ in 0..20 {
            assert!(ReplicaClient::connect_with(stream, &options).is_err(), "a key of nobody");
        }
        // Whoever is there all the time is heard all the time.
        confirmed(&nodes[first], 2);
        for socket in &held {
            assert_eq!(drain(socket), 0, "something was sent to a stranger");
        }
        until("its descriptors are back", || (descriptors(node) < descriptors_before + 40).then_some(()));
        let grown = status(node, "VmRSS").saturating_sub(memory);
        assert!(grown < MEMORY_KB_MAX, "{grown} KiB for {} strangers", held.len());
    }
    confirmed(&nodes[first], 2);
    assert_eq!(info(&nodes[first], "elect_epoch"), epoch, "nobody was elected");
}

#[test]
fn s11_without_keys_names_of_no_member_get_nothing_and_are_gone_at_once() {
    let cluster = Cluster::new(3, 1);
    let nodes: Vec<Process> = (0..3).map(|node| Process::start(&cluster, node, PATIENT)).collect();
    let first = primary(&nodes);
    fill(&nodes[first]);
    confirmed(&nodes[first], 2);
    let replica = (first + 1) % 3;
    for at in [first, replica] {
        let stream = SocketAddr::from(([127, 0, 0, 1], cluster.ports[at] + 10_000));
        for n in 0..20 {
            let mut stranger = say(stream, &greeting(&format!("stranger{n}"), tail(&nodes[at]))).unwrap();
            drop(stranger.write_all(&kevy_replicate::wire::encode_replconf_ack(u64::MAX / 4)));
            drain(&stranger);
        }
        let silent: Vec<TcpStream> = (0..STRANGERS).filter_map(|_| say(stream, b"*6\r\n")).collect();
        silent.iter().for_each(|socket| assert_eq!(drain(socket), 0));
    }
    confirmed(&nodes[first], 2);
    until("nobody else is counted", || {
        let said = nodes[first].ask("WAIT 3 300")?;
        assert_ne!(said, "3", "a stranger is counted");
        (said == "2").then_some(())
    });
}

/// kevy asks nobody before it begins a copy. A stranger is found at the next tick, and that comes at once.
#[test]
fn s11_without_keys_a_stranger_who_asks_for_a_copy_has_gone_before_it_has_come() {
    let cluster = Cluster::new(3, 1);
    let nodes: Vec<Process> = (0..3).map(|node| Process::start(&cluster, node, PATIENT)).collect();
    let first = primary(&nodes);
    (0..LARGE / DATA_BYTES).for_each(|part| fill_part(&nodes[first], part));
    confirmed(&nodes[first], 2);
    for at in [first, (first + 1) % 3] {
        let stream = SocketAddr::from(([127, 0, 0, 1], cluster.ports[at] + 10_000));
        for n in 0..10 {
            let stranger = say(stream, &greeting(&format!("stranger{n}"), (0, 0))).unwrap();
            let came = drain(&stranger);
            assert!(came < LARGE / 2, "{came} bytes were sent to a stranger");
        }
    }
    confirmed(&nodes[first], 2);
}
