//! How long the plugin takes: `cargo bench --bench latency`. Three nodes in one process with everything real
//! between them: TCP over loopback, vote records on disk, the system's clock, the default configuration.
//!
//! - `offset to heartbeat`: from `on_offset` of a new offset to the heartbeat that tells it leaving the node, and
//!   arriving at a peer. At most one heartbeat interval by design.
//! - `offer to promote`: from the first request for a vote to the host's `promote`: a round trip, and the vote on the
//!   disks of a quorum. `pre-vote to writable` adds what comes before and after.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot be set up must not go on")]

use async_trait::async_trait;
use kevy_elect_plugin::clock::SystemClock;
use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::host::{HostError, ReplicationHost};
use kevy_elect_plugin::ids::{Epoch, NodeId};
use kevy_elect_plugin::message::{Hello, Message};
use kevy_elect_plugin::plugin::{ElectPlugin, QuorumParts, QuorumPlugin};
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::store::FileVoteStore;
use kevy_elect_plugin::transport::{SendError, TcpTransport, Transport, TransportError, TransportEvent};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

const NODES: usize = 3;
const OFFSETS: usize = 300;
const ELECTIONS: usize = 300;
const PATIENCE: Duration = Duration::from_secs(20);

/// The newest of each.
#[derive(Default)]
struct Times {
    /// The offset that is waited for: when a heartbeat with it left, and came in.
    wanted: u64,
    left: Option<Instant>,
    came: Option<Instant>,
    /// The election under way.
    pre_offer: Option<Instant>,
    offer: Option<Instant>,
    promote: Option<Instant>,
}

type Shared = Arc<Mutex<Times>>;

struct Host {
    node: usize,
    times: Shared,
    position: Mutex<Position>,
    plugin: Mutex<Weak<QuorumPlugin>>,
}

impl Host {
    fn joined(&self, epoch: Epoch) {
        *self.position.lock().unwrap() = Position::single(epoch, 0);
        if let Some(plugin) = self.plugin.lock().unwrap().upgrade() {
            plugin.on_joined(epoch, &[0]);
        }
    }
}

#[async_trait]
impl ReplicationHost for Host {
    async fn promote(&self, epoch: Epoch) -> Result<(), HostError> {
        self.times.lock().unwrap().promote.get_or_insert_with(Instant::now);
        self.joined(epoch);
        Ok(())
    }
    async fn follow(&self, epoch: Epoch, _: NodeId) -> Result<(), HostError> {
        self.joined(epoch);
        Ok(())
    }
    async fn detach(&self) -> Result<Position, HostError> {
        Ok(self.position.lock().unwrap().clone())
    }
}

/// Looks at what passes.
struct Tap(TcpTransport, Shared, usize);

#[async_trait]
impl Transport for Tap {
    async fn run(&self, hello: Hello) -> Result<(), TransportError> {
        self.0.run(hello).await
    }
    fn send(&self, to: NodeId, message: &Message) -> Result<(), SendError> {
        let mut times = self.1.lock().unwrap();
        match message {
            Message::Heartbeat(heartbeat) if self.2 == 0 && heartbeat.progress.offset == times.wanted => {
                times.left.get_or_insert_with(Instant::now);
            }
            Message::PreOffer(_) => _ = times.pre_offer.get_or_insert_with(Instant::now),
            Message::Offer(_) => _ = times.offer.get_or_insert_with(Instant::now),
            _ => {}
        }
        drop(times);
        self.0.send(to, message)
    }
    async fn recv(&self) -> TransportEvent {
        let event = self.0.recv().await;
        if let TransportEvent::Message { from, message: Message::Heartbeat(heartbeat) } = &event
            && from.as_str() == "n1"
        {
            let mut times = self.1.lock().unwrap();
            if heartbeat.progress.offset == times.wanted {
                times.came.get_or_insert_with(Instant::now);
            }
        }
        event
    }
    async fn close(&self) {
        self.0.close().await;
    }
}

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let (offsets, elections) =
        if std::env::args().any(|arg| arg == "--bench") { (OFFSETS, ELECTIONS) } else { (2, 2) };
    let times = Shared::default();
    let directory = tempfile::tempdir().unwrap();
    let ids = ["n1", "n2", "n3"].map(|name| NodeId::new(name).unwrap());
    let doors: [_; NODES] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = doors.each_ref().map(|door| door.local_addr().unwrap().to_string());
    let executor = smol::LocalExecutor::new();
    let mut hosts = Vec::new();
    let mut plugins = Vec::new();
    for (node, door) in doors.into_iter().enumerate() {
        let mut transport = TcpTransport::with_listener(door);
        for peer in (0..NODES).filter(|peer| *peer != node) {
            transport = transport.peer(ids[peer], addresses[peer].clone());
        }
        let parts = QuorumParts {
            config: Config::builder(ids[node], ids.map(Member::voter)).build().unwrap(),
            clock: Arc::new(SystemClock::new()),
            store: Arc::new(FileVoteStore::open(directory.path().join(ids[node].as_str())).unwrap()),
            transport: Arc::new(Tap(transport.build(), times.clone(), node)),
            seed: node as u64,
        };
        let position = Mutex::new(Position::NONE);
        let host = Arc::new(Host { node, times: times.clone(), position, plugin: Mutex::default() });
        let (plugin, election) = QuorumPlugin::start(parts, |plugin| {
            *host.plugin.lock().unwrap() = Arc::downgrade(plugin);
            host.clone()
        });
        executor.spawn(async move { election.await.unwrap() }).detach();
        hosts.push(host);
        plugins.push(plugin);
    }
    smol::block_on(executor.run(async {
        let mut primary = writable(&plugins, None).await;
        println!("{:<44} {:>9} {:>9} {:>9}  samples", "milliseconds", "p50", "p99", "max");
        elect(&plugins, &times, &mut primary, elections).await;
        report_offsets(&hosts[0], &plugins[0], &times, offsets).await;
    }));
}

/// Hands the office over again and again.
async fn elect(plugins: &[Arc<QuorumPlugin>], times: &Shared, primary: &mut usize, elections: usize) {
    let mut votes = Vec::new();
    let mut all = Vec::new();
    let mut handovers = Vec::new();
    for _ in 0..elections {
        {
            let mut times = times.lock().unwrap();
            (times.pre_offer, times.offer, times.promote) = (None, None, None);
        }
        let begin = Instant::now();
        plugins[*primary].step_down();
        *primary = writable(plugins, Some(*primary)).await;
        let end = Instant::now();
        let seen = {
            let times = times.lock().unwrap();
            (times.pre_offer, times.offer, times.promote)
        };
        if let (Some(pre_offer), Some(offer), Some(promote)) = seen {
            votes.push(promote.saturating_duration_since(offer));
            all.push(end.saturating_duration_since(pre_offer));
        }
        handovers.push(end - begin);
        // A moment of office, so that every handover starts from a cluster at rest.
        smol::Timer::after(Duration::from_millis(30)).await;
    }
    print("offer to promote", &mut votes);
    print("pre-vote to writable", &mut all);
    print("step-down to writable elsewhere", &mut handovers);
}

async fn report_offsets(host: &Host, plugin: &QuorumPlugin, times: &Shared, offsets: usize) {
    assert_eq!(host.node, 0);
    let mut random = fastrand::Rng::with_seed(7);
    let (mut left, mut came) = (Vec::new(), Vec::new());
    for n in 1..=offsets as u64 {
        smol::Timer::after(Duration::from_micros(random.u64(0..100_000))).await;
        let begin = {
            let mut times = times.lock().unwrap();
            (times.wanted, times.left, times.came) = (n, None, None);
            Instant::now()
        };
        plugin.on_offset(0, n);
        let end = loop {
            let seen = {
                let times = times.lock().unwrap();
                times.left.zip(times.came)
            };
            if let Some(seen) = seen {
                break seen;
            }
            assert!(begin.elapsed() < PATIENCE, "offset {n} was never told");
            smol::Timer::after(Duration::from_millis(1)).await;
        };
        left.push(end.0 - begin);
        came.push(end.1 - begin);
    }
    print("offset to heartbeat sent", &mut left);
    print("offset to heartbeat received", &mut came);
}

async fn writable(plugins: &[Arc<QuorumPlugin>], but: Option<usize>) -> usize {
    let begin = Instant::now();
    loop {
        let open = (0..NODES).find(|node| Some(*node) != but && plugins[*node].write_gate().is_open());
        if let Some(node) = open {
            return node;
        }
        assert!(begin.elapsed() < PATIENCE, "nobody became primary");
        smol::Timer::after(Duration::from_micros(200)).await;
    }
}

fn print(what: &str, samples: &mut [Duration]) {
    samples.sort_unstable();
    let at = |per_cent: usize| samples[(samples.len() - 1) * per_cent / 100].as_secs_f64() * 1e3;
    println!("{what:<44} {:>9.2} {:>9.2} {:>9.2}  {}", at(50), at(99), at(100), samples.len());
}
