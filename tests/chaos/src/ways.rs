//! Clients that write in every way, each with connections of its own, outside of all cuts: they ask the node that did not refuse
//! last, and now and then any other, so that whoever lets one of these ways through is caught.

use crate::way::Way;
use fastrand::Rng;
use kevy_elect_harness::client::{Client, ClientError, Reply};
use kevy_elect_harness::clock::Clock;
use kevy_elect_harness::failure::Failure;
use kevy_elect_harness::verdict::{Ack, Node};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Their numbers as writers begin here, above all others.
const FIRST_WRITER: usize = 1_000_000;
/// Operations of one round that are remembered; beyond that the clients rest.
const OPERATIONS_MAX: usize = 100_000;
/// What `WAIT` may take.
const WAIT_MS: &[u8] = b"500";
const WAIT_PATIENCE: Duration = Duration::from_secs(5);
const REST: Duration = Duration::from_millis(5);

const RUN: u8 = 0;
const PAUSE: u8 = 1;
const END: u8 = 2;

/// An acknowledged operation.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) way: Way,
    pub(crate) ack: Ack,
    chosen: Vec<u8>,
}

impl Operation {
    fn key(&self) -> String {
        key(self.way, self.ack.seq)
    }
}

fn key(way: Way, seq: u64) -> String {
    format!("{{way:{}:{seq}}}", way.name())
}

/// What became of the operations of one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) acked: usize,
    pub(crate) confirmed: usize,
    /// Of the confirmed ones: must be 0.
    pub(crate) lost: usize,
    /// Of the others: what asynchronous replication may lose.
    pub(crate) unconfirmed_lost: usize,
}

impl Fate {
    /// Whether it says that something was wrong: a way in which nobody could write shows nothing.
    pub(crate) const fn innocent(&self) -> bool {
        self.lost == 0 && self.acked > 0
    }
}

/// The clients. Dropping it ends them.
pub(crate) struct Ways {
    /// Which they are.
    pub(crate) chosen: Vec<Way>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    clock: Clock,
    servers: Vec<SocketAddr>,
    replicas: usize,
    state: AtomicU8,
    parked: AtomicUsize,
    operations: Mutex<Vec<Operation>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Operation>> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ways {
    /// One client for each of `ways`. An operation counts as confirmed once `replicas` hold it beside the primary. They wait
    /// for [`Ways::go`].
    pub(crate) fn start(
        ways: &[Way],
        servers: Vec<SocketAddr>,
        replicas: usize,
        clock: Clock,
        seed: u64,
    ) -> Result<Self, Failure> {
        let shared = Arc::new(Shared {
            clock,
            servers,
            replicas,
            state: AtomicU8::new(PAUSE),
            parked: AtomicUsize::new(0),
            operations: Mutex::default(),
        });
        // Collected in the struct from the first one on: an error ends those that were started.
        let mut all = Self { chosen: ways.to_vec(), shared, threads: Vec::new() };
        for (number, way) in ways.iter().copied().enumerate() {
            let shared = all.shared.clone();
            let thread = std::thread::Builder::new()
                .name(way.name().to_owned())
                .spawn(move || Worker::new(&shared, way, number, seed).run())
                .map_err(Failure::os("start a thread"))?;
            all.threads.push(thread);
        }
        Ok(all)
    }

    /// Begins.
    pub(crate) fn go(&self) {
        self.shared.state.store(RUN, Ordering::Release);
    }

    /// Asks for a pause; it has come about once [`Ways::paused`] says so.
    pub(crate) fn pause(&self) {
        self.shared.state.store(PAUSE, Ordering::Release);
    }

    /// Whether nothing is under way any more.
    pub(crate) fn paused(&self) -> bool {
        self.shared.parked.load(Ordering::Acquire) == self.threads.len()
    }

    /// What was acknowledged since the last call.
    pub(crate) fn take(&self) -> Vec<Operation> {
        std::mem::take(&mut *self.shared.lock())
    }
}

impl Drop for Ways {
    fn drop(&mut self) {
        self.shared.state.store(END, Ordering::Release);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Looks on `server` for what was acknowledged. A way that was never acknowledged is told of too, unless one command of it
/// can take as long as a round.
pub(crate) fn judge(
    server: SocketAddr,
    chosen: &[Way],
    operations: &[Operation],
) -> Result<BTreeMap<Way, Fate>, ClientError> {
    let mut client = Client::connect(server)?;
    let quick = chosen.iter().filter(|way| !matches!(way, Way::Large | Way::Mset));
    let mut fates: BTreeMap<Way, Fate> = quick.map(|way| (*way, Fate::default())).collect();
    for operation in operations {
        let (key, value) = (operation.key(), operation.ack.seq.to_string());
        let there = operation.way.holds(&mut client, &key, &value, &operation.chosen)?;
        let fate = fates.entry(operation.way).or_default();
        fate.acked += 1;
        match operation.ack.waited {
            Some(_) => {
                fate.confirmed += 1;
                fate.lost += usize::from(!there);
            }
            None => fate.unconfirmed_lost += usize::from(!there),
        }
    }
    Ok(fates)
}

struct Worker<'a> {
    shared: &'a Shared,
    way: Way,
    writer: usize,
    rng: Rng,
    /// Who did not refuse the last time.
    favourite: Node,
    /// To each node: one that writes and one that brings what the first waits for.
    connections: Vec<Option<[Client; 2]>>,
    seq: u64,
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared, way: Way, number: usize, seed: u64) -> Self {
        Self {
            shared,
            way,
            writer: FIRST_WRITER + number,
            rng: Rng::with_seed(seed ^ (FIRST_WRITER + number) as u64),
            favourite: 0,
            connections: shared.servers.iter().map(|_| None).collect(),
            seq: 0,
        }
    }

    fn run(mut self) {
        loop {
            match self.shared.state.load(Ordering::Acquire) {
                END => return,
                PAUSE => self.park(),
                _ if self.shared.lock().len() >= OPERATIONS_MAX => std::thread::sleep(REST),
                _ => {
                    self.step();
                    std::thread::sleep(self.way.pace());
                }
            }
        }
    }

    fn park(&self) {
        self.shared.parked.fetch_add(1, Ordering::AcqRel);
        while self.shared.state.load(Ordering::Acquire) == PAUSE {
            std::thread::sleep(REST);
        }
        self.shared.parked.fetch_sub(1, Ordering::AcqRel);
    }

    fn step(&mut self) {
        let anywhere = self.rng.usize(..self.connections.len());
        // Also where it should be refused: whoever acknowledges it there is caught.
        let node = if self.rng.u8(..8) == 0 { anywhere } else { self.favourite };
        match self.once(node) {
            Ok(true) => self.favourite = node,
            Ok(false) => self.favourite = anywhere,
            Err(_) => {
                // The reply may still come, for nobody.
                self.connections[node] = None;
                self.favourite = anywhere;
            }
        }
    }

    /// Whether it was acknowledged.
    fn once(&mut self, node: Node) -> Result<bool, ClientError> {
        let (server, way) = (self.shared.servers[node], self.way);
        let connections = match &mut self.connections[node] {
            Some(connections) => connections,
            empty => {
                let mut fresh = [Client::connect(server)?, Client::connect(server)?];
                way.greet(&mut fresh[0])?;
                empty.insert(fresh)
            }
        };
        let [client, other] = connections;
        self.seq += 1;
        let (key, value, clock) = (key(way, self.seq), self.seq.to_string(), self.shared.clock);
        let Some(acked) = way.write(client, other, &key, &value, || clock.now())? else { return Ok(false) };
        let replied = clock.now();
        let wanted = self.shared.replicas.to_string();
        let waited = client.call_within(&[b"WAIT", wanted.as_bytes(), WAIT_MS], WAIT_PATIENCE);
        let enough = |n: &i64| *n >= self.shared.replicas as i64;
        let confirmed = matches!(&waited, Ok(Reply::Integer(n)) if enough(n));
        let ack = Ack {
            node,
            writer: self.writer,
            seq: self.seq,
            sent: acked.sent,
            replied,
            waited: confirmed.then(|| clock.now()),
        };
        // Before anything that may go wrong with the connection: it was acknowledged all the same.
        self.shared.lock().push(Operation { way, ack, chosen: acked.chosen });
        waited.map(|_| true)
    }
}
