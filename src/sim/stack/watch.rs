//! What a host was asked, and has done.

use crate::ids::{Epoch, NodeId};
use crate::time::Instant;
use std::task::Waker;

/// What a host was asked and has done, in this process.
#[derive(Default)]
pub(super) struct Watch {
    pub(super) running: Option<Order>,
    pub(super) newest: Epoch,
    /// The epoch it serves as primary.
    pub(super) promoted: Option<Epoch>,
    /// Whom it follows.
    pub(super) follows: Option<(Epoch, NodeId)>,
    /// The longest lease that it was told of.
    pub(super) lease: Option<Instant>,
    pub(super) hung: Vec<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Promote(Epoch),
    Follow(Epoch, NodeId),
}

impl Order {
    pub(super) fn epoch(self) -> Epoch {
        let (Self::Promote(epoch) | Self::Follow(epoch, _)) = self;
        epoch
    }
}
