//! All nodes are stopped in order and started again, one after the other, as for an upgrade.

use crate::copying::{Copied, Counts};
use crate::failure::Failure;
use crate::outcome::elections;
use crate::round::Stage;
use crate::verdict::{self, Ack, Dual, Lost, Node};
use crate::waiting::Processors;
use std::time::Duration;

/// Between two nodes.
const PAUSE: Duration = Duration::from_millis(300);

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Roll {
    /// One per node, replicas first.
    pub steps: Vec<Step>,
    /// Acknowledged writes.
    pub acked: usize,
    /// What is missing of them.
    pub lost: Lost,
    /// Whether two nodes acknowledged at once.
    pub dual: Option<Dual>,
}

/// One node's turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The node that was restarted.
    pub node: Node,
    /// Whether it was primary.
    pub was_primary: bool,
    /// The longest time in which nobody acknowledged anything.
    pub stall: Duration,
    /// How much of that the primary, or its client, was ready and had no processor; `None`: nobody counted, or it was the one that was restarted.
    pub stall_queued: Option<Duration>,
    /// For how long of it a processor of this machine was away ([`crate::waiting`]).
    pub stall_away: Option<Duration>,
    /// From the start of its new process until it, and the third node, confirmed.
    pub rejoined: Duration,
    /// What was copied.
    pub copied: Option<Copied>,
    /// Reads that the other two refused, because data came in anew.
    pub loading: usize,
}

impl Roll {
    /// Whether everything that must hold did.
    pub fn innocent(&self) -> bool {
        self.lost.waited == 0 && self.dual.is_none()
    }
}

impl Stage<'_> {
    /// Restarts all nodes in order, one after the other, while clients write. Gives the confirmed writes too.
    pub fn roll(&mut self) -> Result<(Roll, Vec<Ack>), Failure> {
        let (begun, processors) = (self.clock.now(), Processors::watch(self.clock));
        self.writers.go();
        self.load.iter().for_each(|(load, pace)| load.write(*pace));
        let primary = self.warm_up()?;
        let nodes = self.cluster.members.len();
        let (mut steps, mut spans) = (Vec::new(), Vec::new());
        for node in (0..nodes).filter(|node| *node != primary).chain([primary]) {
            self.progress.say(&format!("restarting {}", self.name(node)));
            let serving = self.cluster.pid(primary).filter(|_| node != primary);
            let watched = processors.with(serving, self.writers.prober(primary));
            let (from, before) = (self.clock.now(), Counts::read(self.cluster));
            self.cluster.terminate(node)?;
            self.cluster.ended_in_order(node, self.interrupt)?;
            let (started, at_return) = (self.clock.now(), Counts::read(self.cluster));
            self.cluster.launch(node)?;
            self.whole()?;
            let whole = self.clock.now();
            let copied = before.copied(&at_return, &Counts::read(self.cluster), node, true);
            let refused = |other| self.readers.map_or(0, |readers| readers.loading(other, from, whole));
            let loading = (0..nodes).filter(|other| *other != node).map(refused).sum();
            spans.push((from, whole, watched));
            let (was_primary, stall, rejoined) = (node == primary, Duration::ZERO, whole - started);
            let (stall_queued, stall_away) = (None, None);
            steps.push(Step {
                node,
                was_primary,
                stall,
                stall_queued,
                stall_away,
                rejoined,
                copied,
                loading,
            });
            self.interrupt.rest(PAUSE)?;
        }
        self.load.iter().for_each(|(load, _)| load.pause());
        let (last, acks) = (self.whole()?, self.collect()?);
        for (step, (from, whole, watched)) in steps.iter_mut().zip(spans) {
            let (stalled, went_on) = verdict::longest(&acks, from, whole);
            let waited = watched.between(stalled, went_on);
            step.stall = went_on - stalled;
            (step.stall_queued, step.stall_away) = (waited.queued, waited.away);
        }
        let lost = verdict::lost(&acks, &self.read_back(last, &acks)?);
        let dual = verdict::dual(&acks, &elections(&self.events(begun)), None);
        let waited = acks.iter().copied().filter(|ack| ack.waited.is_some()).collect();
        Ok((Roll { steps, acked: acks.len(), lost, dual }, waited))
    }
}
