//! The loop: poll whoever is ready, then jump to the next thing that happens.

use super::event::Event;
use super::executor::{Executor, Kind, Polled};
use super::faults::Effect;
use super::foreign_host::{MakeHost, Seat};
use super::host::WatchedHost;
use super::server::ModelHost;
use super::state::{Scene, State};
use super::store::SimStore;
use super::transport::Watched;
use crate::clock::ManualClock;
use crate::host::ReplicationHost;
use crate::plugin::{ElectPlugin, QuorumParts, QuorumPlugin};
use crate::sim::clock::MS;
use crate::sim::outcome::{Outcome, numbered};
use crate::sim::plan::Plan;
use crate::sim::rng::Rng;
use crate::sim::server::End;
use crate::time::Duration;
use futures::future::FutureExt;
use futures::stream::StreamExt;
use std::sync::Arc;

/// The most polls one run may take: an endless exchange is a finding, not a hang.
const POLLS_MAX: u64 = 3_000_000;

/// A run of the whole stack.
pub(super) struct World<'a> {
    scene: Scene,
    executor: Executor,
    /// Draws who is polled next.
    order: Rng,
    real: ManualClock,
    make: Option<MakeHost<'a>>,
}

impl<'a> World<'a> {
    pub(super) fn new(plan: &Plan, traced: bool, make: Option<MakeHost<'a>>) -> Self {
        let ids = numbered(plan.setup.members());
        let state = State::new(plan.clone(), ids, traced, make.is_none());
        let real = state.real.clone();
        Self {
            scene: Scene::new(state),
            executor: Executor::default(),
            order: Rng::new(plan.seed, 5),
            real,
            make,
        }
    }

    /// Runs to the end of the plan, or to the first violation.
    pub(super) fn run(mut self) -> Outcome {
        loop {
            self.poll_all();
            let next = self.scene.with(|state| {
                let next =
                    state.next_at().filter(|at| *at <= state.run.end && state.run.violation.is_none())?;
                Some(next - state.run.now.min(next))
            });
            let Some(wait) = next else { break };
            self.real.advance(Duration::from_nanos(wait));
            self.scene.with(State::look_at_clock);
            while let Some(event) = self.scene.with(|state| match state.run.violation {
                Some(_) => None,
                None => state.pop_due(),
            }) {
                self.dispatch(event);
                self.poll_all();
            }
        }
        let outcome = self.outcome();
        // Plugins and state know each other: without this they would keep each other for ever.
        self.executor = Executor::default();
        let plugins: Vec<_> = self.scene.with(|s| s.nodes.iter_mut().map(|m| m.plugin.take()).collect());
        drop(plugins);
        outcome
    }

    fn outcome(&self) -> Outcome {
        self.scene.with(|state| {
            state.run.stats.virtual_ns += state.run.now;
            state.run.stats.runs = 1;
            (state.run.stats.lost, state.run.stats.duplicated) =
                (state.net.electors.lost(), state.net.electors.duplicated());
            Outcome {
                violation: state.run.violation.take(),
                settled: state.run.settled.map(|at| at - state.run.plan.heal_at),
                stats: state.run.stats.clone(),
                fingerprint: state.run.fingerprint,
                trace: state.run.trace.take().unwrap_or_default(),
            }
        })
    }

    /// Polls until nobody is ready.
    fn poll_all(&mut self) {
        loop {
            self.spawn_helpers();
            let runs: Option<Vec<_>> = self.scene.with(|state| match state.run.violation {
                Some(_) => None,
                None => Some(state.nodes.iter().map(super::state::Machine::runs).collect()),
            });
            let Some(runs) = runs else { return };
            let Some(polled) = self.executor.poll(&mut self.order, |node| runs[node]) else { return };
            self.after_poll(polled);
        }
    }

    fn after_poll(&mut self, polled: Polled) {
        let Polled { node, life, kind, ended } = polled;
        self.scene.with(|state| {
            state.run.stats.steps += 1;
            if state.run.stats.steps > POLLS_MAX {
                state
                    .run
                    .violate("quiet", format!("{POLLS_MAX} polls and no end: the drivers talk too much"));
            }
            state.run.mix(state.run.now ^ node as u64);
            state.make_wrong(node);
            state.hear_events(node);
            state.judge_polled(node);
        });
        if kind == Kind::Driver
            && let Some(ended) = ended
        {
            let leaving = self.scene.with(|state| {
                let machine = &state.nodes[node];
                machine.life == life && machine.leaving
            });
            match ended {
                Ok(()) if leaving => self.gone(node, End::Orderly),
                Ok(()) => self
                    .scene
                    .with(|state| state.run.violate("runs", format!("n{node}'s driver ended by itself"))),
                Err(error) => {
                    self.scene
                        .with(|state| state.run.violate("runs", format!("n{node}'s driver failed: {error}")));
                }
            }
        }
    }

    fn spawn_helpers(&mut self) {
        let spawned = self.scene.with(|state| {
            let spawned = std::mem::take(&mut state.spawned);
            spawned.into_iter().map(|(node, work)| (node, state.nodes[node].life, work)).collect::<Vec<_>>()
        });
        for (node, life, work) in spawned {
            self.executor.spawn(node, life, Kind::Helper, work.map(Ok).boxed());
        }
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Start { node } => self.start(node),
            Event::Fault(index) => {
                let effect = self.scene.with(|state| state.on_fault(index));
                self.carry_out(effect);
                if matches!(effect, Effect::Kill { .. }) {
                    self.scene.with(|state| state.lose(index));
                }
            }
            Event::Heal(index) => {
                let effect = self.scene.with(|state| state.on_heal(index));
                self.carry_out(effect);
            }
            Event::HealAll => self.heal_all(),
            event => self.scene.with(|state| state.on_event(event)),
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Kill { node, power } => self.kill(node, power),
            Effect::Leave { node } => {
                let plugin = self.scene.with(|state| state.nodes[node].plugin.clone());
                if let Some(plugin) = plugin {
                    let life = self.scene.with(|state| state.nodes[node].life);
                    let leave = async move {
                        plugin.shutdown().await;
                        Ok(())
                    };
                    self.executor.spawn(node, life, Kind::Helper, leave.boxed());
                }
            }
            Effect::Wake { node } => {
                self.scene.with(|state| state.wake(node));
                self.executor.wake(node);
            }
            Effect::Look { node } => self.executor.wake(node),
            Effect::Start { node } => self.start(node),
            Effect::Restart { node } => {
                self.kill(node, false);
                self.start(node);
            }
        }
    }

    /// A process starts with what its disk holds.
    fn start(&mut self, node: usize) {
        let scene = self.scene.clone();
        let parts = scene.with(|state| {
            let machine = &mut state.nodes[node];
            if machine.plugin.is_some() || machine.impairments.down > 0 || machine.removed {
                return None;
            }
            state.lives += 1;
            let machine = &mut state.nodes[node];
            machine.life = state.lives;
            let (id, clock, life) = (machine.id, machine.clock.clone(), machine.life);
            let config = match state.run.plan.setup.config(node, life as usize, &state.run.ids) {
                Ok(config) => config,
                Err(error) => {
                    state.run.violate("setup", error.to_string());
                    return None;
                }
            };
            let inner = state.net.electors.transport(id);
            state.nodes[node].voice = Some(inner.again());
            let seed = state.run.plan.seed ^ (u64::from(life) << 32);
            Some((config, clock, inner, seed, id, life))
        });
        let Some((config, clock, inner, seed, id, life)) = parts else { return };
        clock.restarted();
        let parts = QuorumParts {
            config,
            clock: Arc::new(clock.clone()),
            store: Arc::new(SimStore { scene: scene.clone(), node }),
            transport: Arc::new(Watched { inner, scene: scene.clone(), node }),
            seed,
        };
        let (real, make) = (self.real.clone(), &mut self.make);
        let (plugin, election) = QuorumPlugin::start(parts, |plugin| {
            let inner: Arc<dyn ReplicationHost> = match make {
                None => Arc::new(ModelHost { scene: scene.clone(), node }),
                Some(make) => make(Seat::new(node, id, Arc::new(clock), plugin, scene.clone())),
            };
            Arc::new(WatchedHost { inner, scene: scene.clone(), real, node, life })
        });
        scene.with(|state| {
            if let Some(mutation) = state.run.plan.driver_mutation {
                plugin.set_driver_mutation(mutation);
            }
            state.begin_life(node, plugin.clone());
        });
        self.executor.spawn(node, life, Kind::Driver, election.boxed());
    }

    /// The process dies, with everything that was only in its memory.
    fn kill(&mut self, node: usize, power: bool) {
        let alive = self.scene.with(|state| {
            let machine = &state.nodes[node];
            if machine.plugin.is_none() {
                return false;
            }
            if power {
                state.net.electors.power_off(machine.id);
            }
            true
        });
        if alive {
            self.executor.kill(node);
            self.gone(node, if power { End::Power } else { End::Killed });
        }
    }

    /// The driver's future is gone.
    fn gone(&mut self, node: usize, end: End) {
        self.executor.kill(node);
        // A host's own end may look at the state: it comes after the lock.
        let plugin = self.scene.with(|state| state.end_life(node, end));
        drop(plugin);
    }

    fn heal_all(&mut self) {
        self.scene.with(|state| {
            state.run.log(|| "ALL IS HEALED".to_owned());
            state.run.healed = true;
        });
        let (faults, nodes) = self.scene.with(|state| (state.run.active.len(), state.nodes.len()));
        for index in 0..faults {
            let effect = self.scene.with(|state| state.on_heal(index));
            self.carry_out(effect);
        }
        (0..nodes).for_each(|node| self.start(node));
        self.scene.with(|state| {
            state.resume_elections(true);
            state.run.end = state.run.now + 2 * state.run.invariants.convergence.bound;
            state.push(state.run.now, Event::Probe);
        });
    }
}

impl State {
    fn begin_life(&mut self, node: usize, plugin: Arc<QuorumPlugin>) {
        let now = self.run.now;
        self.nodes[node].told = None;
        let machine = &mut self.nodes[node];
        let life = machine.life;
        machine.events = Some(plugin.events());
        machine.plugin = Some(plugin);
        machine.watch = super::watch::Watch::default();
        (machine.mutated, machine.leaving, machine.disturbed) = (false, false, now);
        self.run.log(|| format!("n{node} starts as process {life}"));
        let at = now + self.run.rng.below(30 * MS);
        self.push(at, Event::Tick { node, life });
    }

    fn end_life(&mut self, node: usize, end: End) -> Option<Arc<QuorumPlugin>> {
        let machine = &mut self.nodes[node];
        let plugin = machine.plugin.take()?;
        (machine.events, machine.reigning_since, machine.leaving) = (None, None, false);
        machine.inbox.clear();
        self.abandon_write(node);
        self.stop_server(node, end);
        self.nodes[node].impairments.hung = 0;
        self.run.log(|| format!("n{node} is gone"));
        Some(plugin)
    }

    /// Makes the elector wrong as soon as there is one: nothing has reached it before.
    fn make_wrong(&mut self, node: usize) {
        let mutation = self.run.plan.mutation;
        let machine = &mut self.nodes[node];
        if mutation.is_some()
            && !machine.mutated
            && let Some(plugin) = &machine.plugin
        {
            machine.mutated = plugin.with_elector(|elector| elector.set_mutation(mutation)).is_some();
        }
    }

    /// What the plugin tells whoever listens.
    fn hear_events(&mut self, node: usize) {
        let Some(mut events) = self.nodes[node].events.take() else { return };
        while let Some(Some(event)) = events.next().now_or_never() {
            self.judge_event(node, &event);
        }
        self.nodes[node].events = Some(events);
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Tick { node, life } => self.on_tick(node, life),
            Event::Written { node, number, failed } => self.on_written(node, number, failed),
            Event::Reset { node, peer, seen } => self.on_reset(node, peer, seen),
            Event::Lie(index) => self.on_lie(index),
            Event::Probe => self.on_probe(),
            Event::Data { from, to, .. } => {
                if let Some(event) = self.through_cuts(from, to, event) {
                    self.hand_in(to, event);
                }
            }
            Event::Loaded { node, .. } => self.hand_in(node, event),
            Event::Start { .. } | Event::Fault(_) | Event::Heal(_) | Event::HealAll => {}
        }
    }

    /// Something for a process: it waits while the process is stopped.
    fn hand_in(&mut self, node: usize, event: Event) {
        let (Event::Data { life, .. } | Event::Loaded { life, .. }) = event else { return };
        let machine = &mut self.nodes[node];
        if machine.plugin.is_none() || machine.life != life {
            return;
        }
        if !machine.runs() {
            machine.inbox.push_back(event);
            return;
        }
        match event {
            Event::Data { from, to, payload, .. } => self.on_data(from, to, payload),
            Event::Loaded { node, turn, data, .. } => self.on_loaded(node, turn, data),
            _ => {}
        }
    }

    /// The process runs again: first a client that was waiting, then what has come in, then the driver.
    fn wake(&mut self, node: usize) {
        if !self.nodes[node].runs() {
            return;
        }
        if !self.nodes[node].clock.sleep_unseen() {
            self.client(node);
        }
        for event in std::mem::take(&mut self.nodes[node].inbox) {
            self.hand_in(node, event);
        }
    }
}
