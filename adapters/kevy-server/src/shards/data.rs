//! What a shard's data is: read out of its log when it starts, and marked in the log ever after.

use super::{Applied, Shards, stream};
use crate::position::claim;
use crate::position::ledger::Ledger;
use crate::position::marks::{self, Cuts, Held};
use crate::position::tag::Tag;
use kevy_elect_plugin::ids::ClusterId;
use kevy_elect_plugin::position::Position;
use kevy_rt::{Argv, ArgvView, ReplicaApply, Store};
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

impl Shards {
    /// A snapshot from disk was loaded; `frame` stood beside the keyspace.
    pub(crate) fn note_data_on_disk(&self, shard: usize, frame: Option<&Argv>) {
        let mut ledger = self.ledger(shard);
        ledger.replay().base(frame.and_then(Tag::held_beside).flatten(), frame.is_some_and(Tag::is_about));
        ledger.replay().learn(frame.and_then(Tag::beginnings_beside));
        ledger.replay().belong(frame.and_then(Tag::cluster_beside));
    }

    /// The cluster whose data the shards hold, as it says itself.
    pub(crate) fn cluster_of_data(&self) -> Option<ClusterId> {
        (0..self.count()).find_map(|shard| self.ledger(shard).replay().cluster())
    }

    /// This node belongs to that cluster for good: the data is to say so.
    pub(crate) fn belong(&self, cluster: ClusterId) {
        let mut news = false;
        for (number, shard) in self.shards.iter().enumerate() {
            if shard.continued.belong(cluster) {
                self.ledger(number).mark_anew();
                news = true;
            }
        }
        if news {
            self.wake();
        }
    }

    /// The same, for what stands beside a keyspace.
    pub(crate) fn cluster_beside(&self, shard: usize) -> Vec<u8> {
        self.shards[shard].continued.cluster()
    }

    /// A record of the log was applied.
    pub(crate) fn note_replayed<A: ArgvView + ?Sized>(&self, shard: usize, store: &Store, record: &A) {
        if !self.is_restored(shard) {
            self.ledger(shard).replay().applied(store, record);
        }
    }

    /// kevy found that a part of the log is missing.
    pub(crate) fn note_damage(&self, shard: usize) {
        self.shards[shard].damaged.store(true, Ordering::Relaxed);
    }

    /// What was on disk is loaded. Says what the data is.
    pub(crate) fn note_restored(&self, shard: usize) -> Held {
        let state = &self.shards[shard];
        let damaged = state.damaged.load(Ordering::Relaxed)
            || self.disk.get().is_some_and(|disk| disk.logs && disk.is_damaged(shard));
        if damaged {
            log::error!(
                "the log of shard {shard} is damaged, and what follows the damage is lost: this node does not say any more \
                 that it holds anything of its data, and gets a copy from the primary"
            );
        }
        let mut ledger = self.ledger(shard);
        let beginnings = ledger.replay().beginnings().clone();
        ledger.end_replay(damaged);
        state.continued.belonged(ledger.replay().cluster());
        let held = ledger.now(0);
        drop(ledger);
        self.end_reading(shard, &beginnings, damaged);
        state.restored.store(true, Ordering::Release);
        self.progress.notify(usize::MAX);
        held
    }

    /// Whether what was on disk is loaded.
    pub fn is_restored(&self, shard: usize) -> bool {
        self.shards[shard].restored.load(Ordering::Relaxed)
    }

    /// Whether all shards have loaded what was on disk; then, what that is.
    pub(crate) fn restored(&self) -> Option<Position> {
        if !(0..self.count()).all(|shard| self.shards[shard].restored.load(Ordering::Acquire)) {
            return None;
        }
        let restored: Option<Vec<_>> = (0..self.count()).map(|shard| self.ledger(shard).restored()).collect();
        restored.map(|restored| claim::position(&restored))
    }

    /// The order to put a mark into the log. What it says is what is true here, behind everything that was applied.
    pub(super) fn mark<A: ArgvView + ?Sized>(&self, shard: usize, order: &A) -> Applied {
        let number = order.get(1).and_then(marks::number_of).unwrap_or_default();
        let state = &self.shards[shard];
        let mut ledger = self.ledger(shard);
        if ledger.is_loading() {
            // The log rests until it is replaced.
            return Applied::Done;
        }
        let held = ledger.now(state.applied.load(Ordering::Acquire));
        ledger.note_marked(held);
        drop(ledger);
        state.marked.fetch_max(number, Ordering::AcqRel);
        let epoch = held.at.map_or(0, |at| at.epoch.0);
        if epoch != 0 && epoch == state.started.load(Ordering::Relaxed) {
            state.named.store(epoch, Ordering::Release);
            self.note_seen(shard);
        }
        Applied::Logged(self.signed(shard, held, number))
    }

    /// The record that says so, with the beginnings of histories and the cluster's id where the log does not have them all.
    pub(super) fn signed(&self, shard: usize, held: Held, number: u64) -> Vec<Vec<u8>> {
        let mut mark = held.mark(number);
        mark.extend(self.shards[shard].continued.take_news().into_iter().flatten());
        mark
    }

    /// A mark for the log, if one is due: asked at every tick, where kevy logs what it is given before anything else.
    pub(crate) fn tick_mark(&self, shard: usize) -> Option<Vec<Vec<u8>>> {
        if !self.is_restored(shard) {
            return None;
        }
        let state = &self.shards[shard];
        let mut ledger = self.ledger(shard);
        let applied = state.applied.load(Ordering::Acquire);
        if !ledger.follows() {
            return None;
        }
        // Asked for before the first frame. What is asked for later is ordered behind the frames.
        let asked = state.asked_first.load(Ordering::Acquire);
        if asked != 0 && !ledger.is_loading() {
            // Whoever asked again meanwhile gets the next one.
            let _ = state.asked_first.compare_exchange(asked, 0, Ordering::AcqRel, Ordering::Relaxed);
            state.marked.fetch_max(asked, Ordering::AcqRel);
            let held = ledger.now(applied);
            ledger.note_marked(held);
            return Some(self.signed(shard, held, asked));
        }
        ledger.due(applied, false).map(|held| self.signed(shard, held, 0))
    }

    /// Whether writes may have passed since kevy said last how far this shard's own stream is: then the data is further on than that (K11).
    pub(crate) fn is_about(&self, shard: usize) -> bool {
        let shut = self.shards[shard].shut_views.load(Ordering::Relaxed);
        !self.ledger(shard).follows() && (shut < stream::TICKS || self.check().is_ok())
    }

    /// What stands beside a keyspace that is written now.
    pub(crate) fn beside(&self, shard: usize) -> (Held, Cuts) {
        self.ledger(shard).beside(self.shards[shard].applied.load(Ordering::Acquire))
    }

    /// Puts the order for a mark behind what is in the shard's inbox. `offset`: the last frame that was sent.
    pub(super) fn order_mark(&self, shard: usize, number: u64, offset: u64) {
        let order = Argv::from(vec![marks::MARK.to_vec(), number.to_string().into_bytes()]);
        drop(self.shards[shard].inbox.send(ReplicaApply::Frame { offset, argv: order }));
    }

    /// Asks for a mark behind the `next` frames that were put into the shard's inbox. Says its number.
    pub(crate) fn ask_mark(&self, shard: usize, next: u64) -> u64 {
        let state = &self.shards[shard];
        let number = state.asked.fetch_add(1, Ordering::AcqRel) + 1;
        match next.checked_sub(1) {
            Some(last) => self.order_mark(shard, number, last),
            // There is no frame that this order could stand behind: the next tick gives the mark.
            None => {
                state.asked_first.store(number, Ordering::Release);
                self.wake();
            }
        }
        number
    }

    /// The number of the last mark that was put into the log.
    pub(crate) fn marked(&self, shard: usize) -> u64 {
        self.shards[shard].marked.load(Ordering::Acquire)
    }

    /// Has kevy write the log of a shard anew, again and again until it is enough.
    pub(crate) fn ask_rewrite(&self, shard: usize, wanted: bool) {
        self.shards[shard].rewrite.store(wanted, Ordering::Release);
    }

    pub(crate) fn wants_rewrite(&self, shard: usize) -> bool {
        let shard = &self.shards[shard];
        shard.rewrite.load(Ordering::Relaxed) || shard.dumps.again.load(Ordering::Relaxed)
    }

    /// The data of a shard is not what it was to become.
    pub(crate) fn note_lost(&self, shard: usize) {
        self.ledger(shard).lose();
    }

    pub(super) fn ledger(&self, shard: usize) -> MutexGuard<'_, Ledger> {
        self.shards[shard].ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::played::{apply, restore, shards};
    use super::*;
    use crate::position::ledger::Incoming;
    use crate::position::marks::Place;
    use kevy_elect_plugin::ids::Epoch;

    #[test]
    fn a_mark_says_what_the_data_is_where_it_is_logged() {
        let (shards, _inboxes) = shards(1);
        restore(&shards);
        let at = Place { epoch: Epoch(4), flushes: 0, offset: 10 };
        let order = Argv::from(Incoming { at, before: None }.order(5));
        assert!(matches!(shards.note_record(0, &order), Applied::Logged(words) if words[0] == marks::LOAD));
        shards.note_load(0);
        for _ in 0..3 {
            assert!(!apply(&shards, 0, &Argv::from(vec![b"SET".to_vec(), b"k".to_vec(), b"v".to_vec()])));
        }
        let Applied::Logged(words) =
            shards.note_record(0, &Argv::from(vec![marks::MARK.to_vec(), b"77".to_vec()]))
        else {
            unreachable!("a mark is logged");
        };
        assert_eq!((words[2].as_slice(), words[4].as_slice()), (&b"4:0:13"[..], &b"77"[..]));
        assert_eq!(shards.outstanding(0), 0, "orders are no frames");
    }
}
