//! Faults come and go.

use super::event::Event;
use super::state::State;
use crate::change::MembersChange;
use crate::message::Standing;
use crate::pause::Pause;
use crate::plugin::ElectPlugin;
use crate::sim::clock::MS;
use crate::sim::fault::{FaultKind, Loss};
use crate::sim::impairments::Active;

/// How soon a firewall that refuses has reset what there was.
const FIREWALL_MAX: u64 = 5 * MS;
/// Within what time all links of a node break.
const RESETS_MAX: u64 = 50 * MS;

/// What has to be done to a process from outside, because it takes its futures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    /// The process dies; `power`: the machine does.
    Kill {
        node: usize,
        power: bool,
    },
    /// It was asked to end.
    Leave {
        node: usize,
    },
    /// It runs again after a stop.
    Wake {
        node: usize,
    },
    /// It starts again.
    Start {
        node: usize,
    },
    /// It is killed, if it is still there, and starts again.
    Restart {
        node: usize,
    },
    /// Timers have to be reckoned anew.
    Look {
        node: usize,
    },
}

impl State {
    pub(super) fn on_fault(&mut self, index: usize) -> Effect {
        if self.run.healed {
            return Effect::Nothing;
        }
        let fault = self.run.plan.faults[index];
        let node = match self.writer() {
            Some(writer) if fault.target.primary => writer,
            _ => fault.target.node,
        };
        self.run.log(|| format!("FAULT {} at n{node} for {} ms", fault.kind.name(), fault.lasts / MS));
        let Some(effect) = self.apply(fault.kind, node) else {
            self.run.log(|| "  (not possible now)".to_owned());
            return Effect::Nothing;
        };
        let cut = fault.kind.cuts(node, self.nodes.len());
        cut.iter().for_each(|(from, to)| self.cut(*from, *to));
        *self.run.stats.faults.entry(fault.kind.name()).or_default() += 1;
        self.run.active[index] = Active { on: true, node, cut, ..Active::default() };
        self.push(self.run.now + fault.lasts, Event::Heal(index));
        if matches!(fault.kind, FaultKind::Lie { .. }) {
            self.push(self.run.now, Event::Lie(index));
        }
        effect
    }

    /// `None`: it is not possible now.
    fn apply(&mut self, kind: FaultKind, node: usize) -> Option<Effect> {
        let (now, nodes) = (self.run.now, self.nodes.len());
        self.nodes[node].disturbed = now;
        let runs = self.nodes[node].runs();
        if matches!(kind, FaultKind::Suspend) && self.nodes[node].impairments.asleep > 0 {
            return None;
        }
        self.nodes[node].impairments.begin(kind);
        match kind {
            FaultKind::Crash { power, loss } => {
                let forgets = matches!(loss, Loss::Disk | Loss::Record);
                if self.nodes[node].plugin.is_none() || forgets && !self.may_forget(node) {
                    return None;
                }
                self.nodes[node].impairments.down += 1;
                return Some(Effect::Kill { node, power });
            }
            FaultKind::Suspend => self.nodes[node].clock.sleep(),
            FaultKind::Storm { loss, duplication, delay_ms } => {
                self.storm_begins((loss, duplication, delay_ms * MS));
            }
            FaultKind::Firewall { to } => {
                let to = if to == node { (node + 1) % nodes } else { to };
                self.set_refused(node, to, true);
                self.set_refused(to, node, true);
                self.reset_within(node, to, FIREWALL_MAX, true);
            }
            FaultKind::FirewallAll => {
                for peer in (0..nodes).filter(|peer| *peer != node) {
                    self.set_refused(peer, node, true);
                    self.reset_within(peer, node, FIREWALL_MAX, false);
                }
            }
            FaultKind::Resets => {
                (0..nodes)
                    .filter(|peer| *peer != node)
                    .for_each(|peer| self.reset_within(node, peer, RESETS_MAX, true));
            }
            FaultKind::HungShard if runs => self.nodes[node].impairments.hung += 1,
            // The network in memory knows one process per node.
            FaultKind::HungShard | FaultKind::Twin { .. } => return None,
            FaultKind::StepDown => self.nodes[node].plugin.as_ref().filter(|_| runs)?.step_down(),
            FaultKind::Transfer { to } => {
                let to = if to == node { (node + 1) % nodes } else { to };
                let (to, patience) = (self.nodes[to].id, self.run.plan.setup.timeout);
                // Refused where it makes no sense, which is fine.
                let _ = self.nodes[node].plugin.as_ref().filter(|_| runs)?.transfer(Some(to), patience);
            }
            FaultKind::Members { of } => {
                let id = self.nodes[of].id;
                let writes = |node: &usize| {
                    self.nodes[*node].plugin.as_ref().is_some_and(|plugin| plugin.snapshot().writable)
                };
                let writer = (0..nodes).find(writes)?;
                let votes = |elector: &mut crate::elector::Elector| elector.membership().voter(id).is_some();
                let plugin = self.nodes[writer].plugin.as_ref()?;
                let change = match plugin.with_elector(votes)? {
                    true => MembersChange::Remove(id),
                    false => MembersChange::Add(id),
                };
                // Refused where it makes no sense, which is fine.
                let _ = plugin.change_members(change, self.run.plan.setup.timeout * 3);
            }
            FaultKind::Shutdown => {
                if !runs || self.nodes[node].leaving {
                    return None;
                }
                self.nodes[node].leaving = true;
                return Some(Effect::Leave { node });
            }
            FaultKind::OperatorPause => {
                // Refused where too few are heard, which is fine.
                let order = self.nodes[node].plugin.as_ref().filter(|_| runs)?.pause(true);
                self.run.paused = self.run.paused.max(order.ok());
            }
            FaultKind::ClockRate { of_bound } => {
                self.nodes[node].clock.set_rate(self.ppm(of_bound));
                return Some(Effect::Look { node });
            }
            // These count, or cut, and do no more.
            _ => {}
        }
        Some(Effect::Nothing)
    }

    fn ppm(&self, of_bound: i64) -> i64 {
        of_bound * (self.run.plan.setup.drift_percent * 10_000.0) as i64 / 1_000_000
    }

    /// The operator has elections go on, at whoever takes the order; `at_last`: until everybody has it.
    pub(super) fn resume_elections(&mut self, at_last: bool) {
        let plugins = || self.nodes.iter().filter_map(|machine| machine.plugin.as_ref());
        if !at_last {
            plugins().any(|plugin| plugin.pause(false).is_ok());
            return;
        }
        let saved = self.nodes.iter().filter_map(|machine| machine.disk.record.as_ref()?.pause);
        let known = plugins().filter_map(|plugin| plugin.snapshot().pause);
        if let Some(newest) = saved.chain(known).chain(self.run.paused).max().filter(|newest| newest.paused) {
            let resume = Pause { number: newest.number + 1, paused: false };
            plugins().for_each(|plugin| plugin.take_pause(resume));
        }
    }

    /// What a crash takes with it, once the process is gone.
    pub(super) fn lose(&mut self, index: usize) {
        let FaultKind::Crash { loss, power } = self.run.plan.faults[index].kind else { return };
        let node = self.run.active[index].node;
        let keep = self.run.rng.between(500, 1000);
        let machine = &mut self.nodes[node];
        match loss {
            Loss::Nothing | Loss::Tail | Loss::Data => {}
            Loss::Record | Loss::Disk => machine.disk.wipe(),
            Loss::AcknowledgedSave => machine.disk.lose_last(),
        }
        self.run.invariants.confirmed.copies_lost |= self.run.servers[node].lose(loss, power, keep);
        if matches!(loss, Loss::Disk | Loss::Record) {
            self.run.invariants.forgot(node);
        }
    }

    /// No more than a minority may be without a record at once.
    fn may_forget(&self, node: usize) -> bool {
        let without = |n: &usize| {
            let record = &self.nodes[*n].disk.record;
            *n != node && record.as_ref().is_none_or(|record| record.standing == Standing::New)
        };
        // Who lies of its epoch is no better than one that has forgotten it.
        let liars = usize::from(self.run.plan.setup.lies);
        self.run.voters().filter(without).count() + liars < self.run.voters().len() - self.run.quorum()
    }

    pub(super) fn on_heal(&mut self, index: usize) -> Effect {
        let active = std::mem::take(&mut self.run.active[index]);
        if !active.on {
            return Effect::Nothing;
        }
        let (node, kind, now) = (active.node, self.run.plan.faults[index].kind, self.run.now);
        self.run.log(|| format!("HEALED {} at n{node}", kind.name()));
        active.cut.iter().for_each(|(from, to)| self.heal(*from, *to));
        self.nodes[node].disturbed = now;
        let nodes = self.nodes.len();
        let impairments = &mut self.nodes[node].impairments;
        impairments.end(kind);
        match kind {
            FaultKind::Crash { .. } => {
                impairments.down -= 1;
                return Effect::Start { node };
            }
            FaultKind::Pause => return Effect::Wake { node },
            FaultKind::Suspend => {
                self.nodes[node].clock.wake();
                return Effect::Wake { node };
            }
            FaultKind::Storm { loss, duplication, delay_ms } => {
                self.storm_ends((loss, duplication, delay_ms * MS));
            }
            FaultKind::Firewall { to } => {
                let to = if to == node { (node + 1) % nodes } else { to };
                self.set_refused(node, to, false);
                self.set_refused(to, node, false);
            }
            FaultKind::FirewallAll => {
                (0..nodes).filter(|peer| *peer != node).for_each(|peer| self.set_refused(peer, node, false));
            }
            FaultKind::SlowDisk { .. } | FaultKind::HangingDisk => self.unhang_disk(node),
            FaultKind::HangingHost => self.unhang_host(node),
            FaultKind::HungShard => {
                // What hung may be gone with its process.
                impairments.hung = impairments.hung.saturating_sub(1);
                self.unhang_host(node);
            }
            FaultKind::OperatorPause
                if self.nodes.iter().all(|machine| machine.impairments.elections_paused == 0) =>
            {
                self.resume_elections(false);
            }
            FaultKind::Lie { removed: true, .. } => {
                self.nodes[node].removed = true;
                return Effect::Kill { node, power: false };
            }
            FaultKind::Lie { .. } | FaultKind::Shutdown => return Effect::Restart { node },
            _ => {}
        }
        Effect::Nothing
    }
}
