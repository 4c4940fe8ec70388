//! One simulated machine: clock, disk, server, and the process with the elector.

use super::event::Event;
use crate::elector::{DetachSeq, Elector, GateState, PersistSeq};
use crate::identity::Identity;
use crate::ids::{Epoch, Incarnation, NodeId};
use crate::sim::clock::DriftClock;
use crate::sim::data::Offsets;
use crate::sim::impairments::{Impairments, Life};
use crate::sim::run::member_in;
use crate::state::HardState;
use std::collections::VecDeque;

pub(super) struct Machine {
    pub(super) id: NodeId,
    pub(super) clock: DriftClock,
    pub(super) disk: Disk,
    pub(super) jobs: Jobs,
    pub(super) process: Option<Process>,
    /// The machine has no power: nothing answers, not even its kernel.
    pub(super) dark: bool,
    /// How often a process of it was started.
    pub(super) starts: usize,
    /// Out of the cluster for good.
    pub(super) removed: bool,
    /// Faults that act now.
    pub(super) impairments: Impairments,
    /// When something was last not in order, in nanoseconds of real time.
    pub(super) disturbed: u64,
}

#[derive(Default)]
pub(super) struct Disk {
    /// What a restart would find.
    pub(super) record: Option<HardState>,
    /// What it would have found before the last save.
    pub(super) before: Option<HardState>,
    /// The save under way, and its number.
    pub(super) writing: Option<(u64, PersistSeq, HardState)>,
    /// The newest one that waits.
    pub(super) waiting: Option<(PersistSeq, HardState)>,
    pub(super) writes: u64,
}

impl Disk {
    /// Of a member of this cluster that has been in this epoch, or of a new one.
    pub(super) fn with_epoch(epoch: Option<Epoch>, identity: Option<Identity>) -> Self {
        Self { record: epoch.map(|epoch| member_in(epoch, identity)), ..Self::default() }
    }
}

/// What the server was asked to do, and has not answered.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Jobs {
    /// Numbers the fences: only the answer to the newest one counts.
    pub(super) fences: u64,
    /// How often the kernel's timer was wound up when the newest one came.
    pub(super) wound: u64,
    /// The question that the host has not let go for yet.
    pub(super) detaching: Option<DetachSeq>,
    /// A promotion under way.
    pub(super) promoting: Option<Epoch>,
    /// A job that hangs until all is healed.
    pub(super) hanging: Option<u64>,
    /// A fence that is not carried out while the host hangs.
    pub(super) fence_hangs: bool,
}

pub(super) struct Process {
    pub(super) life: Life,
    pub(super) elector: Elector,
    pub(super) incarnation: Incarnation,
    /// What the write path sees.
    pub(super) gate: GateState,
    /// The wakeup that is in the queue.
    pub(super) wake_at: u64,
    /// What came in while the process was stopped.
    pub(super) inbox: VecDeque<Event>,
    /// The machine slept since the driver last looked.
    pub(super) slept: bool,
    /// Told to the elector last.
    pub(super) told: (Epoch, Offsets),
    /// Ends when it has handed over, or at this time.
    pub(super) leaving_at: Option<u64>,
    /// When the kernel ends it, if it does not run before (F10), in nanoseconds of real time.
    pub(super) alarm: Option<u64>,
    /// The gate was shut and every shard has turned since: the timer is withdrawn once no answer is under way.
    pub(super) disarm: bool,
    /// Counts how often it was wound up: a wish to withdraw it that is older is void.
    pub(super) wound: u64,
    /// Its gate was open in this epoch, and the server has not counted what passed.
    pub(super) uncounted: Option<Epoch>,
    /// Answers under way.
    pub(super) answering: u32,
    /// In office without a break since, in nanoseconds of real time.
    pub(super) reigning_since: Option<u64>,
}

impl Process {
    /// Withdraws the kernel's timer where nothing is under way any more that it is for.
    pub(super) fn disarm_if_answered(&mut self) {
        if self.disarm && self.answering == 0 {
            self.alarm = None;
        }
    }
}

impl Machine {
    /// Whether the process would run now.
    pub(super) fn runs(&self) -> bool {
        self.process.is_some() && self.impairments.runs()
    }

    /// What has come for a process, back with the process if it is still that one and runs; one that is stopped finds it when it goes on.
    pub(super) fn deliver(&mut self, life: Life, event: Event) -> Option<(&mut Process, Event)> {
        let runs = self.runs();
        let process = self.process.as_mut().filter(|process| process.life == life)?;
        if !runs {
            process.inbox.push_back(event);
            return None;
        }
        Some((process, event))
    }
}
