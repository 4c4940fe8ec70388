//! Whom this node takes for the primary, and what its host was told to follow.

use crate::event::Reason;
use crate::ids::Epoch;
use crate::time::{Duration, Instant};

/// The primary, as this node knows it.
#[derive(Debug, Clone)]
pub(super) struct Primary {
    /// The primary that we follow, or ourselves.
    index: Option<usize>,
    /// When it was last heard, where another process speaks as its node since.
    heard: Option<Instant>,
    /// Why the last one was given up: what the next failover is labelled with.
    cause: Reason,
}

impl Primary {
    pub(super) fn none() -> Self {
        Self { index: None, heard: None, cause: Reason::Start }
    }

    pub(super) fn index(&self) -> Option<usize> {
        self.index
    }

    #[inline]
    pub(super) fn is(&self, member: usize) -> bool {
        self.index == Some(member)
    }

    #[inline]
    pub(super) fn is_known(&self) -> bool {
        self.index.is_some()
    }

    /// Says whether this is a change.
    pub(super) fn set(&mut self, index: Option<usize>) -> bool {
        let changes = self.index != index;
        if changes {
            self.index = index;
            self.heard = None;
        }
        changes
    }

    /// Another process speaks as the primary's node from here on.
    pub(super) fn succeeded(&mut self, heard: Option<Instant>) {
        self.heard = self.heard.or(heard);
    }

    /// When it was last heard, if another process speaks as its node since.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.heard
    }

    pub(super) fn cause(&self) -> Reason {
        self.cause
    }

    pub(super) fn gives_up_for(&mut self, cause: Reason) {
        self.cause = cause;
    }
}

/// What the host was last told to follow, and has not been detached from since.
#[derive(Debug, Clone)]
pub(super) struct Following {
    whom: Option<(Epoch, usize)>,
    since: Instant,
}

impl Following {
    pub(super) fn nobody(now: Instant) -> Self {
        Self { whom: None, since: now }
    }

    pub(super) fn begin(&mut self, epoch: Epoch, primary: usize, now: Instant) {
        *self = Self { whom: Some((epoch, primary)), since: now };
    }

    pub(super) fn end(&mut self) {
        self.whom = None;
    }

    /// A primary of an older epoch is none any more.
    pub(super) fn end_before(&mut self, epoch: Epoch) {
        let _ = self.whom.take_if(|(of, _)| *of < epoch);
    }

    #[inline]
    pub(super) fn is(&self, epoch: Epoch, primary: usize) -> bool {
        self.whom == Some((epoch, primary))
    }

    /// The primary of `epoch`, if that is who the host was told to follow.
    pub(super) fn of(&self, epoch: Epoch) -> Option<usize> {
        self.whom.filter(|(of, _)| *of == epoch).map(|(_, primary)| primary)
    }

    pub(super) fn took(&self, now: Instant) -> Duration {
        now.saturating_since(self.since)
    }

    #[cfg(feature = "sim")]
    pub(super) fn whom(&self) -> Option<(Epoch, usize)> {
        self.whom
    }
}
