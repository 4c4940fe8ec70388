//! Three real processes that know each other by name, and a name server that falls silent.
//!
//! Needs root, for the server's port and for an `/etc/resolv.conf` that only these processes see; so it runs only when asked
//! to: `cargo test --ignore-rust-version -p kevy-server --test names -- --ignored`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{BIN, Process, confirmed, primary};
use common::{Cluster, Dir, until};
use rustix::process::Signal;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Under its own view of two files: which name server there is, and that it is asked.
const SEEING: &str = "mount --bind \"$0\" /etc/resolv.conf && mount --bind \"$1\" /etc/nsswitch.conf && exec \"$2\" --config \"$3\"";
/// Long, so that whoever waits for it is seen: a process that was killed is known to be dead at once.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(12);
/// What a name stands for.
const HERE: [u8; 4] = [127, 0, 0, 1];

/// Tells that every name is this machine, until it is told to be silent.
struct NameServer {
    silent: Arc<AtomicBool>,
    unanswered: Arc<AtomicU64>,
}

impl NameServer {
    fn start(address: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind((address, 53))
            .unwrap_or_else(|error| panic!("cannot be a name server at {address}: {error}"));
        let server = Self { silent: Arc::default(), unanswered: Arc::default() };
        let (silent, unanswered) = (Arc::clone(&server.silent), Arc::clone(&server.unanswered));
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((n, from)) = socket.recv_from(&mut query) {
                if silent.load(Ordering::SeqCst) {
                    unanswered.fetch_add(1, Ordering::SeqCst);
                } else {
                    socket.send_to(&answer(&query[..n]), from).unwrap();
                }
            }
        });
        server
    }

    fn falls_silent(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }
}

/// RFC 1035: the header, the question again, and one address if one was asked for.
fn answer(query: &[u8]) -> Vec<u8> {
    let name = query[12..].iter().position(|byte| *byte == 0).unwrap();
    let question = &query[12..12 + name + 5];
    let wants_address = question[name + 1..name + 3] == [0, 1];
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80, 0, 1, 0, u8::from(wants_address), 0, 0, 0, 0]);
    reply.extend(question);
    if wants_address {
        // The name above, an address, of the internet, not to be remembered, of four bytes.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        reply.extend(HERE);
    }
    reply
}

fn start(cluster: &Cluster, node: usize, files: &Path) -> Process {
    drop(cluster.settings(node, &format!("election_timeout_ms = {}\n", ELECTION_TIMEOUT.as_millis())));
    let config = cluster.dirs[node].0.join("kevy.toml");
    let mut text = std::fs::read_to_string(&config).unwrap();
    for peer in 0..cluster.ports.len() {
        text = text.replace(&format!("n{peer}@127.0.0.1:"), &format!("n{peer}@n{peer}.nodes.test:"));
    }
    std::fs::write(&config, text).unwrap();
    let log = std::fs::OpenOptions::new().create(true).append(true).open(cluster.dirs[node].0.join("log"));
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", SEEING]);
    command.args([files.join("resolv.conf"), files.join("nsswitch.conf"), BIN.into(), config]);
    let child = command.stderr(log.unwrap()).spawn().unwrap();
    Process { child, port: cluster.ports[node] }
}

#[test]
#[ignore = "needs root, see the head of the file"]
fn a_killed_primary_is_replaced_and_followed_while_the_name_server_is_silent() {
    let address = Ipv4Addr::new(127, 53, (std::process::id() >> 8) as u8, std::process::id() as u8);
    let (names, files) = (NameServer::start(address), Dir::new());
    // Longer than this test waits for anything.
    let resolv = format!("nameserver {address}\noptions timeout:30 attempts:5\n");
    std::fs::write(files.0.join("resolv.conf"), resolv).unwrap();
    std::fs::write(files.0.join("nsswitch.conf"), "hosts: files dns\n").unwrap();
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
    assert!(took < ELECTION_TIMEOUT / 2, "{took:?}");
    until("the other one follows the new primary", || {
        nodes[second].ask("SET after 1")?;
        (nodes[second].ask("WAIT 1 1000")? == "1").then_some(())
    });
    assert_eq!(nodes[1 - second].ask("GET after").as_deref(), Some("1"));
    // The dead one is looked for, so somebody has waited for the server all the time.
    until("the server is asked in vain", || (names.unanswered.load(Ordering::SeqCst) > 0).then_some(()));
}
