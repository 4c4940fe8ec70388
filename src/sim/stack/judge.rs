//! Hands what happens to the invariants: what only this world sees.

use super::event::Event;
use super::state::{Machine, State};
use crate::clock::Clock;
use crate::config::MemberKind;
use crate::event::EventKind;
use crate::fence::FenceReason;
use crate::ids::{Epoch, NodeId};
use crate::message::{Message, Role, Standing};
use crate::plugin::ElectPlugin;
use crate::sim::impairments::Impairments;
use crate::sim::invariants::Check;
use crate::sim::invariants::paused::Paused;
use crate::sim::judge::PROBE;
use crate::time::nanos;
use crate::transfer::TransferOutcome;

impl State {
    /// A driver is about to send.
    pub(super) fn judge_send(&mut self, from: usize, to: NodeId, message: &Message) {
        self.run.mix(message.verb() as u64);
        let Some(to) = self.run.number(to) else { return };
        self.judge_gate(from);
        let open = matches!(message, Message::Resign(_)) && self.may_write(from);
        let record = self.nodes[from].disk.record.as_ref();
        self.run.judge_send((from, to), message, record, open, self.modelled);
    }

    /// The real gate is no more open than the elector wants it: when a message leaves, and after every poll.
    fn judge_gate(&mut self, node: usize) {
        self.run.stats.checks[Check::Fence as usize] += 1;
        if !self.may_write(node) {
            return;
        }
        let machine = &self.nodes[node];
        let Some(plugin) = &machine.plugin else { return };
        let now = machine.clock.now();
        let wanted = plugin.with_elector(|elector| elector.gate());
        let found = self.run.invariants.fence.on_open(node, now, wanted);
        let lease = plugin.write_gate().deadline();
        let found = found.or(self.run.invariants.fence.on_lease(node, machine.watch.lease, lease));
        self.run.take(found);
    }

    /// A driver was polled: its gate may be open now, its epoch may have changed.
    pub(super) fn judge_polled(&mut self, node: usize) {
        let now = self.run.now;
        let Some(epoch) = self.epoch(node) else { return };
        self.run.invariants.epochs.on_epoch(epoch, now);
        self.judge_gate(node);
        if !self.may_write(node) {
            return;
        }
        self.run.mix(now);
        self.run.stats.checks[Check::Orders as usize] += 1;
        let promoted = self.nodes[node].watch.promoted;
        let found = self.run.invariants.orders.on_open(node, epoch, promoted);
        self.run.take(found);
        let lease = self.nodes[node].plugin.as_ref().map_or(0, |plugin| nanos(plugin.config().lease()));
        self.run.invariants.paused.on_open(epoch, now, lease);
        self.judge_one_writer(node);
    }

    /// A gate is open: nobody else's may be.
    fn judge_one_writer(&mut self, node: usize) {
        let other = (0..self.nodes.len()).find(|other| *other != node && self.may_write(*other));
        self.run.judge_one_writer(node, other);
    }

    /// The links of a process end, in order or by force: its gate is shut by now.
    pub(super) fn judge_end(&mut self, node: usize) {
        self.run.stats.checks[Check::Fence as usize] += 1;
        let found = self.run.invariants.fence.on_end(node, self.may_write(node));
        self.run.take(found);
    }

    /// A write passes the gate: a quorum must be bound to this node.
    pub(super) fn judge_write(&mut self, node: usize) {
        let me = self.nodes[node].id;
        let Some(epoch) = self.epoch(node) else { return };
        let carried = |elector: &mut crate::elector::Elector| elector.carries_lease();
        let carried = self.nodes[node].plugin.as_ref().and_then(|plugin| plugin.with_elector(carried));
        let bound = |voter: usize| {
            if voter == node {
                return true;
            }
            let machine = &self.nodes[voter];
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
        let voters = self.voters_of(node);
        let bound: Vec<bool> = (0..self.nodes.len()).map(bound).collect();
        self.run.judge_lease(node, epoch, &voters, carried.unwrap_or_default(), |voter| bound[voter]);
        self.judge_one_writer(node);
    }

    /// A decision, as the plugin tells it to whoever listens.
    pub(super) fn judge_event(&mut self, node: usize, event: &crate::event::Event) {
        self.run.log(|| format!("n{node} e{}: {:?}", event.epoch, event.kind));
        let now = self.run.now;
        match event.kind {
            EventKind::RoleChanged { to, .. } => {
                self.run.stats.role_changes += 1;
                if matches!(to, Role::Primary | Role::Promoting) {
                    self.run.stats.checks[Check::OnePrimary as usize] += 1;
                    let found = self.run.invariants.one_primary.on_reign(node, event.epoch);
                    self.run.take(found);
                }
                self.nodes[node].reigning_since = (to == Role::Primary).then_some(now);
                let voters = self.voters_of(node);
                self.run.note_list(node, &voters);
            }
            EventKind::Admitted => self.nodes[node].disturbed = now,
            _ => {}
        }
        let Self { run, nodes, .. } = self;
        let (voters, quorum) = (run.voters(), run.quorum());
        run.judge_pause(node, event, || paused(nodes, voters, quorum));
        if let EventKind::TransferEnded { to: Some(to), outcome: TransferOutcome::HandedOver, .. } =
            event.kind
            && let Some(successor) = self.nodes.iter().position(|node| node.id == to)
            && self.well(successor, now.saturating_sub(nanos(self.run.plan.setup.timeout)))
        {
            self.run.judge_handed_over(node, event.epoch, successor);
        }
        if let EventKind::FailsBack { to, .. } = event.kind {
            self.run.judge_failback(node, to, self.nodes[node].reigning_since);
        }
        if let EventKind::Members { generation, voters } = &event.kind {
            let voters: Vec<_> = voters.split(',').filter_map(|id| NodeId::new(id).ok()).collect();
            let voters: Vec<_> = voters.into_iter().filter_map(|id| self.run.number(id)).collect();
            self.run.judge_list(node, event.epoch, generation.epoch, voters);
        }
        if let Some(why) = self.run.count_event(&event.kind) {
            self.judge_lost_office(node, event.epoch, why);
        }
    }

    fn judge_lost_office(&mut self, node: usize, epoch: Epoch, why: FenceReason) {
        let since = self.run.healthy_since();
        let reigned = self.nodes[node].reigning_since.is_some_and(|at| at <= since);
        if !reigned || !self.well(node, since) || !self.net.calm() {
            return;
        }
        let hears =
            |voter: &usize| *voter == node || self.well(*voter, since) && self.net.well(node, *voter, since);
        let voters = self.voters_of(node);
        let hearing = voters.iter().filter(|voter| hears(voter)).count();
        self.run.judge_lost_office(node, epoch, why, hearing, voters.len() / 2 + 1);
    }

    /// The numbers of those whom a node counts as voters.
    fn voters_of(&self, node: usize) -> Vec<usize> {
        let ids = |elector: &mut crate::elector::Elector| elector.voters().collect::<Vec<_>>();
        let ids = self.nodes[node].plugin.as_ref().and_then(|plugin| plugin.with_elector(ids));
        ids.unwrap_or_default().into_iter().filter_map(|id| self.run.number(id)).collect()
    }

    /// Nothing has been wrong with this machine since then.
    fn well(&self, node: usize, since: u64) -> bool {
        let machine = &self.nodes[node];
        machine.runs()
            && !machine.leaving
            && machine.disturbed <= since
            && machine.impairments == Impairments::default()
            && machine.plugin.as_ref().is_some_and(|plugin| {
                plugin.with_elector(|elector| elector.status().standing == Standing::Member) == Some(true)
            })
    }

    /// Looks whether the cluster has settled: one writer, and everybody has joined it.
    pub(super) fn on_probe(&mut self) {
        let settled = self.settled_now();
        let Self { run, nodes, .. } = self;
        let one = |machine: &Machine| match &machine.plugin {
            Some(plugin) => format!("{}: {}", machine.id, plugin.snapshot().why),
            None => format!("{} down", machine.id),
        };
        run.probe(settled, || nodes.iter().map(one).collect::<Vec<_>>().join(", "));
        self.push(self.run.now + PROBE, Event::Probe);
    }

    fn settled_now(&self) -> bool {
        let Some(writer) = self.writer() else { return false };
        let (id, epoch) = (self.nodes[writer].id, self.epoch(writer));
        self.nodes.iter().enumerate().all(|(node, machine)| {
            let follows = machine.plugin.as_ref().is_some_and(|plugin| {
                plugin.with_elector(|e| Some(e.epoch()) == epoch && e.primary() == Some(id)) == Some(true)
            });
            let joined = match self.modelled {
                true => self.run.servers[node].joined,
                false => {
                    machine.watch.follows.is_some_and(|(of, primary)| Some(of) == epoch && primary == id)
                }
            };
            machine.removed
                || follows
                    && (node == writer || joined || self.run.plan.setup.kinds[node] == MemberKind::Witness)
        })
    }
}

/// Whether a quorum has the newest order, which pauses elections.
fn paused(nodes: &[Machine], voters: std::ops::Range<usize>, quorum: usize) -> bool {
    let saved = |machine: &Machine| machine.disk.record.as_ref().and_then(|record| record.pause);
    let known = |machine: &Machine| {
        machine.plugin.as_ref().and_then(|plugin| plugin.with_elector(|elector| elector.status().pause)?)
    };
    let everywhere = nodes.iter().flat_map(|machine| [saved(machine), known(machine)]);
    Paused::agreed(nodes[voters].iter().map(saved), everywhere, quorum)
}
