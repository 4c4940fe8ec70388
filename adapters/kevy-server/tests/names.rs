//! Three real processes that know each other by name, and a name server that falls silent, or tells of another address than before.
//!
//! Needs root, for the server's port and for an `/etc/resolv.conf` that only these processes see; so it runs only when asked
//! to: `cargo test --ignore-rust-version -p kevy-server --test names -- --ignored`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{BIN, Process, confirmed, primary};
use common::{Cluster, Dir, until};
use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Under its own view of two files: which name server there is, and that it is asked.
const SEEING: &str = "mount --bind \"$0\" /etc/resolv.conf && mount --bind \"$1\" /etc/nsswitch.conf && exec \"$2\" --config \"$3\"";
/// Long, so that whoever waits for it is seen: a process that was killed is known to be dead at once.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(12);
/// Whoever asks the name server waits for longer than that before it gives up.
const NAMES_TIMEOUT: Duration = Duration::from_secs(30);
/// A failover, and a retarget behind it: milliseconds each, and time for a machine that has other work.
const QUICK: Duration = Duration::from_millis(ELECTION_TIMEOUT.as_millis() as u64 * 3 / 4);
/// What a name stands for, unless it is said otherwise.
const HERE: [u8; 4] = [127, 0, 0, 1];

/// Tells that every name is this machine, at the address that it is told, until it is told to be silent.
struct NameServer {
    silent: Arc<AtomicBool>,
    unanswered: Arc<AtomicU64>,
    /// Where names are that begin so.
    places: Places,
}

type Places = Arc<Mutex<BTreeMap<String, [u8; 4]>>>;

impl NameServer {
    fn start(address: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind((address, 53))
            .unwrap_or_else(|error| panic!("cannot be a name server at {address}: {error}"));
        let server = Self { silent: Arc::default(), unanswered: Arc::default(), places: Arc::default() };
        let (silent, unanswered) = (Arc::clone(&server.silent), Arc::clone(&server.unanswered));
        let places = Arc::clone(&server.places);
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((n, from)) = socket.recv_from(&mut query) {
                if silent.load(Ordering::SeqCst) {
                    unanswered.fetch_add(1, Ordering::SeqCst);
                } else {
                    socket.send_to(&answer(&query[..n], &places), from).unwrap();
                }
            }
        });
        server
    }

    /// From now on `node` is there.
    fn moves(&self, node: usize, to: [u8; 4]) {
        self.places.lock().unwrap().insert(format!("n{node}"), to);
    }

    fn falls_silent(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }
}

/// RFC 1035: the header, the question again, and one address if one was asked for.
fn answer(query: &[u8], places: &Places) -> Vec<u8> {
    let name = query[12..].iter().position(|byte| *byte == 0).unwrap();
    let question = &query[12..12 + name + 5];
    let wants_address = question[name + 1..name + 3] == [0, 1];
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80, 0, 1, 0, u8::from(wants_address), 0, 0, 0, 0]);
    reply.extend(question);
    if wants_address {
        // The name above, an address, of the internet, not to be remembered, of four bytes.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        let first = &question[1..1 + usize::from(question[0])];
        let place = places.lock().unwrap().get(&*String::from_utf8_lossy(first)).copied();
        reply.extend(place.unwrap_or(HERE));
    }
    reply
}

fn start(cluster: &Cluster, node: usize, files: &Path) -> Process {
    start_at(cluster, node, HERE, files)
}

fn start_at(cluster: &Cluster, node: usize, place: [u8; 4], files: &Path) -> Process {
    drop(cluster.settings(node, &format!("election_timeout_ms = {}\n", ELECTION_TIMEOUT.as_millis())));
    let config = cluster.dirs[node].0.join("kevy.toml");
    let mut text = std::fs::read_to_string(&config).unwrap();
    for peer in 0..cluster.ports.len() {
        text = text.replace(&format!("n{peer}@127.0.0.1:"), &format!("n{peer}@n{peer}.nodes.test:"));
    }
    text = text.replacen("[server]\n", &format!("[server]\nbind = \"{}\"\n", Ipv4Addr::from(place)), 1);
    std::fs::write(&config, text).unwrap();
    let log = std::fs::OpenOptions::new().create(true).append(true).open(cluster.dirs[node].0.join("log"));
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", SEEING]);
    command.args([files.join("resolv.conf"), files.join("nsswitch.conf"), BIN.into(), config]);
    let child = command.stderr(log.unwrap()).spawn().unwrap();
    Process { child, port: cluster.ports[node] }
}

/// One of its own for each test, and the files that send processes there.
fn name_server(test: u8) -> (NameServer, Dir) {
    let address = Ipv4Addr::new(127, 52 + test, (std::process::id() >> 8) as u8, std::process::id() as u8);
    let (names, files) = (NameServer::start(address), Dir::new());
    let timeout = NAMES_TIMEOUT.as_secs();
    let resolv = format!("nameserver {address}\noptions timeout:{timeout} attempts:5\n");
    std::fs::write(files.0.join("resolv.conf"), resolv).unwrap();
    std::fs::write(files.0.join("nsswitch.conf"), "hosts: files dns\n").unwrap();
    (names, files)
}

#[test]
#[ignore = "needs root, see the head of the file"]
fn a_killed_primary_is_replaced_and_followed_while_the_name_server_is_silent() {
    let (names, files) = name_server(1);
    let cluster = Cluster::new(3, 1);
    let mut nodes: Vec<Process> = (0..3).map(|node| start(&cluster, node, &files.0)).collect();
    let first = primary(&nodes);
    confirmed(&nodes[first], "SET k v");
    names.falls_silent();
    let begun = Instant::now();
    nodes[first].signal(Signal::KILL);
    nodes[first].wait();
    nodes.remove(first);
    let second = primary(&nodes);
    let took = begun.elapsed();
    println!("a write on the next primary {took:?} after the kill");
    assert!(took < QUICK, "{took:?}, with an election timeout of {ELECTION_TIMEOUT:?}");
    let begun = Instant::now();
    until("the other one follows the new primary", || {
        nodes[second].ask("SET after 1")?;
        (nodes[second].ask("WAIT 1 1000")? == "1").then_some(())
    });
    let took = begun.elapsed();
    println!("a write that the other one confirms {took:?} later");
    assert!(
        took < QUICK,
        "{took:?} until it follows, and {NAMES_TIMEOUT:?} until the name server is given up"
    );
    until("it can be read there", || (nodes[1 - second].ask("GET after")? == "1").then_some(()));
    // The dead one is looked for, so somebody has waited for the server all the time.
    until("the server is asked in vain", || (names.unanswered.load(Ordering::SeqCst) > 0).then_some(()));
}

/// What the node at this place says.
fn ask(place: [u8; 4], port: u16, line: &str) -> Option<String> {
    let mut client = RespClient::connect(&Ipv4Addr::from(place).to_string(), port).ok()?;
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    match client.request_borrowed(&words).ok()? {
        Reply::Simple(text) | Reply::Bulk(text) => Some(String::from_utf8_lossy(&text).into_owned()),
        Reply::Error(text) => Some(format!("-{}", String::from_utf8_lossy(&text))),
        Reply::Int(n) => Some(n.to_string()),
        _ => None,
    }
}

/// A node comes back under another address: the others look its name up again, elect with it, and follow it there. None of them is started anew.
#[test]
#[ignore = "needs root, see the head of the file"]
fn a_node_that_comes_back_at_another_address_is_found_by_its_name() {
    const BEFORE: [u8; 4] = [127, 0, 0, 2];
    const AFTER: [u8; 4] = [127, 0, 0, 3];
    let (names, files) = name_server(2);
    let cluster = Cluster::new(3, 1);
    let (moving, port) = (2, cluster.ports[2]);
    names.moves(moving, BEFORE);
    let nodes: Vec<Process> = (0..2).map(|node| start(&cluster, node, &files.0)).collect();
    let mut moved = start_at(&cluster, moving, BEFORE, &files.0);
    // Whoever reigns: not the one that moves.
    let confirmed = |write: &str| {
        until("both replicas confirm", || {
            let first = nodes.iter().find(|node| node.ask(write).as_deref() == Some("OK"));
            let Some(first) = first else {
                ask(BEFORE, port, "ELECT TRANSFER");
                return None;
            };
            (first.ask("WAIT 2 1000")? == "2").then_some(())
        });
    };
    confirmed("SET before 1");
    moved.signal(Signal::TERM);
    moved.wait();
    names.moves(moving, AFTER);
    let mut moved = start_at(&cluster, moving, AFTER, &files.0);
    confirmed("SET after 1");
    until("it can be read there", || (ask(AFTER, port, "GET after")? == "1").then_some(()));
    assert_eq!(ask(BEFORE, port, "PING"), None, "nothing is there any more");
    // It is elected there, and followed there.
    until("it takes the office", || {
        nodes.iter().for_each(|node| drop(node.ask("ELECT TRANSFER n2")));
        (ask(AFTER, port, "SET moved 1")? == "OK").then_some(())
    });
    until("both others follow it", || {
        ask(AFTER, port, "SET moved 1")?;
        (ask(AFTER, port, "WAIT 2 1000")? == "2").then_some(())
    });
    moved.signal(Signal::TERM);
    moved.wait();
    assert_eq!(nodes[primary(&nodes)].ask("GET moved").as_deref(), Some("1"));
}
