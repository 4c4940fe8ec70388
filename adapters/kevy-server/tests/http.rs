//! The pages of real processes, and what clients may do to them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, confirmed, primary};
use common::rolling::PATIENT;
use common::{Cluster, free_port, until};
use kevy_resp_client::RespClient;
use rustix::process::Signal;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn connect(port: u16) -> TcpStream {
    // A node may have been started only just now, and may be the last to come.
    let stream = until("the pages' port accepts", || TcpStream::connect(("127.0.0.1", port)).ok());
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    stream
}

fn send(port: u16, request: &str) -> String {
    let mut stream = connect(port);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(port: u16, path: &str) -> String {
    send(port, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
}

fn json(port: u16, path: &str) -> Value {
    let answer = get(port, path);
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// A cluster whose nodes have pages.
fn start(nodes: usize) -> (Cluster, Vec<u16>, Vec<Process>) {
    let cluster = Cluster::new(nodes, 1);
    // Above the client ports of all nodes, below their election ports.
    let ports: Vec<u16> = cluster.ports.iter().map(|port| port + 5).collect();
    let started = (0..nodes).map(|node| Process::start(&cluster, node, &listed(&ports, node))).collect();
    (cluster, ports, started)
}

/// The pages of `node`, and where the others have theirs.
fn listed(ports: &[u16], node: usize) -> String {
    let all: Vec<String> =
        ports.iter().enumerate().map(|(n, port)| format!("n{n}@127.0.0.1:{port}")).collect();
    format!("{}http_peers = \"{}\"\n", more(ports[node]), all.join(","))
}

fn more(http: u16) -> String {
    format!("{PATIENT}http = \"127.0.0.1:{http}\"\n")
}

#[test]
fn a_single_node_answers_all_methods_of_load_balancers_and_refuses_the_rest() {
    let (_cluster, http, nodes) = start(1);
    let port = http[0];
    primary(&nodes);
    until("its pages know that it is primary", || {
        ["/health", "/primary"].iter().all(|path| status(&get(port, path)) == 200).then_some(())
    });
    for path in ["/", "/metrics", "/status", "/history", "/health", "/primary"] {
        let got = get(port, path);
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {got}");
        let (head, body) = got.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{path}: {head}");
        let head = send(port, &format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(status(&head) == 200 && head.ends_with("\r\n\r\n"), "{head}");
    }
    // What HAProxy sends without further settings.
    assert_eq!(status(&send(port, "OPTIONS /primary HTTP/1.0\r\n\r\n")), 200);
    assert_eq!(status(&send(port, "OPTIONS /replica HTTP/1.0\r\n\r\n")), 503);
    let post = send(port, "POST /primary HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
    assert!(status(&post) == 405 && post.contains("Allow: GET, HEAD, OPTIONS"), "{post}");
    assert_eq!(status(&get(port, "/x")), 404);
    assert_eq!(status(&get(port, "/replica?lag=many")), 400);
    assert_eq!(status(&send(port, "\x01\x02\x03\r\n\r\n")), 400);
    let metrics = get(port, "/metrics");
    assert!(metrics.contains("kevy_elect_epoch{cluster=\"kevy\",node=\"n0\"} "), "{metrics}");
    assert!(metrics.contains("kevy_elect_vote_save_duration_seconds_bucket{"), "real buckets");
    let saved =
        metrics.lines().find(|l| l.starts_with("kevy_elect_vote_save_duration_seconds_count")).unwrap();
    assert!(!saved.ends_with(" 0"), "{saved}");
}

#[test]
fn requests_that_are_too_large_or_too_slow_are_cut_short() {
    let (_cluster, http, nodes) = start(1);
    primary(&nodes);
    let port = http[0];
    let huge = format!("GET /status HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(32 * 1024));
    assert_eq!(status(&send(port, &huge)), 431);
    let many = format!("GET /status HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100));
    assert_eq!(status(&send(port, &many)), 431);
    // A byte now and then must not keep a connection.
    let begun = Instant::now();
    let mut slow = connect(port);
    slow.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut answer = Vec::new();
    until("the slow one is cut off", || {
        let _ = slow.write(b"G");
        let mut part = [0; 1024];
        match slow.read(&mut part) {
            Ok(0) => Some(()),
            Ok(n) => {
                answer.extend_from_slice(&part[..n]);
                None
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            Err(_) => Some(()),
        }
    });
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 408"), "{answer:?}");
}

#[test]
fn thousands_of_connections_cost_little_and_keep_nobody_out() {
    const IDLE: [&str; 4] = ["async-io", "http", "probe", "stderr"];
    let (_cluster, http, nodes) = start(1);
    let port = http[0];
    primary(&nodes);
    let pid = nodes[0].child.id();
    let sockets = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    // What the start needed threads for is done.
    until("it is idle", || (nodes[0].threads_beside_kevys() == IDLE).then_some(()));
    let sockets_before = sockets();
    // Our own limit of descriptors is what bounds how many are held at a time: the eldest go.
    let mut held = std::collections::VecDeque::new();
    for n in 0..3000 {
        held.push_back(connect(port));
        if held.len() > 500 {
            held.pop_front();
        }
        if n % 500 == 499 {
            let begun = Instant::now();
            assert_eq!(status(&get(port, "/health")), 200);
            // Where the kernel's queue of the port was full, the client's kernel asks again after a second, and after two and four more.
            assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        }
    }
    until("no more are held than it holds at a time", || {
        (sockets() <= sockets_before + 64 + 1).then_some(())
    });
    // A log may be synced just now, which takes a thread for a moment.
    until("no thread was added", || (nodes[0].threads_beside_kevys() == IDLE).then_some(()));
}

#[test]
fn a_balancer_finds_the_primary_and_the_history_tells_why_also_after_a_restart() {
    let (cluster, http, mut nodes) = start(3);
    let first = primary(&nodes);
    let is = |node: usize, path: &str| status(&get(http[node], path));
    until("reads and writes have their places", || {
        (0..3)
            .all(|node| {
                let wanted = if node == first { (200, 503) } else { (503, 200) };
                (is(node, "/primary"), is(node, "/replica?lag=1000000")) == wanted
                    && is(node, "/health") == 200
            })
            .then_some(())
    });
    // The history may be a moment behind the election.
    until("the page shows the decision and the lease", || {
        let page = get(http[first], "/");
        let parts = ["<meter", "<noscript>", "<b>promoted</b>"];
        parts.iter().all(|part| page.contains(part)).then_some(())
    });
    for port in &http {
        until("both links to each peer are there", || {
            let status = json(*port, "/status");
            assert_eq!(status["primary"], Cluster::id(first).to_string());
            let linked = |peer: &Value| peer["link_out"] == true && peer["link_back"] == true;
            let peers = status["peers"].as_array().unwrap();
            (peers.len() == 2 && peers.iter().all(linked)).then_some(())
        });
    }
    until("its last transition is told", || {
        let newest = &json(http[first], "/status")["transitions"][0];
        (newest["to"] == "primary" && newest["from"] == "promoting").then_some(())
    });
    nodes[first].signal(Signal::KILL);
    nodes[first].wait();
    let second = until("another is primary", || (0..3).find(|n| *n != first && is(*n, "/primary") == 200));
    let newest = until("its history tells", || {
        let newest = json(http[second], "/history")["decisions"][0].clone();
        (newest["what"] == "promoted" && newest["why"] != "start").then_some(newest)
    });
    assert_eq!(newest["from"], Cluster::id(first).to_string());
    assert_eq!(newest["to"], Cluster::id(second).to_string());
    let voted = |vote: &Value| vote["yes"] == true && vote["position"].is_string();
    assert!(newest["votes"].as_array().unwrap().iter().any(voted), "{newest}");
    assert!(newest["phases"]["promote_ms"].is_number(), "{newest}");
    // The process goes, what it decided stays.
    nodes[second].signal(Signal::KILL);
    nodes[second].wait();
    nodes[second] = Process::start(&cluster, second, &more(http[second]));
    until("its history has it", || {
        json(http[second], "/history")["decisions"].as_array().unwrap().contains(&newest).then_some(())
    });
}

/// What `node` says of its links in the page at `port`: a word for each way of each link.
/// How far a copy is stands wherever one would look.
#[test]
fn a_copy_shows_how_far_it_is() {
    const VALUES: usize = 1_500;
    let (cluster, http, mut nodes) = start(3);
    let first = primary(&nodes);
    let last = (first + 1) % 3;
    confirmed(&nodes[first], "SET probe 1");
    nodes[last].signal(Signal::KILL);
    nodes[last].wait();
    let mut client = RespClient::connect("127.0.0.1", nodes[first].port).unwrap();
    let value = "x".repeat(100_000);
    for part in 0..VALUES / 50 {
        let sets: String = (0..50).map(|n| format!("SET k{part}:{n} {value}\r\n")).collect();
        client.pipeline_raw(sets.as_bytes(), 50).unwrap();
    }
    // It comes back without anything.
    for entry in std::fs::read_dir(&cluster.dirs[last].0).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "aof") {
            std::fs::remove_file(path).unwrap();
        }
    }
    nodes[last] = Process::start(&cluster, last, &listed(&http, last));
    let mut seen = [false; 5];
    until("it has copied", || {
        let status = |port| within_reach(port).then(|| json(port, "/status"));
        let status = status(http[last])?;
        seen[0] |= status["copy"]["bytes"].as_u64() > Some(0)
            && status["copy"]["bytes_per_second"].as_u64() > Some(0);
        seen[1] |= get(http[last], "/").contains("a copy is ");
        let copied = |line: &str| line.starts_with("kevy_server_copy_bytes{") && !line.ends_with(" 0");
        seen[2] |= get(http[last], "/metrics").lines().any(copied);
        seen[3] |= nodes[last]
            .ask("INFO replication")
            .is_some_and(|info| info.contains("elect_copy_bytes_per_second:"));
        let [bytes, rest] = ["bytes", "rest_bytes"].map(|name| status["copy"][name].as_u64());
        let all = bytes.zip(rest).filter(|(_, rest)| *rest > 0).map(|(bytes, rest)| bytes + rest);
        seen[4] |= all.is_some_and(|all| (120..180).contains(&(all / 1_000_000)));
        (status["lag"] == 0 && status["copy"].is_null()).then_some(())
    });
    let metrics = get(http[last], "/metrics");
    let copied = |line: &str| line.starts_with("kevy_server_copies_total{") && line.ends_with(" 1");
    assert!(metrics.lines().any(copied), "{metrics}");
    assert_eq!(seen, [true; 5], "status, page, metric, INFO; the rest is what is not there yet of 150 MB");
}

fn within_reach(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn row(page: &str, node: usize) -> String {
    let row = page.split(&format!("<tr><th>n{node}<td")).nth(1).unwrap_or_default();
    row.split("</tr>").next().unwrap_or_default().to_owned()
}

#[test]
fn every_page_shows_all_links_and_no_dead_peer_makes_it_slow() {
    let (_cluster, http, mut nodes) = start(3);
    let first = primary(&nodes);
    for port in &http {
        until("every node tells of both ways of both its links, and the lease is shown", || {
            let page = get(*port, "/");
            let whole = |node: &usize| {
                let row = row(&page, *node);
                row.matches('←').count() == 2 && row.matches('→').count() == 2
            };
            ((0..3).all(|node| whole(&node)) && page.contains("<meter")).then_some(())
        });
    }
    let others: Vec<usize> = (0..3).filter(|node| *node != first).collect();
    let (asked, stopped) = (others[0], others[1]);
    // Its kernel takes connections, and nothing answers on them.
    nodes[stopped].signal(Signal::STOP);
    let unknown = format!("What n{stopped} sees is not known: 127.0.0.1:{} does not answer", http[stopped]);
    until("the row of the stopped one is not known", || {
        let page = get(http[asked], "/");
        let silent = row(&page, stopped).matches('?').count() == 2 && page.contains(&unknown);
        (silent && row(&page, first).contains(&format!("from n{asked}: up"))).then_some(())
    });
    // Who only checks and scrapes makes nobody ask: this works while the stopped one still holds a request. What waits for a dead peer
    // is seldom so quick; what does not is slow only where the machine is.
    let quick = |path: &str, most: Duration| {
        until(&format!("most of {path} is served within {most:?}"), || {
            let took = (0..5).map(|_| {
                let begun = Instant::now();
                get(http[asked], path);
                begun.elapsed()
            });
            (took.filter(|took| *took < most).count() > 2).then_some(())
        });
    };
    quick("/", Duration::from_secs(1));
    ["/health", "/metrics", "/status"].iter().for_each(|path| quick(path, Duration::from_millis(250)));
    nodes[stopped].signal(Signal::KILL);
    nodes[stopped].wait();
    until("the row of the dead one says why, and the primary's says that its link is gone", || {
        let page = get(http[asked], "/");
        let gone = format!("from n{stopped}: cut, to n{stopped}: cut");
        (page.contains("cannot be reached") && row(&page, first).contains(&gone)).then_some(())
    });
}

#[test]
fn the_port_is_free_to_choose() {
    let cluster = Cluster::new(1, 1);
    let http = free_port(1);
    let node = Process::start(&cluster, 0, &more(http));
    primary(std::slice::from_ref(&node));
    assert_eq!(json(http, "/status")["role"], "primary");
}
