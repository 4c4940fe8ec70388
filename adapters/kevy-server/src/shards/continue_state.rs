//! From one history to another without a copy: what a shard knows and keeps for it.
//! Rules: `docs/protocol.md`, section "Continuation".

use crate::continuation::path::Beginnings;
use crate::continuation::ring::Ring;
use crate::position::marks::Place;
use kevy_elect_plugin::ids::{ClusterId, Epoch};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of received frames that are kept until somebody says how many.
const KEPT_BYTES: usize = 1 << 20;

/// One shard's.
pub(super) struct ContinueState {
    /// Where histories began on this shard's counterparts, and on itself.
    pub(super) beginnings: Mutex<Beginnings>,
    /// The cluster that the node belongs to.
    cluster: Mutex<Option<ClusterId>>,
    /// Whether the log does not have them all.
    pub(super) news: AtomicBool,
    /// Of the log that is read back: how long it is, how much of it was read, and whether a keyspace of unknown size was.
    pub(super) log_bytes: AtomicU64,
    pub(super) read_bytes: AtomicU64,
    pub(super) read_base: AtomicBool,
    pub(super) kept: Mutex<Ring>,
    /// The numbers of the last order to go on that was carried out, and of the last that was not.
    pub(super) done: AtomicU64,
    pub(super) void: AtomicU64,
    /// How often the data was copied from a primary, and how often it was continued.
    pub(super) copies: AtomicU64,
    pub(super) continuations: AtomicU64,
}

impl Default for ContinueState {
    fn default() -> Self {
        Self {
            beginnings: Mutex::default(),
            cluster: Mutex::default(),
            news: AtomicBool::default(),
            log_bytes: AtomicU64::default(),
            read_bytes: AtomicU64::default(),
            read_base: AtomicBool::default(),
            kept: Mutex::new(Ring::new(KEPT_BYTES)),
            done: AtomicU64::default(),
            void: AtomicU64::default(),
            copies: AtomicU64::default(),
            continuations: AtomicU64::default(),
        }
    }
}

impl ContinueState {
    pub(super) fn beginnings(&self) -> MutexGuard<'_, Beginnings> {
        self.beginnings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This shard begins the history of `epoch` with the data of `place`.
    pub(super) fn begin(&self, epoch: Epoch, place: Option<Place>) {
        if self.beginnings().note(epoch, place) {
            self.news.store(true, Ordering::Release);
        }
    }

    /// The node belongs to that cluster; says whether that is news.
    pub(super) fn belong(&self, cluster: ClusterId) -> bool {
        let known = self.cluster.lock().unwrap_or_else(PoisonError::into_inner).replace(cluster);
        let news = known != Some(cluster);
        if news {
            self.news.store(true, Ordering::Release);
        }
        news
    }

    /// The log that was read back says so.
    pub(super) fn belonged(&self, cluster: Option<ClusterId>) {
        *self.cluster.lock().unwrap_or_else(PoisonError::into_inner) = cluster;
    }

    /// The cluster that the node belongs to, for a log; no digits where it is not known.
    pub(super) fn cluster(&self) -> Vec<u8> {
        let known = *self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        known.map_or_else(Vec::new, |cluster| cluster.to_string().into_bytes())
    }

    /// The beginnings and the cluster for the log, if it does not have them all.
    pub(super) fn take_news(&self) -> Option<[Vec<u8>; 2]> {
        let news = self.news.swap(false, Ordering::AcqRel);
        news.then(|| [self.beginnings().write().into_bytes(), self.cluster()])
    }

    /// What was read of the log until now was a whole keyspace.
    pub(super) fn read_base(&self) {
        self.read_base.store(true, Ordering::Relaxed);
        self.kept().clear();
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Ring> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
