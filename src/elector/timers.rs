//! When the elector wants to be called again: one table, one entry per purpose.

use crate::time::{Duration, Instant};
use crate::words::words;

words! {
    /// What a timer is for.
    pub(super) enum Timer {
        /// Send heartbeats and look after peers.
        Heartbeat,
        /// The primary has been silent for too long, or it is time to try again.
        Campaign,
        /// Answers to a campaign came too late.
        Round,
        /// A promise or the wait after a start ends, and somebody's pre-vote waits for that.
        Waiting,
        /// The lease ends.
        Lease,
        /// The host takes too long to become primary.
        Promotion,
        /// Ask how far the replicas are, or end a planned transfer that nobody is ready for.
        Handover,
        /// Somebody is to be told who votes, or a change of that is under way.
        Members,
        /// Try again to point the host at the primary.
        Follow,
    }
}

impl Timer {
    /// In which order those go off that are due at once.
    pub(super) const IN_ORDER: [Self; Self::ALL.len()] = [
        Self::Lease,
        Self::Round,
        Self::Promotion,
        Self::Handover,
        Self::Waiting,
        Self::Members,
        Self::Follow,
        Self::Campaign,
        Self::Heartbeat,
    ];

    /// Whether a message that comes in after this deadline must already see its effect. A process that
    /// was stopped and wakes up finds old messages first; they must not save an expired lease or round.
    pub(super) fn before_messages(self) -> bool {
        matches!(self, Self::Lease | Self::Round | Self::Promotion | Self::Handover)
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Timers([Option<Instant>; Timer::ALL.len()]);

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        self.0[timer as usize] = Some(at);
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    /// Sets a timer unless an earlier deadline is already set.
    pub(super) fn set_earlier(&mut self, timer: Timer, at: Instant) {
        let deadline = &mut self.0[timer as usize];
        *deadline = Some(deadline.map_or(at, |old| old.min(at)));
    }

    /// Lets a timer go off now if it would within `soon`.
    pub(super) fn bring_forward(&mut self, timer: Timer, now: Instant, soon: Duration) {
        if let Some(at) = &mut self.0[timer as usize]
            && *at <= now + soon
        {
            *at = now;
        }
    }

    /// Takes the timer if its time has come.
    pub(super) fn take_due(&mut self, timer: Timer, now: Instant) -> bool {
        let due = self.0[timer as usize].is_some_and(|at| at <= now);
        if due {
            self.clear(timer);
        }
        due
    }

    #[cfg(feature = "sim")]
    pub(super) fn deadlines(&self) -> [Option<Instant>; Timer::ALL.len()] {
        self.0
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().flatten().min().copied()
    }
}
