//! A disk with a vote record.

use crate::ids::Epoch;
use crate::position::Position;
use crate::sim::run::member_in;
use crate::state::HardState;
use crate::store::{MemoryVoteStore, VoteStore, encode_position, encode_vote};
use futures::future::FutureExt;
use std::task::Waker;

/// What a restart finds.
#[derive(Default)]
pub(super) struct Disk {
    /// The record in its real format.
    pub(super) store: MemoryVoteStore,
    /// The same, to look at.
    pub(super) record: Option<HardState>,
    /// What a restart would have found before the last save.
    before: Option<HardState>,
    pub(super) writing: Option<Write>,
    pub(super) writes: u64,
    /// How the last write ended.
    pub(super) ended: Option<(u64, bool)>,
}

pub(super) struct Write {
    pub(super) number: u64,
    pub(super) state: HardState,
    pub(super) waker: Option<Waker>,
}

impl Disk {
    /// That of a member in this epoch; `None`: an empty one.
    pub(super) fn with_epoch(epoch: Option<Epoch>) -> Self {
        let mut disk = Self::default();
        if let Some(epoch) = epoch {
            disk.keep(member_in(epoch, None));
            disk.before = None;
        }
        disk
    }

    pub(super) fn keep(&mut self, state: HardState) {
        // In memory a save never waits. What was decoded before can be encoded.
        let record = encode_vote(&state).unwrap_or_default();
        let _ = self.store.save(&record).now_or_never();
        self.before = self.record.replace(state);
    }

    pub(super) fn keep_position(&self, position: &Position) {
        let record = encode_position(position).unwrap_or_default();
        let _ = self.store.save_position(&record).now_or_never();
    }

    pub(super) fn wipe(&mut self) {
        self.store.wipe();
        (self.record, self.before) = (None, None);
    }

    /// The disk loses a save that it had acknowledged.
    pub(super) fn lose_last(&mut self) {
        match self.before.take() {
            Some(before) => self.keep(before),
            None => self.wipe(),
        }
    }
}
