//! Nothing that a client can send keeps a node from starting, or a cluster from having a primary: neither what ends a server, nor what
//! stands in its log afterwards.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, confirmed, primary};
use common::rolling::{PATIENT, processes};
use common::{Cluster, within};
use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a command may take that waits for something.
const ANSWER_MAX: Duration = Duration::from_millis(100);
/// A node starts in so long at most, on a machine that has other work.
const STARTS_MAX: Duration = Duration::from_secs(60);

/// Every command that a node knows, and what is meant for itself.
fn verbs(node: &Process) -> Vec<String> {
    let mut client = RespClient::connect("127.0.0.1", node.port).unwrap();
    let Ok(Reply::Array(all)) = client.request_borrowed(&[b"COMMAND"]) else { panic!("no list of commands") };
    let name = |entry: &Reply| match entry {
        Reply::Array(fields) => match fields.first() {
            Some(Reply::Bulk(name) | Reply::Simple(name)) => String::from_utf8(name.clone()).ok(),
            _ => None,
        },
        _ => None,
    };
    let own = [
        "ELECT",
        "ELECT.CUT",
        "ELECT.MARK",
        "ELECT.LOAD",
        "ELECT.GO-ON",
        "ELECT.BARRIER",
        "ELECT.EXPIRED",
        "ELECT.UNBLOCK",
    ];
    let verbs: Vec<_> = all.iter().filter_map(name).chain(own.map(str::to_owned)).collect();
    assert!(verbs.len() > 150, "{verbs:?}");
    verbs
}

fn request(words: &[&str]) -> Vec<u8> {
    let word = |word: &&str| format!("${}\r\n{word}\r\n", word.len());
    format!("*{}\r\n{}", words.len(), words.iter().map(word).collect::<String>()).into_bytes()
}

/// Sends it and takes what comes for a moment, on a connection of its own.
fn send(port: u16, bytes: &[u8]) {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return };
    stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
    // It may be closed to this, and so may its answer stay away.
    let _ = stream.write_all(bytes).and_then(|()| stream.read(&mut [0; 4096]));
}

/// The ways in which `verb` may come.
fn ways(verb: &str) -> Vec<Vec<u8>> {
    let mut ways = Vec::new();
    for words in
        [vec![verb], vec![verb, "k"], vec![verb, "k", "1"], vec![verb, "1", "1", "1"], vec![verb, "NOSAVE"]]
    {
        let call: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        let script = format!("return redis.call({})", call.join(","));
        ways.push(request(&words));
        ways.push(request(&["EVAL", &script, "1", "k"]));
        ways.push([request(&["MULTI"]), request(&words), request(&["EXEC"])].concat());
    }
    ways
}

#[test]
fn whatever_clients_send_all_nodes_start_again_and_one_takes_writes() {
    let cluster = Cluster::new(3, 2);
    let (mut nodes, first) = processes(&cluster, 100);
    let verbs = verbs(&nodes[first]);
    let mut ended = 0;
    for verb in &verbs {
        for way in ways(verb) {
            for node in &mut nodes {
                send(node.port, &way);
                if node.child.try_wait().unwrap().is_some() {
                    ended += 1;
                }
            }
        }
        // A client may end a server (`SHUTDOWN`); it starts again, with what is in its log by now.
        for (number, node) in nodes.iter_mut().enumerate() {
            if node.child.try_wait().unwrap().is_some() {
                *node = Process::start(&cluster, number, PATIENT);
                let answers = within(STARTS_MAX, || node.ask("PING"));
                assert!(answers.is_some(), "node {number} does not start after {verb}");
            }
        }
    }
    println!("{} commands, {ended} looks found a server that had ended", verbs.len());
    for node in &mut nodes {
        node.child.kill().unwrap();
        node.wait();
    }
    nodes = Process::start_three(&cluster, PATIENT);
    let reigns = primary(&nodes);
    confirmed(&nodes[reigns], "SET probe 1");
    assert_eq!(nodes[reigns].ask("SET after 1").as_deref(), Some("OK"));
    assert_eq!(nodes[reigns].ask("GET after").as_deref(), Some("1"));
}
