//! Elected servers in one process, with a stand-in for the election.

#![allow(dead_code, unreachable_pub, reason = "every test file uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

pub mod contents;
pub mod disk;
pub mod following;
pub mod load;
pub mod metrics;
pub mod process;
pub mod rolling;
pub mod secured;
pub mod talk;
pub mod writes;

use futures::executor::block_on;
use kevy_config::CliOverrides;
use kevy_elect_ops::config::Settings;
use kevy_elect_plugin::host::{FenceReason, ReplicationHost};
use kevy_elect_plugin::ids::{Epoch, NodeId};
use kevy_elect_plugin::plugin::Denied;
use kevy_elect_plugin::position::Position;
use kevy_resp::Reply;
use kevy_resp_client::RespClient;
use kevy_server::host::{KevyHost, Passes};
use kevy_server::office::{Office, Standing};
use kevy_server::{Server, Stopper};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for anything: far above what is ever needed, so that only a hang hits it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `condition` gives something.
#[track_caller]
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Looks for as long as `patience` whether `condition` gives something.
pub fn within<T>(patience: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        match condition() {
            None if start.elapsed() < patience => std::thread::sleep(Duration::from_millis(20)),
            found => return found,
        }
    }
}

/// A directory that goes away with its owner.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("kevy-server-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The election's stand-in: does what the test says, remembers what it was told.
pub struct StubOffice {
    pub standing: Mutex<Standing>,
    pub gate: Mutex<Result<(), Denied>>,
    /// Each history that it held, and where that began for it.
    pub joined: Mutex<Vec<(Epoch, Vec<u64>)>>,
    pub offsets: Mutex<Vec<u64>>,
}

impl StubOffice {
    fn new(shards: usize) -> Self {
        Self {
            standing: Mutex::new(Standing { primary: false, epoch: Epoch::ZERO, of: None }),
            gate: Mutex::new(Err(Denied::Replica)),
            joined: Mutex::default(),
            offsets: Mutex::new(vec![0; shards]),
        }
    }
}

impl Office for StubOffice {
    fn check(&self) -> Result<(), Denied> {
        *self.gate.lock().unwrap()
    }
    fn standing(&self) -> Standing {
        *self.standing.lock().unwrap()
    }
    fn on_offset(&self, shard: usize, offset: u64) {
        self.offsets.lock().unwrap()[shard] = offset;
    }
    fn on_joined(&self, epoch: Epoch, offsets: &[u64]) {
        let mut joined = self.joined.lock().unwrap();
        if joined.last().is_none_or(|(last, _)| *last != epoch) {
            joined.push((epoch, offsets.to_vec()));
        }
        *self.offsets.lock().unwrap() = offsets.to_vec();
    }
}

/// A free client port whose neighbours for elections and replication are free too.
pub fn free_port(shards: u16) -> u16 {
    const BLOCKS: u16 = 22;
    const STEPS: u16 = 49;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    assert!(shards <= 4, "a step has room for four shards");
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        // Far below the ephemeral ports, in steps that leave room for the shards. None is given twice: a node that is
        // down between two starts still needs its own.
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(step < STEPS * BLOCKS, "this process has no ports left");
        // Each process begins in a block of its own, and goes on in the next one.
        let block = ((std::process::id() % u32::from(BLOCKS)) as u16 + step / STEPS) % BLOCKS;
        let port = 11_000 + block * 400 + step % STEPS * 4;
        let mut needed = vec![port, port + 200];
        needed.extend((0..shards).map(|shard| port + 10_000 + shard));
        if needed.into_iter().all(free) {
            return port;
        }
    }
}

/// The nodes of a cluster, some of them running.
pub struct Cluster {
    pub shards: u16,
    pub ports: Vec<u16>,
    pub dirs: Vec<Dir>,
    pub aof: bool,
    pub appendfsync: &'static str,
    /// A node that votes and holds no data.
    pub witness: Option<usize>,
}

impl Cluster {
    pub fn new(nodes: usize, shards: u16) -> Self {
        let mut ports: Vec<u16> = Vec::new();
        while ports.len() < nodes {
            let port = free_port(shards);
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        Self {
            shards,
            ports,
            dirs: (0..nodes).map(|_| Dir::new()).collect(),
            aof: true,
            appendfsync: "everysec",
            witness: None,
        }
    }

    pub fn id(node: usize) -> NodeId {
        NodeId::new(&format!("n{node}")).unwrap()
    }

    pub fn settings(&self, node: usize, more: &str) -> Settings {
        let peers: Vec<String> = self
            .ports
            .iter()
            .enumerate()
            .map(|(i, port)| match self.witness == Some(i) {
                false => format!("\"n{i}@127.0.0.1:{}:{port}\"", port + 200),
                true => format!("\"n{i}@127.0.0.1:{}\"", port + 200),
            })
            .collect();
        let witness = self.witness.map(|witness| format!("witnesses = \"n{witness}\"\n")).unwrap_or_default();
        let dir = self.dirs[node].0.display();
        let text = format!(
            "[server]\nport = {}\nthreads = {}\ndata_dir = \"{dir}\"\n[persistence]\naof = {}\nappendfsync = \"{}\"\n[cluster]\n\
             node_id = \"n{node}\"\npeers = [{}]\n[elect]\nenabled = true\n{witness}{more}",
            self.ports[node],
            self.shards,
            self.aof,
            self.appendfsync,
            peers.join(", ")
        );
        let file = self.dirs[node].0.join("kevy.toml");
        std::fs::write(&file, text).unwrap();
        Settings::load(Some(&file), [], CliOverrides::default()).unwrap()
    }

    pub fn start(&self, node: usize) -> Node {
        self.start_from(node, None)
    }

    /// Starts a node with more in its file.
    pub fn start_with(&self, node: usize, more: &str) -> Node {
        self.start_as(node, None, more)
    }

    /// Starts a node whose vote record holds `last`.
    pub fn start_from(&self, node: usize, last: Option<Position>) -> Node {
        self.start_as(node, last, "")
    }

    /// Starts the first nodes: one reigns in `epoch`, and the others hold its history.
    #[track_caller]
    pub fn reigning<const NODES: usize>(&self, epoch: u64) -> [Node; NODES] {
        let nodes = std::array::from_fn(|node| self.start(node));
        nodes[0].promote(epoch);
        nodes[1..].iter().for_each(|replica| replica.follow(epoch, &nodes[0]));
        nodes[1..].iter().for_each(|replica| replica.wait_joined(epoch));
        nodes
    }

    /// Without an election there are no links by which the nodes of this process give each other their passes.
    fn introduce(&self, node: usize, passes: Arc<Passes>) {
        /// Of each port for clients.
        static GIVEN: Mutex<BTreeMap<u16, Arc<Passes>>> = Mutex::new(BTreeMap::new());
        let ports = self.ports.clone();
        GIVEN.lock().unwrap().insert(ports[node], Arc::clone(&passes));
        passes.set_received(move |peer| {
            let port = ports.iter().enumerate().find(|(other, _)| Self::id(*other) == peer)?.1;
            GIVEN.lock().unwrap().get(port).map(|theirs| theirs.for_peer(Self::id(node)))
        });
    }

    fn start_as(&self, node: usize, last: Option<Position>, more: &str) -> Node {
        let settings = self.settings(node, more);
        let server = Server::new(&settings.kevy, settings.elect.unwrap()).unwrap();
        let office = Arc::new(StubOffice::new(usize::from(self.shards)));
        server.set_office(Arc::clone(&office) as _);
        let (host, stopper) = (server.host(), server.stopper());
        self.introduce(node, host.passes());
        let thread = std::thread::spawn(move || server.run().unwrap());
        let position = block_on(host.start(last)).unwrap();
        let port = self.ports[node];
        until("the port accepts", || RespClient::connect("127.0.0.1", port).ok());
        Node { id: Self::id(node), port, host, office, stopper, thread: Some(thread), position }
    }
}

/// A running node.
pub struct Node {
    pub id: NodeId,
    pub port: u16,
    pub host: Arc<KevyHost>,
    pub office: Arc<StubOffice>,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
    /// What it said it holds when it started.
    pub position: Position,
}

impl Node {
    /// Makes it the primary of `epoch`, as the plugin would. Says how long that took.
    pub fn promote(&self, epoch: u64) -> Duration {
        let start = Instant::now();
        block_on(self.host.promote(Epoch(epoch))).unwrap();
        let took = start.elapsed();
        *self.office.standing.lock().unwrap() =
            Standing { primary: true, epoch: Epoch(epoch), of: Some(self.id) };
        *self.office.gate.lock().unwrap() = Ok(());
        took
    }

    pub fn follow(&self, epoch: u64, primary: &Node) {
        *self.office.gate.lock().unwrap() = Err(Denied::Replica);
        *self.office.standing.lock().unwrap() =
            Standing { primary: false, epoch: Epoch(epoch), of: Some(primary.id) };
        block_on(self.host.follow(Epoch(epoch), primary.id)).unwrap();
    }

    pub fn fence(&self, reason: FenceReason) {
        *self.office.gate.lock().unwrap() = Err(Denied::Fenced(reason));
    }

    /// Whether it was told that it holds the history of `epoch`.
    pub fn has_joined(&self, epoch: u64) -> bool {
        self.office.joined.lock().unwrap().last().is_some_and(|(joined, _)| *joined == Epoch(epoch))
    }

    #[track_caller]
    pub fn wait_joined(&self, epoch: u64) {
        until("it has joined", || self.has_joined(epoch).then_some(()));
    }

    pub fn client(&self) -> Client {
        Client(RespClient::connect("127.0.0.1", self.port).unwrap(), self.port)
    }

    /// Ends it in order.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        self.stopper.stop(false);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.halt();
        }
    }
}

/// A connection. A new one is made where the server ends it with a refusal.
pub struct Client(RespClient, u16);

impl Client {
    /// To the server at this port, once it accepts.
    #[track_caller]
    pub fn connect(port: u16) -> Self {
        Self(until("the port accepts", || RespClient::connect("127.0.0.1", port).ok()), port)
    }

    /// Sends words and shows the reply in a short form: `+OK`, `-ERR ..`, `:1`, the text, `nil`.
    pub fn ask(&mut self, line: &str) -> String {
        self.ask_words(&line.split(' ').collect::<Vec<_>>())
    }

    /// The same with words that may have spaces in them.
    pub fn ask_words(&mut self, words: &[&str]) -> String {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let said = show(&self.0.request_borrowed(&words).unwrap());
        self.after(&said);
        said
    }

    /// A fenced primary ends the connection of whom it refuses: a client that goes on asking there would never find another.
    fn after(&mut self, said: &str) {
        if said.starts_with("-READONLY") && said.contains("must not write now") {
            *self = Self::connect(self.1);
        }
    }

    /// The same where the server may end the connection.
    pub fn try_ask(&mut self, line: &str) -> Option<String> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.0.request_borrowed(&words).ok().as_ref().map(show)
    }

    /// An array's elements; none if the reply is no array.
    pub fn list(&mut self, words: &[&str]) -> Vec<String> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        match self.0.request_borrowed(&words).unwrap() {
            Reply::Array(items) => items.iter().map(show).collect(),
            _ => Vec::new(),
        }
    }

    pub fn ask_list(&mut self, line: &str) -> Vec<String> {
        self.list(&line.split(' ').collect::<Vec<_>>())
    }

    /// An array of arrays, each flattened.
    pub fn ask_all(&mut self, line: &str) -> Vec<Vec<String>> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let flat = |reply: &Reply| match reply {
            Reply::Array(items) => items
                .iter()
                .flat_map(|item| match item {
                    Reply::Array(inner) => inner.iter().map(show).collect(),
                    other => vec![show(other)],
                })
                .collect(),
            other => vec![show(other)],
        };
        match self.0.request_borrowed(&words).unwrap() {
            Reply::Array(items) => items.iter().map(flat).collect(),
            _ => Vec::new(),
        }
    }
}

fn show(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) => format!("+{}", String::from_utf8_lossy(text)),
        Reply::Error(text) => format!("-{}", String::from_utf8_lossy(text)),
        Reply::Int(n) => format!(":{n}"),
        Reply::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        Reply::Nil => "nil".to_owned(),
        Reply::Array(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
        other => format!("{other:?}"),
    }
}

/// Waits until `key` has `value` on `node`.
#[track_caller]
pub fn until_reads(node: &Node, key: &str, value: &str) {
    let mut client = node.client();
    until(&format!("{key} = {value}"), || (client.ask(&format!("GET {key}")) == value).then_some(()));
}

/// Sets so many keys of this name, one after the other.
pub fn write_keys(client: &mut Client, name: &str, count: usize) {
    for i in 0..count {
        assert_eq!(client.ask(&format!("SET {name}{i} {i}")), "+OK");
    }
}
