//! Hands what happens to the invariants.

use super::World;
use super::event::Event;
use crate::event::EventKind;
use crate::ids::Epoch;
use crate::message::{Message, Role, Standing};
use crate::sim::clock::MS;
use crate::sim::data::Offsets;
use crate::sim::data_nanos;
use crate::sim::invariants::Check;

/// How often it is looked whether the cluster has settled.
const PROBE: u64 = 20 * MS;

impl World {
    /// A node is about to send.
    pub(super) fn judge_send(&mut self, from: usize, to: usize, message: &Message) {
        self.stats.checks[Check::Epochs as usize] += 1;
        let disk = &self.machines[from].disk;
        let record = disk.record.as_ref();
        let mut found = self.invariants.epochs.on_send(from, message, record);
        match message {
            Message::Offer(offer) => {
                self.stats.checks[Check::Votes as usize] += 1;
                found = found.or(self.invariants.votes.on_vote(from, offer.epoch, from, record));
                self.invariants.position.on_offer(from, offer);
            }
            Message::Accept(grant) => {
                self.stats.checks[Check::Votes as usize] += 1;
                self.stats.checks[Check::Position as usize] += 1;
                let server = &self.machines[from].server;
                let first = self.invariants.votes.is_first(from, grant.epoch);
                let acknowledges = server
                    .joined
                    .then_some(server.target)
                    .flatten()
                    .filter(|(epoch, _)| *epoch < grant.epoch);
                // A vote may wait for the disk while the server already joins the winner.
                let position = &server.detached;
                let policy = self.plan.setup.loss_policy;
                found = found.or(self.invariants.votes.on_vote(from, grant.epoch, to, record)).or(self
                    .invariants
                    .position
                    .on_accept(from, to, grant, first, position, acknowledges, policy));
            }
            Message::Resign(_) => {
                self.stats.checks[Check::Fence as usize] += 1;
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

    /// A step is over: roles and epochs may have changed.
    pub(super) fn judge_state(&mut self, node: usize, before: Role) {
        let now = self.now;
        let Some(process) = &mut self.machines[node].process else { return };
        let (role, epoch) = (process.elector.role(), process.elector.epoch());
        let mut found = None;
        if role != before {
            if matches!(role, Role::Primary | Role::Promoting) {
                self.stats.checks[Check::OnePrimary as usize] += 1;
                found = self.invariants.one_primary.on_reign(node, epoch);
            }
            process.reigning_since = (role == Role::Primary).then_some(now);
            self.stats.role_changes += 1;
        }
        self.invariants.epochs.on_epoch(epoch, now);
        self.take(found);
        if self.machines[node].process.as_ref().is_some_and(|process| process.leaving_at.is_some()) {
            self.leave_if_done(node);
        }
    }

    /// A gate has opened, or is open for longer: nobody else's may be.
    pub(super) fn judge_open_gate(&mut self, node: usize) {
        self.stats.checks[Check::OneWriter as usize] += 1;
        let other = (0..self.machines.len()).find(|other| *other != node && self.may_write(*other));
        let found = other.and_then(|other| self.invariants.one_writer.both_open(node, other));
        self.take(found);
    }

    /// A write passes the gate: a quorum must be bound to this node.
    pub(super) fn judge_write(&mut self, node: usize) {
        self.stats.checks[Check::OneWriter as usize] += 1;
        self.stats.checks[Check::Lease as usize] += 1;
        let me = self.machines[node].id;
        let Some(process) = &self.machines[node].process else { return };
        let epoch = process.elector.epoch();
        let bound = |voter: &usize| {
            if *voter == node {
                return true;
            }
            let machine = &self.machines[*voter];
            let local = machine.clock.local(self.now);
            match &machine.process {
                // It waits for longer than its promise once it starts again.
                None => true,
                // Its clock stands still, and its promises with it.
                Some(process) => {
                    let status = process.elector.status();
                    // A vote for this node that is being given is a promise already.
                    status.promise.is_some_and(|(to, until)| to == me && until > local)
                        || status.booting_until.is_some_and(|until| until > local)
                        || status.standing == Standing::New
                }
            }
        };
        let bound = self.voters().filter(bound).count();
        let found = self.invariants.lease.on_write(node, epoch, bound, self.quorum());
        self.take(found);
        if let Some(other) = (0..self.machines.len()).find(|other| *other != node && self.may_write(*other)) {
            let found = self.invariants.one_writer.both_open(node, other);
            self.take(found);
        }
    }

    pub(super) fn judge_promotion(&mut self, node: usize, epoch: Epoch) {
        self.invariants.continued.on_begun(epoch, &self.machines[node].server.data);
        self.stats.checks[Check::Confirmed as usize] += 1;
        let data: Vec<_> = self.machines[self.voters()].iter().map(|machine| &machine.server).collect();
        let found = self.invariants.confirmed.on_promoted(node, epoch, &data, self.quorum());
        self.take(found);
    }

    /// A shard of a server went on towards the history of this epoch.
    pub(super) fn judge_continued(&mut self, node: usize, epoch: Epoch, shard: usize) {
        self.stats.checks[Check::Continued as usize] += 1;
        let lane = &self.machines[node].server.data.lanes[shard];
        let found = self.invariants.continued.on_continued(node, epoch, shard, lane);
        self.take(found);
    }

    pub(super) fn judge_confirmed(&mut self, epoch: Epoch, confirmed: Offsets) {
        self.stats.checks[Check::Confirmed as usize] += 1;
        let data: Vec<_> = self.machines[self.voters()].iter().map(|machine| &machine.server).collect();
        let found = self.invariants.confirmed.on_confirmed(epoch, confirmed, &data, self.quorum());
        self.take(found);
    }

    /// A decision of a node: was a healthy primary deposed or fenced?
    pub(super) fn judge_event(&mut self, node: usize, event: &crate::event::Event) {
        match event.kind {
            EventKind::Fenced { reason } => {
                use crate::fence::FenceReason as R;
                if matches!(reason, R::LeaseExpired | R::LinksLost | R::Deposed) {
                    self.judge_lost_office(node, event, reason.as_str());
                }
            }
            EventKind::Admitted => {
                self.stats.admitted += 1;
                self.machines[node].disturbed = self.now;
            }
            EventKind::CampaignEnded { .. } => self.stats.campaigns += 1,
            EventKind::Promoted { .. } => self.stats.promoted += 1,
            _ => {}
        }
    }

    fn judge_lost_office(&mut self, node: usize, event: &crate::event::Event, why: &str) {
        self.stats.checks[Check::Healthy as usize] += 1;
        let since = self.now.saturating_sub(self.invariants.healthy.window);
        let Some(process) = &self.machines[node].process else { return };
        let reigned = process.reigning_since.is_some_and(|at| at <= since);
        if !reigned || !self.well(node, since) {
            return;
        }
        let hears = |voter: &usize| {
            *voter == node
                || self.well(*voter, since)
                    && self.is_itself(node, *voter)
                    && [(node, *voter), (*voter, node)].iter().all(|(from, to)| {
                        let index = self.net.index(*from, *to);
                        self.net.cut[index] == 0
                            && self.net.refused[index] == 0
                            && self.net.disturbed[index].max(self.net.late[index]) <= since
                    })
        };
        let calm = self.net.storms.is_empty();
        let hearing = self.voters().filter(hears).count();
        if calm && hearing >= self.quorum() {
            let newest = self.invariants.epochs.born_after(event.epoch, since);
            let found = self.invariants.healthy.lost(node, why, hearing, newest);
            if let Some(found) = found {
                self.take(Some(found));
            } else {
                self.stats.deposed_by_old_epoch += 1;
            }
        }
    }

    /// Nothing has been wrong with this machine since then.
    fn well(&self, node: usize, since: u64) -> bool {
        let machine = &self.machines[node];
        let ills = machine.ills;
        machine.runs()
            && machine.disturbed <= since
            && ills.let_elect()
            && ills.health().is_good()
            && ills.hung == 0
            && machine.process.as_ref().is_some_and(|process| {
                process.leaving_at.is_none() && process.elector.status().standing == Standing::Member
            })
    }

    /// Whether the cluster has settled: one writer, and everybody has joined it.
    pub(super) fn on_probe(&mut self) {
        let healed_at = self.plan.heal_at;
        let settled = self.settled_now();
        if settled && self.settled.is_none() {
            self.settled = Some(self.now);
            self.stats.checks[Check::Convergence as usize] += 1;
            self.stats.settled(self.now - healed_at, data_nanos(self.plan.setup.timeout));
            self.end = self.now + data_nanos(self.plan.setup.timeout);
            self.log(|| "SETTLED".to_owned());
        }
        if self.settled.is_none() {
            let waited = self.now - healed_at;
            let found = if self.beyond_help() {
                None
            } else {
                self.invariants.convergence.waited(waited, || {
                    self.machines
                        .iter()
                        .map(|machine| match &machine.process {
                            Some(process) => format!(
                                "{} {} e{} of {:?}{}",
                                machine.id,
                                process.elector.role(),
                                process.elector.epoch(),
                                process.elector.primary(),
                                if machine.server.joined { " joined" } else { "" }
                            ),
                            None => format!("{} down", machine.id),
                        })
                        .collect::<Vec<_>>()
                        .join(", ")
                })
            };
            if found.is_some() {
                self.take(found);
            } else if waited > self.invariants.convergence.bound {
                self.stats.stuck_by_policy += 1;
                self.end = self.now;
            }
        }
        self.push(self.now + PROBE, Event::Probe);
    }

    fn settled_now(&mut self) -> bool {
        let Some(writer) = self.writer() else { return false };
        let Some(epoch) = self.machines[writer].process.as_ref().map(|process| process.elector.epoch())
        else {
            return false;
        };
        let id = self.machines[writer].id;
        let all = self.machines.iter().enumerate().all(|(node, machine)| {
            machine.process.as_ref().is_some_and(|process| {
                process.elector.epoch() == epoch && process.elector.primary() == Some(id)
            }) && (node == writer
                || machine.server.joined
                || self.plan.setup.kinds[node] == crate::config::MemberKind::Witness)
        });
        all && (self.plan.setup.habits.is_none() || self.caught_up(writer))
    }

    /// Whether all have what the writer had when all had joined it first: a stream that stands still is noticed.
    fn caught_up(&mut self, writer: usize) -> bool {
        let last = self.machines[writer].server.data.last();
        match self.settling {
            Some((of, epoch, offsets)) if of == writer && epoch == last.epoch => {
                let kinds = &self.plan.setup.kinds;
                self.machines.iter().zip(kinds).all(|(machine, kind)| {
                    *kind == crate::config::MemberKind::Witness || machine.server.has(epoch, &offsets)
                })
            }
            _ => {
                self.settling = Some((writer, last.epoch, last.offsets));
                false
            }
        }
    }

    /// Under `dominate`, after data was wiped, nobody may be left who is behind no voter of a quorum: then
    /// electing anybody could lose a confirmed write, and only an operator may choose.
    fn beyond_help(&self) -> bool {
        if self.plan.setup.loss_policy != crate::config::LossPolicy::Dominate
            || !self.invariants.confirmed.copies_lost
        {
            return false;
        }
        let positions: Vec<_> =
            self.machines[self.voters()].iter().map(|machine| machine.server.position()).collect();
        !positions.iter().any(|candidate| {
            let agree = |voter: &&crate::position::Position| {
                candidate.progress() >= voter.progress() && candidate.dominates(voter)
            };
            positions.iter().filter(agree).count() >= self.quorum()
        })
    }

    pub(super) fn take(&mut self, found: Option<(&'static str, String)>) {
        if let Some((invariant, text)) = found {
            self.violate(invariant, text);
        }
    }
}
