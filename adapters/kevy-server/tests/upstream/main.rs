//! What kevy 7.0.0 itself gets wrong, on the plain server: no election, nothing of ours but the binary's name.
//!
//! One test per entry of docs/upstream.md, under its name, one file per section. A test **passes while the fault is there**;
//! the day that it fails, kevy has mended it: remove what the entry says that we do about it, the entry, and the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod acks;
mod clients;
#[path = "../common/mod.rs"]
mod common;
mod gate;
mod log;
mod memory;
mod shards;
mod stream;

use common::process::BIN;
use common::{Client, Dir, until};
use kevy_replicate::replica::{ConnectOptions, ReplicaClient, ReplicaEvent};
use kevy_resp_client::RespClient;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// What to do when one of these fails.
const MENDED: &str = "kevy has mended this: see the head of this file";
/// Longest wait for anything that comes.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing is waited for. On a healthy server what is waited for takes a few milliseconds.
const NOTHING: Duration = Duration::from_millis(700);

/// A client port that is free, with its ports for replication: one for each of two shards at most.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let n = NEXT.fetch_add(2, Ordering::Relaxed);
        assert!(n < 400, "this process has no ports left");
        let port = 11_000 + (std::process::id() as u16 % 22) * 400 + n;
        if [port, port + 10_000, port + 10_001].into_iter().all(free) {
            return port;
        }
    }
}

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

    fn with_shards(shards: usize) -> Self {
        Self::start(shards, "primary", "", "")
    }

    /// A replica of `upstream`, or of nobody who answers.
    fn replica(upstream: Option<&Self>, more: &str) -> Self {
        let port = upstream.map_or(1, |primary| primary.port + 10_000);
        Self::with("replica", &format!("upstream = \"127.0.0.1:{port}\""), more)
    }

    fn with(role: &str, replication: &str, more: &str) -> Self {
        Self::start(1, role, replication, more)
    }

    fn start(shards: usize, role: &str, replication: &str, more: &str) -> Self {
        let (dir, port) = (Dir::new(), free_port());
        let text = format!(
            "[server]\nport = {port}\nthreads = {shards}\ndata_dir = \"{}\"\n[replication]\nrole = \"{role}\"\n{replication}\n{more}",
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

    /// A client that has sent `order`, and waits.
    fn waiting(&self, order: &str) -> Waiting {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The first answer says that the rest is with the shard.
        stream.write_all(format!("PING\r\n{order}\r\n").as_bytes()).unwrap();
        let mut reply = [0; 7];
        stream.read_exact(&mut reply).unwrap();
        stream.set_read_timeout(Some(NOTHING)).unwrap();
        Waiting { stream, heard: String::new() }
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

/// A client that waits for data.
struct Waiting {
    stream: TcpStream,
    heard: String,
}

impl Waiting {
    /// What it has heard, once that ends so.
    fn said(&mut self, end: &str) -> Option<String> {
        let mut chunk = [0; 1024];
        if let Ok(n) = self.stream.read(&mut chunk) {
            self.heard += &String::from_utf8_lossy(&chunk[..n]);
        }
        self.heard.ends_with(end).then(|| self.heard.clone())
    }

    /// Of data. `+OK` and `+QUEUED` are none.
    #[track_caller]
    fn hears_nothing(&mut self, after: &str) {
        let (begun, mut chunk) = (Instant::now(), [0; 1024]);
        while begun.elapsed() < NOTHING {
            match self.stream.read(&mut chunk) {
                Ok(n) => self.heard += &String::from_utf8_lossy(&chunk[..n]),
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}")
                }
            }
        }
        let data = self.heard.lines().find(|line| line.starts_with(['$', ':', '-']));
        assert_eq!(data, None, "{MENDED}: after {after}: {}", self.heard);
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
    let text = include_str!("../../../../docs/upstream.md");
    let files = [
        include_str!("gate.rs"),
        include_str!("stream.rs"),
        include_str!("log.rs"),
        include_str!("memory.rs"),
        include_str!("acks.rs"),
        include_str!("shards.rs"),
        include_str!("clients.rs"),
    ];
    let name = |heading: &str| -> String {
        let lower = heading.to_lowercase();
        let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join("_")
    };
    let entries: Vec<String> = text.lines().filter_map(|line| line.strip_prefix("### ")).map(name).collect();
    let tests: Vec<&str> = files
        .iter()
        .flat_map(|file| file.split("#[test]\nfn ").skip(1))
        .filter_map(|test| test.split('(').next())
        .collect();
    assert_eq!(entries, tests, "docs/upstream.md on the left, in one order with the files on the right");
    for (entry, part) in entries.iter().zip(text.split("\n### ").skip(1)) {
        for word in ["**Seen:**", "**Here:**", "**Repair:**"] {
            assert!(part.contains(word), "{entry} does not say {word}");
        }
    }
}
