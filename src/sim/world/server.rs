//! A model of kevy's replication: streams that count from zero at every promotion, snapshots when a
//! replica joins, acknowledgements back to the primary, writes that a quorum has confirmed.

use super::World;
use super::event::{Event, Job, Payload};
use super::machine::Life;
use crate::config::MemberKind;
use crate::elector::{GateState, HostAction, HostReport};
use crate::ids::Epoch;
use crate::position::Position;
use crate::sim::clock::MS;
use crate::sim::data::Offsets;
use crate::sim::note::What;

/// How often a server does its own work, at most.
const TICK: u64 = 40 * MS;
/// A replica that is not answered asks again.
const ASK_AGAIN: u64 = 150 * MS;

impl World {
    pub(super) fn host_action(&mut self, node: usize, action: HostAction) {
        self.log(|| format!("n{node} host: {action:?}"));
        self.note(node, || What::Asked(action));
        match action {
            HostAction::Detach(_) => {}
            HostAction::Resume(_) => {}
            HostAction::Fence(..) => {
                self.cancel_promotion(node);
                let machine = &mut self.machines[node];
                machine.server.fences += 1;
                let fence = machine.server.fences;
                machine.server.fence_hangs = machine.ills.host_hanging > 0;
                if machine.server.fence_hangs {
                    return;
                }
                let Some(life) = machine.process.as_ref().map(|process| process.life) else { return };
                let at = self.now + self.rng.below(self.plan.setup.host);
                self.push(at, Event::Fenced { node, life, fence });
            }
            HostAction::Promote(epoch) => {
                self.cancel_promotion(node);
                let server = &mut self.machines[node].server;
                (server.promoting, server.target) = (Some(epoch), None);
                (server.following, server.joined) = (false, false);
                self.begin_job(node, Job::Promote(epoch));
            }
            HostAction::Follow(epoch, primary) => {
                self.cancel_promotion(node);
                let primary = self.number(primary);
                let server = &mut self.machines[node].server;
                server.target = primary.map(|primary| (epoch, primary));
                (server.serving, server.following, server.joined) = (None, false, false);
                self.begin_job(node, Job::Follow(epoch));
            }
        }
    }

    /// A promotion that is not wanted any more: it may have happened all the same.
    fn cancel_promotion(&mut self, node: usize) {
        if let Some(epoch) = self.machines[node].server.promoting.take() {
            self.machines[node].server.turn += 1;
            if self.rng.chance(500) {
                self.promote(node, epoch);
            }
        }
    }

    fn promote(&mut self, node: usize, epoch: Epoch) {
        let nodes = self.machines.len();
        let server = &mut self.machines[node].server;
        server.data.begin(epoch);
        server.serving = Some(epoch);
        server.attached = vec![None; nodes];
        server.acked = vec![[0; crate::sim::data::SHARDS]; nodes];
    }

    fn begin_job(&mut self, node: usize, job: Job) {
        let machine = &mut self.machines[node];
        machine.server.turn += 1;
        let turn = machine.server.turn;
        let Some(life) = machine.process.as_ref().map(|process| process.life) else { return };
        let ills = machine.ills;
        if ills.host_hanging > 0 {
            machine.server.hanging = Some(turn);
            return;
        }
        let most = self.plan.setup.host.max(ills.host_slow);
        let at = self.now + self.rng.below(most);
        let failed = ills.host_failing > 0 && self.rng.chance(700);
        self.push(at, Event::HostDone { node, life, turn, job, failed });
    }

    /// What hung fails now.
    pub(super) fn unhang_host(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        let fence = machine.server.fences;
        if std::mem::take(&mut machine.server.fence_hangs)
            && let Some(life) = machine.process.as_ref().map(|process| process.life)
        {
            self.push(self.now + MS, Event::Fenced { node, life, fence });
        }
        let machine = &mut self.machines[node];
        let Some(turn) = machine.server.hanging.take() else { return };
        let Some(life) = machine.process.as_ref().map(|process| process.life) else { return };
        let job = match (machine.server.promoting, machine.server.target) {
            (Some(epoch), _) => Job::Promote(epoch),
            (None, Some((epoch, _))) => Job::Follow(epoch),
            (None, None) => return,
        };
        self.push(self.now + MS, Event::HostDone { node, life, turn, job, failed: true });
    }

    pub(super) fn on_host_done(&mut self, event: Event) {
        let Event::HostDone { node, life, turn, job, failed } = event else { return };
        let machine = &mut self.machines[node];
        let runs = machine.runs();
        let Some(process) = machine.process.as_mut().filter(|process| process.life == life) else { return };
        if !runs {
            process.inbox.push_back(event);
            return;
        }
        if machine.server.turn != turn {
            return;
        }
        self.log(|| format!("n{node} host: {job:?} {}", if failed { "failed" } else { "done" }));
        match job {
            Job::Promote(epoch) if failed => {
                self.machines[node].server.promoting = None;
                self.step(node, |e, now| {
                    e.handle_host(now, HostReport::PromoteFailed(epoch, "told to fail"))
                });
            }
            Job::Promote(epoch) => {
                self.machines[node].server.promoting = None;
                self.promote(node, epoch);
                self.judge_promotion(node, epoch);
                self.step(node, |e, now| e.handle_host(now, HostReport::Promoted(epoch)));
                self.tell_position(node);
            }
            Job::Follow(epoch) if failed => {
                self.step(node, |e, now| e.handle_host(now, HostReport::FollowFailed(epoch, "told to fail")));
            }
            Job::Follow(epoch) => {
                self.machines[node].server.following = true;
                self.step(node, |e, now| e.handle_host(now, HostReport::Followed(epoch)));
                self.ask_to_join(node);
            }
        }
    }

    pub(super) fn on_fenced(&mut self, event: Event) {
        let Event::Fenced { node, life, fence } = event else { return };
        let machine = &mut self.machines[node];
        let (runs, newest) = (machine.runs(), machine.server.fences == fence);
        let Some(process) = machine.process.as_mut().filter(|process| process.life == life) else { return };
        if !runs {
            process.inbox.push_back(event);
        } else if newest {
            self.tell_position(node);
            self.step(node, |e, now| e.handle_host(now, HostReport::Fenced));
        }
    }

    fn ask_to_join(&mut self, node: usize) {
        let server = &mut self.machines[node].server;
        if let Some((epoch, primary)) = server.target
            && server.following
            && !server.joined
        {
            server.asked_at = self.now;
            let turn = server.turn;
            self.send_data(node, primary, Payload::Join { epoch, turn });
        }
    }

    /// Lets go of the old primary: from here on nothing is acknowledged.
    pub(super) fn detach(&mut self, node: usize) -> Position {
        let shards = self.plan.setup.shards;
        if !self.detach_omitted() {
            let server = &mut self.machines[node].server;
            if server.promoting.is_none() {
                server.turn += 1;
                (server.target, server.following, server.joined) = (None, false, false);
            }
        }
        let server = &mut self.machines[node].server;
        let position = server.data.position(shards);
        server.detached.clone_from(&position);
        self.log(|| format!("n{node} host: detached at {position:?}"));
        position
    }

    fn detach_omitted(&self) -> bool {
        self.plan.mutation == Some(crate::elector::Mutation::DetachOmitted)
    }

    pub(super) fn on_data(&mut self, from: usize, to: usize, payload: Payload) {
        match payload {
            Payload::Elector(_) => {}
            Payload::Join { epoch, turn } => {
                let server = &mut self.machines[to].server;
                if server.serving == Some(epoch) {
                    server.attached[from] = Some(turn);
                    let data = server.data.clone();
                    self.send_data(to, from, Payload::Snapshot { turn, data });
                }
            }
            Payload::Snapshot { turn, data } => {
                let machine = &self.machines[to];
                let Some(life) = machine.process.as_ref().map(|process| process.life) else { return };
                if machine.server.turn == turn && !machine.server.joined {
                    let at = self.now + self.rng.below(self.plan.setup.host.max(machine.ills.host_slow));
                    self.push(at, Event::Loaded { node: to, life, turn, data });
                }
            }
            Payload::Stream { turn, offsets } => {
                let server = &mut self.machines[to].server;
                if server.turn == turn && server.joined {
                    let part = server.data.last_mut();
                    for (mine, theirs) in part.offsets.iter_mut().zip(offsets) {
                        *mine = (*mine).max(theirs);
                    }
                    self.acknowledge(to);
                }
            }
            Payload::Ack { epoch, offsets } => self.on_ack(from, to, epoch, offsets),
        }
    }

    pub(super) fn on_loaded(&mut self, event: Event) {
        let Event::Loaded { node, life, turn, data } = event else { return };
        let machine = &mut self.machines[node];
        let runs = machine.runs();
        let Some(process) = machine.process.as_mut().filter(|process| process.life == life) else { return };
        if !runs {
            process.inbox.push_back(Event::Loaded { node, life, turn, data });
            return;
        }
        if machine.server.turn == turn && !machine.server.joined {
            machine.server.joined = true;
            machine.server.data = data;
            self.log(|| format!("n{node} host: joined"));
            self.note(node, || What::Joined);
            self.tell_position(node);
            self.acknowledge(node);
        }
    }

    fn acknowledge(&mut self, node: usize) {
        let server = &self.machines[node].server;
        if let Some((epoch, primary)) = server.target
            && server.joined
        {
            let offsets = server.data.last().offsets;
            self.send_data(node, primary, Payload::Ack { epoch, offsets });
        }
    }

    /// A replica holds the stream so far. Confirmations reach clients of a fenced primary too, as kevy does it.
    fn on_ack(&mut self, from: usize, to: usize, epoch: Epoch, offsets: Offsets) {
        let replicas = self.quorum() - 1;
        let server = &mut self.machines[to].server;
        if server.serving != Some(epoch) {
            return;
        }
        for (old, new) in server.acked[from].iter_mut().zip(offsets) {
            *old = (*old).max(new);
        }
        let mut confirmed = [0; crate::sim::data::SHARDS];
        let kinds = &self.plan.setup.kinds;
        let counts = |node: usize| kinds[node] == MemberKind::Voter;
        let (acked, shards) = (&server.acked, self.plan.setup.shards);
        for (shard, confirmed) in confirmed.iter_mut().enumerate().take(shards) {
            let mut offsets = [0; 32];
            for (node, (slot, acked)) in offsets.iter_mut().zip(acked).enumerate() {
                // An observer has no vote: what it holds binds no election.
                *slot = if counts(node) { acked[shard] } else { 0 };
            }
            let offsets = &mut offsets[..acked.len()];
            offsets.sort_unstable_by(|a, b| b.cmp(a));
            *confirmed =
                if replicas == 0 { server.data.last().offsets[shard] } else { offsets[replicas - 1] };
        }
        self.judge_confirmed(epoch, confirmed);
    }

    /// The server's own work.
    pub(super) fn on_tick(&mut self, node: usize, life: Life) {
        if self.machines[node].process.as_ref().is_none_or(|process| process.life != life) {
            return;
        }
        let at = self.now + self.rng.between(TICK / 2, TICK);
        self.push(at, Event::Tick { node, life });
        if !self.machines[node].runs() {
            return;
        }
        self.client(node);
        self.tell_position(node);
        let server = &self.machines[node].server;
        if server.serving.is_some() {
            self.push_stream(node);
        } else if server.following && !server.joined && self.now >= server.asked_at + ASK_AGAIN {
            self.ask_to_join(node);
        }
    }

    /// A client tries to write here.
    pub(super) fn client(&mut self, node: usize) {
        let machine = &self.machines[node];
        let Some(process) = &machine.process else { return };
        let now = machine.clock.local(self.now);
        if !matches!(process.gate, GateState::Open(until) if now < until) {
            return;
        }
        self.judge_write(node);
        if self.plan.setup.quiet {
            return;
        }
        let shard = self.rng.below(self.plan.setup.shards as u64) as usize;
        let server = &mut self.machines[node].server;
        if server.serving.is_some() {
            self.stats.writes += 1;
            server.data.last_mut().offsets[shard] += self.rng.between(1, 3);
        }
    }

    fn push_stream(&mut self, node: usize) {
        for peer in 0..self.machines.len() {
            let server = &self.machines[node].server;
            if let Some(turn) = server.attached[peer] {
                let offsets = server.data.last().offsets;
                self.send_data(node, peer, Payload::Stream { turn, offsets });
            }
        }
    }

    /// Tells the elector how far the data goes, if that has changed.
    pub(super) fn tell_position(&mut self, node: usize) {
        let shards = self.plan.setup.shards;
        let machine = &mut self.machines[node];
        let last = machine.server.data.last();
        let Some(process) = &mut machine.process else { return };
        if process.told != (last.epoch, last.offsets) {
            process.told = (last.epoch, last.offsets);
            self.step(node, |e, now| {
                let (stream_epoch, offsets) = (last.epoch, &last.offsets[..shards]);
                e.handle_host(now, HostReport::Position { stream_epoch, offsets });
            });
        }
    }
}
