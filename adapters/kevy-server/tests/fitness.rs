//! Servers that hang, burn or have no room: who holds the office then. Three real processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{BIN, Process, confirmed, primary};
use common::{Cluster, until};
use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use rustix::net::sockopt::set_socket_linger;
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

/// A primary is not to lose its office because the machine is busy, and a shard that hangs is found as soon as by default. The rest goes by the
/// end of connections, and by what nodes say.
const PATIENT: &str = "election_timeout_ms = 5000\nheartbeat_interval_ms = 100\n";
const SHARD: &str = "shard_timeout_ms = 1000\n";
/// An election without those that hang, on a machine that has other work. With them there would be none.
const ELECTED_WITHIN: Duration = Duration::from_secs(30);

/// Three nodes with pages; `lua` goes into the file as well.
fn start(shards: u16, more: &str) -> (Cluster, Vec<Process>) {
    let cluster = Cluster::new(3, shards);
    let nodes = (0..3).map(|node| Process::start(&cluster, node, &settings(&cluster, node, more))).collect();
    (cluster, nodes)
}

fn settings(cluster: &Cluster, node: usize, more: &str) -> String {
    let shard = if more.contains("shard_timeout_ms") { "" } else { SHARD };
    format!("http = \"127.0.0.1:{}\"\n{PATIENT}{shard}{more}", page_port(cluster, node))
}

fn page_port(cluster: &Cluster, node: usize) -> u16 {
    cluster.ports[node] + 5
}

/// Status and body of a page, once it is served.
fn page(cluster: &Cluster, node: usize, path: &str) -> (u16, String) {
    until("the page is served", || {
        let mut stream = TcpStream::connect(("127.0.0.1", page_port(cluster, node))).ok()?;
        stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().unwrap(), body.to_owned()))
    })
}

/// Waits until all hold one write, and says who is primary.
fn settled(nodes: &[Process]) -> usize {
    let first = primary(nodes);
    confirmed(&nodes[first], "SET k v");
    first
}

/// Sends words and does not wait for the answer.
fn tell(port: u16, words: &[&str]) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut frame = format!("*{}\r\n", words.len());
    for word in words {
        frame += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(frame.as_bytes()).unwrap();
    stream
}

/// Waits until `node` answers nobody.
fn until_hung(port: u16) {
    until("the shard hangs", || {
        let mut probe = tell(port, &["PING"]);
        probe.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        probe.read(&mut [0; 16]).is_err().then_some(())
    });
}

/// Whether a node says that it takes writes, asked of its page, which answers while its shards hang.
fn takes_writes(cluster: &Cluster, node: usize) -> bool {
    page(cluster, node, "/primary").0 == 200
}

/// What a server may write to its log in such a test.
const LOG_BYTES_MAX: u64 = 1 << 20;
const ENDLESS: &str = "while true do end";
/// Runs for as many milliseconds as it is told.
const TIMED: &str = "local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end \
    local till = now() + ARGV[1] repeat until now() >= till return 'done'";
const LUA: &str = "[lua]\ntime_limit_ms = 0\n";

#[test]
fn a_primary_whose_shard_hangs_says_so_and_hands_over_and_lives() {
    let (cluster, mut nodes) = start(1, "");
    let first = settled(&nodes);
    // It is kevy's before the shard hangs, and what it says comes after that.
    let mut late = tell(nodes[first].port, &["PING"]);
    late.read_exact(&mut [0; b"+PONG\r\n".len()]).unwrap();
    let begun = Instant::now();
    let mut sleeper = tell(nodes[first].port, &["DEBUG", "SLEEP", "12"]);
    until_hung(nodes[first].port);
    late.write_all(b"SET late 1\r\n").unwrap();
    until("its page says that it is not to be written to", || {
        let (status, body) = page(&cluster, first, "/primary");
        (status == 503 && body.contains("has not answered")).then_some(())
    });
    let second = until("another node takes writes", || {
        (0..3).find(|node| *node != first && takes_writes(&cluster, *node))
    });
    assert_eq!(nodes[second].ask("SET k w").as_deref(), Some("OK"));
    assert!(begun.elapsed() < Duration::from_secs(11), "it hung no more: this shows nothing");
    assert!(nodes[second].ask("GET k").as_deref() == Some("w"));
    // The write behind the long command came to a primary that has been replaced since.
    late.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let mut answer = Vec::new();
    drop(late.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"+OK"), "{}", String::from_utf8_lossy(&answer));
    drop(sleeper.read(&mut [0; 16]));
    until("it follows the new primary", || (nodes[first].ask("GET k")? == "w").then_some(()));
    assert!(nodes[first].child.try_wait().unwrap().is_none(), "it was ended for nothing");
    until("it is fit again", || (page(&cluster, first, "/health").0 == 200).then_some(()));
}

#[test]
fn a_replica_that_is_busy_for_good_leaves_the_office_to_the_idle_one() {
    let (cluster, mut nodes) = start(1, LUA);
    let first = settled(&nodes);
    // It would be first in line.
    let busy = (0..3).find(|node| *node != first).unwrap();
    let idle = (0..3).rfind(|node| *node != first).unwrap();
    let _script = tell(nodes[busy].port, &["EVAL_RO", ENDLESS, "0"]);
    until_hung(nodes[busy].port);
    nodes[first].signal(Signal::KILL);
    nodes[first].wait();
    let begun = Instant::now();
    until("the idle one takes writes", || takes_writes(&cluster, idle).then_some(()));
    let took = begun.elapsed();
    assert!(took < ELECTED_WITHIN, "{took:?}");
    assert_eq!(nodes[idle].ask("SET k w").as_deref(), Some("OK"));
}

/// E16: it would be first in line, and is not stuck yet. It does not even try: one election is enough.
#[test]
fn a_replica_whose_shard_is_busy_for_a_moment_does_not_stand() {
    let (cluster, mut nodes) = start(1, &format!("shard_timeout_ms = 60000\n{LUA}"));
    let first = settled(&nodes);
    let busy = (0..3).find(|node| *node != first).unwrap();
    let idle = (0..3).rfind(|node| *node != first).unwrap();
    let before = epoch(&nodes[first]);
    let _script = tell(nodes[busy].port, &["EVAL_RO", ENDLESS, "0"]);
    until_hung(nodes[busy].port);
    nodes[first].signal(Signal::KILL);
    nodes[first].wait();
    until("the idle one takes writes", || takes_writes(&cluster, idle).then_some(()));
    assert_eq!(epoch(&nodes[idle]), before + 1, "the busy one was elected first");
}

/// F6: what it wrote last is not counted, and of an earlier history than the one that the third holds.
#[test]
fn a_former_primary_that_hangs_votes_for_who_holds_a_later_history() {
    let (cluster, mut nodes) = start(1, LUA);
    let first = settled(&nodes);
    let _script = tell(nodes[first].port, &["EVAL_RO", ENDLESS, "0"]);
    let others = || (0..3).filter(|node| *node != first);
    let second = until("another one takes writes", || others().find(|node| takes_writes(&cluster, *node)));
    let third = others().find(|node| *node != second).unwrap();
    until("the third holds what the second writes", || {
        nodes[second].ask("SET k w")?;
        (nodes[second].ask("WAIT 1 1000")? == "1").then_some(())
    });
    nodes[second].signal(Signal::KILL);
    nodes[second].wait();
    let begun = Instant::now();
    until("the third takes writes", || takes_writes(&cluster, third).then_some(()));
    assert!(begun.elapsed() < ELECTED_WITHIN, "{:?}", begun.elapsed());
    assert_eq!(nodes[third].ask("GET k").as_deref(), Some("w"));
}

/// E15: a confirmed write is on the primary that hangs, and on a dead node. The third cannot know.
#[test]
fn nobody_reigns_while_the_only_holder_of_a_confirmed_write_hangs_and_it_is_there_afterwards() {
    let (cluster, mut nodes) = start(1, "[lua]\ntime_limit_ms = 0\n");
    let first = settled(&nodes);
    let holder = (0..3).find(|node| *node != first).unwrap();
    let third = (0..3).rfind(|node| *node != first).unwrap();
    nodes[third].signal(Signal::STOP);
    until("the holder confirms", || {
        nodes[first].ask("SET only here")?;
        (nodes[first].ask("WAIT 1 1000")? == "1").then_some(())
    });
    nodes[holder].signal(Signal::KILL);
    nodes[holder].wait();
    // Longer than it takes to find that out, to resign, and for the third to be elected if that were possible.
    let hangs = Duration::from_secs(12);
    let begun = Instant::now();
    let words = ["EVAL_RO", TIMED, "0", &hangs.as_millis().to_string()];
    let _script = tell(nodes[first].port, &words);
    until_hung(nodes[first].port);
    nodes[third].signal(Signal::CONT);
    until("the one that hangs has resigned", || {
        let said = std::fs::read_to_string(cluster.dirs[first].0.join("log")).unwrap();
        said.contains("event=resigned").then_some(())
    });
    assert!(begun.elapsed() < hangs, "the machine is too slow for this test: it hangs no more");
    while begun.elapsed() < hangs - Duration::from_secs(1) {
        assert!(!takes_writes(&cluster, third), "it lacks what was confirmed");
        std::thread::sleep(Duration::from_millis(50));
    }
    let next = until("somebody takes writes again", || {
        [first, third].into_iter().find(|node| nodes[*node].ask("SET k x").as_deref() == Some("OK"))
    });
    assert_eq!(nodes[next].ask("GET only").as_deref(), Some("here"));
}

#[test]
fn a_primary_without_a_fit_successor_keeps_its_office() {
    let (cluster, nodes) = start(1, LUA);
    let first = settled(&nodes);
    let others: Vec<usize> = (0..3).filter(|node| *node != first).collect();
    let mut scripts = Vec::new();
    for node in &others {
        scripts.push(tell(nodes[*node].port, &["EVAL_RO", ENDLESS, "0"]));
        until_hung(nodes[*node].port);
    }
    until("the primary knows that they are unfit", || {
        let (_, status) = page(&cluster, first, "/status");
        (status.matches("\"health\": \"stuck\"").count() == 2).then_some(())
    });
    let _script = tell(nodes[first].port, &["DEBUG", "SLEEP", "8"]);
    until("it is unfit itself", || (page(&cluster, first, "/primary").0 == 503).then_some(()));
    until("it serves again", || takes_writes(&cluster, first).then_some(()));
    let (_, history) = page(&cluster, first, "/history");
    assert!(!history.contains("host-failing"), "{history}");
}

#[test]
fn a_primary_that_is_cut_off_while_its_shard_is_busy_is_not_ended() {
    // A lease that ends long before the watchdog would end the process: on a loaded machine that has to be seen in time.
    let (cluster, mut nodes) = start(2, "shard_timeout_ms = 60000\nlease_ms = 300\n");
    let first = settled(&nodes);
    // Longer than a loaded machine takes to get to the end of the lease: what is answered before that is in order.
    const SLEEP: Duration = Duration::from_secs(12);
    let begun = Instant::now();
    let seconds = SLEEP.as_secs().to_string();
    // All of them are kevy's before a shard hangs: one that waits to be accepted is answered by whatever it is then.
    let mut sleepers: Vec<TcpStream> = (0..4).map(|_| tell(nodes[first].port, &["PING"])).collect();
    for sleeper in &mut sleepers {
        sleeper.read_exact(&mut [0; b"+PONG\r\n".len()]).unwrap();
    }
    for sleeper in &mut sleepers {
        sleeper.write_all(format!("DEBUG SLEEP {seconds}\r\n").as_bytes()).unwrap();
    }
    until_hung(nodes[first].port);
    let others: Vec<usize> = (0..3).filter(|node| *node != first).collect();
    others.iter().for_each(|node| nodes[*node].signal(Signal::STOP));
    until("it refuses writes", || {
        assert!(nodes[first].child.try_wait().unwrap().is_none(), "it was ended for nothing");
        (page(&cluster, first, "/primary").0 == 503).then_some(())
    });
    assert!(begun.elapsed() < SLEEP, "the machine is too slow for this test: no shard hangs any more");
    // Its lease is over, and its shards still hang for seconds: what they answer would be too late.
    for sleeper in &mut sleepers {
        sleeper.set_read_timeout(Some(common::PATIENCE)).unwrap();
        let mut answer = Vec::new();
        drop(sleeper.read_to_end(&mut answer));
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    }
    assert!(nodes[first].child.try_wait().unwrap().is_none(), "it was ended for nothing");
    others.iter().for_each(|node| nodes[*node].signal(Signal::CONT));
    primary(&nodes);
}

#[test]
fn clients_whose_connection_was_reset_leave_no_shard_burning() {
    let (_cluster, nodes) = start(1, "");
    let first = settled(&nodes);
    let node = &nodes[first];
    let sockets = descriptors(&node.child);
    for _ in 0..300 {
        let client = tell(node.port, &["ROLE"]);
        set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    }
    until("its sockets are closed", || (descriptors(&node.child) <= sockets + 2).then_some(()));
    until("it is idle", || {
        let before = cpu_ticks(&node.child);
        std::thread::sleep(Duration::from_millis(500));
        (cpu_ticks(&node.child) - before < 15).then_some(())
    });
}

#[test]
fn more_idle_clients_than_descriptors_keep_nobody_from_being_elected() {
    let cluster = Cluster::new(3, 1);
    let limited: Vec<Process> = (0..3).map(|node| few_descriptors(&cluster, node)).collect();
    let mut nodes = limited;
    let first = settled(&nodes);
    let crowded = (0..3).find(|node| *node != first).unwrap();
    let clients: Vec<TcpStream> =
        (0..1100).filter_map(|_| TcpStream::connect(("127.0.0.1", nodes[crowded].port)).ok()).collect();
    assert!(clients.len() > 1000, "{}", clients.len());
    until("the crowd has come", || (descriptors(&nodes[crowded].child) > 600).then_some(()));
    let log = cluster.dirs[crowded].0.join("log");
    let written = std::fs::metadata(&log).unwrap().len();
    let (before, begun) = (cpu_ticks(&nodes[crowded].child), Instant::now());
    std::thread::sleep(Duration::from_secs(1));
    let (burnt, seconds) = (cpu_ticks(&nodes[crowded].child) - before, begun.elapsed().as_secs_f64());
    assert!((burnt as f64) < 50.0 * seconds, "{burnt} hundredths of a second in {seconds:.1} seconds");
    assert!(std::fs::metadata(&log).unwrap().len() - written < 10_000, "it floods its log");
    nodes[first].signal(Signal::KILL);
    nodes[first].wait();
    let begun = Instant::now();
    until("another node takes writes", || {
        (0..3).filter(|node| *node != first).find(|node| {
            nodes[*node].ask("SET k w").as_deref() == Some("OK") || takes_writes(&cluster, *node)
        })
    });
    assert!(begun.elapsed() < ELECTED_WITHIN, "{:?}", begun.elapsed());
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("max_clients = 10000") && said.contains("1024"), "{said}");
    drop(clients);
}

/// A node that may open 1 024 files, and no more.
fn few_descriptors(cluster: &Cluster, node: usize) -> Process {
    drop(cluster.settings(node, &settings(cluster, node, "")));
    let dir = &cluster.dirs[node].0;
    let log = std::fs::File::create(dir.join("log")).unwrap();
    let child = Command::new("sh")
        .args(["-c", "ulimit -n 1024 && exec \"$0\" --config \"$1\"", BIN])
        .arg(dir.join("kevy.toml"))
        .stderr(log)
        .spawn()
        .unwrap();
    Process { child, port: cluster.ports[node] }
}

/// A node with this `appendfsync`, whose log is not on its own disk.
fn syncing(cluster: &Cluster, node: usize, fsync: &str, logs: &std::path::Path) -> Process {
    drop(cluster.settings(node, &settings(cluster, node, "")));
    let file = cluster.dirs[node].0.join("kevy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let others = text.lines().filter(|line| !line.starts_with("appendfsync"));
    let text: String = others.map(|line| format!("{line}\n")).collect();
    std::fs::write(&file, text.replace("aof = true", &format!("aof = true\nappendfsync = \"{fsync}\"")))
        .unwrap();
    let log = std::fs::File::create(logs.join(format!("n{node}"))).unwrap();
    let child = Command::new(BIN).arg("--config").arg(file).stderr(log).spawn().unwrap();
    Process { child, port: cluster.ports[node] }
}

/// The epoch that a node says it is in.
fn epoch(node: &Process) -> u64 {
    let info = node.ask("INFO replication").unwrap();
    let epoch = info.lines().find_map(|line| line.strip_prefix("elect_epoch:")).unwrap();
    epoch.trim().parse().unwrap()
}

fn descriptors(child: &std::process::Child) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().count()
}

/// Processor time in hundredths of a second.
fn cpu_ticks(child: &std::process::Child) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// A mounted file system of a few megabytes, gone with its owner.
struct SmallDisk<'a>(&'a std::path::Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a std::path::Path) -> Self {
        run("mount", &["-t", "tmpfs", "-o", "size=8m", "none", at.to_str().unwrap()]);
        Self(at)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0).status());
    }
}

fn run(program: &str, args: &[&str]) {
    assert!(Command::new(program).args(args).status().unwrap().success(), "{program} {args:?}");
}

#[test]
#[ignore = "needs root, to mount a small file system"]
fn a_primary_without_room_on_its_disk_hands_over_to_one_that_has_room() {
    for fsync in ["everysec", "always"] {
        full_disk(fsync);
    }
}

fn full_disk(fsync: &str) {
    let (cluster, logs) = (Cluster::new(3, 1), common::Dir::new());
    let disks: Vec<SmallDisk<'_>> = cluster.dirs.iter().map(|dir| SmallDisk::mount(&dir.0)).collect();
    let mut nodes: Vec<Process> = (0..3).map(|node| syncing(&cluster, node, fsync, &logs.0)).collect();
    let first = settled(&nodes);
    fill(&cluster.dirs[first].0.join("something-else"));
    let port = nodes[first].port;
    let writing = std::thread::spawn(move || {
        let mut writer = RespClient::connect("127.0.0.1", port).unwrap();
        // Until it is closed, refuses, or hangs for want of room.
        while writer.request_borrowed(&[b"INCR", b"n"]).is_ok_and(|reply| matches!(reply, Reply::Int(_))) {}
    });
    let second = until("another node takes writes", || {
        (0..3).find(|node| *node != first && takes_writes(&cluster, *node))
    });
    assert_eq!(nodes[second].ask("SET k w").as_deref(), Some("OK"));
    if fsync == "always" {
        // kevy's shard gives up where it cannot sync what it has accepted, and the server ends with it.
        until("the server without room has ended", || nodes[first].child.try_wait().unwrap());
        drop(nodes);
        drop(writing.join());
        return;
    }
    let (status, body) = page(&cluster, first, "/health");
    assert!(status == 503 && body.contains("elect/probe"), "{status} {body}");
    until("the new primary knows why", || {
        let (_, status) = page(&cluster, second, "/status");
        // Which of them depends on what meets the full disk first: a probe, a vote, or a shard that writes its log.
        let words = ["disk", "failing", "stuck", "store"];
        words.iter().any(|word| status.contains(&format!("\"health\": \"{word}\""))).then_some(())
    });
    // What it still gets from the new primary does not fit either, and is not told a thousand times a second.
    std::thread::sleep(Duration::from_secs(2));
    let log = std::fs::metadata(logs.0.join(format!("n{first}"))).unwrap().len();
    assert!(log < LOG_BYTES_MAX, "its log has {log} bytes");
    drop(nodes);
    drop(writing.join());
    drop(disks);
}

/// Takes all the room there is.
fn fill(path: &std::path::Path) {
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
}
