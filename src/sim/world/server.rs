//! The servers of this world: carries out what the model of [`crate::sim::server`] wants done.

use super::World;
use super::event::{Event, Job, Payload};
use crate::elector::{GateState, HostAction, HostReport};
use crate::sim::clock::MS;
use crate::sim::impairments::Life;
use crate::sim::note::What;
use crate::sim::server::{Act, Payload as Data, TICK};

impl World {
    pub(super) fn host_action(&mut self, node: usize, action: HostAction) {
        self.run.log(|| format!("n{node} host: {action:?}"));
        self.note(node, || What::Asked(action));
        match action {
            HostAction::Detach(seq) => self.ask_to_detach(node, seq),
            HostAction::Resume(_) => {}
            HostAction::Fence(..) => {
                self.cancel_promotion(node);
                let machine = &mut self.machines[node];
                machine.jobs.fences += 1;
                let fence = machine.jobs.fences;
                let Some((life, wound)) = machine.process.as_ref().map(|p| (p.life, p.wound)) else { return };
                machine.jobs.wound = wound;
                machine.jobs.fence_hangs = machine.impairments.host_hanging > 0;
                if machine.jobs.fence_hangs {
                    return;
                }
                let at = self.run.now + self.run.rng.below(self.run.plan.setup.host);
                self.push(at, Event::Fenced { node, life, fence });
                self.end_if_hung(node);
            }
            HostAction::Promote(epoch) => {
                self.cancel_promotion(node);
                let jobs = &mut self.machines[node].jobs;
                (jobs.promoting, jobs.detaching) = (Some(epoch), None);
                self.run.servers[node].turn_to(None);
                self.begin_job(node, Job::Promote(epoch));
            }
            HostAction::Follow(epoch, primary) => {
                self.cancel_promotion(node);
                self.machines[node].jobs.detaching = None;
                let Some(primary) = self.run.number(primary) else { return };
                self.run.servers[node].turn_to(Some((epoch, primary)));
                self.begin_job(node, Job::Follow(epoch));
            }
        }
    }

    /// A promotion that is not wanted any more: it may have happened all the same.
    fn cancel_promotion(&mut self, node: usize) {
        if let Some(epoch) = self.machines[node].jobs.promoting.take() {
            self.run.servers[node].turn += 1;
            // What hangs does not happen.
            if !self.is_hung(node) && self.run.rng.chance(500) {
                self.run.promote_late(node, epoch);
            }
        }
    }

    fn begin_job(&mut self, node: usize, job: Job) {
        let machine = &mut self.machines[node];
        let turn = self.run.servers[node].turn;
        let Some(life) = machine.process.as_ref().map(|process| process.life) else { return };
        let impairments = machine.impairments;
        if impairments.host_hanging > 0 || impairments.hung > 0 {
            machine.jobs.hanging = Some(turn);
            return;
        }
        let most = self.run.plan.setup.host.max(impairments.host_slow);
        let at = self.run.now + self.run.rng.below(most);
        let failed = impairments.host_failing > 0 && self.run.rng.chance(700);
        self.push(at, Event::HostDone { node, life, turn, job, failed });
    }

    /// What hung fails now.
    pub(super) fn unhang_host(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        let fence = machine.jobs.fences;
        if std::mem::take(&mut machine.jobs.fence_hangs)
            && let Some(life) = machine.process.as_ref().map(|process| process.life)
        {
            self.push(self.run.now + MS, Event::Fenced { node, life, fence });
        }
        let machine = &mut self.machines[node];
        let Some(turn) = machine.jobs.hanging.take() else { return };
        let Some(life) = machine.process.as_ref().map(|process| process.life) else { return };
        let job = match (machine.jobs.promoting, self.run.servers[node].target) {
            (Some(epoch), _) => Job::Promote(epoch),
            (None, Some((epoch, _))) => Job::Follow(epoch),
            (None, None) => return,
        };
        self.push(self.run.now + MS, Event::HostDone { node, life, turn, job, failed: true });
    }

    pub(super) fn on_host_done(&mut self, event: Event) {
        let Event::HostDone { node, life, turn, job, failed } = event else { return };
        if self.machines[node].deliver(life, event).is_none() || self.run.servers[node].turn != turn {
            return;
        }
        self.run.log(|| format!("n{node} host: {job:?} {}", if failed { "failed" } else { "done" }));
        match job {
            Job::Promote(epoch) if failed => {
                self.machines[node].jobs.promoting = None;
                self.step(node, |e, now| {
                    e.handle_host(now, HostReport::PromoteFailed(epoch, "told to fail"))
                });
            }
            Job::Promote(epoch) => {
                self.machines[node].jobs.promoting = None;
                self.run.servers[node].promote(epoch);
                self.run.judge_promotion(node, epoch);
                self.step(node, |e, now| e.handle_host(now, HostReport::Promoted(epoch)));
                self.tell_position(node);
            }
            Job::Follow(epoch) if failed => {
                self.step(node, |e, now| e.handle_host(now, HostReport::FollowFailed(epoch, "told to fail")));
            }
            Job::Follow(epoch) => {
                self.run.servers[node].following = true;
                self.step(node, |e, now| e.handle_host(now, HostReport::Followed(epoch)));
                self.with_server(node, |server, now, out| server.follow(now, out));
            }
        }
    }

    pub(super) fn on_fenced(&mut self, event: Event) {
        let Event::Fenced { node, life, fence } = event else { return };
        let machine = &mut self.machines[node];
        let (newest, wound) = (machine.jobs.fences == fence, machine.jobs.wound);
        let hung = machine.impairments.hung > 0;
        let Some((process, event)) = machine.deliver(life, event) else { return };
        if newest && (hung || process.answering > 0) {
            // Not all that passed is counted and answered.
            let at = self.run.now + TICK;
            self.push(at, event);
        } else if newest {
            if process.wound == wound {
                (process.disarm, process.uncounted) = (true, None);
            }
            process.disarm_if_answered();
            self.tell_position(node);
            self.step(node, |e, now| e.handle_host(now, HostReport::Fenced));
        }
    }

    pub(super) fn on_data(&mut self, from: usize, to: usize, payload: Payload) {
        if let Payload::Server(payload) = payload
            && self.machines[to].impairments.hung == 0
        {
            self.with_server(to, |server, now, out| server.on_data(now, from, payload, out));
        }
    }

    pub(super) fn on_loaded(&mut self, event: Event) {
        let Event::Loaded { node, life, .. } = event else { return };
        let machine = &mut self.machines[node];
        let hung = machine.impairments.hung > 0;
        let Some((_, event)) = machine.deliver(life, event) else { return };
        if hung {
            // It lies in the shard's inbox until that turns again.
            return self.push(self.run.now + TICK, event);
        }
        let Event::Loaded { turn, data, .. } = event else { return };
        self.with_server(node, |server, now, out| server.loaded(now, turn, data, out));
    }

    /// One step of a server, and all that follows from it at once.
    fn with_server(
        &mut self,
        node: usize,
        step: impl FnOnce(&mut crate::sim::server::Server, u64, &mut Vec<Act>),
    ) {
        let mut acts = std::mem::take(&mut self.acts);
        step(&mut self.run.servers[node], self.run.now, &mut acts);
        for act in acts.drain(..) {
            self.act(node, act);
        }
        self.acts = acts;
    }

    fn act(&mut self, node: usize, act: Act) {
        let Some(act) = self.run.hear(node, act) else { return };
        match act {
            Act::Send(to, payload) => self.send_data(node, to, payload),
            Act::Load { turn, data } => {
                let machine = &self.machines[node];
                let Some(life) = machine.process.as_ref().map(|process| process.life) else { return };
                let at = self.run.now
                    + self.run.rng.below(self.run.plan.setup.host.max(machine.impairments.host_slow));
                self.push(at, Event::Loaded { node, life, turn, data });
            }
            Act::Joined { .. } => self.note(node, || What::Joined),
            Act::Moved => self.tell_position(node),
            _ => {}
        }
    }

    /// The server's own work.
    pub(super) fn on_tick(&mut self, node: usize, life: Life) {
        if self.machines[node].process.as_ref().is_none_or(|process| process.life != life) {
            return;
        }
        let at = self.run.now + self.run.rng.between(TICK / 2, TICK);
        self.push(at, Event::Tick { node, life });
        let machine = &self.machines[node];
        if !machine.runs() || machine.impairments.hung > 0 {
            return;
        }
        let low_memory = machine.impairments.low_memory > 0;
        self.client(node);
        self.tell_position(node);
        self.with_server(node, |server, now, out| server.tick(now, low_memory, out));
        if self.run.plan.setup.habits.is_some() {
            self.tell_position(node);
            self.run.judge_contents(node);
        }
    }

    /// A client tries to write here.
    pub(super) fn client(&mut self, node: usize) {
        let machine = &self.machines[node];
        let Some(process) = &machine.process else { return };
        let (life, now) = (process.life, machine.clock.local(self.run.now));
        if !matches!(process.gate, GateState::Open(until) if now < until) {
            return;
        }
        self.judge_write(node);
        if self.run.plan.setup.quiet {
            return;
        }
        let shard = self.run.rng.below(self.run.plan.setup.shards as u64) as usize;
        if self.run.servers[node].serving.is_some() {
            self.run.stats.writes += 1;
            let frames = self.run.rng.between(1, 3);
            let written = self.run.servers[node].write(self.run.now, shard, frames);
            if let Some((epoch, _)) = written {
                self.answer_later(node, life, epoch);
            }
        }
    }

    /// Tells the elector how far the data goes, if that has changed.
    pub(super) fn tell_position(&mut self, node: usize) {
        let shards = self.run.plan.setup.shards;
        let machine = &mut self.machines[node];
        let claimed = self.run.servers[node].claimed();
        let Some(process) = &mut machine.process else { return };
        if process.told != claimed {
            process.told = claimed;
            self.step(node, |e, now| {
                let (stream_epoch, offsets) = (claimed.0, &claimed.1[..shards]);
                e.handle_host(now, HostReport::Position { stream_epoch, offsets });
            });
        }
    }

    /// Sends what a server wants sent, on a connection of its own.
    fn send_data(&mut self, from: usize, to: usize, payload: Data) {
        if let Some(life) = self.machines[to].process.as_ref().map(|process| process.life) {
            self.send(from, to, 0, life, Payload::Server(payload));
        }
    }

    /// Whether the driver of this node's process runs beside a shard that does not turn.
    pub(super) fn is_hung(&self, node: usize) -> bool {
        self.machines[node].impairments.hung > 0
    }
}
