//! The same clusters over real sockets: every node with its own `TcpTransport`, all in this process.

use async_trait::async_trait;
use kevy_elect_plugin::clock::SystemClock;
use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::host::NoData;
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::message::{Hello, Message};
use kevy_elect_plugin::plugin::{ElectPlugin, QuorumParts, QuorumPlugin};
use kevy_elect_plugin::store::MemoryVoteStore;
use kevy_elect_plugin::transport::{SendError, TcpTransport, Transport, TransportError, TransportEvent};
use kevy_elect_plugin::wire::encode;
use rustix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the idle cluster is looked at.
const LOOK: Duration = Duration::from_secs(4);
/// How long it is left alone before.
const SETTLE: Duration = Duration::from_secs(2);
/// How long an election may take.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_micros(200);

/// What a cluster over sockets costs per second, all nodes together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// Messages sent.
    pub(crate) messages: f64,
    /// Their frames.
    pub(crate) bytes: f64,
    /// Processor time of the whole process, kernel included.
    pub(crate) cpu: Duration,
    /// Gauges set, by all nodes.
    pub(crate) gauges: f64,
    /// From the primary's end to the next open gate.
    pub(crate) election: Duration,
}

#[derive(Default)]
struct Count {
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// A transport that is counted.
struct Counted(TcpTransport, Arc<Count>);

#[async_trait]
impl Transport for Counted {
    async fn run(&self, hello: Hello) -> Result<(), TransportError> {
        self.0.run(hello).await
    }
    fn send(&self, to: NodeId, message: &Message) -> Result<(), SendError> {
        self.0.send(to, message)?;
        let mut frame = Vec::new();
        encode(message, &mut frame);
        self.1.messages.fetch_add(1, Ordering::Relaxed);
        self.1.bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
        Ok(())
    }
    fn send_all(&self, to: &[NodeId], message: &Message) -> Vec<SendError> {
        let refused = self.0.send_all(to, message);
        let (mut frame, sent) = (Vec::new(), (to.len() - refused.len()) as u64);
        encode(message, &mut frame);
        self.1.messages.fetch_add(sent, Ordering::Relaxed);
        self.1.bytes.fetch_add(sent * frame.len() as u64, Ordering::Relaxed);
        refused
    }

    async fn recv(&self) -> TransportEvent {
        self.0.recv().await
    }
    async fn close(&self) {
        self.0.close().await;
    }
}

/// Runs a cluster, looks at it, ends its primary.
pub(crate) fn measure(voters: usize, observers: usize) -> Result<Measured, Box<dyn Error>> {
    let ids =
        (0..voters + observers).map(|n| NodeId::new(&format!("n{n:04}"))).collect::<Result<Vec<_>, _>>()?;
    let members: Vec<_> = (ids.iter().enumerate())
        .map(|(n, id)| if n < voters { Member::voter(*id) } else { Member::observer(*id) })
        .collect();
    let doors = ids.iter().map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let addresses = doors.iter().map(TcpListener::local_addr).collect::<Result<Vec<SocketAddr>, _>>()?;
    let (count, executor) = (Arc::new(Count::default()), smol::LocalExecutor::new());
    let mut nodes = Vec::new();
    for (n, door) in doors.into_iter().enumerate() {
        let mut transport = TcpTransport::with_listener(door).seed(n as u64);
        // An observer speaks with voters only, so it needs to know only those.
        let known = if n < voters { ids.len() } else { voters };
        for peer in (0..known).filter(|peer| *peer != n) {
            transport = transport.peer(ids[peer], addresses[peer].to_string());
        }
        let parts = QuorumParts {
            config: Config::builder(ids[n], members.iter().copied()).build()?,
            clock: Arc::new(SystemClock::new()),
            store: Arc::new(MemoryVoteStore::new()),
            transport: Arc::new(Counted(transport.build(), Arc::clone(&count))),
            seed: n as u64,
        };
        let (plugin, election) = QuorumPlugin::start(parts, |_| Arc::new(NoData::new()));
        nodes.push((plugin, executor.spawn(election)));
    }
    smol::block_on(executor.run(async {
        let primary = writable(&nodes, None).await.ok_or("nobody was elected")?;
        smol::Timer::after(SETTLE).await;
        let read = || {
            let (messages, bytes) = (&count.messages, &count.bytes);
            (messages.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed), cpu(), crate::gauges::sets())
        };
        let (begun, before) = (Instant::now(), read());
        smol::Timer::after(LOOK).await;
        let (time, after) = (begun.elapsed(), read());
        let killed = Instant::now();
        let at = nodes.iter().position(|(plugin, _)| plugin.snapshot().node == primary);
        nodes.remove(at.ok_or("the primary is a node")?).1.cancel().await;
        writable(&nodes, Some(primary)).await.ok_or("nobody took over")?;
        Ok(Measured {
            messages: (after.0 - before.0) as f64 / time.as_secs_f64(),
            bytes: (after.1 - before.1) as f64 / time.as_secs_f64(),
            cpu: (after.2 - before.2).div_f64(time.as_secs_f64()),
            gauges: (after.3 - before.3) as f64 / time.as_secs_f64(),
            election: killed.elapsed(),
        })
    }))
}

type Task = smol::Task<Result<(), kevy_elect_plugin::error::ElectError>>;

async fn writable(nodes: &[(Arc<QuorumPlugin>, Task)], not: Option<NodeId>) -> Option<NodeId> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let open = nodes.iter().find(|(plugin, _)| plugin.write_gate().is_open());
        match open.map(|(plugin, _)| plugin.snapshot().node) {
            Some(node) if Some(node) != not => return Some(node),
            _ => drop(smol::Timer::after(POLL).await),
        }
    }
    None
}

/// Processor time of this process so far.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
