//! A cluster of real plugins and drivers over the in-memory transport, on virtual time.

#![allow(unreachable_pub, reason = "every test includes it as a module of its own")]
#![allow(dead_code, reason = "each test uses its part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of a test that fails says where")]

use async_trait::async_trait;
use futures::future::{AbortHandle, Abortable, BoxFuture, FutureExt};
use kevy_elect_plugin::clock::{Clock, ManualClock};
use kevy_elect_plugin::config::{Config, ConfigBuilder, Member};
use kevy_elect_plugin::host::{HostError, ReplicationHost};
use kevy_elect_plugin::ids::{Epoch, NodeId};
use kevy_elect_plugin::plugin::{ElectPlugin, QuorumParts, QuorumPlugin};
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::store::MemoryVoteStore;
use kevy_elect_plugin::time::{Duration, Instant};
use kevy_elect_plugin::transport::{MemoryNetwork, MemoryTransport, Transport};
use std::sync::{Arc, Mutex, Weak};
use std::task::Poll;

/// How an executor starts a future beside the test.
pub type Spawn<'a> = &'a dyn Fn(BoxFuture<'static, ()>);

/// Puts a test's own host in the place of the usual one, which it may go on using.
pub type WrapHost = Box<dyn Fn(usize, Arc<Host>, Weak<QuorumPlugin>) -> Arc<dyn ReplicationHost>>;
/// Puts something of a test between a node and the network.
pub type WrapTransport = Box<dyn Fn(usize, MemoryTransport) -> Arc<dyn Transport>>;

/// What a test configures otherwise.
pub type WrapConfig = Box<dyn Fn(ConfigBuilder) -> ConfigBuilder>;

/// What a test puts in the place of the usual parts.
#[derive(Default)]
pub struct Wraps {
    pub host: Option<WrapHost>,
    pub transport: Option<WrapTransport>,
    pub config: Option<WrapConfig>,
    /// So many of the nodes, the last ones, are observers in their own files, and in nobody else's.
    pub strangers: usize,
}

/// Longest virtual time that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server whose data is one number, handed over in no time.
pub struct Host {
    plugin: Mutex<Weak<QuorumPlugin>>,
    position: Mutex<Position>,
    pub calls: Mutex<Vec<String>>,
    /// Until when it was told that writes may pass.
    guarded: Mutex<Instant>,
}

impl Host {
    fn joined(&self, epoch: Epoch, offsets: &[u64]) {
        *self.position.lock().unwrap() = Position::new(epoch, offsets).unwrap();
        if let Some(plugin) = self.plugin.lock().unwrap().upgrade() {
            plugin.on_joined(epoch, offsets);
        }
    }

    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }
}

#[async_trait]
impl ReplicationHost for Host {
    async fn promote(&self, epoch: Epoch) -> Result<(), HostError> {
        self.note(format!("promote {epoch}"));
        self.joined(epoch, &[0]);
        Ok(())
    }
    async fn follow(&self, epoch: Epoch, primary: NodeId) -> Result<(), HostError> {
        self.note(format!("follow {primary} {epoch}"));
        self.joined(epoch, &[0]);
        Ok(())
    }
    fn lease_renewed(&self, until: Instant) {
        *self.guarded.lock().unwrap() = until;
    }
    async fn detach(&self) -> Result<Position, HostError> {
        self.note("detach".to_owned());
        Ok(self.position.lock().unwrap().clone())
    }
}

pub struct Node {
    pub id: NodeId,
    pub store: MemoryVoteStore,
    pub host: Arc<Host>,
    pub plugin: Arc<QuorumPlugin>,
    running: Option<AbortHandle>,
}

impl Node {
    pub fn alive(&self) -> bool {
        self.running.is_some()
    }
}

pub struct Cluster<'a> {
    pub clock: ManualClock,
    pub network: MemoryNetwork,
    pub nodes: Vec<Node>,
    spawn: Spawn<'a>,
    ids: Vec<NodeId>,
    wraps: Wraps,
}

impl<'a> Cluster<'a> {
    pub fn new(n: usize, seed: u64, spawn: Spawn<'a>) -> Self {
        Self::on_clock(ManualClock::new(), n, seed, spawn, Wraps::default())
    }

    /// A cluster with parts of the test's own, which may use the clock too.
    pub fn on_clock(clock: ManualClock, n: usize, seed: u64, spawn: Spawn<'a>, wraps: Wraps) -> Self {
        let ids: Vec<_> = (1..=n).map(|i| NodeId::new(&format!("n{i}")).unwrap()).collect();
        let known = &ids[..n - wraps.strangers];
        let network = MemoryNetwork::builder(clock.clone(), seed, known.iter().copied()).build();
        let mut cluster = Self { clock, network, nodes: Vec::new(), spawn, ids, wraps };
        for i in 0..n {
            let node = cluster.node(i, MemoryVoteStore::new());
            cluster.nodes.push(node);
        }
        cluster
    }

    fn node(&self, i: usize, store: MemoryVoteStore) -> Node {
        let id = self.ids[i];
        let known = self.ids.len() - self.wraps.strangers;
        let own = self.ids.get(i).filter(|_| i >= known).map(|id| Member::observer(*id));
        let members = self.ids[..known].iter().map(|id| Member::voter(*id)).chain(own);
        let transport = self.network.transport(id);
        let config = Config::builder(id, members);
        let config = match &self.wraps.config {
            Some(wrap) => wrap(config),
            None => config,
        };
        let parts = QuorumParts {
            config: config.build().unwrap(),
            clock: Arc::new(self.clock.clone()),
            store: Arc::new(store.clone()),
            transport: match &self.wraps.transport {
                Some(wrap) => wrap(i, transport),
                None => Arc::new(transport),
            },
            seed: i as u64,
        };
        let host = Arc::new(Host {
            plugin: Mutex::default(),
            position: Mutex::new(Position::NONE),
            calls: Mutex::default(),
            guarded: Mutex::new(Instant::ZERO),
        });
        let (plugin, election) = QuorumPlugin::start(parts, |plugin| {
            *host.plugin.lock().unwrap() = Arc::downgrade(plugin);
            match &self.wraps.host {
                Some(wrap) => wrap(i, host.clone(), Arc::downgrade(plugin)),
                None => host.clone(),
            }
        });
        let (handle, registration) = AbortHandle::new_pair();
        let run = async move {
            if let Err(error) = election.await {
                panic!("{id}: {error}");
            }
        };
        (self.spawn)(Abortable::new(run, registration).map(drop).boxed());
        Node { id, store, host, plugin, running: Some(handle) }
    }

    /// The process dies; its disk stays.
    pub fn kill(&mut self, i: usize) {
        if let Some(handle) = self.nodes[i].running.take() {
            handle.abort();
        }
        self.network.kill(self.ids[i]);
    }

    pub fn restart(&mut self, i: usize) {
        let store = self.nodes[i].store.clone();
        self.nodes[i] = self.node(i, store);
    }

    /// The nodes whose gate would let a write pass now; never more than one.
    pub fn writable(&self) -> Option<usize> {
        let open = |i: &usize| self.nodes[*i].plugin.write_gate().is_open();
        let open: Vec<_> = (0..self.nodes.len()).filter(open).collect();
        assert!(open.len() <= 1, "two nodes would write: {open:?}");
        let unguarded =
            open.iter().find(|i| *self.nodes[**i].host.guarded.lock().unwrap() <= self.clock.now());
        assert_eq!(unguarded, None, "a gate is open, and the host was not told (F10)");
        open.first().copied()
    }

    /// Lets virtual time run until `done`, or fails.
    pub async fn until(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = self.clock.now() + PATIENCE;
        loop {
            self.writable();
            if done(self) {
                return;
            }
            assert!(self.clock.now() < end, "{what}: not within {PATIENCE:?}: {:#?}", self.snapshots());
            self.step(end).await;
        }
    }

    /// Lets virtual time run for `time`, while `always` holds.
    pub async fn for_time(&self, time: Duration, mut always: impl FnMut(&Self)) {
        let end = self.clock.now() + time;
        while self.clock.now() < end {
            self.writable();
            always(self);
            self.step(end).await;
        }
    }

    /// Lets everybody work, then moves time to the next deadline.
    async fn step(&self, end: Instant) {
        for _ in 0..8 {
            give_way().await;
        }
        let now = self.clock.now();
        let next = self.clock.next_deadline().unwrap_or(end).min(end);
        self.clock.advance(next.saturating_since(now).max(Duration::from_micros(50)));
    }

    fn snapshots(&self) -> Vec<kevy_elect_plugin::plugin::ElectSnapshot> {
        self.nodes.iter().map(|node| node.plugin.snapshot()).collect()
    }

    pub fn ids(&self, nodes: &[usize]) -> Vec<NodeId> {
        nodes.iter().map(|i| self.ids[*i]).collect()
    }

    pub fn followed_by_all(&self, primary: usize) -> bool {
        let id = Some(self.ids[primary]);
        self.writable() == Some(primary)
            && self.nodes.iter().filter(|node| node.alive()).all(|node| node.plugin.snapshot().primary == id)
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        self.nodes.iter_mut().filter_map(|node| node.running.take()).for_each(|handle| handle.abort());
    }
}

/// Lets the executor run everything else once.
pub async fn give_way() {
    let mut given = false;
    futures::future::poll_fn(move |cx| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
