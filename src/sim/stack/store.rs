//! A vote store on a simulated disk: it takes its time, fails, hangs, and goes on while the process stands.

use super::state::{Scene, State};
use crate::position::Position;
use crate::sim::clock::MS;
use crate::state::HardState;
use crate::store::{
    MemoryVoteStore, StoreError, VoteStore, decode_position, decode_vote, encode_position, encode_vote,
};
use async_trait::async_trait;
use futures::future::{FutureExt, poll_fn};
use std::io;
use std::path::PathBuf;
use std::task::{Poll, Waker};

/// The [`VoteStore`] of one node.
pub(super) struct SimStore {
    pub(super) scene: Scene,
    pub(super) node: usize,
}

/// What a restart finds.
#[derive(Default)]
pub(super) struct Disk {
    /// The record in its real format.
    pub(super) store: MemoryVoteStore,
    /// The same, to look at.
    pub(super) record: Option<HardState>,
    /// What a restart would have found before the last save.
    before: Option<HardState>,
    writing: Option<Write>,
    writes: u64,
    /// How the last write ended.
    ended: Option<(u64, bool)>,
}

struct Write {
    number: u64,
    state: HardState,
    waker: Option<Waker>,
}

impl Disk {
    fn keep(&mut self, state: HardState) {
        // In memory a save never waits. What was decoded before can be encoded.
        let record = encode_vote(&state).unwrap_or_default();
        let _ = self.store.save(&record).now_or_never();
        self.before = self.record.replace(state);
    }

    fn keep_position(&self, position: &Position) {
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

#[async_trait]
impl VoteStore for SimStore {
    async fn load(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let store = self.scene.with(|state| state.nodes[self.node].disk.store.clone());
        store.load().await
    }

    async fn load_position(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let store = self.scene.with(|state| state.nodes[self.node].disk.store.clone());
        store.load_position().await
    }

    /// Takes no time here: nobody waits for it.
    async fn save_position(&self, record: &[u8]) -> Result<(), StoreError> {
        if let Ok(position) = decode_position(record) {
            self.scene.with(|state| state.nodes[self.node].disk.keep_position(&position));
        }
        Ok(())
    }

    async fn save(&self, record: &[u8]) -> Result<(), StoreError> {
        let place = PathBuf::from("(simulated)");
        let hard = decode_vote(record)
            .map_err(|error| StoreError::Corrupt { path: place.clone(), reason: error.to_string() })?;
        let number = self.scene.with(|state| state.begin_write(self.node, hard));
        let failed = poll_fn(|cx| {
            self.scene.with(|state| {
                let disk = &mut state.nodes[self.node].disk;
                if let Some((_, failed)) = disk.ended.filter(|(ended, _)| *ended == number) {
                    return Poll::Ready(failed);
                }
                if let Some(write) = disk.writing.as_mut().filter(|write| write.number == number) {
                    write.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            })
        })
        .await;
        let told = || io::Error::other("the plan lets the disk fail");
        match failed {
            false => Ok(()),
            true => Err(StoreError::Io { path: place, action: "write", source: told() }),
        }
    }
}

impl State {
    fn begin_write(&mut self, node: usize, hard: HardState) -> u64 {
        let ills = self.nodes[node].ills;
        let disk = &mut self.nodes[node].disk;
        disk.writes += 1;
        let number = disk.writes;
        disk.writing = Some(Write { number, state: hard, waker: None });
        if ills.disk_hanging == 0 {
            let at = self.now() + self.rng.below(self.plan.setup.save.max(ills.disk_slow));
            let failed = ills.disk_failing > 0 && self.rng.chance(800);
            self.push(at, super::state::Event::Written { node, number, failed });
        }
        number
    }

    pub(super) fn on_written(&mut self, node: usize, number: u64, failed: bool) {
        let disk = &mut self.nodes[node].disk;
        let Some(write) = disk.writing.take_if(|write| write.number == number) else { return };
        disk.ended = Some((number, failed));
        // A save that fails may have reached the disk all the same.
        if !failed || self.rng.chance(300) {
            self.invariants.epochs.on_saved(node, &write.state);
            self.nodes[node].disk.keep(write.state);
        }
        write.waker.into_iter().for_each(Waker::wake);
    }

    /// What hung, or was slow, ends soon.
    pub(super) fn unhang_disk(&mut self, node: usize) {
        let machine = &self.nodes[node];
        if machine.ills.disk_hanging == 0
            && let Some(write) = &machine.disk.writing
        {
            let number = write.number;
            self.push(self.now() + MS, super::state::Event::Written { node, number, failed: false });
        }
    }

    /// The process is gone: a save that was under way has reached the disk, or has not, never half of it.
    pub(super) fn abandon_write(&mut self, node: usize) {
        let reached = self.rng.chance(500);
        let disk = &mut self.nodes[node].disk;
        if let Some(write) = disk.writing.take()
            && reached
        {
            disk.keep(write.state);
        }
    }
}
