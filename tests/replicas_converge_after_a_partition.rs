//! After a partition has healed all replicas hold the same log: every producer's entries in the order in which
//! it wrote them, none twice, and none missing that a quorum had confirmed. Real plugins and drivers; the server
//! is this file's, a log that is copied entry by entry.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of a test that fails says where")]

mod support;

use async_trait::async_trait;
use kevy_elect_plugin::clock::ManualClock;
use kevy_elect_plugin::host::{HostError, ReplicationHost};
use kevy_elect_plugin::ids::{Epoch, NodeId};
use kevy_elect_plugin::plugin::{ElectPlugin, QuorumPlugin};
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::time::{Duration, Instant};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, Weak};
use support::{Cluster, Host, Wraps};

const NODES: usize = 5;
const PRODUCERS: usize = 4;
const SEEDS: u64 = 6;
/// Troubles per seed.
const ROUNDS: usize = 12;
/// Entries that a replica takes over in one step of virtual time.
const BATCH: usize = 3;

/// A producer, and the number of its entry.
type Entry = (usize, u64);

/// What a server holds; it survives a restart of its process.
#[derive(Default)]
struct Data {
    log: Vec<Entry>,
    /// The history that it is, and where in the log its stream began.
    stream: (Epoch, usize),
    /// Serves the stream of this epoch.
    serving: Option<Epoch>,
    /// Follows this primary in this epoch; has loaded what it had.
    following: Option<(Epoch, usize)>,
    joined: bool,
    /// Per node: how much of this server's log it holds.
    acked: [usize; NODES],
    plugin: Weak<QuorumPlugin>,
}

impl Data {
    fn position(&self) -> Position {
        let (epoch, start) = self.stream;
        Position::single(epoch, (self.log.len() - start) as u64)
    }

    fn tell_joined(&self) {
        if let Some(plugin) = self.plugin.upgrade() {
            plugin.on_joined(self.stream.0, self.position().offsets());
        }
    }

    fn tell_offset(&self) {
        if let Some(plugin) = self.plugin.upgrade() {
            plugin.on_offset(0, self.position().offsets()[0]);
        }
    }
}

type Servers = Arc<[Mutex<Data>; NODES]>;

struct Server {
    node: usize,
    servers: Servers,
    /// Is told of leases: `Cluster` looks there whether everybody was.
    usual: Arc<Host>,
}

#[async_trait]
impl ReplicationHost for Server {
    async fn start(&self, _: Option<Position>) -> Result<Position, HostError> {
        Ok(self.servers[self.node].lock().unwrap().position())
    }
    async fn promote(&self, epoch: Epoch) -> Result<(), HostError> {
        let mut data = self.servers[self.node].lock().unwrap();
        let start = data.log.len();
        (data.stream, data.serving, data.following) = ((epoch, start), Some(epoch), None);
        data.acked = [0; NODES];
        data.tell_joined();
        Ok(())
    }
    async fn follow(&self, epoch: Epoch, primary: NodeId) -> Result<(), HostError> {
        let primary = primary.as_str()[1..].parse::<usize>().unwrap() - 1;
        let mut data = self.servers[self.node].lock().unwrap();
        (data.serving, data.following, data.joined) = (None, Some((epoch, primary)), false);
        Ok(())
    }
    fn lease_renewed(&self, until: Instant) {
        self.usual.lease_renewed(until);
    }
    async fn detach(&self) -> Result<Position, HostError> {
        let mut data = self.servers[self.node].lock().unwrap();
        (data.following, data.joined) = (None, false);
        Ok(data.position())
    }
}

/// The streams between servers, over the links that are not cut.
struct World {
    servers: Servers,
    /// Nodes on one side of the partition.
    side: BTreeSet<usize>,
    next: [u64; PRODUCERS],
    /// Entries that a quorum has confirmed while the primary could still write.
    confirmed: BTreeSet<Entry>,
    /// Accepted by a gate, whatever became of them.
    accepted: usize,
}

impl World {
    fn reach(&self, a: usize, b: usize) -> bool {
        self.side.contains(&a) == self.side.contains(&b)
    }

    /// Every server takes over a little of what its primary has.
    fn replicate(&mut self, cluster: &Cluster<'_>) {
        for node in 0..NODES {
            let mut mine = self.servers[node].lock().unwrap();
            let Some((epoch, primary)) = mine.following else { continue };
            let both = cluster.nodes[node].alive() && cluster.nodes[primary].alive();
            if !both || !self.reach(node, primary) {
                continue;
            }
            let mut theirs = self.servers[primary].lock().unwrap();
            if theirs.serving != Some(epoch) {
                continue;
            }
            if !mine.joined {
                mine.log.clone_from(&theirs.log);
                mine.stream = theirs.stream;
                mine.joined = true;
                mine.tell_joined();
            } else {
                let (from, to) = (mine.log.len(), theirs.log.len().min(mine.log.len() + BATCH));
                mine.log.extend_from_slice(&theirs.log[from..to]);
                mine.tell_offset();
            }
            theirs.acked[node] = mine.log.len();
        }
    }

    /// Every producer tries every node that it finds open, and notes what a quorum holds.
    fn produce(&mut self, cluster: &Cluster<'_>, random: &mut fastrand::Rng) {
        for node in 0..NODES {
            let gate = cluster.nodes[node].plugin.write_gate();
            let mut data = self.servers[node].lock().unwrap();
            if !cluster.nodes[node].alive() || data.serving.is_none() || gate.check().is_err() {
                continue;
            }
            for producer in 0..PRODUCERS {
                if random.u8(0..3) == 0 {
                    self.next[producer] += 1;
                    data.log.push((producer, self.next[producer]));
                    data.tell_offset();
                    self.accepted += 1;
                }
            }
            let mut acked = data.acked;
            acked[node] = data.log.len();
            acked.sort_unstable();
            let confirmed = acked[NODES / 2];
            self.confirmed.extend(&data.log[..confirmed]);
        }
    }
}

fn holds(seed: u64) -> (usize, usize) {
    let servers: Servers = Arc::default();
    let mut world = World {
        servers: servers.clone(),
        side: BTreeSet::new(),
        next: [0; PRODUCERS],
        confirmed: BTreeSet::new(),
        accepted: 0,
    };
    let executor = smol::LocalExecutor::new();
    smol::block_on(executor.run(async {
        let spawn = |task| executor.spawn(task).detach();
        let on_host = servers.clone();
        let host = move |node: usize, usual, plugin| {
            let mut data = on_host[node].lock().unwrap();
            // A new process: it serves nobody and follows nobody yet.
            (data.plugin, data.serving, data.following, data.joined) = (plugin, None, None, false);
            Arc::new(Server { node, servers: on_host.clone(), usual }) as _
        };
        let wraps = Wraps { host: Some(Box::new(host)), ..Wraps::default() };
        let mut cluster = Cluster::on_clock(ManualClock::new(), NODES, seed, &spawn, wraps);
        let mut random = fastrand::Rng::with_seed(seed);
        cluster.until("a first primary", |c| c.writable().is_some()).await;
        for _ in 0..ROUNDS {
            let node = random.usize(0..NODES);
            let down = cluster.nodes.iter().filter(|node| !node.alive()).count();
            match random.u8(0..6) {
                0..=2 => {
                    let writer = cluster.writable();
                    world.side = (0..NODES).filter(|n| random.bool() || Some(*n) == writer).collect();
                    let (a, b): (Vec<_>, Vec<_>) = (0..NODES).partition(|n| world.side.contains(n));
                    cluster.network.heal_all();
                    cluster.network.partition(&cluster.ids(&a), &cluster.ids(&b));
                }
                3 => {
                    world.side.clear();
                    cluster.network.heal_all();
                }
                _ if cluster.nodes[node].alive() && down < 2 => cluster.kill(node),
                _ if !cluster.nodes[node].alive() => cluster.restart(node),
                _ => {}
            }
            let time = Duration::from_millis(random.u64(200..3000));
            cluster
                .for_time(time, |c| {
                    world.replicate(c);
                    world.produce(c, &mut random);
                })
                .await;
        }
        world.side.clear();
        cluster.network.heal_all();
        for node in 0..NODES {
            if !cluster.nodes[node].alive() {
                cluster.restart(node);
            }
        }
        let converged = |c: &Cluster<'_>| {
            world.replicate(c);
            let Some(writer) = c.writable() else { return false };
            let log = world.servers[writer].lock().unwrap().log.clone();
            c.followed_by_all(writer) && world.servers.iter().all(|server| server.lock().unwrap().log == log)
        };
        cluster.until("all logs are the same", converged).await;
    }));

    let log = &servers[0].lock().unwrap().log;
    let mut last = [0; PRODUCERS];
    for (producer, number) in log {
        assert!(
            *number > last[*producer],
            "seed {seed}: producer {producer}: {number} after {}",
            last[*producer]
        );
        last[*producer] = *number;
    }
    let held: BTreeSet<_> = log.iter().copied().collect();
    let missing: Vec<_> = world.confirmed.difference(&held).collect();
    assert!(
        missing.is_empty(),
        "seed {seed}: {} confirmed and lost, the first {:?}",
        missing.len(),
        missing.first()
    );
    (log.len(), world.accepted - log.len())
}

#[test]
fn replicas_converge_after_a_partition_in_order_and_with_nothing_twice() {
    let (mut entries, mut lost) = (0, 0);
    for seed in 0..SEEDS {
        let (held, gone) = holds(seed);
        entries += held;
        lost += gone;
    }
    assert!(entries > 4_000, "too quiet: {entries} entries");
    assert!(lost > 0, "no primary was ever cut off with entries that nobody else had");
    println!("{entries} entries at the end, {lost} that no quorum had confirmed are gone");
}
