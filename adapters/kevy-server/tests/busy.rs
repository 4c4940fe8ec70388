//! A healthy primary on a machine that is slow: when its lease ends it fences itself, and its watchdog lets it live (F10); and a
//! shard that waits for a processor does not cost it its office (H6).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::disk::Disk;
use common::process::{BIN, Process, confirmed, primary};
use common::{Cluster, Dir, until, within};
use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use rustix::process::{Pid, Signal, setpriority_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// After the end of a lease no watchdog of these settings waits for longer.
const WATCHDOG_MAX: Duration = Duration::from_secs(2);
/// By default a shard that does nothing hangs after a second.
const STILL_MS: &[u8] = b"4000";
/// The nice value of whoever gets a processor last.
const LAST_IN_LINE: i32 = 19;

/// Three nodes, with more in their files, and what their standard error is.
fn start(cluster: &Cluster, more: &str, stderr: impl Fn() -> std::process::Stdio) -> Vec<Process> {
    let start = |node: usize| {
        drop(cluster.settings(node, more));
        let config = cluster.dirs[node].0.join("kevy.toml");
        let child = Command::new(BIN).arg("--config").arg(config).stderr(stderr()).spawn().unwrap();
        Process { child, port: cluster.ports[node] }
    };
    (0..3).map(start).collect()
}

/// The others stand still until the primary's lease is over and longer than any watchdog waits. Says whether it lived.
fn outlives_its_lease(nodes: &mut [Process]) -> bool {
    let first = primary(nodes);
    let others = |signal| (0..3).filter(|node| *node != first).for_each(|node| nodes[node].signal(signal));
    others(Signal::STOP);
    until("it is fenced, or gone", || {
        let said = nodes[first].ask("SET k v");
        (said.as_deref() != Some("OK")).then_some(())
    });
    std::thread::sleep(WATCHDOG_MAX);
    others(Signal::CONT);
    nodes[first].child.try_wait().unwrap().is_none()
}

#[test]
fn a_primary_whose_log_is_stuck_outlives_its_lease() {
    let cluster = Cluster::new(3, 1);
    let (mut out, into) = std::io::pipe().unwrap();
    // A lease that ends long before the watchdog would end the process: on a loaded machine that has to be seen in time.
    let mut nodes = start(&cluster, "lease_ms = 300\n", || into.try_clone().unwrap().into());
    // Read until they are settled; from then on by nobody.
    let mut said = [0; 1 << 16];
    rustix::fs::fcntl_setfl(&out, rustix::fs::OFlags::NONBLOCK).unwrap();
    primary(&nodes);
    while out.read(&mut said).is_ok() {}
    // Of its own, so that only this end does not wait.
    let path = format!("/proc/self/fd/{}", into.as_raw_fd());
    let own = File::options().write(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(path);
    let mut own = own.unwrap();
    while own.write(&[b'\n'; 512]).is_ok() {}
    assert!(outlives_its_lease(&mut nodes), "its watchdog ended it while it waited for its log");
    // With nobody to read, it elects and serves.
    primary(&nodes);
}

/// Its shard stands still for four times `shard_timeout_ms`, with the hundredth part of a processor that it gets: nobody would
/// serve better.
#[test]
#[cfg(target_os = "linux")]
fn a_primary_whose_shard_waits_for_a_processor_keeps_its_office() {
    const SCRIPT: &[u8] =
        b"local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end \
        local till = now() + ARGV[1] repeat until now() >= till return 'done'";
    let cluster = Cluster::new(3, 1);
    // Only the shard is to be late: the processors may have other work, too.
    let more = "election_timeout_ms = 10000\nheartbeat_interval_ms = 200\nshard_timeout_ms = 1000\n";
    let nodes = start(&cluster, more, std::process::Stdio::null);
    let first = primary(&nodes);
    confirmed(&nodes[first], "SET probe 1");
    let epoch = epoch(&nodes[first]);
    let mut client = RespClient::connect("127.0.0.1", nodes[first].port).unwrap();
    let any = sched_getaffinity(None).unwrap();
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).find(|cpu| any.is_set(*cpu)).unwrap());
    let (stop, spins) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            sched_setaffinity(None, &one).unwrap();
            while !stop.load(Ordering::Relaxed) {
                spins.store(true, Ordering::Relaxed);
            }
        });
        until("the processor is taken", || spins.load(Ordering::Relaxed).then_some(()));
        for thread in shards(&nodes[first]) {
            sched_setaffinity(Some(thread), &one).unwrap();
            setpriority_process(Some(thread), LAST_IN_LINE).unwrap();
        }
        let answer = client.request_borrowed(&[b"EVAL", SCRIPT, b"0", STILL_MS]);
        stop.store(true, Ordering::Relaxed);
        assert!(matches!(&answer, Ok(Reply::Bulk(text)) if &text[..] == b"done"), "{answer:?}");
    });
    assert_eq!(nodes[first].ask("SET k v").as_deref(), Some("OK"));
    assert_eq!(self::epoch(&nodes[first]), epoch, "it had handed over");
}

/// A save needs a copy of all keys first, as a replica does and a log that is written anew, for which kevy's shard stands still for longer than a
/// shard may; likewise for a table that grows. The next node would have the same to do: with an office that moves for it, a replica that asks for a
/// copy gets none, and nobody takes writes.
#[test]
#[cfg(target_os = "linux")]
fn a_shard_that_copies_its_data_or_lets_its_table_grow_is_not_stuck() {
    /// A table of two million places grows at seven eighths of them.
    const GROWS_AT: usize = (7 << 21) / 8;
    const KEYS: usize = 3_000_000;
    const STUCK: Duration = Duration::from_millis(200);
    let mut cluster = Cluster::new(1, 1);
    // Or kevy decides itself when it begins.
    cluster.aof = false;
    let more = format!("heartbeat_interval_ms = 50\nshard_timeout_ms = {}\n", STUCK.as_millis());
    let node = Process::start(&cluster, 0, &more);
    primary(std::slice::from_ref(&node));
    let mut client = RespClient::connect("127.0.0.1", node.port).unwrap();
    let log = cluster.dirs[0].0.join("log");
    let found_stuck = || {
        let log = std::fs::read_to_string(&log).unwrap();
        let said = |health| log.matches(&format!("event=fitness epoch=1 health={health}")).count();
        (said("stuck") == said("good")).then(|| said("stuck"))
    };
    let mut takes_long_and_is_well = |what: &str, commands: &[String]| {
        let before = until("it is well", found_stuck);
        let mut longest = Duration::ZERO;
        for command in commands {
            let begun = Instant::now();
            for line in [command, "PING"] {
                let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
                let answer = client.request_borrowed(&words);
                assert!(matches!(answer, Ok(Reply::Simple(_) | Reply::Int(_))), "{answer:?}");
            }
            longest = longest.max(begun.elapsed());
        }
        assert!(
            longest > STUCK * 3 / 2,
            "{what}: {longest:?} are too short for this test: it needs more keys"
        );
        assert_eq!(found_stuck(), Some(before), "{what}: {longest:?}");
    };
    fill(&node, 0..GROWS_AT - 1_000);
    let news: Vec<String> = (0..2_000).map(|n| format!("SET new:{n} v")).collect();
    takes_long_and_is_well("a table grows", &news);
    fill(&node, GROWS_AT..KEYS);
    takes_long_and_is_well("a save", &["BGSAVE".to_owned()]);
}

/// Writes these keys, many at once.
fn fill(node: &Process, keys: std::ops::Range<usize>) {
    const AT_ONCE: usize = 10_000;
    let mut client = RespClient::connect("127.0.0.1", node.port).unwrap();
    let end = keys.end;
    for from in keys.step_by(AT_ONCE) {
        let mut words = vec![b"MSET".to_vec()];
        words.extend(
            (from..end.min(from + AT_ONCE)).flat_map(|n| [n.to_string().into_bytes(), vec![b'v'; 40]]),
        );
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let answer = client.request_borrowed(&words);
        assert!(matches!(answer, Ok(Reply::Simple(_))), "{answer:?}");
    }
}

/// Twenty times as many threads that want a processor as there are processors, for as long as a dozen elections take. Nobody
/// loses the office, and no watchdog ends anybody.
#[test]
#[ignore = "needs the right to real-time priorities: as root"]
#[cfg(target_os = "linux")]
fn a_machine_with_no_time_left_costs_nobody_the_office() {
    const CROWD: usize = 20;
    const FOR: Duration = Duration::from_secs(6);
    let cluster = Cluster::new(3, 1);
    // An election takes half a second.
    let more = "election_timeout_ms = 500\nheartbeat_interval_ms = 50\nrealtime = true\n";
    let mut nodes: Vec<_> = (0..3).map(|node| Process::start(&cluster, node, more)).collect();
    let first = primary(&nodes);
    until("the others hold what it holds", || (nodes[first].ask("WAIT 2 1000")? == "2").then_some(()));
    let epoch = epoch(&nodes[first]);
    let stop = AtomicBool::new(false);
    let processors = std::thread::available_parallelism().unwrap().get();
    std::thread::scope(|scope| {
        for _ in 0..CROWD * processors {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop()
                }
            });
        }
        std::thread::sleep(FOR);
        stop.store(true, Ordering::Relaxed);
    });
    for node in &mut nodes {
        assert_eq!(node.child.try_wait().unwrap(), None, "its watchdog ended it");
    }
    assert_eq!(self::epoch(&nodes[first]), epoch, "the office has moved");
}

/// Every node's disk takes half a megabyte a second, and clients write as much as they can. Writes may wait, the office may move:
/// no watchdog ends anybody, nothing that was confirmed is lost, and with disks that are quick again there is a primary.
#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and the kernel's rate limits for devices; takes two minutes"]
#[cfg(target_os = "linux")]
fn disks_with_no_time_left_end_nobody() {
    const BYTES_PER_SECOND: u64 = 512 << 10;
    const FOR: Duration = Duration::from_secs(30);
    for policy in ["everysec", "always", "no"] {
        let (mut cluster, files) = (Cluster::new(3, 1), Dir::new());
        cluster.appendfsync = policy;
        let disk = |node: usize| Disk::new(1024, files.0.join(format!("disk{node}")), &cluster.dirs[node].0);
        let mut disks: Vec<Disk> = (0..3).map(disk).collect();
        let mut nodes = Process::start_three(&cluster, "");
        let first = primary(&nodes);
        confirmed(&nodes[first], "SET probe 1");
        disks.iter_mut().for_each(|disk| disk.slow_down(BYTES_PER_SECOND));
        let begun = Instant::now();
        let (mut written, mut kept, mut longest) = (0_u64, Vec::new(), Duration::ZERO);
        let (mut last, mut at, mut client) = (begun, first, None::<RespClient>);
        while begun.elapsed() < FOR {
            let key = format!("k{written}");
            let value = vec![b'v'; 16 << 10];
            let asked = client.as_mut().map(|client| {
                let set = client.request_borrowed(&[b"SET", key.as_bytes(), &value]);
                set.and_then(|set| Ok((set, client.request_borrowed(&[b"WAIT", b"1", b"50"])?)))
            });
            match asked {
                Some(Ok((Reply::Simple(_), wait))) => {
                    written += 1;
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                    if matches!(wait, Reply::Int(1..)) {
                        kept.push(key);
                    }
                }
                _ => {
                    at = (at + 1) % 3;
                    client = RespClient::connect("127.0.0.1", nodes[at].port).ok();
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
        println!(
            "{policy}: {written} writes, {} confirmed, the longest silence {:?}",
            kept.len(),
            longest.max(last.elapsed())
        );
        for node in &mut nodes {
            assert_eq!(node.child.try_wait().unwrap(), None, "{policy}: its watchdog ended it");
        }
        disks.iter_mut().for_each(|disk| disk.slow_down(1 << 30));
        let there = |key: &String| {
            within(common::PATIENCE, || {
                nodes[primary(&nodes)].ask(&format!("EXISTS {key}")).filter(|n| n == "1")
            })
        };
        assert!(kept.iter().all(|key| there(key).is_some()), "{policy}: a confirmed write is gone");
        drop(nodes);
    }
}

/// Its shards, and the thread that waits for them: both have the process's name.
fn shards(node: &Process) -> Vec<Pid> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", node.child.id())).unwrap();
    let shards = tasks.map(|task| task.unwrap().path()).filter(|task| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim_end() == "kevy-server")
    });
    let number = |task: std::path::PathBuf| task.file_name()?.to_str()?.parse().ok();
    shards.filter_map(|task| Pid::from_raw(number(task)?)).collect()
}

fn epoch(node: &Process) -> String {
    let info = node.ask("INFO replication").unwrap();
    info.lines().find(|line| line.starts_with("elect_epoch:")).unwrap().to_owned()
}
