//! A vote store on a simulated disk: it takes its time, fails, hangs, and goes on while the process stands.

use super::disk::Write;
use super::event::Event;
use super::state::{Scene, State};
use crate::sim::clock::MS;
use crate::sim::invariants::Check;
use crate::state::HardState;
use crate::store::{StoreError, VoteStore, decode_position, decode_vote};
use async_trait::async_trait;
use futures::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::task::{Poll, Waker};

/// The [`VoteStore`] of one node.
pub(super) struct SimStore {
    pub(super) scene: Scene,
    pub(super) node: usize,
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
        let impairments = self.nodes[node].impairments;
        let disk = &mut self.nodes[node].disk;
        disk.writes += 1;
        let number = disk.writes;
        disk.writing = Some(Write { number, state: hard, waker: None });
        if impairments.disk_hanging == 0 {
            let at = self.run.now + self.run.rng.below(self.run.plan.setup.save.max(impairments.disk_slow));
            let failed = impairments.disk_failing > 0 && self.run.rng.chance(800);
            self.push(at, Event::Written { node, number, failed });
        }
        number
    }

    pub(super) fn on_written(&mut self, node: usize, number: u64, failed: bool) {
        let disk = &mut self.nodes[node].disk;
        let Some(write) = disk.writing.take_if(|write| write.number == number) else { return };
        disk.ended = Some((number, failed));
        // A save that fails may have reached the disk all the same.
        if !failed || self.run.rng.chance(300) {
            self.run.invariants.epochs.on_saved(node, &write.state);
            let found = self.run.invariants.identities.on_saved(node, &write.state);
            self.run.stats.checks[Check::Identities as usize] += 1;
            self.run.take(found);
            self.nodes[node].disk.keep(write.state);
        }
        write.waker.into_iter().for_each(Waker::wake);
    }

    /// What hung, or was slow, ends soon.
    pub(super) fn unhang_disk(&mut self, node: usize) {
        let machine = &self.nodes[node];
        if machine.impairments.disk_hanging == 0
            && let Some(write) = &machine.disk.writing
        {
            let number = write.number;
            self.push(self.run.now + MS, Event::Written { node, number, failed: false });
        }
    }

    /// The process is gone: a save that was under way has reached the disk, or has not, never half of it.
    pub(super) fn abandon_write(&mut self, node: usize) {
        let reached = self.run.rng.chance(500);
        let disk = &mut self.nodes[node].disk;
        if let Some(write) = disk.writing.take()
            && reached
        {
            disk.keep(write.state);
        }
    }
}
