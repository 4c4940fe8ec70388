//! What a host is asked to do: each promotion once in the life of the cluster, epochs in order across the
//! restarts of its process, one call at a time, and nothing before the vote record backs it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of a test that fails says where")]

mod support;

use async_trait::async_trait;
use futures::executor::block_on;
use kevy_elect_plugin::clock::{Clock, ManualClock};
use kevy_elect_plugin::fence::FenceReason;
use kevy_elect_plugin::host::{HostError, ReplicationHost};
use kevy_elect_plugin::ids::{Epoch, NodeId};
use kevy_elect_plugin::plugin::ElectPlugin;
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::store::{VoteStore, decode_vote};
use kevy_elect_plugin::time::{Duration, Instant};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use support::{Cluster, Host, Wraps};

const NODES: usize = 3;
const SEEDS: u64 = 12;
/// Troubles per seed.
const ROUNDS: usize = 25;
/// The longest that a call takes.
const CALL_MAX_MS: u64 = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Promote(Epoch),
    Follow(Epoch, NodeId),
    Fence(Epoch),
    Resume(Epoch),
    Detach,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    node: usize,
    /// Which process of that node.
    life: usize,
    call: Call,
}

#[derive(Clone)]
struct Log {
    clock: ManualClock,
    calls: Arc<Mutex<Vec<Entry>>>,
    lives: Arc<Mutex<usize>>,
}

/// Takes a random time for everything and counts what runs at once.
struct Counting {
    node: usize,
    life: usize,
    log: Log,
    inner: Arc<Host>,
    chance: Mutex<fastrand::Rng>,
    /// Promotions and retargets under way; fences and resumes under way.
    busy: [Mutex<u32>; 2],
}

struct Busy<'a>(&'a Mutex<u32>);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap() -= 1;
    }
}

impl Counting {
    async fn take(&self, call: Call) -> Busy<'_> {
        self.log.calls.lock().unwrap().push(Entry { node: self.node, life: self.life, call });
        let busy = &self.busy[usize::from(matches!(call, Call::Fence(_) | Call::Resume(_)))];
        {
            let mut running = busy.lock().unwrap();
            *running += 1;
            assert_eq!(*running, 1, "n{}: {call:?} while another call ran", self.node + 1);
        }
        let busy = Busy(busy);
        let time = Duration::from_millis(self.chance.lock().unwrap().u64(0..CALL_MAX_MS));
        self.log.clock.timer(self.log.clock.now() + time).await;
        busy
    }
}

#[async_trait]
impl ReplicationHost for Counting {
    async fn promote(&self, epoch: Epoch) -> Result<(), HostError> {
        let _busy = self.take(Call::Promote(epoch)).await;
        self.inner.promote(epoch).await
    }
    async fn follow(&self, epoch: Epoch, primary: NodeId) -> Result<(), HostError> {
        let _busy = self.take(Call::Follow(epoch, primary)).await;
        self.inner.follow(epoch, primary).await
    }
    async fn fence(&self, epoch: Epoch, _: FenceReason) -> Result<(), HostError> {
        let _busy = self.take(Call::Fence(epoch)).await;
        Ok(())
    }
    async fn resume(&self, epoch: Epoch) -> Result<(), HostError> {
        let _busy = self.take(Call::Resume(epoch)).await;
        Ok(())
    }
    fn lease_renewed(&self, until: Instant) {
        self.inner.lease_renewed(until);
    }
    async fn detach(&self) -> Result<Position, HostError> {
        let (node, life) = (self.node, self.life);
        self.log.calls.lock().unwrap().push(Entry { node, life, call: Call::Detach });
        self.inner.detach().await
    }
}

/// A cluster in trouble: every call that its hosts got.
fn life_of_a_cluster(seed: u64) -> Vec<Entry> {
    let clock = ManualClock::new();
    let log = Log { clock: clock.clone(), calls: Arc::default(), lives: Arc::default() };
    let executor = smol::LocalExecutor::new();
    let on_host = log.clone();
    smol::block_on(executor.run(async {
        let spawn = |task| executor.spawn(task).detach();
        let host = move |node, inner, _| {
            let life = {
                let mut lives = on_host.lives.lock().unwrap();
                *lives += 1;
                *lives
            };
            let chance = Mutex::new(fastrand::Rng::with_seed(seed << 20 | life as u64));
            let log = on_host.clone();
            Arc::new(Counting { node, life, log, inner, chance, busy: Default::default() }) as _
        };
        let wraps = Wraps { host: Some(Box::new(host)), ..Wraps::default() };
        let mut cluster = Cluster::on_clock(clock, NODES, seed, &spawn, wraps);
        let mut random = fastrand::Rng::with_seed(seed);
        cluster.until("a first primary", |c| c.writable().is_some()).await;
        for _ in 0..ROUNDS {
            let node = random.usize(0..NODES);
            match random.u8(0..5) {
                0 => cluster.nodes[node].plugin.step_down(),
                1 => {
                    let others: Vec<_> = (0..NODES).filter(|other| *other != node).collect();
                    let (one, others) = (cluster.ids(&[node]), cluster.ids(&others));
                    cluster.network.partition(&one, &others);
                }
                _ if cluster.nodes[node].alive() => cluster.kill(node),
                _ => cluster.restart(node),
            }
            let time = Duration::from_millis(random.u64(1..2500));
            cluster.for_time(time, recorded_first(&log)).await;
            if random.bool() {
                cluster.network.heal_all();
            }
        }
        cluster.network.heal_all();
        for node in 0..NODES {
            if !cluster.nodes[node].alive() {
                cluster.restart(node);
            }
        }
        let healed = |c: &Cluster<'_>| c.writable().is_some_and(|w| c.followed_by_all(w));
        cluster.until("all follow one", healed).await;
    }));
    let calls = log.calls.lock().unwrap();
    calls.clone()
}

/// Checks that whoever was asked to become primary has a vote for itself in its record.
fn recorded_first(log: &Log) -> impl FnMut(&Cluster<'_>) + use<> {
    let (calls, mut seen) = (log.calls.clone(), 0);
    move |cluster| {
        let calls = calls.lock().unwrap();
        for entry in &calls[seen.min(calls.len())..] {
            if let Call::Promote(epoch) = entry.call {
                let node = &cluster.nodes[entry.node];
                let record = decode_vote(&block_on(node.store.load()).unwrap().unwrap()).unwrap();
                // A later vote may already have replaced it.
                assert!(record.epoch >= epoch, "n{} promoted in {epoch}: {record:?}", entry.node + 1);
                if record.epoch == epoch {
                    assert_eq!(record.voted_for, Some(node.id), "{record:?}");
                }
            }
        }
        seen = calls.len();
    }
}

#[test]
fn host_calls_come_once_and_in_order_across_restarts() {
    let (mut promotions, mut restarted_calls) = (0, 0);
    for seed in 0..SEEDS {
        let calls = life_of_a_cluster(seed);
        let mut promoted: BTreeMap<Epoch, usize> = BTreeMap::new();
        let mut primary_of: BTreeMap<Epoch, NodeId> = BTreeMap::new();
        let mut newest = [Epoch::ZERO; NODES];
        let mut life = [0; NODES];
        let mut follows: [Option<(Epoch, NodeId)>; NODES] = [None; NODES];
        for Entry { node, life: now, call } in &calls {
            if life[*node] != *now {
                restarted_calls += usize::from(life[*node] != 0);
                (life[*node], follows[*node]) = (*now, None);
            }
            let epoch = match call {
                Call::Promote(epoch) => {
                    assert_eq!(
                        promoted.insert(*epoch, *node),
                        None,
                        "seed {seed}: {call:?} twice\n{calls:#?}"
                    );
                    assert!(newest[*node] < *epoch, "seed {seed}: n{}: {call:?} too late", node + 1);
                    promotions += 1;
                    epoch
                }
                Call::Follow(epoch, primary) => {
                    let first = *primary_of.entry(*epoch).or_insert(*primary);
                    assert_eq!(first, *primary, "seed {seed}: two primaries of {epoch}");
                    let again = follows[*node].replace((*epoch, *primary)) == Some((*epoch, *primary));
                    // Each costs a full copy of the data.
                    assert!(!again, "seed {seed}: n{}: {call:?} once more, and it had not let go", node + 1);
                    epoch
                }
                Call::Detach => {
                    follows[*node] = None;
                    continue;
                }
                Call::Fence(epoch) | Call::Resume(epoch) => epoch,
            };
            assert!(newest[*node] <= *epoch, "seed {seed}: n{}: {call:?} after {}", node + 1, newest[*node]);
            newest[*node] = *epoch;
        }
        for (epoch, primary) in primary_of {
            let winner = promoted.get(&epoch).map(|node| format!("n{}", node + 1));
            assert_eq!(winner.as_deref(), Some(primary.as_str()), "seed {seed}: followed in {epoch}");
        }
    }
    assert!(promotions > 40 && restarted_calls > 40, "too quiet: {promotions} {restarted_calls}");
}
