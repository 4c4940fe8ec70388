//! The same clusters with all that a node runs: plugin, driver and codec, on virtual time and a network in memory. What each node's processor does is
//! measured around the polls of its election.

use async_trait::async_trait;
use kevy_elect_plugin::clock::{Clock, ManualClock};
use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::host::{HostError, NoData, ReplicationHost};
use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId};
use kevy_elect_plugin::link::LinkEvent;
use kevy_elect_plugin::message::{Hello, Message};
use kevy_elect_plugin::plugin::{ElectPlugin, QuorumParts, QuorumPlugin};
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::store::MemoryVoteStore;
use kevy_elect_plugin::time::{Duration, Instant};
use kevy_elect_plugin::transport::{SendError, Transport, TransportError, TransportEvent};
use kevy_elect_plugin::wire::{Frame, decode, encode};
use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// How long the idle cluster is looked at, and left alone before; virtual.
const LOOK: Duration = Duration::from_secs(2);
const SETTLE: Duration = Duration::from_secs(2);
/// How long an election may take; virtual.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a message, and the end of a link, is under way.
const DELAY: Duration = Duration::from_micros(250);

/// What the nodes of one cluster cost, and how long it is without a primary.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// Processor time per second of virtual time: of the primary, of another voter, of an observer (of all, the mean).
    pub(crate) primary: Duration,
    pub(crate) voter: Duration,
    pub(crate) observer: Option<Duration>,
    /// From the primary's death to the next open gate: virtual time.
    pub(crate) election: Duration,
    /// The processor time of the next primary in it: until it takes writes, until all voters have been told, and in the whole instant in which that happens.
    pub(crate) opened: Duration,
    pub(crate) told: Duration,
    pub(crate) winner: Duration,
}

/// Runs a cluster, looks at it, ends its primary.
pub(crate) fn measure(voters: usize, observers: usize, seed: u64) -> Result<Measured, Box<dyn Error>> {
    let mut cluster = Cluster::new(voters, observers, seed)?;
    cluster.run(PATIENCE, |cluster| cluster.writes(None).is_some()).ok_or("nobody was elected")?;
    cluster.run(SETTLE, |_| false);
    let primary = cluster.writes(None).ok_or("the primary was lost without a fault")?;
    let before = cluster.spent();
    cluster.run(LOOK, |_| false);
    let spent: Vec<_> = cluster.spent().iter().zip(before).map(|(now, before)| *now - before).collect();
    let seconds = LOOK.as_secs_f64();
    let mean = |nodes: &mut dyn Iterator<Item = usize>, count: usize| {
        nodes.map(|node| spent[node]).sum::<Duration>().div_f64(seconds * count as f64)
    };
    let before = cluster.spent();
    cluster.end(primary);
    lock(&cluster.network).marks.fill(Marks::default());
    let election = cluster.run(PATIENCE, |cluster| cluster.writes(Some(primary)).is_some());
    let winner = cluster.writes(Some(primary)).ok_or("nobody took over")?;
    let Marks { opened, told } = lock(&cluster.network).marks[winner];
    let since = |mark: Option<Duration>| Some(mark? - before[winner]);
    Ok(Measured {
        primary: spent[primary].div_f64(seconds),
        voter: mean(&mut (0..voters).filter(|node| *node != primary), voters - 1),
        observer: (observers > 0).then(|| mean(&mut (voters..voters + observers), observers)),
        election: election.ok_or("nobody took over")?,
        opened: since(opened).ok_or("the host was told of no lease")?,
        told: since(told).ok_or("nobody was told")?,
        winner: cluster.spent()[winner] - before[winner],
    })
}

struct Cluster {
    clock: ManualClock,
    executor: smol::LocalExecutor<'static>,
    network: Arc<Mutex<Network>>,
    voters: Vec<Arc<QuorumPlugin>>,
    tasks: Vec<Option<smol::Task<()>>>,
}

impl Cluster {
    fn new(voters: usize, observers: usize, seed: u64) -> Result<Self, Box<dyn Error>> {
        let nodes = voters + observers;
        let ids = (0..nodes).map(|n| NodeId::new(&format!("n{n:04}"))).collect::<Result<Vec<_>, _>>()?;
        let member =
            |(n, id): (usize, &NodeId)| if n < voters { Member::voter(*id) } else { Member::observer(*id) };
        let members: Vec<_> = ids.iter().enumerate().map(member).collect();
        let mut cluster = Self {
            clock: ManualClock::new(),
            executor: smol::LocalExecutor::new(),
            network: Arc::new(Mutex::new(Network::new(ids.clone(), voters))),
            voters: Vec::new(),
            tasks: Vec::new(),
        };
        for (node, id) in ids.iter().enumerate() {
            let transport =
                Wire { node, clock: cluster.clock.clone(), network: Arc::clone(&cluster.network) };
            let parts = QuorumParts {
                config: Config::builder(*id, members.iter().copied()).build()?,
                clock: Arc::new(cluster.clock.clone()),
                store: Arc::new(MemoryVoteStore::new()),
                transport: Arc::new(transport),
                seed: seed * 10_000 + node as u64,
            };
            let host = Host { node, network: Arc::clone(&cluster.network), inner: NoData::new() };
            let (plugin, election) = QuorumPlugin::start(parts, |_| Arc::new(host));
            if node < voters {
                cluster.voters.push(plugin);
            }
            let (network, mut election) = (Arc::clone(&cluster.network), Box::pin(election));
            cluster.tasks.push(Some(cluster.executor.spawn(poll_fn(move |cx| {
                let begun = std::time::Instant::now();
                lock(&network).begun = begun;
                let polled = election.as_mut().poll(cx).map(drop);
                lock(&network).spent[node] += begun.elapsed();
                polled
            }))));
        }
        Ok(cluster)
    }

    /// Lets time pass until that holds, and says how much did; `None`: it did not come to hold.
    fn run(&self, most: Duration, mut over: impl FnMut(&Self) -> bool) -> Option<Duration> {
        let begun = self.clock.now();
        loop {
            while self.executor.try_tick() {}
            let now = self.clock.now();
            if over(self) {
                return Some(now.saturating_since(begun));
            }
            let arrival = lock(&self.network).due.keys().next().map(|(at, _)| *at);
            let next = arrival.into_iter().chain(self.clock.next_deadline()).min()?;
            if next > begun + most {
                return None;
            }
            self.clock.advance(next.saturating_since(now));
            lock(&self.network).arrive(next);
        }
    }

    /// Whose gate is open, but for that one.
    fn writes(&self, not: Option<usize>) -> Option<usize> {
        (0..self.voters.len()).find(|node| Some(*node) != not && self.voters[*node].write_gate().is_open())
    }

    fn end(&mut self, node: usize) {
        self.tasks[node] = None;
        lock(&self.network).end(node, self.clock.now());
    }

    fn spent(&self) -> Vec<Duration> {
        lock(&self.network).spent.clone()
    }
}

/// What is under way, and what has come.
struct Network {
    ids: Vec<NodeId>,
    voters: usize,
    sent: u64,
    due: BTreeMap<(Instant, u64), (usize, Arrival)>,
    nodes: Vec<Inbox>,
    /// The processor time of each node's election, without the poll that goes on; when that began.
    spent: Vec<Duration>,
    begun: std::time::Instant,
    marks: Vec<Marks>,
}

/// What comes to a node. Frames are read by whom they come to.
enum Arrival {
    Link(TransportEvent),
    Frame(NodeId, Arc<[u8]>),
}

/// How much processor time a node had taken when its gate opened, and when the last voter was told of that.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    opened: Option<Duration>,
    told: Option<Duration>,
}

#[derive(Default)]
struct Inbox {
    /// Its process, while it runs.
    runs: Option<Incarnation>,
    events: VecDeque<Arrival>,
    receiver: Option<Waker>,
}

impl Network {
    fn new(ids: Vec<NodeId>, voters: usize) -> Self {
        let (nodes, spent) =
            (ids.iter().map(|_| Inbox::default()).collect(), vec![Duration::ZERO; ids.len()]);
        let (begun, marks) = (std::time::Instant::now(), vec![Marks::default(); ids.len()]);
        Self { ids, voters, sent: 0, due: BTreeMap::new(), nodes, spent, begun, marks }
    }

    /// Observers are linked to voters only.
    fn peers(&self, node: usize) -> impl Iterator<Item = usize> + use<> {
        let known = if node < self.voters { self.ids.len() } else { self.voters };
        (0..known).filter(move |peer| *peer != node)
    }

    fn add(&mut self, now: Instant, to: usize, what: Arrival) {
        self.sent += 1;
        self.due.insert((now + DELAY, self.sent), (to, what));
    }

    /// What the node that is polled has taken so far.
    fn taken(&self, node: usize) -> Duration {
        self.spent[node] + self.begun.elapsed()
    }

    fn tell(&mut self, now: Instant, to: usize, of: usize, event: LinkEvent) {
        self.add(now, to, Arrival::Link(TransportEvent::Link { peer: self.ids[of], event }));
    }

    fn begin(&mut self, node: usize, incarnation: Incarnation, now: Instant) {
        self.nodes[node].runs = Some(incarnation);
        for peer in self.peers(node) {
            if let Some(theirs) = self.nodes[peer].runs {
                self.tell(now, peer, node, LinkEvent::Up { incarnation });
                self.tell(now, node, peer, LinkEvent::Up { incarnation: theirs });
            }
        }
    }

    /// Its process dies: its links end in order, and nobody answers any more.
    fn end(&mut self, node: usize, now: Instant) {
        self.nodes[node].runs = None;
        for peer in self.peers(node) {
            self.tell(now, peer, node, LinkEvent::Closed);
            self.tell(now + DELAY, peer, node, LinkEvent::Refused);
        }
    }

    fn arrive(&mut self, now: Instant) {
        while let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= now) {
            let (to, event) = first.remove();
            self.nodes[to].events.push_back(event);
            self.nodes[to].receiver.take().into_iter().for_each(Waker::wake);
        }
    }
}

/// One node's end of it.
struct Wire {
    node: usize,
    clock: ManualClock,
    network: Arc<Mutex<Network>>,
}

#[async_trait]
impl Transport for Wire {
    async fn run(&self, hello: Hello) -> Result<(), TransportError> {
        lock(&self.network).begin(self.node, hello.incarnation, self.clock.now());
        pending().await
    }

    fn send(&self, to: NodeId, message: &Message) -> Result<(), SendError> {
        let mut frame = Vec::new();
        encode(message, &mut frame);
        let mut network = lock(&self.network);
        self.add(&mut network, to, message, &frame.into())
    }

    fn send_all(&self, to: &[NodeId], message: &Message) -> Vec<SendError> {
        let mut frame = Vec::new();
        encode(message, &mut frame);
        let (frame, mut network) = (frame.into(), lock(&self.network));
        to.iter().filter_map(|to| self.add(&mut network, *to, message, &frame).err()).collect()
    }

    async fn recv(&self) -> TransportEvent {
        poll_fn(|cx| {
            let mut network = lock(&self.network);
            let inbox = &mut network.nodes[self.node];
            match inbox.events.pop_front() {
                Some(Arrival::Link(event)) => Poll::Ready(event),
                Some(Arrival::Frame(from, frame)) => match decode(&frame) {
                    Ok(Some((Frame::Message(message), _))) => {
                        Poll::Ready(TransportEvent::Message { from, message })
                    }
                    other => unreachable!("{other:?} was sent as a message"),
                },
                None => {
                    inbox.receiver = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    async fn close(&self) {}
}

impl Wire {
    fn add(
        &self,
        network: &mut Network,
        to: NodeId,
        message: &Message,
        frame: &Arc<[u8]>,
    ) -> Result<(), SendError> {
        let receiver = network.ids.binary_search(&to).map_err(|_| SendError::UnknownPeer(to))?;
        if network.nodes[receiver].runs.is_none() {
            return Err(SendError::NoLink(to));
        }
        let from = network.ids[self.node];
        network.add(self.clock.now(), receiver, Arrival::Frame(from, Arc::clone(frame)));
        if receiver < network.voters && matches!(message, Message::Announce(_)) {
            network.marks[self.node].told = Some(network.taken(self.node));
        }
        Ok(())
    }
}

/// Notes when its node's gate opens: it is told right before.
struct Host {
    node: usize,
    network: Arc<Mutex<Network>>,
    inner: NoData,
}

#[async_trait]
impl ReplicationHost for Host {
    async fn promote(&self, epoch: Epoch) -> Result<(), HostError> {
        self.inner.promote(epoch).await
    }
    async fn follow(&self, epoch: Epoch, primary: NodeId) -> Result<(), HostError> {
        self.inner.follow(epoch, primary).await
    }
    async fn detach(&self) -> Result<Position, HostError> {
        self.inner.detach().await
    }
    fn lease_renewed(&self, _: Instant) {
        let mut network = lock(&self.network);
        let taken = network.taken(self.node);
        network.marks[self.node].opened.get_or_insert(taken);
    }
}

fn lock(network: &Mutex<Network>) -> MutexGuard<'_, Network> {
    network.lock().unwrap_or_else(PoisonError::into_inner)
}
