//! What `WAIT` counts: acknowledgements of this reign, by configured nodes, each once.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::{Cluster, Node, until, until_reads};
use futures::executor::block_on;
use kevy_elect_plugin::host::{FenceReason, ReplicationHost};
use kevy_elect_plugin::ids::Epoch;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A replica as a process that is stopped: its connection is up, and it does nothing by itself.
struct Stopped(TcpStream);

impl Stopped {
    /// Connects to the first shard of `primary` under `name`, as a replica that has all of `generation` up to `offset`.
    fn connect(primary: &Node, name: &str, (generation, offset): (u64, u64)) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", primary.port + 10_000)).unwrap();
        socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
        let (generation, offset) = (generation.to_string(), offset.to_string());
        let mut request = "*6\r\n".to_owned();
        for word in ["REPLICATE", "FROM", &generation, &offset, "ID", name] {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 5];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+ACK ");
        Self(socket)
    }

    /// Reads what comes until the primary ends the connection.
    fn wait_ended(&mut self) {
        while self.0.read(&mut [0; 64]).unwrap() > 0 {}
    }

    fn acknowledge(&mut self, offset: u64) {
        self.0.write_all(&kevy_replicate::wire::encode_replconf_ack(offset)).unwrap();
    }
}

/// The stream of the primary's first shard: generation and next offset.
fn tail(primary: &Node) -> (u64, u64) {
    let reply = primary.client().ask("FEED.TAIL 0");
    let mut numbers =
        reply.trim_matches(['[', ']']).split(' ').map(|n| n.trim_start_matches(':').parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

fn name(cluster: &Cluster, node: usize, epoch: u64, flushes: u64) -> String {
    format!("kevy-replica-n{node}.{epoch}.{flushes}-{}#0.1", cluster.ports[node])
}

fn write(primary: &Node, count: usize) {
    let mut client = primary.client();
    for n in 0..count {
        assert_eq!(client.ask(&format!("SET k{n} v")), "+OK");
    }
}

/// The office changes hands, and comes back to the same process.
fn lose_and_win(node: &Node, epoch: u64) {
    node.fence(FenceReason::StepDown);
    node.host.detach();
    node.promote(epoch);
}

#[test]
fn an_acknowledgement_of_an_earlier_reign_of_the_same_process_does_not_count() {
    let cluster = Cluster::new(3, 1);
    let node = cluster.start(0);
    node.promote(1);
    write(&node, 100);
    let mut stopped = Stopped::connect(&node, &name(&cluster, 1, 1, 0), tail(&node));
    stopped.acknowledge(tail(&node).1);
    until("it counts in its own reign", || (node.client().ask("WAIT 1 1000") == ":1").then_some(()));
    for epoch in [2, 3, 4] {
        lose_and_win(&node, epoch);
        write(&node, 1);
        assert_eq!(node.client().ask("WAIT 1 300"), ":0", "epoch {epoch}");
    }
    // Nor when it connects again as what it was: each connection has a name of its own.
    let again = name(&cluster, 1, 1, 0).replace("#0.1", "#0.2");
    let _again = Stopped::connect(&node, &again, (7, 7));
    for _ in 0..20 {
        write(&node, 1);
        assert_eq!(node.client().ask("WAIT 1 20"), ":0");
    }
}

#[test]
fn a_wait_that_is_parked_ends_with_the_reign() {
    let cluster = Cluster::new(2, 1);
    let (node, replica) = (cluster.start(0), cluster.start(1));
    node.promote(1);
    write(&node, 3);
    let mut wait = Waiting::park(&node, "WAIT 1 50000");
    lose_and_win(&node, 2);
    replica.follow(2, &node);
    replica.wait_joined(2);
    write(&node, 100);
    assert_eq!(node.client().ask("WAIT 1 60000"), ":1", "the new reign's own");
    assert_ne!(wait.answer().as_deref(), Some(":1"), "a write of another reign was confirmed");
}

/// A client that waits, and whose command the server has read.
struct Waiting(BufReader<TcpStream>);

impl Waiting {
    fn park(node: &Node, command: &str) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", node.port)).unwrap();
        socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
        // Commands that come together are read in one turn of the shard.
        socket.write_all(format!("PING\r\n{command}\r\n").as_bytes()).unwrap();
        let mut waiting = Self(BufReader::new(socket));
        assert_eq!(waiting.answer().as_deref(), Some("+PONG"));
        waiting
    }

    /// What comes; nothing if the server ends the connection.
    fn answer(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it waits on");
                None
            }
        }
    }

    fn has_no_answer(&self) -> bool {
        let socket = self.0.get_ref();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let nothing =
            socket.peek(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
        nothing
    }
}

/// Far below every timeout of the waits here, far above what it takes.
const AT_ONCE: Duration = Duration::from_secs(10);

#[test]
fn a_parked_wait_ends_at_once_when_the_office_is_lost() {
    for shards in [1, 2] {
        let cluster = Cluster::new(2, shards);
        let (node, other) = (cluster.start(0), cluster.start(1));
        let lost: [(&str, &dyn Fn(u64)); 4] = [
            ("deposed", &|epoch| block_on(node.host.fence(Epoch(epoch), FenceReason::Deposed)).unwrap()),
            ("stopped", &|epoch| block_on(node.host.fence(Epoch(epoch), FenceReason::Stopped)).unwrap()),
            ("votes for another", &|_| drop(node.host.detach())),
            ("replaced while its lease was over", &|epoch| node.follow(epoch + 1, &other)),
        ];
        for (round, (how, lose)) in lost.into_iter().enumerate() {
            let epoch = 10 * (round as u64 + 1);
            node.promote(epoch);
            write(&node, 3);
            let mut waits = [Waiting::park(&node, "WAIT 1 50000"), Waiting::park(&node, "WAIT 1 0")];
            assert!(waits.iter().all(Waiting::has_no_answer), "{how}");
            node.fence(FenceReason::LeaseExpired);
            let start = Instant::now();
            lose(epoch);
            for wait in &mut waits {
                assert_ne!(wait.answer().as_deref(), Some(":1"), "{how}: nobody has confirmed it");
            }
            assert!(start.elapsed() < AT_ONCE, "{how}: it took {:?}", start.elapsed());
        }
    }
}

#[test]
fn a_parked_wait_goes_on_when_only_the_lease_was_over() {
    let cluster = Cluster::new(2, 1);
    let (node, replica) = (cluster.start(0), cluster.start(1));
    node.promote(1);
    write(&node, 3);
    let mut wait = Waiting::park(&node, "WAIT 1 50000");
    for reason in [FenceReason::LeaseExpired, FenceReason::LinksLost, FenceReason::StepDown] {
        node.fence(reason);
        block_on(node.host.fence(Epoch(1), reason)).unwrap();
    }
    *node.office.gate.lock().unwrap() = Ok(());
    assert!(wait.has_no_answer());
    replica.follow(1, &node);
    assert_eq!(wait.answer().as_deref(), Some(":1"), "the reign went on");
}

#[test]
fn a_wait_for_a_place_in_a_stream_ends_with_that_stream() {
    let cluster = Cluster::new(3, 1);
    let (first, second, replica) = (cluster.start(0), cluster.start(1), cluster.start(2));
    first.promote(1);
    write(&first, 10);
    replica.follow(1, &first);
    replica.wait_joined(1);
    let (generation, next) = tail(&first);
    let ahead = format!("REPL.WAIT {generation} {} TIMEOUT 50000", next + 5);
    let mut wait = Waiting::park(&replica, &ahead);
    assert!(wait.has_no_answer());
    second.promote(2);
    write(&second, 100);
    let start = Instant::now();
    replica.follow(2, &second);
    assert_ne!(wait.answer().as_deref(), Some("+OK"), "that place was never reached");
    assert!(start.elapsed() < AT_ONCE);
    // The same where the node becomes the primary itself.
    until("it follows again", || replica.has_joined(2).then_some(()));
    let (generation, next) = tail(&second);
    let mut wait = Waiting::park(&replica, &format!("REPL.WAIT {generation} {} TIMEOUT 5000", next + 5));
    assert!(wait.has_no_answer());
    replica.host.detach();
    replica.promote(3);
    write(&replica, 200);
    assert_ne!(wait.answer().as_deref(), Some("+OK"), "that place was never reached");
}

#[test]
fn a_replica_that_starts_anew_leaves_the_others_to_count() {
    let cluster = Cluster::new(3, 1);
    let [node, _replica] = cluster.reigning(1);
    write(&node, 10);
    assert_eq!(node.client().ask("WAIT 1 60000"), ":1");
    // As after an overflow of its buffer: it comes back under another name and has acknowledged nothing yet.
    let _anew = Stopped::connect(&node, &name(&cluster, 2, 1, 1), (0, 0));
    for _ in 0..20 {
        write(&node, 1);
        assert_eq!(node.client().ask("WAIT 1 60000"), ":1");
    }
    assert_eq!(node.client().ask("WAIT 2 50"), ":1");
}

#[test]
fn who_is_no_configured_node_does_not_count() {
    let cluster = Cluster::new(3, 1);
    let node = cluster.start(0);
    node.promote(1);
    write(&node, 10);
    let (_, next) = tail(&node);
    for stranger in
        ["kevy-replica-6004#0".to_owned(), name(&cluster, 2, 1, 0).replace("n2", "n7"), "x".to_owned()]
    {
        let mut stranger = Stopped::connect(&node, &stranger, tail(&node));
        // Once it was seen.
        std::thread::sleep(Duration::from_millis(200));
        drop(stranger.0.write_all(&kevy_replicate::wire::encode_replconf_ack(next)));
        assert_eq!(node.client().ask("WAIT 1 100"), ":0");
    }
}

#[test]
fn a_node_with_two_connections_counts_once() {
    let cluster = Cluster::new(3, 1);
    let node = cluster.start(0);
    node.promote(1);
    write(&node, 10);
    let mut first = Stopped::connect(&node, &name(&cluster, 1, 1, 0), tail(&node));
    first.acknowledge(10);
    until("it counts", || (node.client().ask("WAIT 1 1000") == ":1").then_some(()));
    let mut second = Stopped::connect(&node, &name(&cluster, 1, 1, 0).replace("#0.1", "#0.2"), tail(&node));
    first.wait_ended();
    second.acknowledge(10);
    until("the newer one counts", || (node.client().ask("WAIT 1 1000") == ":1").then_some(()));
    assert_eq!(node.client().ask("WAIT 2 100"), ":1");
}

#[test]
fn a_wait_in_a_loop_takes_less_time_than_acknowledgements_are_apart_in_a_busy_stream() {
    const ROUNDS: usize = 100;
    for shards in [1, 2] {
        let cluster = Cluster::new(2, shards);
        let [node, _replica] = cluster.reigning(1);
        let mut client = node.client();
        let mut round = |n: usize| {
            assert_eq!(client.ask(&format!("SET k{n} v")), "+OK");
            let start = Instant::now();
            assert_eq!(client.ask("WAIT 1 60000"), ":1");
            start.elapsed()
        };
        // Whatever else this machine does: some hundred in a row find it at leisure.
        until("half of them take less than 3 ms", || {
            let mut took: Vec<Duration> = (0..ROUNDS).map(&mut round).collect();
            took.sort();
            (took[ROUNDS / 2] < Duration::from_millis(3)).then_some(())
        });
    }
}

#[test]
fn after_a_flush_acknowledgements_count_again() {
    let cluster = Cluster::new(2, 2);
    let [node, replica] = cluster.reigning(1);
    write(&node, 100);
    assert_eq!(node.client().ask("WAIT 1 60000"), ":1");
    for round in 0..3 {
        assert_eq!(node.client().ask("FLUSHALL"), "+OK");
        assert_eq!(node.client().ask(&format!("SET after {round}")), "+OK");
        until("it is confirmed", || (node.client().ask("WAIT 1 1000") == ":1").then_some(()));
        until_reads(&replica, "after", &round.to_string());
    }
}
