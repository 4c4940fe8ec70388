//! What is put into a shard's inbox, and what comes out of it.

use super::reign::BARRIER;
use super::rounds::TURN;
use super::{Applied, Shards};
use crate::position::ledger::Incoming;
use crate::position::marks::{self, Place};
use crate::position::replay::Record;
use crate::position::tag::Tag;
use kevy_rt::{Argv, ArgvView, ReplicaApply, SnapshotGate, Store};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// Reads answer `-LOADING` while one of these lives.
pub(crate) struct Loading(Arc<Shards>);

impl Loading {
    pub(crate) fn new(shards: Arc<Shards>) -> Self {
        shards.loading.fetch_add(1, Ordering::AcqRel);
        Self(shards)
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.0.loading.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Shards {
    /// Passes a frame on to its shard. False: the server has stopped.
    pub(crate) fn send_frame(&self, shard: usize, offset: u64, argv: Argv) -> bool {
        let state = &self.shards[shard];
        state.sent.fetch_add(1, Ordering::Relaxed);
        state.inbox.send(ReplicaApply::Frame { offset, argv }).is_ok()
    }

    /// Frames of followed streams that a shard has applied.
    pub(crate) fn applied(&self, shard: usize) -> u64 {
        self.shards[shard].applied.load(Ordering::Acquire)
    }

    /// Frames that were sent to a shard and not applied yet.
    pub(crate) fn outstanding(&self, shard: usize) -> u64 {
        let state = &self.shards[shard];
        let applied = state.applied.load(Ordering::Acquire);
        state.sent.load(Ordering::Relaxed).saturating_sub(applied)
    }

    /// kevy spoils its own log if it replaces it while a record is on its way to the file: the write fails, or ends in the new one. So the log
    /// rests before: a shard that was told of a copy logs that, and nothing more until it has it. Says the number by
    /// which that record is found.
    pub(crate) fn announce_snapshot(&self, shard: usize, at: Place) -> u64 {
        let state = &self.shards[shard];
        let before = *state.before.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let order = Argv::from(Incoming { at, before }.order(number));
        drop(state.inbox.send(ReplicaApply::Frame { offset: 0, argv: order }));
        number
    }

    /// Passes a whole snapshot on to its shard, which drops `landed` once it has loaded it. It was announced, and nothing
    /// was sent to the shard since. False: the server has stopped.
    pub(crate) fn send_snapshot(
        &self,
        shard: usize,
        bytes: Vec<u8>,
        next: u64,
        landed: SnapshotGate,
    ) -> bool {
        let state = &self.shards[shard];
        let _whole = state.bulk.lock().unwrap_or_else(PoisonError::into_inner);
        let end = ReplicaApply::SnapshotEnd { ack_offset: next, routed: false, gate: Some(landed) };
        [ReplicaApply::SnapshotBegin, ReplicaApply::SnapshotChunk(bytes), end]
            .into_iter()
            .all(|part| state.inbox.send(part).is_ok())
    }

    /// Who is to be told, and why, when this shard cannot apply what came.
    pub(crate) fn set_told_of_loss(&self, shard: usize, tell: impl Fn(&str) + Send + Sync + 'static) {
        *self.shards[shard].told_of_loss.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Arc::new(tell));
    }

    /// Makes every shard look around now, even an idle one: announces a snapshot that never comes, which
    /// kevy answers by clearing an empty buffer.
    pub fn wake(&self) {
        for shard in &self.shards {
            let _whole = shard.bulk.lock().unwrap_or_else(PoisonError::into_inner);
            drop(shard.inbox.send(ReplicaApply::SnapshotBegin));
        }
    }

    /// A record is about to be applied that no client sent. Makes room first, where many keys follow.
    pub(crate) fn before_record<A: ArgvView + ?Sized>(&self, shard: usize, store: &mut Store, record: &A) {
        if !self.is_restored(shard) {
            if store.dbsize() == 0 {
                self.make_room_for_log(shard, store);
            }
        } else if record.first() == Some(marks::LOAD) {
            self.make_room(shard, store);
        }
    }

    /// A record is applied that no client sent.
    pub(crate) fn note_record<A: ArgvView + ?Sized>(&self, shard: usize, record: &A) -> Applied {
        if !self.is_restored(shard) {
            let mut ledger = self.ledger(shard);
            if let Some(held) = Tag::held_beside(record) {
                // It ends the keyspace of a log that was written anew.
                ledger.replay().base(held, Tag::is_about(record));
                ledger.replay().learn(Tag::beginnings_beside(record));
                ledger.replay().belong(Tag::cluster_beside(record));
                self.shards[shard].continued.read_base();
                return Applied::Kevys;
            }
            let read = ledger.replay().take(record);
            drop(ledger);
            self.note_read(shard, read, record);
            return if matches!(read, Record::Mark | Record::Correction) {
                Applied::Done
            } else {
                Applied::Kevys
            };
        }
        match record.first() {
            Some(BARRIER) => self.obey(shard, record),
            Some(marks::MARK) => self.mark(shard, record),
            Some(TURN) => {
                self.turn(shard, record);
                Applied::Done
            }
            Some(marks::GO_ON) => self.go_on(shard, record),
            Some(marks::LOAD) => match Incoming::read(record) {
                Some((incoming, number)) => Applied::Logged(self.ledger(shard).expect(incoming, number)),
                None => Applied::Done,
            },
            _ => {
                let applied = self.shards[shard].applied.fetch_add(1, Ordering::Release) + 1;
                if let Some(number) = crate::position::cuts::number(record) {
                    self.ledger(shard).note_cut(number, applied);
                }
                Applied::Kevys
            }
        }
    }

    /// A frame could not be applied, so this shard is not what its primary's is. Nothing that comes is applied
    /// before a snapshot has replaced it all.
    pub(crate) fn note_unapplied(&self, shard: usize, verb: &str, error: &str) {
        let state = &self.shards[shard];
        if state.broken.swap(true, Ordering::AcqRel) {
            return;
        }
        let reason = format!("cannot apply {verb}: {error}; the data is copied anew");
        eprintln!("kevy-server: shard {shard}: {reason}");
        metrics::counter!("kevy_server_stream_unapplied_total").increment(1);
        // Also after a restart: the log says so.
        self.note_lost(shard);
        self.order_mark(shard, 0, 0);
        let tell = state.told_of_loss.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(tell) = tell {
            tell(&reason);
        }
    }

    /// A shipped snapshot has replaced the keyspace.
    pub fn note_load(&self, shard: usize) {
        let state = &self.shards[shard];
        state.broken.store(false, Ordering::Release);
        self.ledger(shard).loaded(state.applied.load(Ordering::Acquire));
        state.loads.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn loads(&self, shard: usize) -> u64 {
        self.shards[shard].loads.load(Ordering::Acquire)
    }
}
