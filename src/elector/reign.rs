//! A time in office: promoted or not, fenced or not, being handed over or not.

use super::changing::Change;
use crate::fence::FenceReason;
use crate::position::Progress;
use crate::time::{Duration, Instant};

/// This node's time in office.
#[derive(Debug, Clone)]
pub(super) struct Reign {
    won_at: Instant,
    /// The host serves as primary.
    promoted: bool,
    /// Writes have passed in this reign.
    opened: bool,
    /// Why writes are refused, if they are.
    fenced: Option<FenceReason>,
    fenced_at: Instant,
    /// Clients are in the middle of something, as the host last said.
    busy: bool,
    /// An operator wants it to end.
    transfer: Option<Transfer>,
    handover: Option<Handover>,
    /// An operator wants others to vote.
    change: Option<Change>,
}

/// A wish that this office goes to another node. Writes pass until that one has nearly everything; then the handover begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transfer {
    /// To whom; `None`: to the best.
    pub(super) to: Option<usize>,
    pub(super) begun: Instant,
    /// How long to wait until the other node has nearly everything.
    pub(super) until: Instant,
    /// Where the data was, and when: how long the other node takes to come there is how far behind it is.
    pub(super) mark: (Progress, Instant),
    /// Since when it waits for nothing but clients that are in the middle of something.
    pub(super) near_since: Option<Instant>,
}

/// A planned end of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handover {
    pub(super) reason: FenceReason,
    /// Resign even if no replica has caught up.
    pub(super) anyway: bool,
    /// Until when to wait for one.
    pub(super) deadline: Instant,
}

impl Reign {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            won_at: now,
            promoted: false,
            opened: false,
            fenced: None,
            fenced_at: now,
            busy: false,
            transfer: None,
            handover: None,
            change: None,
        }
    }

    pub(super) fn change(&self) -> Option<Change> {
        self.change
    }

    pub(super) fn set_change(&mut self, change: Option<Change>) {
        self.change = change;
    }

    /// Time since the election was won.
    pub(super) fn took(&self, now: Instant) -> Duration {
        now.saturating_since(self.won_at)
    }

    pub(super) fn promoted(&self) -> bool {
        self.promoted
    }

    /// The same reign, its host promoted.
    pub(super) fn promote(&self) -> Self {
        Self { promoted: true, ..self.clone() }
    }

    /// Whether writes could pass, and never have: it opens now.
    pub(super) fn opens(&self) -> bool {
        self.promoted && self.fenced.is_none() && !self.opened
    }

    /// Whether writes have passed in it.
    pub(super) fn opened(&self) -> bool {
        self.opened
    }

    pub(super) fn open(&mut self) {
        self.opened = true;
    }

    pub(super) fn fenced(&self) -> Option<FenceReason> {
        self.fenced
    }

    /// Says whether writes passed until now.
    pub(super) fn fence(&mut self, reason: FenceReason, now: Instant) -> bool {
        let fences = self.fenced.is_none();
        if fences {
            self.fenced = Some(reason);
            self.fenced_at = now;
        }
        fences
    }

    /// Gives for how long writes were refused.
    pub(super) fn unfence(&mut self, now: Instant) -> Duration {
        self.fenced = None;
        now.saturating_since(self.fenced_at)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    pub(super) fn set_busy(&mut self, busy: bool) {
        self.busy = busy;
    }

    #[inline]
    pub(super) fn transfer(&self) -> Option<Transfer> {
        self.transfer
    }

    pub(super) fn set_transfer(&mut self, transfer: Option<Transfer>) {
        self.transfer = transfer;
    }

    #[inline]
    pub(super) fn handover(&self) -> Option<Handover> {
        self.handover
    }

    /// Begins to hand over; says whether that is anything new.
    pub(super) fn hand_over(&mut self, handover: Handover) -> bool {
        let begun = self.handover.is_some_and(|begun| begun.anyway || !handover.anyway);
        if !begun {
            self.handover = Some(handover);
        }
        !begun
    }

    /// Nobody caught up.
    pub(super) fn keep(&mut self) {
        self.handover = None;
    }

    #[cfg(feature = "sim")]
    pub(super) fn digest(&self, now: Instant, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        (self.promoted, self.fenced, self.busy).hash(hasher);
        let waits = |t: &Transfer| t.near_since.map(|at| now.saturating_since(at));
        self.transfer.map(|t| (t.to, t.until.saturating_since(now), t.mark.0, waits(&t))).hash(hasher);
        self.change.map(|c| (c.change, c.made, c.floor, c.until.saturating_since(now))).hash(hasher);
        self.handover.map(|h| (h.reason, h.anyway, h.deadline.saturating_since(now))).hash(hasher);
    }
}
