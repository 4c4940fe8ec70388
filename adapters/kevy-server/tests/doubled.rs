//! Two processes with one node id: somebody started a second server with the primary's `node_id` while the first one
//! is cut off from its peers but not from its clients (P4 of `docs/protocol.md`), or on a third host with the id of the
//! second (T31).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{Process, confirmed, primary};
use common::{Cluster, Dir, free_port, until};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The office of these tests is not to be lost because the machine is busy.
const TIMEOUT: &str = "election_timeout_ms = 3000\n";
/// How long the first process is still watched once another one writes: longer than a lease.
const WATCH: Duration = Duration::from_millis(4500);
/// A machine may be slow; nobody elected after this is a fault.
const PATIENCE: Duration = Duration::from_secs(120);

/// Stands between two nodes and passes bytes on, until one of the two is cut off: then it keeps all connections and is
/// silent, as a network is that drops packets. Gives its port.
fn relay(target: u16, cut: [&Arc<AtomicBool>; 2]) -> u16 {
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = door.local_addr().unwrap().port();
    let cut = cut.map(Arc::clone);
    std::thread::spawn(move || {
        for near in door.incoming().flatten() {
            if is_cut(&cut) {
                // Nobody answers. The connection stays, or its end would say something.
                std::mem::forget(near);
                continue;
            }
            let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else { continue };
            pass(near.try_clone().unwrap(), far.try_clone().unwrap(), cut.clone());
            pass(far, near, cut.clone());
        }
    });
    port
}

fn is_cut(cut: &[Arc<AtomicBool>; 2]) -> bool {
    cut.iter().any(|cut| cut.load(Ordering::SeqCst))
}

fn pass(mut from: TcpStream, mut to: TcpStream, cut: [Arc<AtomicBool>; 2]) {
    from.set_nodelay(true).unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        loop {
            let read = from.read(&mut bytes);
            if is_cut(&cut) {
                std::mem::forget((from, to));
                return;
            }
            match read {
                Ok(read) if read > 0 && to.write_all(&bytes[..read]).is_ok() => {}
                _ => {
                    drop(to.shutdown(Shutdown::Both));
                    return;
                }
            }
        }
    });
}

/// The file of a node that is told of its peers' election ports by hand.
fn file(cluster: &Cluster, dir: &Dir, node: usize, port: u16, elect: [u16; 3]) -> std::path::PathBuf {
    let mut clients: Vec<u16> = cluster.ports.clone();
    clients[node] = port;
    let peers: Vec<String> =
        (0..3).map(|i| format!("\"n{i}@127.0.0.1:{}:{}\"", elect[i], clients[i])).collect();
    let path = dir.0.join("kevy.toml");
    let text = format!(
        "[server]\nport = {port}\nthreads = 1\ndata_dir = \"{}\"\n[cluster]\nnode_id = \"n{node}\"\n\
         peers = [{}]\n[elect]\nenabled = true\n{TIMEOUT}",
        dir.0.display(),
        peers.join(", ")
    );
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn p4_a_second_process_with_the_primarys_id_makes_no_second_writer() {
    let cluster = Cluster::new(3, 1);
    let cut: [Arc<AtomicBool>; 3] = Default::default();
    let elect = |node: usize| cluster.ports[node] + 200;
    let nodes: Vec<Process> = (0..3)
        .map(|from| {
            let elect = [0, 1, 2].map(|to| match to == from {
                true => elect(to),
                false => relay(elect(to), [&cut[from], &cut[to]]),
            });
            let port = cluster.ports[from];
            Process::start_file(&file(&cluster, &cluster.dirs[from], from, port, elect), port)
        })
        .collect();
    let first = primary(&nodes);
    confirmed(&nodes[first], "SET k v");

    cut[first].store(true, Ordering::SeqCst);
    let dir = Dir::new();
    let port = free_port(1);
    let mut peers = [0, 1, 2].map(elect);
    peers[first] = port + 200;
    let second = Process::start_file(&file(&cluster, &dir, first, port, peers), port);

    // When each node was asked for a write that it acknowledged, and when the answer was there. All are watched until
    // one of the others has been the writer for a while.
    let (began, others_write) = (Instant::now(), AtomicBool::new(false));
    let writes: Vec<Vec<(Instant, Instant)>> = std::thread::scope(|scope| {
        let watch = |node: &Process, is_first: bool| {
            let mut acknowledged: Vec<(Instant, Instant)> = Vec::new();
            let mut end = None;
            while end.is_none_or(|end| Instant::now() < end) {
                assert!(began.elapsed() < PATIENCE, "nobody was elected in place of the first process");
                let asked = Instant::now();
                if node.ask("SET k w").as_deref() == Some("OK") {
                    acknowledged.push((asked, Instant::now()));
                    others_write.fetch_or(!is_first, Ordering::SeqCst);
                }
                if end.is_none() && others_write.load(Ordering::SeqCst) {
                    end = Some(Instant::now() + WATCH);
                }
            }
            acknowledged
        };
        let others = (0..3).filter(|node| *node != first).map(|node| (&nodes[node], false));
        let watched: Vec<_> = [(&nodes[first], true), (&second, false)].into_iter().chain(others).collect();
        let threads: Vec<_> =
            watched.into_iter().map(|(node, first)| scope.spawn(move || watch(node, first))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let last_of_first = writes[0].last().map(|(asked, _)| *asked).expect("it writes until its lease ends");
    let others = writes[1..].iter().flatten().map(|(_, answered)| *answered).min().unwrap();
    let both = last_of_first.saturating_duration_since(others);
    assert!(both.is_zero(), "two writers for {both:?}");
}

/// A way to a port of this machine that begins at another of its addresses, as if another host took it.
fn from_another_host(target: u16) -> u16 {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = door.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for near in door.incoming().flatten() {
            let far = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            bind(&far, &std::net::SocketAddr::from((OTHER_HOST, 0))).unwrap();
            if connect(&far, &std::net::SocketAddr::from(([127, 0, 0, 1], target))).is_err() {
                continue;
            }
            let far = TcpStream::from(far);
            pass(near.try_clone().unwrap(), far.try_clone().unwrap(), Default::default());
            pass(far, near, Default::default());
        }
    });
    port
}

const OTHER_HOST: [u8; 4] = [127, 0, 0, 3];
/// How long writes go on beside it: longer than a primary would without its links.
const BESIDE: Duration = Duration::from_secs(5);

#[test]
fn t31_a_third_host_with_the_id_of_the_second_stops_nothing_and_is_named() {
    let cluster = Cluster::new(3, 1);
    let nodes = Process::start_three(&cluster, TIMEOUT);
    let first = primary(&nodes);
    let twice = |node: &Process| (node.ask("WAIT 2 1000")? == "2").then_some(());
    until("both replicas are there", || nodes[first].ask("SET k v").and_then(|_| twice(&nodes[first])));
    // The primary's own id, and then one of the two others.
    for doubled in [first, (first + 1) % 3] {
        let (dir, port) = (Dir::new(), free_port(1));
        let elect = [0, 1, 2].map(|node| match node == doubled {
            true => port + 200,
            false => from_another_host(cluster.ports[node] + 200),
        });
        let third = Process::start_file(&file(&cluster, &dir, doubled, port, elect), port);
        let logs = || {
            let own = std::fs::read_to_string(dir.0.join("log")).unwrap_or_default();
            let others = (0..3).filter(|node| *node != doubled);
            let others =
                others.map(|node| std::fs::read_to_string(cluster.dirs[node].0.join("log")).unwrap());
            (own, others.collect::<String>())
        };
        let named = |log: &str| {
            let said = format!("node n{doubled} lives at 127.0.0.1, and this is one more at 127.0.0.3");
            log.lines().any(|line| line.contains("reason=doubled") && line.contains(&said))
        };
        let begun = Instant::now();
        loop {
            assert_eq!(nodes[first].ask("SET k v").as_deref(), Some("OK"), "after {:?}", begun.elapsed());
            let (own, others) = logs();
            if begun.elapsed() > BESIDE && named(&own) && named(&others) {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "nobody is told: {own}");
        }
        until("both replicas have it", || twice(&nodes[first]));
        drop(third);
    }
}
