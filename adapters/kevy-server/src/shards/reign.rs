//! An office of this node: the order to take it up, the stream that each shard starts for it, and its clock.

use super::{Applied, Shards};
use crate::position::marks::{self, Before};
use crate::process::clock;
use kevy_elect_plugin::ids::Epoch;
use kevy_elect_plugin::position::Position;
use kevy_rt::{Argv, ArgvView, ReplicaApply};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// How often a shard of a node that is not primary looks for orders. Costs nothing while it is idle:
/// kevy ticks only when something else wakes it.
pub(crate) const TICK_MS_STANDBY: u64 = 5;
/// The same while something waits for it.
const TICK_MS_URGENT: u64 = 1;
/// On a primary: its shards have to be heard, or they count as stuck. kevy's own interval, where `hz` is not lower.
const TICK_MS_PRIMARY_MAX: u64 = 100;

/// The name of the order to become the primary's shard, put behind the last frame of the old stream. No
/// client can send it: only records that are applied are looked at.
pub(super) const BARRIER: &[u8] = b"ELECT.BARRIER";

impl Shards {
    /// Orders every shard to start the stream of `epoch` once it has applied all that it was sent. Nothing
    /// may be sent to the inboxes after this, so the followers must have been stopped. The node held `before`.
    pub fn begin_reign(&self, epoch: Epoch, before: &Position) {
        self.reign.store(epoch.0, Ordering::Release);
        self.lapsed.end();
        self.set_before(before);
        for shard in &self.shards {
            // Until the first look at who is connected.
            shard.stale_replicas.store(usize::MAX, Ordering::Release);
            let order = Argv::from(vec![BARRIER.to_vec(), epoch.0.to_string().into_bytes()]);
            // For kevy, what is applied from now on is of no stream: nobody who waits for a place in one is told that it was
            // reached. Who follows again after a reign is told where, by a copy or by the order to go on.
            drop(shard.inbox.send(ReplicaApply::Frame { offset: 0, argv: order }));
        }
    }

    /// Gives up the office, if this node has it: snapshots say so from now on.
    pub fn end_reign(&self) {
        self.lapsed.end();
        if self.reign.swap(0, Ordering::AcqRel) != 0 {
            // A copy that was measured while the clock went on is not to leave when it has come to rest.
            self.waits.end_all_streams();
            if let Some(pins) = self.pins.get() {
                pins.renew();
            }
        }
        clock::rest();
    }

    /// Whether this node has an office, or was ordered to take one up.
    pub(crate) fn is_reigning(&self) -> bool {
        self.reign.load(Ordering::Acquire) != 0
    }

    /// Whether this process has, or had, an office.
    pub(crate) fn has_reigned(&self) -> bool {
        self.shards.iter().any(|shard| shard.started.load(Ordering::Acquire) != 0)
    }

    /// Whether every shard has started the stream of `epoch`, and its log says so.
    pub fn reigns(&self, epoch: Epoch) -> bool {
        self.shards.iter().all(|shard| shard.seen.load(Ordering::Acquire) == epoch.0)
    }

    /// Tells the election that this node holds the history of `epoch`, its own, and from now on how far.
    pub fn announce_reign(&self, epoch: Epoch) {
        if let Some(office) = self.office.get() {
            office.on_joined(epoch, &self.stream_offsets());
        }
        self.reported.store(epoch.0, Ordering::Release);
    }

    /// Makes known what the node holds while its shards get another history.
    pub(crate) fn set_before(&self, before: &Position) {
        for (i, shard) in self.shards.iter().enumerate() {
            *shard.before.lock().unwrap_or_else(PoisonError::into_inner) = Before::of(before, i);
        }
    }

    /// The order to start the stream of an epoch.
    pub(super) fn obey<A: ArgvView + ?Sized>(&self, shard: usize, order: &A) -> Applied {
        // From here on it is a primary's own, for better or worse.
        self.shards[shard].broken.store(false, Ordering::Release);
        let epoch = order.get(1).and_then(marks::number_of);
        // Only the order that is in force counts; an older one lost to a newer election.
        if epoch == Some(self.reign.load(Ordering::Acquire)) {
            self.shards[shard].ordered.store(epoch.unwrap_or_default(), Ordering::Release);
        }
        Applied::Done
    }

    /// What this shard tells kevy as its promotion counter, and how long its ticks are at most.
    pub fn tick(&self, shard: usize) -> (u64, u64) {
        if let Some(ending) = self.ending.get() {
            ending.look();
        }
        let reign = self.reign.load(Ordering::Acquire);
        let shard = &self.shards[shard];
        let (ordered, started) =
            (shard.ordered.load(Ordering::Acquire), shard.started.load(Ordering::Relaxed));
        let based = shard.based.swap(true, Ordering::Relaxed);
        if based && ordered > started && ordered == reign && self.tell_time(reign) {
            // kevy starts a new stream right after this call, before any snapshot of it can be taken.
            shard.flushes.store(0, Ordering::Relaxed);
            shard.offset.store(0, Ordering::Relaxed);
            let before = *shard.before.lock().unwrap_or_else(PoisonError::into_inner);
            let mut ledger = shard.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            // All that was sent is applied, and nothing of the new stream is written.
            let place = ledger.place(shard.applied.load(Ordering::Acquire));
            ledger.reign(Epoch(ordered), before);
            drop(ledger);
            shard.continued.begin(Epoch(ordered), place);
            shard.started.store(ordered, Ordering::Release);
        }
        let tick_ms = match reign {
            _ if self.is_urgent() => TICK_MS_URGENT,
            0 => TICK_MS_STANDBY,
            reign if shard.seen.load(Ordering::Relaxed) != reign => TICK_MS_URGENT,
            _ => TICK_MS_PRIMARY_MAX,
        };
        (shard.started.load(Ordering::Relaxed), tick_ms)
    }

    /// Whether the store's clock goes by this node's, for the reign that begins. It was at rest until now, so it leaps; and
    /// what is measured before a leap and written behind it is off by all of that. So it leaps when every shard has
    /// applied all that it was sent, and before any of them starts the stream of the new reign, of which alone anybody takes a copy.
    fn tell_time(&self, reign: u64) -> bool {
        if self.told.load(Ordering::Acquire) == reign {
            return true;
        }
        if !self.shards.iter().all(|shard| shard.ordered.load(Ordering::Acquire) == reign) {
            return false;
        }
        clock::advance();
        self.told.store(reign, Ordering::Release);
        true
    }

    /// Whether keys end here by this node's clock, also while it must not write.
    pub(crate) fn tells_time(&self) -> bool {
        let reign = self.reign.load(Ordering::Acquire);
        reign != 0 && self.told.load(Ordering::Acquire) == reign
    }
}

#[cfg(test)]
mod tests {
    use super::super::played::{apply, order, restore, shards, view};
    use super::*;

    #[test]
    fn a_shard_starts_its_stream_only_after_it_took_the_order_out_of_its_inbox() {
        let (shards, _inboxes) = shards(2);
        restore(&shards);
        shards.begin_reign(Epoch(7), &Position::NONE);
        assert_eq!(shards.tick(0).0, 0, "frames before the order are not applied yet");
        assert_eq!(shards.tag(0).epoch, Epoch::ZERO);
        assert!(apply(&shards, 0, &order(7)));
        assert_eq!(shards.tick(0).0, 0, "the other shard may still apply: the clock must not leap under it");
        assert!(apply(&shards, 1, &order(7)));
        assert_eq!(shards.tick(0).0, 7);
        assert_eq!(shards.tag(0).epoch, Epoch(7));
        view(&shards, 0, 0);
        assert!(!shards.reigns(Epoch(7)), "the other shard has not");
        assert_eq!(shards.tick(1).0, 7);
        shards.note_stream(1, 0, &[]);
        assert!(!shards.reigns(Epoch(7)), "its log does not say so yet");
        view(&shards, 1, 0);
        assert!(shards.reigns(Epoch(7)));
    }

    #[test]
    fn an_order_that_lost_to_a_newer_election_does_nothing() {
        let (shards, _inboxes) = shards(1);
        restore(&shards);
        shards.begin_reign(Epoch(7), &Position::NONE);
        shards.end_reign();
        assert!(apply(&shards, 0, &order(7)), "it is still nothing for kevy");
        assert_eq!(shards.tick(0).0, 0);
        shards.begin_reign(Epoch(9), &Position::NONE);
        assert!(apply(&shards, 0, &order(7)));
        assert_eq!(shards.tick(0).0, 0);
        assert!(apply(&shards, 0, &order(9)));
        assert_eq!(shards.tick(0).0, 9);
    }

    #[test]
    fn a_node_that_gave_up_its_office_marks_its_snapshots_with_no_epoch() {
        let (shards, _inboxes) = shards(1);
        restore(&shards);
        shards.begin_reign(Epoch(7), &Position::NONE);
        apply(&shards, 0, &order(7));
        shards.tick(0);
        assert_eq!(shards.tag(0).epoch, Epoch(7));
        shards.end_reign();
        assert_eq!(shards.tag(0).epoch, Epoch::ZERO);
    }
}
