//! The vote record in memory, for tests and simulations.

use super::api::{StoreError, VoteStore};
use async_trait::async_trait;
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// A vote record that lives as long as the value and its clones, which share it: drop a node, keep a
/// clone, and the next start of the node finds its record.
///
/// It can be told to behave like a bad disk. **Not durable**: never use it for a node that somebody relies on.
#[derive(Debug, Clone, Default)]
pub struct MemoryVoteStore(Arc<Mutex<Disk>>);

/// Where a save hangs. The difference shows when the process dies meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hang {
    /// Before anything is stored: an abandoned save leaves the old record.
    Before,
    /// After the new record is stored, before the save returns: an abandoned save leaves the new one.
    After,
}

#[derive(Debug, Default)]
struct Disk {
    record: Option<Vec<u8>>,
    position: Option<Vec<u8>>,
    saves: u64,
    failures_left: u32,
    hang: Option<Hang>,
    hanging: usize,
    wakers: Vec<Waker>,
}

impl MemoryVoteStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many saves have returned `Ok`, over all clones.
    pub fn saves(&self) -> u64 {
        self.disk().saves
    }

    /// Makes the next `count` saves fail. They leave the old record.
    pub fn fail_next(&self, count: u32) {
        self.disk().failures_left = count;
    }

    /// Makes every save hang from now on, until [`MemoryVoteStore::release`].
    pub fn hang(&self, place: Hang) {
        self.disk().hang = Some(place);
    }

    /// Lets the saves that hang go on, and later ones not hang.
    pub fn release(&self) {
        let wakers = {
            let mut disk = self.disk();
            disk.hang = None;
            std::mem::take(&mut disk.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How many saves hang now.
    pub fn hanging(&self) -> usize {
        self.disk().hanging
    }

    /// Damages the record, so that nobody can read it until the next save. Of an empty store it makes an
    /// empty record, as a crash between creating and writing a file would.
    pub fn damage(&self) {
        let mut disk = self.disk();
        let record = disk.record.get_or_insert_default();
        let middle = record.len() / 2;
        if let Some(byte) = record.get_mut(middle) {
            *byte ^= 1;
        }
    }

    /// Forgets the record, as a replaced disk does.
    pub fn wipe(&self) {
        let mut disk = self.disk();
        (disk.record, disk.position) = (None, None);
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass(&self, place: Hang) {
        if self.disk().hang != Some(place) {
            return;
        }
        let _counted = Hanging::new(self);
        poll_fn(|cx| {
            let mut disk = self.disk();
            if disk.hang != Some(place) {
                return Poll::Ready(());
            }
            // Kept free of duplicates: a save that is polled a thousand times while it hangs leaves one.
            if !disk.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                disk.wakers.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// Counts a hanging save, and stops counting it when it goes on or is dropped.
struct Hanging<'a>(&'a MemoryVoteStore);

impl<'a> Hanging<'a> {
    fn new(store: &'a MemoryVoteStore) -> Self {
        store.disk().hanging += 1;
        Self(store)
    }
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.0.disk().hanging -= 1;
    }
}

#[async_trait]
impl VoteStore for MemoryVoteStore {
    async fn load(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.disk().record.clone())
    }

    async fn save(&self, record: &[u8]) -> Result<(), StoreError> {
        self.pass(Hang::Before).await;
        {
            let mut disk = self.disk();
            if disk.failures_left > 0 {
                disk.failures_left -= 1;
                let source = io::Error::other("told to fail by `fail_next`");
                return Err(StoreError::Io { path: path(), action: "write", source });
            }
            disk.record = Some(record.to_vec());
        }
        self.pass(Hang::After).await;
        self.disk().saves += 1;
        Ok(())
    }

    async fn load_position(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.disk().position.clone())
    }

    async fn save_position(&self, record: &[u8]) -> Result<(), StoreError> {
        self.disk().position = Some(record.to_vec());
        Ok(())
    }

    fn place(&self) -> PathBuf {
        path()
    }
}

/// What stands for the file in errors.
fn path() -> PathBuf {
    PathBuf::from("(in memory)")
}
