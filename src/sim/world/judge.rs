//! Hands what happens to the invariants: what only this world sees.

use super::World;
use super::event::Event;
use super::machine::Machine;
use crate::config::MemberKind;
use crate::event::{EventKind, Outcome};
use crate::fence::FenceReason;
use crate::ids::Epoch;
use crate::message::{Message, OfferKind, Role, Standing};
use crate::rank::Rank;
use crate::sim::invariants::Check;
use crate::sim::invariants::paused::Paused;
use crate::sim::judge::PROBE;
use crate::time::nanos;
use crate::transfer::TransferOutcome;

/// Everything has to have been in order for so many election timeouts where the most senior node is to win.
const QUIET_TIMEOUTS: u64 = 3;

impl World {
    /// A node is about to send.
    pub(super) fn judge_send(&mut self, from: usize, to: usize, message: &Message) {
        let open = matches!(message, Message::Resign(_)) && self.may_write(from);
        let record = self.machines[from].disk.record.as_ref();
        self.run.judge_send((from, to), message, record, open, true);
    }

    /// A step is over: roles and epochs may have changed.
    pub(super) fn judge_state(&mut self, node: usize, before: Role) {
        let now = self.run.now;
        let Some(process) = &mut self.machines[node].process else { return };
        let (role, epoch) = (process.elector.role(), process.elector.epoch());
        let mut found = None;
        if role != before {
            if matches!(role, Role::Primary | Role::Promoting) {
                self.run.stats.checks[Check::OnePrimary as usize] += 1;
                found = self.run.invariants.one_primary.on_reign(node, epoch);
            }
            process.reigning_since = (role == Role::Primary).then_some(now);
            self.run.stats.role_changes += 1;
            let voters = self.voters_of(node);
            self.run.note_list(node, &voters);
        }
        self.run.invariants.epochs.on_epoch(epoch, now);
        self.run.take(found);
        self.run.stats.checks[Check::Reach as usize] += 1;
        let far = self.run.invariants.reach.on_epoch(node, epoch, now);
        self.run.take(far);
        if self.machines[node].process.as_ref().is_some_and(|process| process.leaving_at.is_some()) {
            self.leave_if_done(node);
        }
    }

    /// A gate has opened, or is open for longer: nobody else's may be.
    pub(super) fn judge_open_gate(&mut self, node: usize) {
        if let Some(process) = &self.machines[node].process {
            let (epoch, lease) = (process.elector.epoch(), nanos(process.elector.config().lease()));
            self.run.invariants.paused.on_open(epoch, self.run.now, lease);
        }
        let other = self.other_writer(node);
        self.run.judge_one_writer(node, other);
    }

    fn other_writer(&self, node: usize) -> Option<usize> {
        (0..self.machines.len()).find(|other| *other != node && self.may_write(*other))
    }

    /// A write passes the gate: a quorum must be bound to this node.
    pub(super) fn judge_write(&mut self, node: usize) {
        let me = self.machines[node].id;
        let Some(process) = &self.machines[node].process else { return };
        let epoch = process.elector.epoch();
        let carried = process.elector.carries_lease();
        let bound = |voter: usize| {
            if voter == node {
                return true;
            }
            let machine = &self.machines[voter];
            let local = machine.clock.local(self.run.now);
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
        let voters = self.voters_of(node);
        let bound: Vec<bool> = (0..self.machines.len()).map(bound).collect();
        self.run.judge_lease(node, epoch, &voters, carried, |voter| bound[voter]);
        self.judge_open_gate(node);
    }

    /// The numbers of those whom a node counts as voters.
    fn voters_of(&self, node: usize) -> Vec<usize> {
        let process = self.machines[node].process.as_ref();
        process
            .into_iter()
            .flat_map(|process| process.elector.voters())
            .filter_map(|id| self.run.number(id))
            .collect()
    }

    /// A decision of a node: was a healthy primary deposed or fenced?
    pub(super) fn judge_event(&mut self, node: usize, event: &crate::event::Event) {
        if matches!(event.kind, EventKind::Admitted) {
            self.machines[node].disturbed = self.run.now;
            self.run.stats.checks[Check::Admission as usize] += 1;
            let won = |epoch, node| self.run.invariants.one_primary.has_won(epoch, node);
            let found = self.run.invariants.votes.on_admitted(node, event.epoch, won);
            // Where more disks are lost than that promises to survive, it promises nothing.
            self.run.take(found.filter(|_| !self.run.plan.setup.forgetful));
        }
        let Self { run, machines, .. } = self;
        let (voters, quorum) = (run.voters(), run.quorum());
        run.judge_pause(node, event, || paused(machines, voters, quorum));
        if let EventKind::TransferEnded { to: Some(to), outcome: TransferOutcome::HandedOver, .. } =
            event.kind
            && let Some(successor) = self.machines.iter().position(|machine| machine.id == to)
            && self.well(successor, self.run.now.saturating_sub(nanos(self.run.plan.setup.timeout)))
        {
            self.run.judge_handed_over(node, event.epoch, successor);
        }
        self.judge_seniority(node, event);
        if let EventKind::FailsBack { to, .. } = event.kind {
            let since = self.machines[node].process.as_ref().and_then(|process| process.reigning_since);
            self.run.judge_failback(node, to, since);
        }
        if let EventKind::Members { generation, .. } = event.kind {
            let voters = self.voters_of(node);
            self.run.judge_list(node, event.epoch, generation.epoch, voters);
        }
        if let EventKind::Belongs { cluster } = event.kind {
            self.run.servers[node].cluster = Some(cluster);
        }
        if let Some(why) = self.run.count_event(&event.kind) {
            self.judge_lost_office(node, event.epoch, why);
        }
    }

    /// R3: whoever wins while nothing is wrong is the most senior of those who could.
    fn judge_seniority(&mut self, node: usize, event: &crate::event::Event) {
        let EventKind::CampaignEnded { kind: OfferKind::Vote, epoch, outcome: Outcome::Won, .. } = event.kind
        else {
            return;
        };
        let setup = &self.run.plan.setup;
        if setup.rank != Rank::Seniority || self.run.invariants.paused.is_planned() {
            return;
        }
        let since = self.run.now.saturating_sub(QUIET_TIMEOUTS * nanos(setup.timeout));
        if since == 0 || !self.is_quiet(since) {
            return;
        }
        let up = |of: usize| {
            let machine = &self.machines[of];
            let (elector, local) = (&machine.process.as_ref()?.elector, machine.clock.local(self.run.now));
            // Where nobody could be elected for a while, nobody waits for seniors any more. And who is bound by a promise cannot ask.
            let bound = elector.status().promise.is_some_and(|(to, _)| to != self.machines[node].id);
            (of == node || elector.is_waited_for(local) && !bound).then(|| elector.units_up(local))
        };
        let progress = |of: usize| self.elector(of).map(|elector| elector.status().progress);
        let could: Vec<_> = self
            .run
            .voters()
            .filter(|of| *of != node && setup.kinds[*of] == MemberKind::Voter && setup.priorities[*of] > 0)
            .filter(|of| progress(*of) == progress(node))
            .filter_map(|of| Some((of, up(of)?)))
            .collect();
        let Some(mine) = up(node) else { return };
        self.run.judge_seniority(node, epoch, mine, could.into_iter());
    }

    /// Nothing was wrong since then with any machine that runs, nor with the links between them.
    fn is_quiet(&self, since: u64) -> bool {
        let running = || (0..self.machines.len()).filter(|node| self.machines[*node].process.is_some());
        self.net.storms.is_empty()
            && running().all(|node| self.well(node, since))
            && running().flat_map(|from| running().map(move |to| (from, to))).all(|(from, to)| {
                let index = self.net.index(from, to);
                from == to
                    || self.net.cut[index] == 0
                        && self.net.refused[index] == 0
                        && self.net.disturbed[index].max(self.net.late[index]) <= since
            })
    }

    fn judge_lost_office(&mut self, node: usize, epoch: Epoch, why: FenceReason) {
        let since = self.run.healthy_since();
        let Some(process) = &self.machines[node].process else { return };
        let reigned = process.reigning_since.is_some_and(|at| at <= since);
        if !reigned || !self.well(node, since) || !self.net.storms.is_empty() {
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
        let voters = self.voters_of(node);
        let hearing = voters.iter().filter(|voter| hears(voter)).count();
        self.run.judge_lost_office(node, epoch, why, hearing, voters.len() / 2 + 1);
    }

    /// Nothing has been wrong with this machine since then.
    fn well(&self, node: usize, since: u64) -> bool {
        let machine = &self.machines[node];
        let impairments = machine.impairments;
        machine.runs()
            && machine.disturbed <= since
            && impairments.let_elect()
            && impairments.health().is_good()
            && impairments.hung == 0
            && machine.process.as_ref().is_some_and(|process| {
                process.leaving_at.is_none() && process.elector.status().standing == Standing::Member
            })
    }

    /// Whether the cluster has settled: one writer, and everybody has joined it.
    pub(super) fn on_probe(&mut self) {
        // What was said last may have come in, or be saved, after its liar had gone.
        self.give_up_false_ids();
        let settled = self.settled_now();
        let Self { run, machines, .. } = self;
        let joined: Vec<_> = run.servers.iter().map(|server| server.joined).collect();
        run.probe(settled, || {
            let one = |(machine, joined): (&Machine, &bool)| match &machine.process {
                Some(process) => format!(
                    "{} {} e{} of {:?}{}",
                    machine.id,
                    process.elector.role(),
                    process.elector.epoch(),
                    process.elector.primary(),
                    if *joined { " joined" } else { "" }
                ),
                None => format!("{} down", machine.id),
            };
            machines.iter().zip(&joined).map(one).collect::<Vec<_>>().join(", ")
        });
        self.push(self.run.now + PROBE, Event::Probe);
    }

    fn settled_now(&mut self) -> bool {
        let Some(writer) = self.writer() else { return false };
        let Some(epoch) = self.machines[writer].process.as_ref().map(|process| process.elector.epoch())
        else {
            return false;
        };
        let id = self.machines[writer].id;
        let all = self.machines.iter().enumerate().all(|(node, machine)| {
            machine.removed
                || machine.process.as_ref().is_some_and(|process| {
                    process.elector.epoch() == epoch && process.elector.primary() == Some(id)
                }) && (node == writer
                    || self.run.servers[node].joined
                    || self.run.plan.setup.kinds[node] == crate::config::MemberKind::Witness)
        });
        all && (self.run.plan.setup.habits.is_none() || self.run.caught_up(writer))
    }
}

/// Whether a quorum has the newest order, which pauses elections.
fn paused(machines: &[Machine], voters: std::ops::Range<usize>, quorum: usize) -> bool {
    let saved = |machine: &Machine| machine.disk.record.as_ref().and_then(|record| record.pause);
    let known =
        |machine: &Machine| machine.process.as_ref().and_then(|process| process.elector.status().pause);
    let everywhere = machines.iter().flat_map(|machine| [saved(machine), known(machine)]);
    Paused::agreed(machines[voters].iter().map(saved), everywhere, quorum)
}
