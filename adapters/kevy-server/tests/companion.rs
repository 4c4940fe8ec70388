//! A server's companion says that it is dead, whatever the kernel still has to do with it. Sentences B1 to B8 of
//! `docs/protocol.md` on real servers.
//!
//! These tests hold duplicates of a server's sockets. So the kernel does not end them when the server dies, as if its memory took for
//! ever to be taken apart.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::metrics::{metric, with_pages};
use common::process::{BIN, Process, confirmed, primary};
use common::{Cluster, until, within};
use rustix::fd::OwnedFd;
use rustix::net::sockopt::socket_acceptconn;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, kill_process, pidfd_getfd, pidfd_open};
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// Silence is noticed after this, and a death without it.
const SILENCE: &str = "election_timeout_ms = 60000\nheartbeat_interval_ms = 500\n";
/// Long enough for a death to be seen on a loaded machine, and far shorter than the silence.
const SOON: Duration = Duration::from_secs(30);
/// For how long nothing must happen.
const QUIET: Duration = Duration::from_secs(1);

/// Three nodes whose pages are on, the last one the primary, and two replicas that have its data.
fn three(more: &str) -> (Cluster, Vec<Process>, Process) {
    let cluster = Cluster::new(3, 2);
    let mut nodes: Vec<Process> =
        (0..3).map(|node| Process::start(&cluster, node, &with_pages(cluster.ports[node], more))).collect();
    let first = primary(&nodes);
    confirmed(&nodes[first], "SET k v");
    let first = nodes.remove(first);
    (cluster, nodes, first)
}

/// The companion of a node, once it stands by.
#[track_caller]
fn companion(node: &Process) -> Pid {
    until("a companion stands by", || {
        (metric(node, "kevy_server_companion")? == 1.0).then_some(())?;
        children(node).pop()
    })
}

/// The processes that it has started and that have not ended.
fn children(node: &Process) -> Vec<Pid> {
    let parent = format!("PPid:\t{}\n", node.child.id());
    let processes = std::fs::read_dir("/proc").unwrap();
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |number: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
        status.contains(&parent) && !status.contains("State:\tZ")
    };
    numbers.filter(is_child).filter_map(Pid::from_raw).collect()
}

/// Duplicates of the sockets that a process has open.
fn sockets(node: &Process) -> Vec<OwnedFd> {
    let pidfd = pidfd_open(Pid::from_child(&node.child), PidfdFlags::empty()).unwrap();
    let open = std::fs::read_dir(format!("/proc/{}/fd", node.child.id())).unwrap();
    open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|number| pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()).ok())
        .filter(|duplicate| socket_acceptconn(duplicate).is_ok())
        .collect()
}

/// Whether one of the nodes takes writes so soon.
fn is_replaced(nodes: &[Process], soon: Duration) -> bool {
    within(soon, || nodes.iter().find(|node| node.ask("SET k w").as_deref() == Some("OK"))).is_some()
}

#[test]
fn a_dead_primary_is_replaced_while_the_kernel_still_has_its_sockets() {
    for signal in [Signal::KILL, Signal::ABORT] {
        let (_cluster, nodes, first) = three(SILENCE);
        companion(&first);
        let _duplicates = sockets(&first);
        first.signal(signal);
        assert!(is_replaced(&nodes, SOON), "{signal:?}");
    }
}

/// The other half of it: what the tests here see is the companion's work, and without it all is as it was.
#[test]
fn without_a_companion_it_is_replaced_when_the_kernel_ends_its_sockets() {
    let (_cluster, nodes, first) = three(&format!("companion = false\n{SILENCE}"));
    assert_eq!((children(&first), metric(&first, "kevy_server_companion")), (Vec::new(), None));
    let duplicates = sockets(&first);
    first.signal(Signal::KILL);
    assert!(!is_replaced(&nodes, QUIET));
    drop(duplicates);
    assert!(is_replaced(&nodes, SOON));
}

#[test]
fn the_end_of_a_companion_is_counted_and_another_one_does_its_work() {
    let (cluster, nodes, first) = three(SILENCE);
    let epoch = metric(&first, "kevy_elect_epoch").unwrap();
    for ends in [1.0, 2.0] {
        let old = companion(&first);
        kill_process(old, Signal::KILL).unwrap();
        until("its end is counted", || {
            (metric(&first, "kevy_server_companion_ends_total")? == ends).then_some(())
        });
        assert_ne!(companion(&first), old);
    }
    assert!(!is_replaced(&nodes, QUIET));
    assert_eq!((first.ask("SET k w"), metric(&first, "kevy_elect_epoch")), (Some("OK".into()), Some(epoch)));
    let node = cluster.ports.iter().position(|port| *port == first.port).unwrap();
    until("its log says so twice", || {
        let log = std::fs::read_to_string(cluster.dirs[node].0.join("log")).unwrap();
        (log.matches("event=companion_ended status=\"signal: 9").count() == 2).then_some(())
    });
    let _duplicates = sockets(&first);
    first.signal(Signal::KILL);
    assert!(is_replaced(&nodes, SOON));
}

#[test]
fn a_stopped_server_or_companion_is_no_death_and_the_companion_goes_on_when_it_is_one() {
    let (_cluster, nodes, first) = three(SILENCE);
    let companion = companion(&first);
    first.signal(Signal::STOP);
    assert!(!is_replaced(&nodes, QUIET));
    first.signal(Signal::CONT);
    assert_eq!(first.ask("SET k w").as_deref(), Some("OK"));
    kill_process(companion, Signal::STOP).unwrap();
    assert!(!is_replaced(&nodes, QUIET));
    assert_eq!(first.ask("SET k w").as_deref(), Some("OK"));
    let _duplicates = sockets(&first);
    first.signal(Signal::KILL);
    assert!(is_replaced(&nodes, SOON));
}

/// Whatever becomes of its replicas and of its links, they go to the companion as they come.
#[test]
fn links_that_came_later_are_ended_too() {
    let (cluster, mut nodes, first) = three(SILENCE);
    companion(&first);
    for node in &mut nodes {
        node.signal(Signal::KILL);
        node.wait();
        let number = cluster.ports.iter().position(|port| *port == node.port).unwrap();
        *node = Process::start(&cluster, number, &with_pages(node.port, SILENCE));
        until("it is linked again and has the data", || {
            (first.ask("WAIT 2 1000")? == "2" && node.ask("GET k")? == "v").then_some(())
        });
    }
    let _duplicates = sockets(&first);
    first.signal(Signal::KILL);
    assert!(is_replaced(&nodes, SOON));
}

#[test]
fn nothing_is_left_of_a_companion_when_its_server_has_ended() {
    let (cluster, nodes, mut first) = three("");
    let number = cluster.ports.iter().position(|port| *port == first.port).unwrap();
    for signal in [Signal::KILL, Signal::TERM] {
        let companion = companion(&first);
        first.signal(signal);
        first.wait();
        until("its companion has ended", || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", companion.as_raw_nonzero()));
            status.map_or(true, |status| status.contains("State:\tZ")).then_some(())
        });
        // Its ports are free at once.
        let began = Instant::now();
        first = Process::start(&cluster, number, &with_pages(first.port, ""));
        until("it serves", || first.ask("PING"));
        until("it has the data", || (first.ask("GET k")? == "v").then_some(()));
        let log = std::fs::read_to_string(cluster.dirs[number].0.join("log")).unwrap();
        assert!(!log.contains(&format!("port {} is still taken", first.port + 200)), "{:?}", began.elapsed());
    }
    drop(nodes);
}

/// A system that starts no companion: here the program is not to be executed any more.
#[test]
fn a_server_that_gets_no_companion_says_so_once_and_works() {
    let cluster = Cluster::new(3, 1);
    let program = cluster.dirs[0].0.join("program");
    std::fs::copy(BIN, &program).unwrap();
    let start = |node: usize| {
        let port = cluster.ports[node];
        drop(cluster.settings(node, &with_pages(port, SILENCE)));
        let log = File::create(cluster.dirs[node].0.join("log")).unwrap();
        let mut command = Command::new(&program);
        command.arg("--config").arg(cluster.dirs[node].0.join("kevy.toml"));
        Process { child: command.stderr(log).spawn().unwrap(), port }
    };
    let mut nodes: Vec<Process> = (0..3).map(start).collect();
    let number = primary(&nodes);
    let first = nodes.remove(number);
    let companion = companion(&first);
    std::fs::set_permissions(&program, Permissions::from_mode(0o600)).unwrap();
    kill_process(companion, Signal::KILL).unwrap();
    until("it has none", || (metric(&first, "kevy_server_companion")? == 0.0).then_some(()));
    // Time enough for several attempts.
    assert!(!is_replaced(&nodes, QUIET));
    assert_eq!(first.ask("SET k w").as_deref(), Some("OK"));
    let said = until("its log says so", || {
        let log = std::fs::read_to_string(cluster.dirs[number].0.join("log")).unwrap();
        Some(log.matches("event=no_companion error=\"Permission denied").count()).filter(|said| *said > 0)
    });
    assert_eq!(said, 1, "once");
    first.signal(Signal::KILL);
    assert!(is_replaced(&nodes, SOON), "the kernel ends its sockets");
}

/// Rounds of each measurement, of which the median is told.
const ROUNDS: usize = 7;
/// For the one that comes back to copy it all.
const COPY_MAX: Duration = Duration::from_secs(180);
/// What one command adds to the heap: it says only how long a value is, so that nothing large is sent or logged.
const VALUE_MB: usize = 50;

/// From the `SIGKILL` of a primary with so much memory to the first write on another node.
fn failover(heap_mb: usize, more: &str) -> Duration {
    let cluster = Cluster::new(3, 1);
    let mut nodes = Process::start_three(&cluster, more);
    let whole = |nodes: &[Process]| {
        let all = within(COPY_MAX, || {
            let first = nodes.iter().position(|node| node.ask("SET probe 1").as_deref() == Some("OK"))?;
            let mut client = common::Client::connect(nodes[first].port);
            client.ask("SET probe 2");
            (client.ask("WAIT 2 1000") == ":2").then_some(first)
        });
        all.unwrap()
    };
    for number in 0..heap_mb / VALUE_MB {
        let line = format!("SETRANGE big{number} {} x", VALUE_MB * 1_000_000 - 1);
        let length = (VALUE_MB * 1_000_000).to_string();
        // Whoever is primary: on a busy machine that may have changed.
        let taken = || nodes.iter().find(|node| node.ask(&line).as_ref() == Some(&length)).map(drop);
        within(COPY_MAX, taken).unwrap();
        whole(&nodes);
    }
    let mut took: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let first = whole(&nodes);
            // Known before: what is measured is the servers.
            let others = nodes.iter().map(|node| node.port).filter(|port| *port != nodes[first].port);
            let mut clients: Vec<_> = others.map(|port| (port, common::Client::connect(port))).collect();
            let began = Instant::now();
            nodes[first].signal(Signal::KILL);
            until("another one takes writes", || {
                let took = clients.iter_mut().any(|(port, client)| {
                    let said = client.try_ask("SET k w");
                    // One that follows another primary now has ended its clients' connections (F17).
                    if said.is_none() {
                        *client = common::Client::connect(*port);
                    }
                    said.as_deref() == Some("+OK")
                });
                took.then_some(())
            });
            let took = began.elapsed();
            nodes[first].wait();
            nodes[first] = Process::start(&cluster, first, more);
            took
        })
        .collect();
    took.sort();
    took[ROUNDS / 2]
}

/// `HEAP_MB=4000 cargo test --release --ignore-rust-version -p kevy-server --test companion -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes, and three times the memory; for the numbers"]
fn failover_by_the_size_of_the_heap() {
    let heap = std::env::var("HEAP_MB").ok().and_then(|mb| mb.parse().ok()).unwrap_or(1000);
    // What a busy disk does to a shard is not what is measured.
    let patient = "shard_timeout_ms = 30000\n";
    let [with, without] =
        ["", "companion = false\n"].map(|more| [0, heap].map(|mb| failover(mb, &format!("{more}{patient}"))));
    println!("    heap          with       without   (median of {ROUNDS}, ms)");
    for (mb, with, without) in [(0, with[0], without[0]), (heap, with[1], without[1])] {
        println!("{mb:>5} MB  {:>12.1}  {:>12.1}", with.as_secs_f64() * 1e3, without.as_secs_f64() * 1e3);
    }
    let ratio = |[none, much]: [Duration; 2]| much.as_secs_f64() / none.as_secs_f64();
    println!("much / none  {:>9.1}x  {:>11.1}x", ratio(with), ratio(without));
}
