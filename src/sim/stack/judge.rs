//! Hands what happens to the invariants.

use super::event::Event;
use super::state::State;
use crate::clock::Clock;
use crate::config::{LossPolicy, MemberKind};
use crate::event::EventKind;
use crate::fence::FenceReason;
use crate::ids::{Epoch, NodeId};
use crate::message::{Message, Role, Standing};
use crate::plugin::ElectPlugin;
use crate::position::Position;
use crate::sim::clock::MS;
use crate::sim::data::Offsets;
use crate::sim::data_nanos;
use crate::sim::ills::Ills;
use crate::sim::invariants::Check;

/// How often it is looked whether the cluster has settled.
const PROBE: u64 = 20 * MS;

impl State {
    /// A driver is about to send.
    pub(super) fn judge_send(&mut self, from: usize, to: NodeId, message: &Message) {
        self.mix(message.verb() as u64);
        let Some(to) = self.number(to) else { return };
        self.judge_gate(from);
        self.stats.checks[Check::Epochs as usize] += 1;
        let record = self.nodes[from].disk.record.as_ref();
        let mut found = self.invariants.epochs.on_send(from, message, record);
        match message {
            Message::Offer(offer) => {
                self.stats.checks[Check::Votes as usize] += 1;
                found = found.or(self.invariants.votes.on_vote(from, offer.epoch, from, record));
                self.invariants.position.on_offer(from, offer);
            }
            Message::Accept(grant) => {
                self.stats.checks[Check::Votes as usize] += 1;
                let first = self.invariants.votes.is_first(from, grant.epoch);
                found = found.or(self.invariants.votes.on_vote(from, grant.epoch, to, record));
                if self.modelled {
                    self.stats.checks[Check::Position as usize] += 1;
                    let server = &self.nodes[from].server;
                    let target = server.joined.then_some(server.target).flatten();
                    let acknowledges = target.filter(|(epoch, _)| *epoch < grant.epoch);
                    let policy = self.plan.setup.loss_policy;
                    // A vote may wait for the disk while the server already joins the winner.
                    let mine = &server.detached;
                    found = found.or(self.invariants.position.on_accept(
                        from,
                        to,
                        grant,
                        first,
                        mine,
                        acknowledges,
                        policy,
                    ));
                }
            }
            Message::Resign(_) => {
                let open = self.may_write(from);
                found = found.or(self.invariants.fence.on_resign(from, open));
            }
            Message::Heartbeat(_)
            | Message::Echo(_)
            | Message::PreOffer(_)
            | Message::PreAccept(_)
            | Message::Reject(_)
            | Message::Announce(_) => {}
        }
        self.take(found);
    }

    /// The real gate is no more open than the elector wants it: when a message leaves, and after every poll.
    fn judge_gate(&mut self, node: usize) {
        self.stats.checks[Check::Fence as usize] += 1;
        if !self.may_write(node) {
            return;
        }
        let machine = &self.nodes[node];
        let Some(plugin) = &machine.plugin else { return };
        let now = machine.clock.now();
        let wanted = plugin.with_elector(|elector| elector.gate());
        let found = self.invariants.fence.on_open(node, now, wanted);
        let lease = plugin.write_gate().deadline();
        let found = found.or(self.invariants.fence.on_lease(node, machine.watch.lease, lease));
        self.take(found);
    }

    /// A driver was polled: its gate may be open now, its epoch may have changed.
    pub(super) fn judge_polled(&mut self, node: usize) {
        let now = self.now();
        let Some(epoch) = self.epoch(node) else { return };
        self.invariants.epochs.on_epoch(epoch, now);
        self.judge_gate(node);
        if !self.may_write(node) {
            return;
        }
        self.mix(now);
        self.stats.checks[Check::Orders as usize] += 1;
        let promoted = self.nodes[node].watch.promoted;
        let found = self.invariants.orders.on_open(node, epoch, promoted);
        self.take(found);
        self.judge_one_writer(node);
    }

    /// A gate is open: nobody else's may be.
    fn judge_one_writer(&mut self, node: usize) {
        self.stats.checks[Check::OneWriter as usize] += 1;
        let other = (0..self.nodes.len()).find(|other| *other != node && self.may_write(*other));
        let found = other.and_then(|other| self.invariants.one_writer.both_open(node, other));
        self.take(found);
    }

    /// The links of a process end, in order or by force: its gate is shut by now.
    pub(super) fn judge_end(&mut self, node: usize) {
        self.stats.checks[Check::Fence as usize] += 1;
        let found = self.invariants.fence.on_end(node, self.may_write(node));
        self.take(found);
    }

    /// A write passes the gate: a quorum must be bound to this node.
    pub(super) fn judge_write(&mut self, node: usize) {
        self.stats.checks[Check::Lease as usize] += 1;
        let me = self.nodes[node].id;
        let Some(epoch) = self.epoch(node) else { return };
        let bound = |voter: &usize| {
            if *voter == node {
                return true;
            }
            let machine = &self.nodes[*voter];
            let local = machine.clock.now();
            // Who is down, or starting, waits for longer than its promise once it is there again.
            let Some(plugin) = &machine.plugin else { return true };
            plugin
                .with_elector(|elector| {
                    let status = elector.status();
                    status.promise.is_some_and(|(to, until)| to == me && until > local)
                        || status.booting_until.is_some_and(|until| until > local)
                        || status.standing == Standing::New
                })
                .unwrap_or(true)
        };
        let bound = self.voters().filter(bound).count();
        let found = self.invariants.lease.on_write(node, epoch, bound, self.quorum());
        self.take(found);
        self.judge_one_writer(node);
    }

    pub(super) fn judge_promotion(&mut self, node: usize, epoch: Epoch) {
        self.invariants.continued.on_begun(epoch, &self.nodes[node].server.data);
        self.stats.checks[Check::Confirmed as usize] += 1;
        let data: Vec<_> = self.nodes[self.voters()].iter().map(|machine| &machine.server).collect();
        let quorum = self.plan.setup.voters() / 2 + 1;
        let found = self.invariants.confirmed.on_promoted(node, epoch, &data, quorum);
        self.take(found);
    }

    /// A shard of a server went on towards the history of this epoch.
    pub(super) fn judge_continued(&mut self, node: usize, epoch: Epoch, shard: usize) {
        self.stats.checks[Check::Continued as usize] += 1;
        let lane = &self.nodes[node].server.data.lanes[shard];
        let found = self.invariants.continued.on_continued(node, epoch, shard, lane);
        self.take(found);
    }

    pub(super) fn judge_confirmed(&mut self, epoch: Epoch, confirmed: Offsets) {
        self.stats.checks[Check::Confirmed as usize] += 1;
        let data: Vec<_> = self.nodes[self.voters()].iter().map(|machine| &machine.server).collect();
        let quorum = self.plan.setup.voters() / 2 + 1;
        let found = self.invariants.confirmed.on_confirmed(epoch, confirmed, &data, quorum);
        self.take(found);
    }

    /// A decision, as the plugin tells it to whoever listens.
    pub(super) fn judge_event(&mut self, node: usize, event: &crate::event::Event) {
        self.log(|| format!("n{node} e{}: {:?}", event.epoch, event.kind));
        let now = self.now();
        match event.kind {
            EventKind::RoleChanged { to, .. } => {
                self.stats.role_changes += 1;
                if matches!(to, Role::Primary | Role::Promoting) {
                    self.stats.checks[Check::OnePrimary as usize] += 1;
                    let found = self.invariants.one_primary.on_reign(node, event.epoch);
                    self.take(found);
                }
                self.nodes[node].reigning_since = (to == Role::Primary).then_some(now);
            }
            EventKind::Fenced { reason } => {
                if matches!(reason, FenceReason::LeaseExpired | FenceReason::LinksLost | FenceReason::Deposed)
                {
                    self.judge_lost_office(node, event.epoch, reason.as_str());
                }
            }
            EventKind::Admitted => {
                self.stats.admitted += 1;
                self.nodes[node].disturbed = now;
            }
            EventKind::CampaignEnded { .. } => self.stats.campaigns += 1,
            EventKind::Promoted { .. } => self.stats.promoted += 1,
            _ => {}
        }
    }

    fn judge_lost_office(&mut self, node: usize, epoch: Epoch, why: &str) {
        self.stats.checks[Check::Healthy as usize] += 1;
        let since = self.now().saturating_sub(self.invariants.healthy.window);
        let reigned = self.nodes[node].reigning_since.is_some_and(|at| at <= since);
        if !reigned || !self.well(node, since) || !self.net.calm() {
            return;
        }
        let hears =
            |voter: &usize| *voter == node || self.well(*voter, since) && self.net.well(node, *voter, since);
        let hearing = self.voters().filter(hears).count();
        if hearing >= self.quorum() {
            let young = self.invariants.epochs.born_after(epoch, since);
            match self.invariants.healthy.lost(node, why, hearing, young) {
                None => self.stats.deposed_by_old_epoch += 1,
                found => self.take(found),
            }
        }
    }

    /// Nothing has been wrong with this machine since then.
    fn well(&self, node: usize, since: u64) -> bool {
        let machine = &self.nodes[node];
        machine.runs()
            && !machine.leaving
            && machine.disturbed <= since
            && machine.ills == Ills::default()
            && machine.plugin.as_ref().is_some_and(|plugin| {
                plugin.with_elector(|elector| elector.status().standing == Standing::Member) == Some(true)
            })
    }

    /// Looks whether the cluster has settled: one writer, and everybody has joined it.
    pub(super) fn on_probe(&mut self) {
        let (now, waited) = (self.now(), self.now() - self.plan.heal_at);
        if self.settled.is_none() && self.settled_now() {
            self.settled = Some(now);
            self.stats.checks[Check::Convergence as usize] += 1;
            let timeout = data_nanos(self.plan.setup.timeout);
            self.stats.settled(waited, timeout);
            self.end = now + timeout;
            self.log(|| "SETTLED".to_owned());
        }
        if self.settled.is_none() && waited > self.invariants.convergence.bound {
            if self.beyond_help() {
                self.stats.stuck_by_policy += 1;
                self.end = now;
            } else {
                let found = self.invariants.convergence.waited(waited, || self.describe());
                self.take(found);
            }
        }
        self.push(now + PROBE, Event::Probe);
    }

    fn describe(&self) -> String {
        let one = |machine: &super::state::Machine| match &machine.plugin {
            Some(plugin) => format!("{}: {}", machine.id, plugin.snapshot().why),
            None => format!("{} down", machine.id),
        };
        self.nodes.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn settled_now(&self) -> bool {
        let Some(writer) = self.writer() else { return false };
        let (id, epoch) = (self.nodes[writer].id, self.epoch(writer));
        self.nodes.iter().enumerate().all(|(node, machine)| {
            let follows = machine.plugin.as_ref().is_some_and(|plugin| {
                plugin.with_elector(|e| Some(e.epoch()) == epoch && e.primary() == Some(id)) == Some(true)
            });
            let joined = match self.modelled {
                true => machine.server.joined,
                false => {
                    machine.watch.follows.is_some_and(|(of, primary)| Some(of) == epoch && primary == id)
                }
            };
            follows && (node == writer || joined || self.plan.setup.kinds[node] == MemberKind::Witness)
        })
    }

    /// Under `dominate`, after data was wiped, nobody may be left who is behind no voter of a quorum: then
    /// electing anybody could lose a confirmed write, and only an operator may choose.
    fn beyond_help(&self) -> bool {
        if self.plan.setup.loss_policy != LossPolicy::Dominate || !self.invariants.confirmed.copies_lost {
            return false;
        }
        let positions: Vec<_> =
            self.nodes[self.voters()].iter().map(|machine| machine.server.position()).collect();
        !positions.iter().any(|candidate| {
            let agree =
                |voter: &&Position| candidate.progress() >= voter.progress() && candidate.dominates(voter);
            positions.iter().filter(agree).count() >= self.quorum()
        })
    }
}
