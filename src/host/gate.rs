//! The write gate: the one question the write path asks.
//!
//! Closed by a deadline, not by a flag. A process that was stopped and wakes up is fenced on its very
//! first write, before any task of ours has run (`docs/protocol.md`, "Fence").

use crate::clock::Clock;
use crate::fence::{Denied, FenceReason, GateState};
use crate::time::{Duration, Instant, nanos};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Lets writes pass while the lease runs.
///
/// Invariants: (1) `until` is never later than the lease that the elector holds; (2) a write passes only
/// if the precise clock was before `until` at some instant after the call began; (3) `begun_until` is never later than the
/// last `until`, and zero unless the gate is shut for a handover.
pub struct WriteGate {
    clock: Arc<dyn Clock>,
    /// End of the lease, in nanoseconds of the clock. Zero: shut.
    until: AtomicU64,
    /// Until when what had begun may go on, while the gate is shut for a handover. Zero: it may not.
    begun_until: AtomicU64,
    /// How far before `until` the coarse clock alone decides.
    guard: u64,
    /// Why the gate is shut: 0 on a replica, else 1 + the index of a fence reason.
    reason: AtomicU8,
}

impl WriteGate {
    /// A shut gate on `clock`, for leases of length `lease`.
    ///
    /// A coarse clock answers while more than half a lease is left, which is always so on a healthy
    /// primary; the precise one answers in the other half. So the coarse clock may lag by half a lease
    /// (a descheduled virtual processor, a late tick) before it could let a write pass too late.
    pub fn new(clock: Arc<dyn Clock>, lease: Duration) -> Self {
        let guard = nanos(lease) / 2;
        Self {
            clock,
            until: AtomicU64::new(0),
            begun_until: AtomicU64::new(0),
            guard,
            reason: AtomicU8::new(0),
        }
    }

    /// A gate that is open until `until`, whatever happens: no election moves it. For a host's own tests
    /// and benchmarks of its write path, which then need no cluster. The gate that guards real writes is
    /// [`crate::plugin::ElectPlugin::write_gate`].
    pub fn open_until(clock: Arc<dyn Clock>, lease: Duration, until: Instant) -> Self {
        let gate = Self::new(clock, lease);
        gate.open(until);
        gate
    }

    /// Whether a write may pass now.
    #[inline]
    pub fn check(&self) -> Result<(), Denied> {
        // Acquire pairs with the release in `open`: what the driver did before it opened the gate (the
        // host's promotion) is seen by the write that passes.
        let until = self.until.load(Ordering::Acquire);
        if until > self.guard && self.clock.coarse().as_nanos() < until - self.guard {
            return Ok(());
        }
        self.check_precisely(until)
    }

    /// Whether a write may pass now.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.check().is_ok()
    }

    /// Whether a write may pass that belongs to something which began while the gate was open, a transaction for example (F23 of
    /// `docs/protocol.md`): also while it is shut for a handover, until the lease ends that it was opened for last. A host that
    /// asks this counts such writes too before its `fence` returns: until then nobody else is elected.
    pub fn check_begun(&self) -> Result<(), Denied> {
        self.check().or_else(|denied| match self.begun_until.load(Ordering::Acquire) {
            until if until > 0 && self.clock.now().as_nanos() < until => Ok(()),
            _ => Err(denied),
        })
    }

    #[cold]
    fn check_precisely(&self, until: u64) -> Result<(), Denied> {
        if until > 0 && self.clock.now().as_nanos() < until {
            return Ok(());
        }
        Err(match self.reason.load(Ordering::Relaxed) {
            // A deadline that passed with nobody there to say why: the lease ran out.
            0 if until > 0 => Denied::Fenced(FenceReason::LeaseExpired),
            0 => Denied::Replica,
            n => Denied::Fenced(
                FenceReason::ALL.get(usize::from(n) - 1).copied().unwrap_or(FenceReason::LeaseExpired),
            ),
        })
    }

    /// Until when it is open, or was.
    #[cfg(feature = "sim")]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let until = self.until.load(Ordering::Acquire);
        (until > 0).then(|| Instant::from_nanos(until))
    }

    /// Makes the gate what the elector wants it to be.
    pub(crate) fn set(&self, state: GateState) {
        match state {
            GateState::Open(until) => self.open(until),
            GateState::Shut(denied) => self.shut(denied),
        }
    }

    /// Opens the gate until `until`.
    pub(crate) fn open(&self, until: Instant) {
        self.begun_until.store(0, Ordering::SeqCst);
        self.reason.store(0, Ordering::Relaxed);
        self.until.store(until.as_nanos(), Ordering::Release);
    }

    /// Shuts the gate at once.
    pub(crate) fn shut(&self, denied: Denied) {
        let code = match denied {
            Denied::Replica => 0,
            Denied::Fenced(reason) => {
                1 + FenceReason::ALL.iter().position(|r| *r == reason).unwrap_or_default() as u8
            }
        };
        let until = self.until.load(Ordering::Relaxed);
        match denied {
            Denied::Fenced(FenceReason::StepDown) if until > 0 => {
                self.begun_until.store(until, Ordering::SeqCst);
            }
            // Still the same handover.
            Denied::Fenced(FenceReason::StepDown) => {}
            _ => self.begun_until.store(0, Ordering::SeqCst),
        }
        self.until.store(0, Ordering::SeqCst);
        self.reason.store(code, Ordering::Relaxed);
    }
}

impl fmt::Debug for WriteGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = Instant::from_nanos(self.until.load(Ordering::Relaxed));
        f.debug_struct("WriteGate").field("until", &until).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn gate() -> (Arc<ManualClock>, WriteGate) {
        let clock = Arc::new(ManualClock::new());
        (clock.clone(), WriteGate::new(clock, Duration::from_millis(900)))
    }

    #[test]
    fn a_new_gate_is_shut_and_says_replica() {
        let (_, gate) = gate();
        assert_eq!(gate.check(), Err(Denied::Replica));
    }

    #[test]
    fn the_deadline_alone_shuts_the_gate() {
        let (clock, gate) = gate();
        gate.open(clock.now() + Duration::from_millis(900));
        assert!(gate.is_open());
        clock.advance(Duration::from_millis(899));
        assert!(gate.is_open(), "the precise clock decides in the last half");
        clock.advance(Duration::from_millis(1));
        assert_eq!(gate.check(), Err(Denied::Fenced(FenceReason::LeaseExpired)));
    }

    #[test]
    fn a_coarse_clock_that_lags_by_less_than_half_a_lease_lets_nothing_through_late() {
        let (clock, gate) = gate();
        gate.open(clock.now() + Duration::from_millis(900));
        clock.set_coarse_lag(Duration::from_millis(449));
        clock.advance(Duration::from_millis(900));
        assert_eq!(gate.check(), Err(Denied::Fenced(FenceReason::LeaseExpired)));
    }

    #[test]
    fn a_gate_for_a_hosts_tests_is_open_until_its_deadline() {
        let clock = Arc::new(ManualClock::new());
        let lease = Duration::from_millis(900);
        let gate = WriteGate::open_until(clock.clone(), lease, clock.now() + lease);
        assert!(gate.is_open());
        clock.advance(lease);
        assert_eq!(gate.check(), Err(Denied::Fenced(FenceReason::LeaseExpired)));
    }

    #[test]
    fn what_had_begun_goes_on_while_the_gate_is_shut_for_a_handover_and_the_lease_runs() {
        let (clock, gate) = gate();
        let lease = Duration::from_millis(900);
        let step_down = Err(Denied::Fenced(FenceReason::StepDown));
        assert_eq!(gate.check_begun(), Err(Denied::Replica));
        gate.open(clock.now() + lease);
        gate.set(GateState::Shut(Denied::Fenced(FenceReason::StepDown)));
        gate.set(GateState::Shut(Denied::Fenced(FenceReason::StepDown)));
        assert_eq!((gate.check(), gate.check_begun()), (step_down, Ok(())));
        clock.advance(lease);
        assert_eq!(gate.check_begun(), step_down);
        for lost in [Denied::Replica, Denied::Fenced(FenceReason::LinksLost)] {
            gate.open(clock.now() + lease);
            gate.shut(Denied::Fenced(FenceReason::StepDown));
            gate.shut(lost);
            assert_eq!(gate.check_begun(), Err(lost), "the office or the lease is lost meanwhile");
            gate.shut(Denied::Fenced(FenceReason::StepDown));
            assert_eq!(gate.check_begun(), step_down, "without a lease nothing begins");
        }
    }

    #[test]
    fn every_reason_comes_out_as_it_went_in() {
        let (_, gate) = gate();
        for reason in FenceReason::ALL.iter().copied() {
            gate.shut(Denied::Fenced(reason));
            assert_eq!(gate.check(), Err(Denied::Fenced(reason)));
        }
        gate.shut(Denied::Replica);
        assert_eq!(gate.check(), Err(Denied::Replica));
    }
}
