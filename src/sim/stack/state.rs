//! What all nodes of a run share: the queue of what comes next, the machines, the judge's memory.

use super::clock::NodeClock;
use super::disk::Disk;
use super::event::Event;
use super::net::Net;
use super::watch::Watch;
use crate::clock::{Clock, ManualClock};
use crate::event;
use crate::ids::{Epoch, NodeId};
use crate::plugin::{ElectPlugin, QuorumPlugin};
use crate::sim::clock::{DriftClock, MS};
use crate::sim::impairments::{Impairments, Life};
use crate::sim::plan::Plan;
use crate::sim::rng::Rng;
use crate::sim::run::Run;
use crate::sim::server::Act;
use crate::transport::MemoryTransport;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// The shared state. Nobody keeps it locked over a poll: what is polled locks it.
#[derive(Clone)]
pub(super) struct Scene(Arc<Mutex<State>>);

impl Scene {
    pub(super) fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    pub(super) fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One simulated machine.
pub(super) struct Machine {
    pub(super) id: NodeId,
    pub(super) clock: NodeClock,
    pub(super) disk: Disk,
    /// The history that the plugin was told of last; `None`: its host has not said where it starts.
    pub(super) told: Option<Epoch>,
    pub(super) watch: Watch,
    pub(super) impairments: Impairments,
    /// The process that runs, or ran last.
    pub(super) life: Life,
    /// The plugin of the process that runs.
    pub(super) plugin: Option<Arc<QuorumPlugin>>,
    pub(super) events: Option<BoxStream<'static, event::Event>>,
    /// The elector was made wrong, where it is to be.
    pub(super) mutated: bool,
    /// What came in while the process was stopped.
    pub(super) inbox: VecDeque<Event>,
    /// When something was last not in order.
    pub(super) disturbed: u64,
    /// In office without a break since.
    pub(super) reigning_since: Option<u64>,
    /// Asked to end.
    pub(super) leaving: bool,
    /// Out of the cluster for good.
    pub(super) removed: bool,
    /// Says in this process's name what its driver does not.
    pub(super) voice: Option<MemoryTransport>,
}

impl Machine {
    /// Whether the process would run now.
    pub(super) fn runs(&self) -> bool {
        self.plugin.is_some() && self.impairments.runs()
    }
}

/// Everything there is in one run, but the futures.
pub(super) struct State {
    pub(super) run: Run,
    pub(super) real: ManualClock,
    /// What the real clock showed at the beginning.
    base: u64,
    queue: BTreeMap<(u64, u64), Event>,
    pushed: u64,
    pub(super) nodes: Vec<Machine>,
    pub(super) net: Net,
    pub(super) lives: Life,
    /// Whether the hosts are the model of [`crate::sim::server`], whose data can be judged.
    pub(super) modelled: bool,
    /// Futures that hosts want polled beside the driver.
    pub(super) spawned: Vec<(usize, BoxFuture<'static, ()>)>,
    /// Of a server's step: kept for its room.
    pub(super) acts: Vec<Act>,
}

impl State {
    /// A world at its beginning: all processes start within a moment.
    pub(super) fn new(plan: Plan, ids: Vec<NodeId>, traced: bool, modelled: bool) -> Self {
        let real = ManualClock::new();
        let base = real.now().as_nanos();
        let mut rng = Rng::new(plan.seed, 3);
        let drift_ppm = (plan.setup.drift_percent * 10_000.0) as i64;
        let nodes = ids.len();
        let machines = (0..nodes)
            .map(|node| {
                let ppm = plan.setup.of_bound[node] * drift_ppm / 1_000_000;
                let drift = DriftClock::new(1_000_000_000 + rng.below(1_000_000) * MS, ppm);
                Machine {
                    id: ids[node],
                    clock: NodeClock::new(real.clone(), drift, Rng::new(plan.seed, 100 + node as u64)),
                    disk: Disk::with_epoch(plan.setup.epochs.get(node).copied()),
                    told: None,
                    watch: Watch::default(),
                    impairments: Impairments::default(),
                    life: 0,
                    plugin: None,
                    events: None,
                    mutated: false,
                    inbox: VecDeque::new(),
                    disturbed: 0,
                    reigning_since: None,
                    leaving: false,
                    removed: false,
                    voice: None,
                }
            })
            .collect();
        let mut state = Self {
            net: Net::new(&plan, &real, &ids),
            acts: Vec::new(),
            real,
            base,
            queue: BTreeMap::new(),
            pushed: 0,
            nodes: machines,
            lives: 0,
            modelled,
            spawned: Vec::new(),
            run: Run::new(plan, ids, rng, traced),
        };
        state.run.invariants.convergence.bound += state.net.heal_time();
        for node in 0..nodes {
            let at = state.run.rng.below(20 * MS);
            state.push(at, Event::Start { node });
        }
        for fault in 0..state.run.plan.faults.len() {
            state.push(state.run.plan.faults[fault].at, Event::Fault(fault));
        }
        state.push(state.run.plan.heal_at, Event::HealAll);
        state
    }

    /// The real clock was moved.
    pub(super) fn look_at_clock(&mut self) {
        self.run.now = self.real.now().as_nanos() - self.base;
    }

    pub(super) fn push(&mut self, at: u64, event: Event) {
        // Equal times: first come, first served.
        self.pushed += 1;
        self.queue.insert((at.max(self.run.now), self.pushed), event);
    }

    /// The next event, if it is due.
    pub(super) fn pop_due(&mut self) -> Option<Event> {
        let now = self.run.now;
        let entry = self.queue.first_entry().filter(|entry| entry.key().0 <= now)?;
        self.run.stats.events += 1;
        Some(entry.remove())
    }

    /// When something happens next: an event, or a timer of somebody who waits.
    pub(super) fn next_at(&self) -> Option<u64> {
        let event = self.queue.keys().next().map(|(at, _)| *at);
        let timer = self.real.next_deadline().map(|at| at.as_nanos().saturating_sub(self.base));
        event.into_iter().chain(timer).min()
    }

    /// Whether the gate of this node lets a write pass now.
    pub(super) fn may_write(&self, node: usize) -> bool {
        let machine = &self.nodes[node];
        // After a sleep the gate's clock has not moved until the driver has looked: `docs/protocol.md` names
        // this window as a limit.
        machine.impairments.asleep == 0
            && !machine.clock.sleep_unseen()
            && machine.plugin.as_ref().is_some_and(|plugin| plugin.write_gate().is_open())
    }

    /// The node that may write now, if one may.
    pub(super) fn writer(&self) -> Option<usize> {
        (0..self.nodes.len()).find(|node| self.may_write(*node))
    }

    /// The epoch of a node's elector, once there is one.
    pub(super) fn epoch(&self, node: usize) -> Option<Epoch> {
        self.nodes[node].plugin.as_ref()?.with_elector(|elector| elector.epoch())
    }
}
