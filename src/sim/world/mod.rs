//! The world of a run: machines, network, and the queue of what comes next.
//!
//! The code under test is the real [`Elector`]. The world is its driver and keeps the driver's contract:
//! every input is followed by draining the outputs in order, by copying the gate, and only then by sending.
//! With the real driver in its place: [`super::stack`].

mod by_hand;
mod detach;
mod event;
mod faults;
mod judge;
mod lies;
mod machine;
mod net;
mod server;
mod server_faults;
mod traffic;

use super::clock::{DriftClock, MS};
use super::impairments::{Impairments, Life};
use super::note::{Note, What};
use super::plan::Plan;
use super::rng::Rng;
use super::run::Run;
use super::server::{Act, End};
use crate::elector::{Command, Elector, GateState, HostAction, HostReport, Output};
use crate::fence::Denied;
use crate::ids::{Epoch, NodeId};
use crate::message::Message;
use crate::rank::Rank;
use crate::time::Instant;
use event::Event;
use machine::{Disk, Jobs, Machine, Process};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// The most events one run may take: an endless exchange of messages is a finding, not a hang.
const EVENTS_MAX: u64 = 3_000_000;

/// Everything there is in one run.
pub(super) struct World {
    pub(super) run: Run,
    queue: BinaryHeap<Reverse<(u64, u64, u32)>>,
    /// The events of the queue; free places are listed in `free`.
    slots: Vec<Option<Event>>,
    free: Vec<u32>,
    pushed: u64,
    machines: Vec<Machine>,
    net: net::Net,
    lives: Life,
    /// What happened, as data; kept only for a cluster that is driven by hand.
    pub(super) notes: Option<Vec<Note>>,
    alarm_extra: Option<u64>,
    /// Messages of the step under way: sent after the gate is copied.
    outbox: Vec<(NodeId, Message)>,
    /// Of a server's step: kept for its room.
    acts: Vec<Act>,
}

impl World {
    /// A world at its beginning: all processes start within a moment.
    pub(super) fn new(plan: Plan, ids: Vec<NodeId>, traced: bool) -> Self {
        let nodes = plan.setup.members();
        let mut rng = if plan.setup.steady { Rng::steady() } else { Rng::new(plan.seed, 2) };
        let drift_ppm = (plan.setup.drift_percent * 10_000.0) as i64;
        let machines = (0..nodes)
            .map(|node| Machine {
                id: ids[node],
                clock: DriftClock::new(
                    1_000_000_000 + rng.below(1_000_000) * MS,
                    plan.setup.of_bound[node] * drift_ppm / 1_000_000,
                ),
                disk: Disk::with_epoch(plan.setup.epochs.get(node).copied(), plan.setup.identity(node)),
                jobs: Jobs::default(),
                process: None,
                dark: false,
                impairments: Impairments::default(),
                disturbed: 0,
                starts: 0,
                removed: false,
            })
            .collect();
        let mut world = Self {
            queue: BinaryHeap::with_capacity(1024),
            slots: Vec::with_capacity(1024),
            free: Vec::new(),
            pushed: 0,
            machines,
            alarm_extra: Self::alarm_extra(&plan, &ids),
            net: net::Net::new(nodes),
            lives: 0,
            notes: None,
            outbox: Vec::new(),
            acts: Vec::new(),
            run: Run::new(plan, ids, rng, traced),
        };
        for node in 0..nodes {
            let at = world.run.rng.below(20 * MS);
            world.push(at, Event::Start { node });
        }
        for fault in 0..world.run.plan.faults.len() {
            world.push(world.run.plan.faults[fault].at, Event::Fault(fault));
        }
        world.push(world.run.plan.heal_at, Event::HealAll);
        if world.run.plan.setup.habits.is_some() {
            world.push(0, Event::Look);
        }
        world
    }

    /// Runs until the end of the plan, or the first violation.
    pub(super) fn run(&mut self) {
        while self.run.violation.is_none() && self.next_event(self.run.end) {
            if self.run.stats.events > EVENTS_MAX {
                self.run
                    .violate("quiet", "3 000 000 events and no end: the electors talk too much".to_owned());
            }
        }
        self.run.stats.virtual_ns += self.run.now;
    }

    /// Runs until real time `until`.
    pub(super) fn run_until(&mut self, until: u64) {
        while self.run.violation.is_none() && self.next_event(until) {}
        self.run.now = self.run.now.max(until);
    }

    fn next_event(&mut self, until: u64) -> bool {
        if self.queue.peek().is_none_or(|Reverse((at, ..))| *at > until) {
            return false;
        }
        let Some(Reverse((at, _, slot))) = self.queue.pop() else { return false };
        let Some(event) = self.slots[slot as usize].take() else { return true };
        self.free.push(slot);
        self.run.now = at;
        self.run.stats.events += 1;
        self.dispatch(event);
        true
    }

    fn push(&mut self, at: u64, event: Event) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.slots[slot as usize] = Some(event);
        // Equal times: first come, first served. The order must not depend on the heap's insides.
        self.pushed += 1;
        self.queue.push(Reverse((at.max(self.run.now), self.pushed, slot)));
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Wake { node, life } => self.on_wake(node, life),
            Event::Tick { node, life } => self.on_tick(node, life),
            Event::Frame(frame) => self.on_frame(frame),
            Event::LinkUp { .. } => self.on_link_up(event),
            Event::LinkEnd { .. } => self.on_link_end(event),
            Event::Retry { at, peer, life } => self.on_retry(at, peer, life),
            Event::Saved { node, life, write, failed } => self.on_saved(node, life, write, failed),
            Event::SaveTold { .. } => self.on_save_told(event),
            Event::HostDone { .. } => self.on_host_done(event),
            Event::Fenced { .. } => self.on_fenced(event),
            Event::Detach { node, life, seq } => self.on_detach(node, life, seq),
            Event::Detached { .. } => self.on_detached(event),
            Event::Loaded { .. } => self.on_loaded(event),
            Event::Answer { .. } => self.on_answer(event),
            Event::Alarm { node, life } => self.on_alarm(node, life),
            Event::Looked { node, life } => self.on_looked(node, life),
            Event::Look => self.on_look(),
            Event::Fault(fault) => self.on_fault(fault),
            Event::Heal(fault) => self.on_heal(fault),
            Event::Lie(fault) => self.on_lie(fault),
            Event::Start { node } => self.start(node),
            Event::HealAll => self.heal_all(),
            Event::Probe => self.on_probe(),
        }
    }

    /// One input to an elector, and all that follows from it at once.
    fn step(&mut self, node: usize, input: impl FnOnce(&mut Elector, Instant)) {
        let local = self.machines[node].clock.local(self.run.now);
        let Some(process) = &mut self.machines[node].process else { return };
        let before = process.elector.role();
        self.run.stats.steps += 1;
        // The driver looks at the suspend counter before it hands anything on.
        if std::mem::take(&mut process.slept) {
            process.elector.handle_command(local, Command::ClockJumped);
        }
        input(&mut process.elector, local);
        self.drain(node, local);
        self.copy_gate(node, local);
        let mut outbox = std::mem::take(&mut self.outbox);
        for (to, message) in outbox.drain(..) {
            if let Some(to) = self.run.number(to) {
                self.judge_send(node, to, &message);
                self.note_sent(node, to, &message);
                self.run.mix(message.verb() as u64);
                let message = self.belied(node, to, message);
                self.send_message(node, to, message);
            }
        }
        self.outbox = outbox;
        self.reschedule(node);
        self.judge_state(node, before);
    }

    fn drain(&mut self, node: usize, local: Instant) {
        loop {
            let Some(process) = &mut self.machines[node].process else { return };
            let Some(output) = process.elector.poll_output() else { return };
            match output {
                Output::Send(to, message) => {
                    self.outbox.extend(to.ids().iter().map(|to| (*to, message.clone())));
                }
                Output::Persist(seq, state) => self.save(node, seq, state),
                Output::Host(HostAction::Detach(seq)) if self.run.plan.setup.late == 0 => {
                    let position = self.detach(node);
                    if let Some(process) = &mut self.machines[node].process {
                        process.elector.handle_host(local, HostReport::Detached(seq, &position));
                    }
                }
                Output::Host(action) => self.host_action(node, action),
                Output::Event(event) => {
                    self.run.log(|| format!("n{node} e{}: {:?}", event.epoch, event.kind));
                    self.note(node, || What::Decided(event.clone()));
                    self.judge_event(node, &event);
                }
            }
        }
    }

    fn copy_gate(&mut self, node: usize, local: Instant) {
        let resigning = self.run.plan.mutation == Some(crate::elector::Mutation::ResignWhileWriting);
        let now = self.run.now;
        let machine = &mut self.machines[node];
        let Some(process) = &mut machine.process else { return };
        let gate = process.elector.gate();
        if resigning && matches!(process.gate, GateState::Open(until) if until > local) {
            // The fault under test: the write path keeps the lease it had.
            if !matches!(gate, GateState::Open(_)) {
                return;
            }
        }
        let opened = process.gate != gate && matches!(gate, GateState::Open(until) if until > local);
        let renewed = process.gate != gate;
        process.gate = gate;
        if matches!(gate, GateState::Open(_)) {
            process.uncounted = Some(process.elector.epoch());
        }
        if let (GateState::Open(until), true) = (gate, renewed) {
            self.set_alarm(node, until);
        }
        if opened {
            self.run.mix(now);
            self.judge_open_gate(node);
        }
    }

    fn reschedule(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        let Some(process) = &mut machine.process else { return };
        let Some(at) = process.elector.next_timeout() else { return };
        let at = machine.clock.real(at).max(self.run.now);
        if at < process.wake_at {
            // Timers fire a little late.
            let at = at + self.run.rng.below(MS / 2);
            process.wake_at = at;
            let life = process.life;
            self.push(at, Event::Wake { node, life });
        }
    }

    fn on_wake(&mut self, node: usize, life: Life) {
        let now = self.run.now;
        let machine = &mut self.machines[node];
        let runs = machine.runs();
        let Some(process) = machine.process.as_mut().filter(|process| process.life == life) else { return };
        if process.wake_at != now {
            return; // An earlier wakeup has replaced this one.
        }
        process.wake_at = u64::MAX;
        if !runs {
            return; // `wake` calls again.
        }
        self.run.mix(now ^ node as u64);
        self.step(node, |elector, now| elector.handle_timeout(now));
    }

    /// The process runs again: first a client that was waiting, then what has come in, then the timers.
    fn wake(&mut self, node: usize) {
        if !self.machines[node].runs() {
            return;
        }
        let slept = self.machines[node].process.as_ref().is_some_and(|process| process.slept);
        // After a sleep the driver looks first: until it does, the gate's clock has not moved.
        // `docs/protocol.md` names this window as a limit.
        if !slept {
            self.client(node);
        }
        loop {
            if !self.machines[node].runs() {
                return;
            }
            let Some(process) = &mut self.machines[node].process else { return };
            let Some(event) = process.inbox.pop_front() else { break };
            self.dispatch(event);
        }
        self.step(node, |elector, now| elector.handle_timeout(now));
    }

    /// A process starts with what its disk holds.
    fn start(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        if machine.process.is_some() || machine.impairments.down > 0 {
            return;
        }
        let config = match self.run.plan.setup.config(node, machine.starts, &self.run.ids) {
            Ok(config) => config,
            Err(error) => return self.run.violate("setup", error.to_string()),
        };
        machine.starts += 1;
        self.lives += 1;
        let life = self.lives;
        machine.dark = false;
        let local = machine.clock.local(self.run.now);
        // A wall clock that only goes forward, in milliseconds.
        let floor = 1_000_000 + self.run.now / MS;
        let seed = self.run.plan.seed ^ (u64::from(life) << 32);
        let mut elector = Elector::new(config, machine.disk.record.clone(), floor, seed, local);
        elector.set_mutation(self.run.plan.mutation);
        let incarnation = elector.status().incarnation;
        self.run.servers[node].start(machine.disk.record.as_ref().map(|record| &record.position));
        machine.process = Some(Process {
            life,
            elector,
            incarnation,
            gate: GateState::Shut(Denied::Replica),
            wake_at: u64::MAX,
            inbox: VecDeque::new(),
            slept: false,
            told: (Epoch(u64::MAX), [0; 3]),
            leaving_at: None,
            alarm: None,
            disarm: false,
            wound: 0,
            uncounted: None,
            answering: 0,
            reigning_since: None,
        });
        let health = machine.impairments.health();
        machine.disturbed = self.run.now;
        self.run.log(|| format!("n{node} starts as process {life}, incarnation {incarnation}"));
        self.note(node, || What::Started);
        self.start_links_of(node);
        self.tell_position(node);
        let cluster = self.run.servers[node].cluster.filter(|_| self.run.plan.setup.forgetful);
        if let Some(cluster) = cluster {
            self.step(node, |elector, now| elector.handle_host(now, HostReport::Belongs(cluster)));
        }
        if !health.is_good() {
            self.step(node, |elector, now| elector.handle_host(now, HostReport::Health(health)));
        }
        if self.run.plan.setup.rank == Rank::Seniority && !self.run.plan.setup.steady {
            let work = self.run.rng.below(4);
            self.step(node, |elector, now| elector.handle_host(now, HostReport::Work(work)));
        }
        let at = self.run.now + self.run.rng.below(30 * MS);
        self.push(at, Event::Tick { node, life });
    }

    /// The process is gone, with everything that was only in its memory.
    fn stop(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        let Some(process) = machine.process.take() else { return };
        let end = match process.leaving_at {
            _ if machine.dark => End::Power,
            Some(_) => End::Orderly,
            None => End::Killed,
        };
        // A save that was under way has reached the disk, or has not: never half of it.
        if let Some((_, _, state)) = machine.disk.writing.take()
            && self.run.rng.chance(500)
        {
            machine.disk.before = machine.disk.record.replace(state);
        }
        machine.disk.waiting = None;
        (machine.jobs.promoting, machine.jobs.hanging, machine.jobs.fence_hangs) = (None, None, false);
        machine.jobs.detaching = None;
        (machine.impairments.hung, machine.impairments.stuck) = (0, false);
        self.run.servers[node].stop(end);
        self.run.log(|| format!("n{node} is gone"));
        self.note(node, || What::Gone);
        self.close_links_of(node);
    }

    /// The node that may write now, if one may.
    pub(super) fn writer(&self) -> Option<usize> {
        (0..self.machines.len()).find(|node| self.may_write(*node))
    }

    fn may_write(&self, node: usize) -> bool {
        let machine = &self.machines[node];
        machine.impairments.asleep == 0 && machine.process.as_ref().is_some_and(|process| {
            // After a sleep nothing runs before the driver has looked: the limit named in `wake`.
            !process.slept
                && matches!(process.gate, GateState::Open(until) if machine.clock.local(self.run.now) < until)
        })
    }
}
