//! What real servers and their owners do beyond the faults of machines and networks: answers that come late, shards that hang beside
//! a driver that runs, a second process with a node's id.

use super::World;
use super::event::Event;
use crate::config::{Config, LossPolicy};
use crate::elector::GateState;
use crate::ids::{Epoch, Incarnation, NodeId};
use crate::message::Standing;
use crate::sim::clock::MS;
use crate::sim::impairments::Life;
use crate::sim::invariants::Check;
use crate::sim::plan::Plan;
use crate::sim::server_mutation::ServerMutation;
use crate::time::{Duration, Instant, nanos};

/// How many writes in a thousand are answered later than they pass.
const LATER: u64 = 400;
/// How much later, at most.
const ANSWER: u64 = 12 * MS;
/// After how many heartbeat intervals a server says that one of its shards does not turn.
const LOOKS: u64 = 2;
/// How often it is looked whether somebody serves.
const LOOK: u64 = 50 * MS;
/// How long a process that the kernel ended takes to be started again.
const RESTART: u64 = 400 * MS;
/// How long a peer still refuses an older process after a newer one of the same id is gone (T14).
pub(super) const STALE_AFTER: u64 = 2_000 * MS;

impl World {
    /// By how much the longest safe lease is longer than the configured one; `None`: there is no watchdog.
    pub(super) fn alarm_extra(plan: &Plan, ids: &[NodeId]) -> Option<u64> {
        let off = plan.server_mutation == Some(ServerMutation::NoWatchdog);
        plan.setup.habits.filter(|habits| habits.watchdog && !off)?;
        let config = plan.setup.config(0, 0, ids).ok()?;
        let longest = Config::lease_max(config.election_timeout(), config.drift_percent());
        Some(nanos(longest).saturating_sub(nanos(config.lease())))
    }

    /// The gate was set: the kernel is told when to end a process that does not run then.
    pub(super) fn set_alarm(&mut self, node: usize, until: Instant) {
        let Some(extra) = self.alarm_extra else { return };
        let machine = &mut self.machines[node];
        let at = machine.clock.real(until + Duration::from_nanos(extra));
        if let Some(process) = &mut machine.process {
            (process.alarm, process.disarm) = (Some(at), false);
            process.wound += 1;
        }
    }

    /// A process does not run any more, or one of its shards does not: the kernel's timer goes on.
    pub(super) fn await_alarm(&mut self, node: usize) {
        if let Some(process) = &self.machines[node].process
            && let Some(at) = process.alarm
        {
            let life = process.life;
            self.push(at, Event::Alarm { node, life });
        }
    }

    /// A server that is fenced while a shard hangs ends when the kernel's timer does.
    pub(super) fn end_if_hung(&mut self, node: usize) {
        if self.is_hung(node) {
            self.await_alarm(node);
        }
    }

    pub(super) fn on_alarm(&mut self, node: usize, life: Life) {
        let machine = &self.machines[node];
        let Some(process) = machine.process.as_ref().filter(|process| process.life == life) else { return };
        let fenced =
            !matches!(process.gate, GateState::Open(until) if machine.clock.local(self.run.now) < until);
        let stuck = !machine.runs() || machine.impairments.hung > 0 && fenced;
        // Set anew, or withdrawn, since this was put into the queue.
        if !stuck || machine.impairments.asleep > 0 || process.alarm.is_none_or(|at| at > self.run.now) {
            return;
        }
        self.end_by_kernel(node);
    }

    /// A machine wakes up: its kernel ends what should not run any more, before it runs.
    pub(super) fn ended_by_kernel(&mut self, node: usize) -> bool {
        let late = |at: u64| at <= self.run.now;
        let ends =
            self.machines[node].process.as_ref().is_some_and(|process| process.alarm.is_some_and(late));
        if ends {
            self.end_by_kernel(node);
        }
        ends
    }

    fn end_by_kernel(&mut self, node: usize) {
        self.run.log(|| format!("n{node} is ended by the kernel: it was stopped for longer than its lease"));
        self.stop(node);
        let at = self.run.now + RESTART;
        self.push(at, Event::Start { node });
    }

    /// A write passed the gate; its answer may leave later.
    pub(super) fn answer_later(&mut self, node: usize, life: Life, epoch: Epoch) {
        if self.run.plan.setup.habits.is_some() && self.run.rng.chance(LATER) {
            let at = self.run.now + self.run.rng.below(ANSWER);
            if let Some(process) = &mut self.machines[node].process {
                process.answering += 1;
            }
            self.push(at, Event::Answer { node, life, epoch });
        }
    }

    pub(super) fn on_answer(&mut self, event: Event) {
        let Event::Answer { node, life, epoch } = event else { return };
        let machine = &mut self.machines[node];
        let hung = machine.impairments.hung > 0;
        let Some((process, event)) = machine.deliver(life, event) else { return };
        if hung {
            let at = self.run.now + 20 * MS;
            self.push(at, event);
        } else {
            process.answering = process.answering.saturating_sub(1);
            process.disarm_if_answered();
            self.run.stats.checks[Check::Fence as usize] += 1;
            let Some(other) = (0..self.machines.len()).find(|other| *other != node && self.may_write(*other))
            else {
                return;
            };
            let watched = self.run.plan.setup.habits.is_some_and(|habits| habits.watchdog);
            if watched {
                let found = self.run.invariants.fence.on_answer(node, epoch, other);
                self.run.take(found);
            } else {
                self.run.stats.answered_late += 1;
            }
        }
    }

    /// A shard does not turn any more. The server finds that out, and says so.
    pub(super) fn hang(&mut self, node: usize) {
        self.machines[node].impairments.hung += 1;
        self.await_alarm(node);
        let Some(process) = &self.machines[node].process else { return };
        let life = process.life;
        let at = self.run.now + LOOKS * nanos(self.run.plan.setup.heartbeat);
        self.push(at, Event::Looked { node, life });
    }

    pub(super) fn on_looked(&mut self, node: usize, life: Life) {
        let silent = self.run.plan.server_mutation == Some(ServerMutation::HangsInSilence);
        let machine = &self.machines[node];
        let same = machine.process.as_ref().is_some_and(|process| process.life == life);
        if !same || machine.impairments.hung == 0 || silent {
            return;
        }
        if !machine.runs() {
            let at = self.run.now + 20 * MS;
            self.push(at, Event::Looked { node, life });
            return;
        }
        self.machines[node].impairments.stuck = true;
        self.tell_health(node);
    }

    pub(super) fn unhang(&mut self, node: usize) {
        let impairments = &mut self.machines[node].impairments;
        // The process may be another one by now: what hung is gone with the old one.
        if impairments.hung == 0 {
            return;
        }
        impairments.hung -= 1;
        if impairments.hung == 0 && impairments.host_hanging == 0 {
            self.unhang_host(node);
        }
        if self.machines[node].impairments.hung == 0 {
            self.machines[node].impairments.stuck = false;
            self.tell_health(node);
        }
    }

    /// Somebody starts a second process with this node's id: it says `HELLO` to the others, and nothing more. Gives its life.
    pub(super) fn double(&mut self, node: usize) -> Life {
        self.lives += 1;
        let ghost = self.lives;
        self.net.ghosts.push((node, ghost));
        // As the floor of a process that starts now; the one that lives is older.
        let lives = self.machines[node].process.as_ref().map_or(0, |process| process.incarnation.0);
        let incarnation = Incarnation((1_000_000 + self.run.now / MS).max(lives + 1));
        self.run.log(|| format!("a second n{node} starts as process {ghost}, incarnation {incarnation}"));
        let timeout = nanos(self.run.plan.setup.timeout);
        for peer in (0..self.machines.len()).filter(|peer| *peer != node) {
            let Some(life) = self.machines[peer].process.as_ref().map(|process| process.life) else {
                continue;
            };
            self.net.conns += 1;
            let conn = self.net.conns;
            let at = self.run.now + self.run.rng.below(timeout / 2);
            self.push(at, Event::LinkUp { at: peer, peer: node, life, peer_life: ghost, incarnation, conn });
        }
        ghost
    }

    /// It ends again. For a while its peers refuse the process that was there before it, as older.
    pub(super) fn end_double(&mut self, node: usize, ghost: Life) {
        self.net.ghosts.retain(|(_, life)| *life != ghost);
        for peer in (0..self.machines.len()).filter(|peer| *peer != node) {
            let view = self.view(peer, node);
            let Some(life) = self.machines[peer].process.as_ref().map(|process| process.life) else {
                continue;
            };
            if view.life == ghost && view.up {
                let closed = self.run.rng.chance(500);
                let at = self.run.now + self.run.rng.below(5 * MS);
                let (conn, incarnation) = (view.conn, view.incarnation);
                self.push(at, Event::LinkEnd { at: peer, peer: node, life, conn, incarnation, closed });
            }
        }
        let until = self.run.now + STALE_AFTER;
        self.net.gone_ghosts.push((ghost, until));
    }

    /// Whether nobody serves although somebody could: looked at now and then.
    pub(super) fn on_look(&mut self) {
        self.run.stats.checks[Check::Served as usize] += 1;
        let unserved = self.unserved();
        let bound = self.run.invariants.convergence.election + RESTART;
        let (since, fit) = (unserved.map(|(since, _)| since), unserved.map_or(0, |(_, fit)| fit));
        let found = self.run.invariants.served.look(self.run.now, since, bound, fit);
        self.run.take(found);
        self.push(self.run.now + LOOK, Event::Look);
    }

    /// Nobody serves, although a quorum of electors is well and this node's server fit: since when nothing else is in the way.
    fn unserved(&self) -> Option<(u64, usize)> {
        // Where a shard hangs, writes pass the gate and are never answered.
        let served = self.writer().is_some_and(|writer| !self.is_hung(writer));
        if served || !self.net.storms.is_empty() {
            return None;
        }
        let elects: Vec<_> = self.run.voters().filter(|node| self.elects(*node)).collect();
        let counted = elects.iter().copied().filter(|node| self.uncounted(*node).is_none());
        let counted: Vec<_> = counted.collect();
        // Those who count still are needed only where the others are too few.
        let well = if counted.len() < self.run.quorum() { elects } else { counted };
        if well.len() < self.run.quorum() {
            return None;
        }
        let mut since = well.iter().map(|node| self.machines[*node].disturbed).max()?;
        for a in &well {
            for b in well.iter().filter(|b| *b != a) {
                let (index, view) = (self.net.index(*a, *b), self.view(*a, *b));
                let there = self.machines[*b].process.as_ref().map(|process| process.life);
                if self.net.cut[index] > 0
                    || self.net.refused[index] > 0
                    || !view.up
                    || Some(view.life) != there
                {
                    return None;
                }
                since = since.max(self.net.disturbed[index]).max(self.net.late[index]);
            }
        }
        let positions: Vec<_> = well.iter().map(|node| self.run.servers[*node].position()).collect();
        let fit = well.iter().zip(&positions).find(|(node, mine)| {
            // E15: what nobody has counted may be more than this one has, unless it is of an earlier history.
            let behind = |(other, theirs): &(&usize, &crate::position::Position)| {
                theirs.progress() > mine.progress()
                    || self.run.plan.setup.loss_policy == LossPolicy::Dominate && !mine.dominates(theirs)
                    || self.uncounted(**other).is_some_and(|written| mine.stream_epoch() <= written)
            };
            let not_ahead = well.iter().zip(&positions).filter(|other| !behind(other)).count();
            self.is_fit(**node) && not_ahead >= self.run.quorum()
        });
        fit.map(|(node, _)| (since, *node))
    }

    /// The epoch in which a server that hangs let writes pass that nobody has counted.
    fn uncounted(&self, node: usize) -> Option<Epoch> {
        let process = self.machines[node].process.as_ref()?;
        process.uncounted.filter(|_| self.is_hung(node))
    }

    /// Whether this node's elector can take its part, whatever its server does.
    fn elects(&self, node: usize) -> bool {
        let machine = &self.machines[node];
        let impairments = machine.impairments;
        machine.runs()
            && impairments.let_elect()
            && machine.process.as_ref().is_some_and(|process| {
                process.leaving_at.is_none()
                    && process.elector.status().standing == Standing::Member
                    && !process.elector.status().paused
            })
    }

    fn is_fit(&self, node: usize) -> bool {
        let impairments = self.machines[node].impairments;
        impairments.hung == 0
            && impairments.health().is_good()
            && self.run.plan.setup.kinds[node] == crate::config::MemberKind::Voter
            && self.run.plan.setup.priorities[node] > 0
    }
}
