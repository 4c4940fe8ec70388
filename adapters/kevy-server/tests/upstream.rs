//! What kevy 7.0.0 itself gets wrong, on the plain server: no election, nothing of ours but the binary's name.
//!
//! One test per entry of docs/upstream.md, under its name. A test **passes while the fault is there**; the day that it fails,
//! kevy has mended it: remove what the entry says that we do about it, the entry, and the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::BIN;
use common::{Client, Dir, free_port, until};
use kevy_replicate::replica::{ConnectOptions, ReplicaClient, ReplicaEvent};
use kevy_resp_client::RespClient;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What to do when one of these fails.
const MENDED: &str = "kevy has mended this: see the head of this file";
/// Longest wait for anything that comes.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing is waited for. On a healthy server what is waited for takes a few milliseconds.
const NOTHING: Duration = Duration::from_millis(700);

/// A plain kevy.
struct Plain {
    child: Child,
    port: u16,
    dir: Dir,
}

impl Plain {
    fn primary() -> Self {
        Self::with("primary", "", "")
    }

    /// A replica of `upstream`, or of nobody who answers.
    fn replica(upstream: Option<&Self>, more: &str) -> Self {
        let port = upstream.map_or(1, |primary| primary.port + 10_000);
        Self::with("replica", &format!("upstream = \"127.0.0.1:{port}\""), more)
    }

    fn with(role: &str, replication: &str, more: &str) -> Self {
        let (dir, port) = (Dir::new(), free_port(1));
        let text = format!(
            "[server]\nport = {port}\nthreads = 1\ndata_dir = \"{}\"\n[replication]\nrole = \"{role}\"\n{replication}\n{more}",
            dir.0.display()
        );
        std::fs::write(dir.0.join("kevy.toml"), text).unwrap();
        let mut plain = Self { child: Self::spawn(&dir, ""), port, dir };
        plain.accepts();
        plain
    }

    /// `before`: what its shell does first.
    fn spawn(dir: &Dir, before: &str) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.0.join("log")).unwrap();
        let script = format!("{before} exec \"$0\" --config \"$1\"");
        let mut command = Command::new("sh");
        // kevy as it is, with the reactor that it chooses.
        command.env_remove("KEVY_IO_URING").env_remove("KEVY_AOF_OFFLOAD");
        command.args(["-c", &script, BIN]).arg(dir.0.join("kevy.toml"));
        command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    fn accepts(&mut self) {
        let (child, port, log) = (&mut self.child, self.port, self.dir.0.join("log"));
        until("the server accepts", || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", std::fs::read_to_string(&log).unwrap());
            // It may accept before it is ready, and close again.
            RespClient::connect("127.0.0.1", port).ok()?.request_borrowed(&[b"PING"]).ok()
        });
    }

    fn restart(&mut self, before: &str) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::spawn(&self.dir, before);
        self.accepts();
    }

    fn client(&self) -> Client {
        Client::connect(self.port)
    }

    fn ask(&self, line: &str) -> String {
        self.client().ask(line)
    }

    /// Bytes out, and what comes back until `end` does.
    fn raw(&self, bytes: &str, end: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let (mut said, mut chunk) = (String::new(), [0; 1024]);
        while !said.ends_with(end) {
            let n = stream.read(&mut chunk).unwrap();
            assert!(n > 0, "closed after {said:?}");
            said += &String::from_utf8_lossy(&chunk[..n]);
        }
        said
    }

    /// Somebody who follows its stream and calls himself `id`.
    fn feed(&self, id: &str) -> Feed {
        Feed::connect(self, ConnectOptions::new(id))
    }

    /// Processor time that it has used, in hundredths of a second.
    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let fields: Vec<u64> =
            fields.split_whitespace().skip(11).take(2).map(|n| n.parse().unwrap()).collect();
        fields.iter().sum()
    }

    /// Whether it burns a processor while nobody wants anything. On a busy machine it gets only a part of one.
    fn spins(&self) -> bool {
        let (begun, from) = (Instant::now(), self.ticks());
        while begun.elapsed() < PATIENCE {
            if self.ticks() > from + 40 {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A reader of a primary's stream.
struct Feed {
    client: ReplicaClient,
    /// Whether the stream began with a snapshot.
    snapshot: bool,
}

impl Feed {
    fn connect(primary: &Plain, options: ConnectOptions) -> Self {
        let address = ("127.0.0.1", primary.port + 10_000);
        let client =
            until("the replication port accepts", || ReplicaClient::connect_with(address, &options).ok());
        client.socket_handle().unwrap().set_read_timeout(Some(PATIENCE)).unwrap();
        Self { client, snapshot: false }
    }

    /// All frames up to the one that sets `mark`, as text.
    fn until_mark(&mut self, primary: &Plain, mark: &str) -> Vec<String> {
        let order = format!("SET {mark} 1");
        assert_eq!(primary.ask(&order), "+OK");
        let mut frames = Vec::new();
        loop {
            match self.client.next_event().expect("the stream goes on").unwrap() {
                ReplicaEvent::Frame(frame) => {
                    let words: Vec<_> = frame.argv.iter().map(String::from_utf8_lossy).collect();
                    let words = words.join(" ");
                    if words == order {
                        return frames;
                    }
                    frames.push(words);
                }
                ReplicaEvent::SnapshotBegin => self.snapshot = true,
                _ => {}
            }
        }
    }
}

/// A primary, and a replica that has confirmed a write.
fn pair(more: &str) -> (Plain, Plain) {
    let primary = Plain::primary();
    let replica = Plain::replica(Some(&primary), more);
    until("the replica confirms", || {
        primary.ask("SET first 1");
        (primary.ask("WAIT 1 100") == ":1").then_some(())
    });
    (primary, replica)
}

/// Frames of a fresh primary for these lines.
fn frames(lines: &[&str]) -> (Plain, Vec<String>) {
    let primary = Plain::primary();
    let mut feed = primary.feed("reader");
    feed.until_mark(&primary, "begin");
    for line in lines {
        let said = primary.ask(line);
        assert!(!said.starts_with('-'), "{line}: {said}");
    }
    let frames = feed.until_mark(&primary, "end");
    (primary, frames)
}

#[test]
fn every_entry_has_its_test_and_every_test_its_entry() {
    let text = include_str!("../../../docs/upstream.md");
    let name = |heading: &str| -> String {
        let lower = heading.to_lowercase();
        let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join("_")
    };
    let entries: Vec<String> = text.lines().filter_map(|line| line.strip_prefix("### ")).map(name).collect();
    let tests: Vec<&str> = include_str!("upstream.rs")
        .split("#[test]\nfn ")
        .skip(1)
        .filter_map(|test| test.split('(').next())
        .filter(|name| !name.starts_with("every_entry_has_"))
        .collect();
    assert_eq!(entries, tests, "docs/upstream.md on the left, in one order with this file on the right");
    for (entry, part) in entries.iter().zip(text.split("\n### ").skip(1)) {
        for word in ["**Seen:**", "**Here:**", "**Repair:**"] {
            assert!(part.contains(word), "{entry} does not say {word}");
        }
    }
}

// ---- writes that no gate is asked about ----

#[test]
fn exec_after_watch_asks_nobody_whether_it_may_write() {
    let replica = Plain::replica(None, "");
    let mut client = replica.client();
    assert!(client.ask("SET k v").starts_with("-READONLY"));
    for line in ["WATCH k", "MULTI", "SET k v"] {
        client.ask(line);
    }
    assert_eq!(client.ask("EXEC"), "[+OK]", "{MENDED}");
}

/// Where there is no io_uring the fault is not there, and the test sees that instead.
#[test]
fn a_large_set_on_io_uring_asks_nobody_whether_it_may_write() {
    let replica = Plain::replica(None, "");
    let log = std::fs::read_to_string(replica.dir.0.join("log")).unwrap();
    let mut client = replica.client();
    assert!(client.ask("SET k v").starts_with("-READONLY"));
    let reply = client.ask(&format!("SET k {}", "x".repeat(100_000)));
    match log.contains("reactor = io_uring") {
        true => assert_eq!((reply.as_str(), client.ask("STRLEN k").as_str()), ("+OK", ":100000"), "{MENDED}"),
        false => assert!(reply.starts_with("-READONLY"), "{reply}"),
    }
}

#[test]
fn the_log_of_a_replica_ends_with_the_copy_where_a_thread_writes_it() {
    let primary = Plain::primary();
    assert_eq!(primary.client().ask("SET before 1"), "+OK");
    let mut replica = Plain::replica(Some(&primary), "");
    replica.restart("KEVY_IO_URING=0");
    until("the copy is there", || (replica.client().ask("GET before") == "1").then_some(()));
    assert_eq!(primary.client().ask("SET after 1"), "+OK");
    until("the frame is there", || (replica.client().ask("GET after") == "1").then_some(()));
    // The log is written once a second.
    std::thread::sleep(Duration::from_secs(3));
    let log = std::fs::read(replica.dir.0.join("aof-0.aof")).unwrap();
    let has = |word: &[u8]| log.windows(word.len()).any(|at| at == word);
    assert!(has(b"before"), "the copy is in the log");
    assert!(!has(b"after"), "{MENDED}");
}

#[test]
fn move_scope_ingest_is_not_taken_for_a_write() {
    let replica = Plain::replica(None, "");
    let order = "*3\r\n$3\r\nSET\r\n$5\r\napp:a\r\n$1\r\n1\r\n";
    let mut client = RespClient::connect("127.0.0.1", replica.port).unwrap();
    let reply = client.request_borrowed(&[b"MOVE-SCOPE-INGEST", b"app:", order.as_bytes()]).unwrap();
    assert!(format!("{reply:?}").starts_with("Simple"), "{MENDED}: {reply:?}");
}

#[test]
fn a_script_can_shut_the_server_down() {
    let mut primary = Plain::primary();
    let mut client = RespClient::connect("127.0.0.1", primary.port).unwrap();
    // Whatever it answers, if it comes to that.
    drop(client.request_borrowed(&[b"EVAL", b"return redis.call('SHUTDOWN', 'NOSAVE')", b"0"]));
    until("the server ends; if it does not, kevy has mended this", || primary.child.try_wait().unwrap());
}

#[test]
fn a_script_can_stop_all_writes_with_failover() {
    let primary = Plain::primary();
    let script = "return redis.call('FAILOVER', '127.0.0.1', '1', 'TIMEOUT', '60000')";
    assert_eq!(primary.client().ask_words(&["EVAL", script, "0"]), "+OK", "{MENDED}");
    assert!(primary.ask("SET k v").starts_with("-QUIESCED"), "{MENDED}");
}

#[test]
fn an_http_request_is_run_as_commands() {
    let primary = Plain::primary();
    let said = primary.raw("POST / HTTP/1.1\r\nHost: somewhere\r\n\r\nSET posted 1\r\n", "+OK\r\n");
    assert!(said.contains("unknown command 'POST'"), "{said}");
    assert_eq!(primary.ask("GET posted"), "1", "{MENDED}");
}

// ---- what is streamed is not what was done ----

#[test]
fn a_frame_above_256_kib_is_never_streamed() {
    let (primary, replica) = pair("");
    assert_eq!(primary.ask(&format!("SET big {}", "x".repeat(300_000))), "+OK");
    assert_eq!(primary.ask("SET after 1"), "+OK");
    assert_eq!(primary.ask("WAIT 1 1000"), ":0", "{MENDED}");
    assert_eq!(replica.ask("GET after"), "nil", "and nothing behind it comes");
}

#[test]
fn lmove_and_rpoplpush_lose_the_element_everywhere_else() {
    let (mut primary, frames) =
        frames(&["RPUSH from x y", "LMOVE from to LEFT RIGHT", "RPOPLPUSH from other"]);
    let told = |key: &str| frames.iter().any(|frame| frame.split(' ').any(|word| word == key));
    assert!(told("from") && !told("to") && !told("other"), "{MENDED}: {frames:?}");
    assert_eq!(primary.ask("LRANGE to 0 -1"), "[x]");
    primary.restart("");
    let list = until("it has read its log", || {
        Some(primary.ask("LRANGE to 0 -1")).filter(|said| !said.starts_with("-LOADING"))
    });
    assert_eq!(list, "[]", "{MENDED}: it is in the log");
}

#[test]
fn scripts_are_streamed_as_scripts() {
    let primary = Plain::primary();
    let mut feed = primary.feed("reader");
    feed.until_mark(&primary, "begin");
    let script = "return redis.call('SET', 'k', redis.call('TIME')[2])";
    assert_eq!(primary.client().ask_words(&["EVAL", script, "0"]), "+OK");
    let frames = feed.until_mark(&primary, "end");
    assert!(frames.iter().any(|frame| frame.starts_with("EVAL ")), "{MENDED}: {frames:?}");
}

#[test]
fn evalsha_is_streamed_without_the_script() {
    let primary = Plain::primary();
    let mut feed = primary.feed("reader");
    feed.until_mark(&primary, "begin");
    let digest = primary.client().ask_words(&["SCRIPT", "LOAD", "return redis.call('SET', 'k', '1')"]);
    assert_eq!(primary.ask(&format!("EVALSHA {digest} 0")), "+OK");
    let frames = feed.until_mark(&primary, "end");
    assert_eq!(frames, [format!("EVALSHA {digest} 0")], "{MENDED}");
}

#[test]
fn a_relative_expiry_is_streamed_as_it_was_said() {
    let lines = ["SET k v EX 100", "EXPIRE k 200", "HSET h f v", "HPEXPIRE h 50000 FIELDS 1 f"];
    let (_primary, frames) = frames(&lines);
    assert_eq!(frames, lines, "{MENDED}");
}

#[test]
fn an_expiry_is_not_streamed_each_server_ends_keys_by_its_own_clock() {
    let primary = Plain::primary();
    let mut feed = primary.feed("reader");
    feed.until_mark(&primary, "begin");
    assert_eq!(primary.ask("SET k v PX 30"), "+OK");
    until("the key has ended", || (primary.ask("GET k") == "nil").then_some(()));
    let frames = feed.until_mark(&primary, "end");
    assert!(!frames.iter().any(|frame| frame.starts_with("DEL") || frame.starts_with("UNLINK")), "{MENDED}");

    // Renewed in time where it counts; the replica hears of it only afterwards.
    let held = Arc::new(AtomicBool::new(false));
    let way = detour(primary.port + 10_000, &held);
    let replica = Plain::with("replica", &format!("upstream = \"127.0.0.1:{way}\""), "");
    let late = || {
        assert_eq!(primary.ask("SET lock mine PX 1000"), "+OK");
        until("the replica has the lock", || (replica.ask("GET lock") == "mine").then_some(()));
        held.store(true, Ordering::SeqCst);
        let renewed = primary.ask("PEXPIRE lock 1000000");
        until("the replica has ended it", || (replica.ask("GET lock") == "nil").then_some(()));
        held.store(false, Ordering::SeqCst);
        // On a busy machine a second may not be enough to renew it; then it shows nothing.
        (renewed == ":1").then_some(())
    };
    (0..10).find_map(|_| late()).expect("ten tries to renew a lock in time");
    assert_eq!(primary.ask("SET later 1"), "+OK");
    until("the replica has what came later", || (replica.ask("GET later") == "1").then_some(()));
    assert_eq!(
        (primary.ask("GET lock").as_str(), replica.ask("GET lock").as_str()),
        ("mine", "nil"),
        "{MENDED}"
    );
}

/// A port that leads to another one, and passes on nothing that comes back from there while it is held.
fn detour(to: u16, held: &Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, held) = (listener.local_addr().unwrap().port(), Arc::clone(held));
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            let held = Arc::clone(&held);
            std::thread::spawn(move || pass(near, far, || false));
            std::thread::spawn(move || pass(far_too, near_too, || held.load(Ordering::SeqCst)));
        }
    });
    port
}

fn pass(mut from: TcpStream, mut to: TcpStream, held: impl Fn() -> bool) {
    let mut chunk = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut chunk) {
        while held() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if to.write_all(&chunk[..n]).is_err() {
            return;
        }
    }
}

#[test]
fn a_write_that_is_refused_for_want_of_memory_is_streamed() {
    let primary = Plain::primary();
    let mut feed = primary.feed("reader");
    feed.until_mark(&primary, "begin");
    assert_eq!(primary.ask("CONFIG SET maxmemory 1"), "+OK");
    until("it refuses", || primary.ask("SET refused v").starts_with("-OOM").then_some(()));
    assert_eq!(primary.ask("CONFIG SET maxmemory 0"), "+OK");
    until("it accepts", || (primary.ask("SET accepted v") == "+OK").then_some(()));
    let accepted = primary.ask("GET refused");
    let frames = feed.until_mark(&primary, "end");
    let refused = frames.iter().filter(|frame| *frame == "SET refused v").count();
    assert!(refused > usize::from(accepted == "v"), "{MENDED}: {frames:?}");
}

#[test]
fn a_replica_over_its_own_maxmemory_drops_what_it_acknowledges() {
    let (primary, replica) = pair("[memory]\nmaxmemory = 1\n");
    assert_eq!(primary.ask("SET dropped 1"), "+OK");
    assert_eq!(primary.ask("WAIT 1 20000"), ":1", "it says that it has it");
    let begun = Instant::now();
    while begun.elapsed() < NOTHING {
        assert_eq!(replica.ask("GET dropped"), "nil", "{MENDED}");
    }
}

#[test]
fn writes_are_acknowledged_while_the_log_cannot_be_written() {
    let mut primary = Plain::primary();
    // As good as a full disk, for this process alone; its own words would not fit either.
    primary.restart("trap '' XFSZ; ulimit -f 64; exec 2> /dev/null;");
    let (mut client, value) = (primary.client(), "x".repeat(1000));
    for i in 0..400 {
        assert_eq!(client.ask(&format!("SET k{i} {value}")), "+OK", "{MENDED}");
    }
    primary.restart("");
    let keys = until("it has read its log", || primary.ask("DBSIZE").strip_prefix(':')?.parse::<u64>().ok());
    assert!(keys < 400, "{MENDED}");
}

// ---- acknowledgements ----

#[test]
fn wait_believes_any_offset_of_anybody() {
    let primary = Plain::primary();
    let mut stranger = primary.feed("somebody");
    // What is acknowledged before the stream has begun is passed over.
    stranger.until_mark(&primary, "begun");
    stranger.client.send_ack(1_000_000).unwrap();
    assert_eq!(primary.ask("SET k v"), "+OK");
    assert_eq!(primary.ask("WAIT 1 20000"), ":1", "{MENDED}: it has not read this");
}

#[test]
fn an_acknowledgement_outlives_the_stream_that_it_was_for() {
    let primary = Plain::primary();
    let mut honest = primary.feed("replica");
    for mark in ["a", "b", "c", "d"] {
        honest.until_mark(&primary, mark);
    }
    let all = honest.client.expected_offset();
    honest.client.send_ack(all).unwrap();
    assert_eq!(primary.ask("WAIT 1 20000"), ":1");
    assert_eq!(primary.ask("FLUSHALL"), "+OK");
    // The stream begins anew at 0; what is acknowledged of it is nothing.
    let again = primary.feed("replica");
    assert_eq!(primary.ask("SET after 1"), "+OK");
    assert_eq!(primary.ask("WAIT 1 1000"), ":1", "{MENDED}");
    drop((honest, again));
}

#[test]
fn two_replicas_of_one_name_are_one() {
    let primary = Plain::primary();
    let mut feeds = [primary.feed("kevy-replica-6004"), primary.feed("kevy-replica-6004")];
    for feed in &mut feeds {
        feed.until_mark(&primary, "k");
        let next = feed.client.expected_offset();
        feed.client.send_ack(next + 10).unwrap();
    }
    assert_eq!(primary.ask("WAIT 1 20000"), ":1");
    assert_eq!(primary.ask("WAIT 2 700"), ":1", "{MENDED}");
}

#[test]
fn flushall_and_a_promotion_empty_the_backlog() {
    let primary = Plain::primary();
    let mut feed = primary.feed("reader");
    feed.until_mark(&primary, "k");
    let mut from = feed.client.primary_at_handshake();
    from.offset = feed.client.expected_offset();
    drop(feed);
    let resume = |from| {
        let mut feed = Feed::connect(&primary, ConnectOptions::new("reader").with_from(from));
        feed.until_mark(&primary, "more");
        feed.snapshot
    };
    assert!(!resume(from), "what is in the backlog needs no snapshot");
    assert_eq!(primary.ask("FLUSHALL"), "+OK");
    assert!(resume(from), "{MENDED}");
}

// ---- a shard that stands still, or does not ----

#[test]
fn replicaof_holds_up_every_client_while_an_old_upstream_is_silent() {
    let primary = Plain::primary();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    assert_eq!(primary.ask(&format!("REPLICAOF 127.0.0.1 {port}")), "+OK");
    let _dialled = silent.accept().unwrap();
    let (mut steers, mut pings) = (primary.client(), primary.client());
    let thread = std::thread::spawn(move || steers.ask("REPLICAOF NO ONE"));
    let mut longest = Duration::ZERO;
    until("the order is carried out", || {
        let begun = Instant::now();
        assert_eq!(pings.ask("PING"), "+PONG");
        longest = longest.max(begun.elapsed());
        thread.is_finished().then_some(())
    });
    assert!(longest > Duration::from_secs(1), "{MENDED}: {longest:?}");
}

#[test]
fn hz_0_stops_more_than_the_expiry_of_keys() {
    let primary = Plain::with("primary", "", "[expiry]\nhz = 0\n");
    let mut stream = TcpStream::connect(("127.0.0.1", primary.port)).unwrap();
    stream.set_read_timeout(Some(NOTHING)).unwrap();
    stream.write_all(b"SET k v\r\n").unwrap();
    let mut reply = [0; 5];
    stream.read_exact(&mut reply).unwrap();
    stream.write_all(b"WAIT 1 1\r\n").unwrap();
    let error = stream.read(&mut reply).expect_err(MENDED);
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
}

#[test]
fn a_connection_that_is_reset_with_an_answer_unread_can_leave_a_shard_spinning() {
    let primary = Plain::primary();
    for _ in 0..400 {
        let mut stream = TcpStream::connect(("127.0.0.1", primary.port)).unwrap();
        stream.write_all(b"*1\r\n$4\r\nROLE\r\n").unwrap();
        // With no time to linger, closing resets.
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    }
    assert!(primary.spins(), "{MENDED}");
}

#[test]
fn a_server_without_descriptors_burns_a_processor() {
    let mut primary = Plain::primary();
    primary.restart("ulimit -n 64;");
    let connect = || TcpStream::connect(("127.0.0.1", primary.port)).ok();
    let _idle: Vec<_> = (0..120).map_while(|_| connect()).collect();
    assert!(primary.spins(), "{MENDED}");
}

#[test]
fn a_log_that_cannot_be_written_is_tried_again_without_a_pause() {
    let mut primary = Plain::primary();
    // Half a megabyte, in the shell's blocks. What it says may be as long.
    primary.restart("trap '' XFSZ; ulimit -f 1024;");
    let value = "x".repeat(60_000);
    for n in 0..12 {
        assert_eq!(primary.ask(&format!("SET k{n} {value}")), "+OK");
    }
    let attempts = || {
        let log = std::fs::read(primary.dir.0.join("log")).unwrap();
        String::from_utf8_lossy(&log).lines().filter(|line| line.contains("aof")).count()
    };
    until("it has tried a thousand times", || (attempts() > 1000).then_some(()));
}

// ---- what clients are told ----

#[test]
fn a_client_that_waits_for_data_goes_on_waiting_when_its_server_becomes_a_replica() {
    let primary = Plain::primary();
    let mut waits = TcpStream::connect(("127.0.0.1", primary.port)).unwrap();
    waits.set_read_timeout(Some(NOTHING)).unwrap();
    waits.write_all(b"PING\r\nBLPOP queue 0\r\n").unwrap();
    let mut reply = [0; 7];
    waits.read_exact(&mut reply).unwrap();
    assert_eq!(primary.ask("REPLICAOF 127.0.0.1 1"), "+OK");
    let error = waits.read(&mut reply).expect_err(MENDED);
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
}

#[test]
fn resp3_nulls_are_those_of_resp2() {
    let primary = Plain::primary();
    let said = primary.raw("HELLO 3\r\nGET missing\r\n", "-1\r\n");
    assert!(said.ends_with("$-1\r\n"), "{MENDED}: {said}");
}

#[test]
fn hello_takes_any_password() {
    let primary = Plain::primary();
    let said = primary.raw("HELLO 3 AUTH nobody wrong\r\nPING\r\n", "+PONG\r\n");
    assert!(said.starts_with('%'), "{MENDED}: {said}");
    assert!(primary.ask("AUTH wrong").starts_with("-ERR unknown command"), "{MENDED}");
}
