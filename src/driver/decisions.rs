//! The driver's rules that the simulator of the whole stack breaks one at a time, to show that it would notice
//! (`cargo sim --stack --mutations`). As in the elector: without feature `sim` the rule is all that is left.

use super::save::Queued;
use super::transition::{Answer, Transitions};
use super::{Driver, DriverMutation, SUSPEND_MIN, Shared};
use crate::elector::{DetachSeq, GateState};
use crate::position::Position;
use crate::time::Duration;

impl Shared {
    /// F9: whether the gate is shut when the driver ends, however it ends.
    pub(super) fn shuts_at_the_end(&self) -> bool {
        !self.mutated(DriverMutation::OpenAfterEnd)
    }
}

impl Driver {
    /// E3: whether a state counts as durable as soon as it is queued.
    pub(super) fn is_durable(&self, queued: Queued) -> bool {
        queued == Queued::Durable || self.shared.mutated(DriverMutation::SpeakBeforeSaved)
    }

    /// L6: whether the machine has slept for longer than reading two clocks explains.
    pub(super) fn has_slept(&self, before: Duration, now: Duration) -> bool {
        now > before + SUSPEND_MIN && !self.shared.mutated(DriverMutation::SleepUnseen)
    }

    /// F2: whether the gate is set before the next output is carried out. `last`: there is none left.
    pub(super) fn gate_goes_first(&self, last: bool) -> bool {
        last || !self.shared.mutated(DriverMutation::SendBeforeShut)
    }

    /// F7: whether a host is primary only once it says so.
    pub(super) fn waits_for_the_host(&self) -> bool {
        !self.shared.mutated(DriverMutation::OpenBeforePromoted)
    }

    /// F8: whether a fence drops a promotion that still runs.
    pub(super) fn fence_drops_promotion(&self) -> bool {
        !self.shared.mutated(DriverMutation::PromoteAfterFence)
    }

    /// F10: tells the host of a lease before the gate opens for it. A process that is stopped between the two must not have
    /// an open gate and a watchdog that sleeps.
    pub(super) fn set_gate(&self, gate: GateState) {
        if self.shared.mutated(DriverMutation::OpenBeforeTold) {
            self.shared.gate.set(gate);
        }
        if let GateState::Open(until) = gate {
            self.host.lease_renewed(until);
        }
        self.shared.gate.set(gate);
    }

    /// S3: the answer of the host to a question that it was just asked, where it gives it at once.
    pub(super) fn answer_now(&self, seq: DetachSeq, transitions: &mut Transitions) -> Option<Answer> {
        if self.shared.mutated(DriverMutation::DetachSkipped) {
            transitions.keep_question(|| None);
            let mut offsets = Vec::new();
            let stream_epoch = self.shared.position.read(&mut offsets);
            let last = stream_epoch.and_then(|epoch| Position::new(epoch, &offsets).ok());
            return Some(Answer { seq, position: Ok(last.unwrap_or_default()) });
        }
        transitions.answer_now()
    }
}

/// Deliberate faults.
impl Shared {
    #[cfg(feature = "sim")]
    fn mutated(&self, mutation: DriverMutation) -> bool {
        self.mutation.get() == Some(&mutation)
    }

    #[cfg(not(feature = "sim"))]
    #[inline(always)]
    const fn mutated(&self, _: DriverMutation) -> bool {
        false
    }
}
