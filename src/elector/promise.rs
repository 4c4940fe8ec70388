//! Promises: for whom alone this node votes, and until when.

use crate::ids::{Epoch, Incarnation};
use crate::time::Instant;

/// What was promised, by this process and perhaps by an earlier one.
#[derive(Debug, Clone)]
pub(super) struct Promises {
    /// No votes before this: an earlier process may have promised something.
    booting_until: Option<Instant>,
    given: Option<Promise>,
}

/// "I vote and pre-vote for nobody else until then."
#[derive(Debug, Clone, Copy)]
pub(super) struct Promise {
    to: usize,
    /// The epoch in which it was given.
    epoch: Epoch,
    /// The process it was given to; it is void once that one is dead.
    incarnation: Option<Incarnation>,
    until: Instant,
}

impl Promise {
    pub(super) fn new(to: usize, incarnation: Option<Incarnation>, epoch: Epoch, until: Instant) -> Self {
        Self { to, epoch, incarnation, until }
    }

    pub(super) fn to(&self) -> usize {
        self.to
    }

    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Whether it was given to this process, not to an earlier one of its node: that one may live and write.
    pub(super) fn is_to(&self, peer: usize, incarnation: Option<Incarnation>) -> bool {
        self.to == peer && self.incarnation == incarnation
    }
}

impl Promises {
    /// Of a process that starts. A cluster of one made no promise that matters: nobody else can be elected.
    pub(super) fn new(booting_until: Option<Instant>) -> Self {
        Self { booting_until, given: None }
    }

    /// The promise that holds now.
    pub(super) fn live(&self, now: Instant) -> Option<&Promise> {
        self.given.as_ref().filter(|promise| promise.until > now)
    }

    pub(super) fn give(&mut self, promise: Promise) {
        self.given = Some(promise);
    }

    pub(super) fn drop_own(&mut self) {
        self.given = None;
    }

    /// Drops the promise to this process; says whether there was one.
    pub(super) fn void(&mut self, peer: usize, incarnation: Option<Incarnation>) -> bool {
        self.given.take_if(|promise| promise.is_to(peer, incarnation)).is_some()
    }

    /// Drops the promise to this process if it is of this epoch or of an older one; says whether there was one.
    pub(super) fn release(&mut self, peer: usize, incarnation: Option<Incarnation>, epoch: Epoch) -> bool {
        let freed = |promise: &mut Promise| promise.is_to(peer, incarnation) && promise.epoch <= epoch;
        self.given.take_if(freed).is_some()
    }

    /// Whether this node waits for what an earlier process of its own may have promised.
    pub(super) fn booting(&self, now: Instant) -> bool {
        self.booting_until.is_some_and(|until| until > now)
    }

    pub(super) fn booting_until(&self) -> Option<Instant> {
        self.booting_until
    }

    /// An earlier process promised nothing that binds.
    pub(super) fn end_boot(&mut self) {
        self.booting_until = None;
    }

    #[cfg(feature = "sim")]
    pub(super) fn boot_until(&mut self, at: Instant) {
        self.booting_until = Some(at);
    }

    #[cfg(feature = "sim")]
    pub(super) fn digest(&self, now: Instant, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        self.booting_until.map(|until| until.saturating_since(now)).hash(hasher);
        let given = self.given.as_ref();
        given.map(|p| (p.to, p.epoch, p.incarnation, p.until.saturating_since(now))).hash(hasher);
    }
}
