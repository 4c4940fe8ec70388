//! Faults come and go; disks save, or do not.

use super::World;
use super::event::Event;
use crate::change::MembersChange;
use crate::elector::{Command, HostReport, PersistSeq};
use crate::fence::Health;
use crate::message::{Role, Standing};
use crate::pause::Pause;
use crate::sim::clock::MS;
use crate::sim::fault::{FaultKind, Loss};
use crate::sim::impairments::{Active, Life};
use crate::sim::invariants::Check;
use crate::sim::note::What;
use crate::state::HardState;
use crate::time::nanos;

/// How long a fault lasts that is ended by hand.
pub(super) const UNTIL_HEALED: u64 = u64::MAX;

impl World {
    pub(super) fn on_fault(&mut self, index: usize) {
        if self.run.healed {
            return;
        }
        let fault = self.run.plan.faults[index];
        let node = match self.writer() {
            Some(writer) if fault.target.primary => writer,
            _ => fault.target.node,
        };
        let mut active = Active { on: true, node, ..Active::default() };
        self.run.log(|| format!("FAULT {} at n{node} for {} ms", fault.kind.name(), fault.lasts / MS));
        let applied = self.apply(fault.kind, &mut active, fault.lasts);
        if !applied {
            self.run.log(|| "  (not possible now)".to_owned());
            return;
        }
        *self.run.stats.faults.entry(fault.kind.name()).or_default() += 1;
        self.run.active[index] = active;
        if matches!(fault.kind, FaultKind::Lie { .. }) {
            self.push(self.run.now, Event::Lie(index));
        }
        if fault.lasts != UNTIL_HEALED {
            self.push(self.run.now + fault.lasts, Event::Heal(index));
        }
    }

    /// Whether a fault of the plan acts now.
    pub(super) fn acts(&self, index: usize) -> bool {
        self.run.active[index].on
    }

    fn apply(&mut self, kind: FaultKind, active: &mut Active, lasts: u64) -> bool {
        let (node, nodes) = (active.node, self.machines.len());
        self.machines[node].disturbed = self.run.now;
        if matches!(kind, FaultKind::Suspend) && self.machines[node].impairments.asleep > 0 {
            return false;
        }
        self.machines[node].impairments.begin(kind);
        match kind {
            FaultKind::Crash { power, loss } => return self.crash(node, power, loss),
            FaultKind::Pause => self.await_alarm(node),
            FaultKind::Suspend => {
                active.slept_at = self.run.now;
                self.await_alarm(node);
            }
            FaultKind::CutOneWay { .. }
            | FaultKind::Cut { .. }
            | FaultKind::Partition { .. }
            | FaultKind::PartialPartition { .. } => active.cut = kind.cuts(node, nodes),
            FaultKind::Twin { .. } => {
                active.cut = kind.cuts(node, nodes);
                active.ghost = self.double(node);
            }
            FaultKind::HungShard => {
                if !self.machines[node].runs() {
                    return false;
                }
                self.hang(node);
            }
            FaultKind::Storm { loss, duplication, delay_ms } => {
                self.net.storms.push((loss, duplication, delay_ms * MS));
                self.disturb_net();
            }
            FaultKind::Firewall { to } => {
                let to = if to == node { (node + 1) % nodes } else { to };
                for (a, b) in [(node, to), (to, node)] {
                    let index = self.net.index(a, b);
                    self.net.refused[index] += 1;
                    self.net.disturbed[index] = self.run.now;
                    self.break_link(a, b, 5 * MS);
                }
            }
            FaultKind::FirewallAll => {
                for peer in (0..nodes).filter(|peer| *peer != node) {
                    let (there, back) = (self.net.index(peer, node), self.net.index(node, peer));
                    self.net.refused[there] += 1;
                    (self.net.disturbed[there], self.net.disturbed[back]) = (self.run.now, self.run.now);
                    self.break_link(peer, node, 5 * MS);
                }
            }
            FaultKind::Resets => {
                for peer in (0..nodes).filter(|peer| *peer != node) {
                    for (a, b) in [(node, peer), (peer, node)] {
                        self.break_link(a, b, 50 * MS);
                        let index = self.net.index(a, b);
                        self.net.disturbed[index] = self.run.now;
                    }
                }
            }
            FaultKind::SlowDisk { .. }
            | FaultKind::FailingDisk
            | FaultKind::HangingDisk
            | FaultKind::SlowHost { .. }
            | FaultKind::FailingHost
            | FaultKind::HangingHost
            | FaultKind::LowMemory
            | FaultKind::Lie { ids: false, .. } => {}
            // What a process said first of its cluster counts for as long as it lives, so it lies from its start.
            FaultKind::Lie { ids: true, .. } => {
                self.stop(node);
                self.start(node);
            }
            FaultKind::Unhealthy | FaultKind::Ailing => self.tell_health(node),
            FaultKind::StepDown | FaultKind::Transfer { .. } => {
                if !self.machines[node].runs() {
                    return false;
                }
                let to = match kind {
                    FaultKind::Transfer { to } if to == node => Some((node + 1) % nodes),
                    FaultKind::Transfer { to } => Some(to),
                    _ => None,
                };
                let (to, patience) = (to.map(|to| self.machines[to].id), self.run.plan.setup.timeout);
                self.input(node, |e, now| e.handle_command(now, Command::Transfer { to, patience }));
            }
            FaultKind::Members { of } => return self.order_change(of),
            FaultKind::Shutdown => return self.shut_down(node),
            FaultKind::OperatorPause => {
                self.order_pause(node, true);
            }
            FaultKind::ClockRate { of_bound } => {
                let drift_ppm = (self.run.plan.setup.drift_percent * 10_000.0) as i64;
                let now = self.run.now;
                self.machines[node].clock.set_rate(now, of_bound * drift_ppm / 1_000_000);
            }
        }
        for (from, to) in active.cut.clone() {
            let index = self.net.index(from, to);
            self.net.cut[index] += 1;
            self.net.disturbed[index] = self.run.now;
            // A link may notice before the cut is over.
            if lasts > nanos(self.run.plan.setup.timeout) / 2 && self.run.rng.chance(400) {
                self.break_link(from, to, lasts);
            }
        }
        true
    }

    /// An input that reaches a running process only; a stopped one is told when it wakes.
    fn input(&mut self, node: usize, input: impl FnOnce(&mut crate::elector::Elector, crate::time::Instant)) {
        if self.machines[node].runs() {
            self.step(node, input);
        }
    }

    /// An operator's order at this node, whose calendar is right. Whether it takes it.
    pub(in crate::sim) fn order_pause(&mut self, node: usize, paused: bool) -> bool {
        let wall_ms = self.run.now / MS;
        let machine = &self.machines[node];
        let Some(process) = machine.process.as_ref().filter(|_| machine.runs()) else { return false };
        let local = machine.clock.local(self.run.now);
        let Ok(order) = process.elector.next_pause(paused, wall_ms, local) else { return false };
        self.run.paused = self.run.paused.max(Some(order).filter(|order| order.paused));
        self.input(node, |e, now| e.handle_command(now, Command::Pause(order)));
        true
    }

    /// An operator asks whoever writes for one voter more, or one less. Whether there is one.
    fn order_change(&mut self, of: usize) -> bool {
        let Some(writer) = (0..self.machines.len()).find(|node| self.may_write(*node)) else { return false };
        let machine = &self.machines[writer];
        let Some(process) = machine.process.as_ref().filter(|_| machine.runs()) else { return false };
        let id = self.machines[of].id;
        let change = match process.elector.membership().voter(id) {
            Some(_) => MembersChange::Remove(id),
            None => MembersChange::Add(id),
        };
        let patience = self.run.plan.setup.timeout * 3;
        self.input(writer, |e, now| e.handle_command(now, Command::Members { change, patience }));
        true
    }

    fn crash(&mut self, node: usize, power: bool, loss: Loss) -> bool {
        let machine = &self.machines[node];
        if machine.process.is_none() {
            return false;
        }
        let forgets = matches!(loss, Loss::Disk | Loss::Record);
        if forgets && !self.run.plan.setup.forgetful && !self.may_forget(node) {
            return false;
        }
        let machine = &mut self.machines[node];
        machine.dark = power;
        machine.impairments.down += 1;
        if power {
            // The machine's other troubles end with it.
            machine.disk.writing = None;
        }
        self.stop(node);
        let keep = self.run.rng.between(500, 1000);
        let machine = &mut self.machines[node];
        match loss {
            Loss::Nothing | Loss::Tail | Loss::Data => {}
            Loss::Record | Loss::Disk => (machine.disk.record, machine.disk.before) = (None, None),
            Loss::AcknowledgedSave => machine.disk.record = machine.disk.before.take(),
        }
        self.run.invariants.confirmed.copies_lost |= self.run.servers[node].lose(loss, power, keep);
        if forgets {
            self.run.invariants.forgot(node);
        }
        true
    }

    /// No more than a minority may be without a record at once.
    fn may_forget(&self, node: usize) -> bool {
        let without = |n: &usize| {
            let record = &self.machines[*n].disk.record;
            let is_new = record.as_ref().is_none_or(|record| record.standing == Standing::New);
            *n != node && (is_new || self.is_easily_misled(*n))
        };
        // Who lies of its epoch is no better than one that has forgotten it.
        let liars = usize::from(self.run.plan.setup.lies);
        self.run.voters().filter(without).count() + liars < self.run.voters().len() - self.run.quorum()
    }

    fn shut_down(&mut self, node: usize) -> bool {
        if !self.machines[node].runs() {
            return false;
        }
        let grace = nanos(self.run.plan.setup.timeout) * 2;
        let now = self.run.now;
        if let Some(process) = &mut self.machines[node].process {
            process.leaving_at = Some(now + grace);
        }
        self.step(node, |e, now| e.handle_command(now, Command::Shutdown));
        true
    }

    fn disturb_net(&mut self) {
        let now = self.run.now;
        self.net.disturbed.fill(now);
    }

    pub(super) fn on_heal(&mut self, index: usize) {
        let active = std::mem::take(&mut self.run.active[index]);
        if !active.on {
            return;
        }
        let (node, kind) = (active.node, self.run.plan.faults[index].kind);
        self.run.log(|| format!("HEALED {} at n{node}", kind.name()));
        let now = self.run.now;
        self.machines[node].disturbed = now;
        self.machines[node].impairments.end(kind);
        match kind {
            FaultKind::Crash { .. } => {
                self.machines[node].impairments.down -= 1;
                self.start(node);
            }
            FaultKind::Pause => self.wake(node),
            FaultKind::Suspend => {
                let machine = &mut self.machines[node];
                machine.clock.slept(active.slept_at, now);
                if let Some(process) = &mut machine.process {
                    process.slept = true;
                    // The deadline in the queue was reckoned with a clock that ran.
                    process.wake_at = u64::MAX;
                }
                if !self.ended_by_kernel(node) {
                    self.wake(node);
                }
            }
            FaultKind::Storm { loss, duplication, delay_ms } => {
                let storm = (loss, duplication, delay_ms * MS);
                if let Some(at) = self.net.storms.iter().position(|other| *other == storm) {
                    self.net.storms.remove(at);
                }
                // What is under way was delayed as well, and what queues up behind it.
                let residue = self.run.invariants.convergence.residue;
                self.net.disturbed.fill(now + residue);
            }
            FaultKind::Firewall { to } => {
                let to = if to == node { (node + 1) % self.machines.len() } else { to };
                for (a, b) in [(node, to), (to, node)] {
                    let index = self.net.index(a, b);
                    self.net.refused[index] -= 1;
                    self.net.disturbed[index] = now;
                }
            }
            FaultKind::FirewallAll => {
                for peer in (0..self.machines.len()).filter(|peer| *peer != node) {
                    let (there, back) = (self.net.index(peer, node), self.net.index(node, peer));
                    self.net.refused[there] -= 1;
                    (self.net.disturbed[there], self.net.disturbed[back]) = (now, now);
                }
            }
            FaultKind::SlowDisk { .. } | FaultKind::HangingDisk => self.unhang_disk(node),
            FaultKind::HangingHost => {
                if self.machines[node].impairments.host_hanging == 0
                    && self.machines[node].impairments.hung == 0
                {
                    self.unhang_host(node);
                }
            }
            FaultKind::HungShard => self.unhang(node),
            FaultKind::Twin { .. } => self.end_double(node, active.ghost),
            FaultKind::Lie { removed, .. } => {
                self.stop(node);
                if removed {
                    self.machines[node].removed = true;
                    self.machines[node].impairments.down += 1;
                } else {
                    self.start(node);
                }
                self.give_up_false_ids();
            }
            FaultKind::Unhealthy | FaultKind::Ailing => self.tell_health(node),
            FaultKind::OperatorPause => {
                if self.machines.iter().all(|machine| machine.impairments.elections_paused == 0) {
                    (0..self.machines.len())
                        .any(|other| self.order_pause((node + other) % self.machines.len(), false));
                }
            }
            FaultKind::Shutdown => {
                // Killed if it has not gone by itself.
                self.stop(node);
                self.start(node);
            }
            FaultKind::CutOneWay { .. }
            | FaultKind::Cut { .. }
            | FaultKind::Partition { .. }
            | FaultKind::PartialPartition { .. }
            | FaultKind::Resets
            | FaultKind::StepDown
            | FaultKind::Transfer { .. }
            | FaultKind::Members { .. }
            | FaultKind::FailingDisk
            | FaultKind::SlowHost { .. }
            | FaultKind::FailingHost
            | FaultKind::LowMemory
            | FaultKind::ClockRate { .. } => {}
        }
        for (from, to) in active.cut {
            let index = self.net.index(from, to);
            self.net.cut[index] -= 1;
            self.net.disturbed[index] = now;
            if self.net.cut[index] == 0 {
                self.heal_direction(from, to);
            }
        }
    }

    pub(super) fn heal_all(&mut self) {
        self.run.log(|| "ALL IS HEALED".to_owned());
        self.run.healed = true;
        for index in 0..self.run.active.len() {
            self.on_heal(index);
        }
        let known = |machine: &super::machine::Machine| {
            let saved = machine.disk.record.as_ref().and_then(|record| record.pause);
            saved.max(machine.process.as_ref().and_then(|process| process.elector.status().pause))
        };
        let newest = self.machines.iter().filter_map(known).chain(self.run.paused).max();
        for node in 0..self.machines.len() {
            self.start(node);
            // The operator tries until a quorum has it.
            if let Some(newest) = newest.filter(|newest| newest.paused) {
                let resume = Pause { number: newest.number + 1, paused: false };
                self.input(node, |e, now| e.handle_command(now, Command::Pause(resume)));
            }
            // What was told while the process was stopped never reached it.
            self.input(node, |e, now| e.handle_host(now, HostReport::Health(Health::Good)));
        }
        self.run.end = self.run.now + 2 * self.run.invariants.convergence.bound;
        self.push(self.run.now, Event::Probe);
    }

    pub(super) fn tell_health(&mut self, node: usize) {
        let health = self.machines[node].impairments.health();
        self.input(node, |e, now| e.handle_host(now, HostReport::Health(health)));
    }

    /// Writes the vote record, one save at a time.
    pub(super) fn save(&mut self, node: usize, seq: PersistSeq, state: HardState) {
        let disk = &mut self.machines[node].disk;
        if disk.writing.is_some() {
            disk.waiting = Some((seq, state));
        } else {
            self.begin_save(node, seq, state);
        }
    }

    fn begin_save(&mut self, node: usize, seq: PersistSeq, state: HardState) {
        let machine = &mut self.machines[node];
        let Some(life) = machine.process.as_ref().map(|process| process.life) else { return };
        let disk = &mut machine.disk;
        disk.writes += 1;
        let write = disk.writes;
        disk.writing = Some((write, seq, state));
        let impairments = machine.impairments;
        if impairments.disk_hanging > 0 {
            return;
        }
        let most = self.run.plan.setup.save.max(impairments.disk_slow);
        let at = self.run.now + self.run.rng.below(most);
        let failed = impairments.disk_failing > 0 && self.run.rng.chance(800);
        self.push(at, Event::Saved { node, life, write, failed });
    }

    fn unhang_disk(&mut self, node: usize) {
        let machine = &self.machines[node];
        if let (Some(process), Some((write, ..))) = (&machine.process, &machine.disk.writing)
            && machine.impairments.disk_hanging == 0
        {
            let (life, write) = (process.life, *write);
            self.push(self.run.now + MS, Event::Saved { node, life, write, failed: false });
        }
    }

    pub(super) fn on_saved(&mut self, node: usize, life: Life, write: u64, failed: bool) {
        let machine = &mut self.machines[node];
        if machine.process.as_ref().is_none_or(|process| process.life != life)
            || machine.disk.writing.as_ref().is_none_or(|(number, ..)| *number != write)
        {
            return;
        }
        let Some((_, seq, state)) = machine.disk.writing.take() else { return };
        // A save that fails may have reached the disk all the same.
        if !failed || self.run.rng.chance(300) {
            self.run.invariants.epochs.on_saved(node, &state);
            let found = self.run.invariants.identities.on_saved(node, &state);
            self.run.stats.checks[Check::Identities as usize] += 1;
            self.run.take(found);
            self.note(node, || What::Saved(state.clone()));
            let disk = &mut self.machines[node].disk;
            disk.before = disk.record.replace(state);
        }
        if let Some((seq, state)) = self.machines[node].disk.waiting.take() {
            self.begin_save(node, seq, state);
        }
        self.on_save_told(Event::SaveTold { node, life, seq, failed });
    }

    pub(super) fn on_save_told(&mut self, event: Event) {
        let Event::SaveTold { node, life, seq, failed } = event else { return };
        if self.machines[node].deliver(life, event).is_none() {
            return;
        }
        if failed {
            self.step(node, |e, now| e.handle_persist_failed(now, seq, "told to fail"));
        } else {
            self.step(node, |e, now| e.handle_persisted(now, seq));
        }
    }

    /// A process that was asked to end ends once it holds no office any more.
    pub(super) fn leave_if_done(&mut self, node: usize) {
        if let Some(process) = &self.machines[node].process
            && let Some(at) = process.leaving_at
            && (self.run.now >= at || matches!(process.elector.role(), Role::Replica | Role::Candidate))
        {
            self.machines[node].impairments.down += 1;
            self.machines[node].dark = false;
            self.stop(node);
            self.machines[node].impairments.down -= 1;
        }
    }
}
