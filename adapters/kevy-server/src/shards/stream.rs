//! A shard's own stream: how far it is, who follows it, and the cuts in it.

use super::followers::of_members;
use super::{Shard, Shards};
use crate::confirm::names::{Row, judge};
use crate::fitness::serving::Serving;
use crate::fitness::threads;
use crate::position::offset::position_offset;
use crate::position::tag::Tag;
use kevy_elect_plugin::ids::Epoch;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Ticks of every shard after which what was under way on it before the first of them is over: the tick under way may
/// have read its offset before the gate shut; the one after it has not, and the one after that finds the answers sent.
pub(crate) const TICKS: u64 = 3;
/// A command for another shard takes its way there, its execution, the way back and its answer, each of which the next
/// turn of a shard ends.
pub(crate) const TURNS_BETWEEN_SHARDS: usize = 4;

/// How often a shard tells of its stream until all that was under way on it is counted.
pub(crate) fn turns(shards: usize) -> u64 {
    TICKS * if shards > 1 { TURNS_BETWEEN_SHARDS as u64 } else { 1 }
}

impl Shards {
    /// kevy's own stream has come to `offset`, and `rows` are the connections to it.
    pub(crate) fn note_stream(&self, shard: usize, offset: u64, rows: &[Row]) {
        let reign = self.reign.load(Ordering::Acquire);
        let state = &self.shards[shard];
        state.offset.store(offset, Ordering::Release);
        let started = state.started.load(Ordering::Relaxed);
        let (mut wrong, taken) = (0, self.turns.taken());
        let mut replicas = Vec::new();
        if !rows.is_empty() {
            let flushes = state.flushes.load(Ordering::Relaxed);
            let office = (reign != 0 && started == reign).then_some((Epoch(reign), flushes));
            let judged =
                judge(rows, office, |node, name| self.waits.knows(node, name), |node| self.votes(node));
            if let Some(office) = office {
                self.look_at_turn(rows);
                wrong = judged.wrong;
                replicas = of_members(rows, &judged, office);
            }
            self.waits.end_streams(judged.end);
        }
        state.stale_replicas.store(wrong, Ordering::SeqCst);
        if self.turns.taken() != taken {
            state.stale_replicas.store(usize::MAX, Ordering::SeqCst);
        }
        self.waits.note_connected(shard, rows);
        let flushes = state.flushes.load(Ordering::Relaxed);
        let unnamed = started != 0 && state.named.load(Ordering::Relaxed) != started;
        let mut ledger = self.ledger(shard);
        ledger.own(Epoch(started), flushes, offset);
        let due = !ledger.follows() && ledger.due(0, unnamed).is_some();
        drop(ledger);
        if due {
            // kevy takes what is in the inbox before it serves the next client: the mark is true where it is logged.
            self.order_mark(shard, 0, 0);
        }
        self.note_seen(shard);
        let shut = if self.check().is_ok() { 0 } else { state.shut_views.load(Ordering::Relaxed) + 1 };
        state.shut_views.store(shut, Ordering::Relaxed);
        if reign != 0 && started == reign {
            self.throttle(shard, (reign, flushes), offset, &replicas);
        }
        state.viewed.store(self.nanos(), Ordering::Relaxed);
        self.note_told(shard);
        // Last: whoever waits for this view may rely on the election having it.
        state.views.fetch_add(1, Ordering::Release);
        self.progress.notify(usize::MAX);
    }

    /// Tells the election how far this shard's stream is, once its log names the epoch.
    pub(super) fn note_seen(&self, shard: usize) {
        let reign = self.reign.load(Ordering::Acquire);
        let state = &self.shards[shard];
        if reign == 0
            || state.started.load(Ordering::Relaxed) != reign
            || state.named.load(Ordering::Relaxed) != reign
        {
            return;
        }
        if state.seen.swap(reign, Ordering::AcqRel) != reign {
            self.progress.notify(usize::MAX);
        }
        if self.reported.load(Ordering::Acquire) == reign
            && let Some(office) = self.office.get()
        {
            let offset = state.offset.load(Ordering::Relaxed);
            office.on_offset(shard, position_offset(state.flushes.load(Ordering::Relaxed), offset));
        }
    }

    /// A client flushes this shard: kevy starts its stream anew.
    pub fn note_flush(&self, shard: usize) {
        let flushes = self.shards[shard].flushes.fetch_add(1, Ordering::Release) + 1;
        let shard = &self.shards[shard];
        shard.offset.store(0, Ordering::Release);
        let mut ledger = shard.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.own(Epoch(shard.started.load(Ordering::Relaxed)), flushes, 0);
        drop(ledger);
        // Until the next tick has looked: every replica may be one of the old stream.
        shard.stale_replicas.store(usize::MAX, Ordering::Release);
    }

    /// How often this shard was flushed in this reign.
    pub fn flushes(&self, shard: usize) -> u64 {
        self.shards[shard].flushes.load(Ordering::Acquire)
    }

    /// The mark for a snapshot of this shard, which begins now.
    pub fn tag(&self, shard: usize) -> Tag {
        self.note_dump(shard);
        let (reign, state) = (self.reign.load(Ordering::Acquire), &self.shards[shard]);
        let reigns = reign != 0 && state.started.load(Ordering::Acquire) == reign;
        let epoch = if reigns { Epoch(reign) } else { Epoch::ZERO };
        Tag { epoch, flushes: state.flushes.load(Ordering::Relaxed), shards: self.count() }
    }

    /// Whether kevy's count of acknowledgements cannot be trusted: it would count connections of an earlier reign or
    /// flush, of strangers, or one node twice. They are ended as soon as they are seen.
    pub fn acks_are_stale(&self) -> bool {
        self.shards.iter().any(|shard| shard.stale_replicas.load(Ordering::Acquire) > 0)
    }

    /// Where the streams of this primary have come to.
    pub fn stream_offsets(&self) -> Vec<u64> {
        let offset = |shard: &Shard| {
            position_offset(shard.flushes.load(Ordering::Acquire), shard.offset.load(Ordering::Acquire))
        };
        self.shards.iter().map(offset).collect()
    }

    /// Grows when data came in, from clients or from a stream.
    pub(crate) fn written(&self) -> u64 {
        let of = |shard: &Shard| {
            shard.offset.load(Ordering::Relaxed).wrapping_add(shard.applied.load(Ordering::Relaxed))
        };
        self.shards.iter().map(of).fold(0, u64::wrapping_add)
    }

    /// How often every shard has told its offset.
    pub fn views(&self) -> Vec<u64> {
        self.shards.iter().map(|shard| shard.views.load(Ordering::Acquire)).collect()
    }

    /// How often this shard has told its offset.
    pub(crate) fn views_of(&self, shard: usize) -> u64 {
        self.shards[shard].views.load(Ordering::Relaxed)
    }

    /// For how long this shard has told nothing.
    pub(crate) fn silence_of(&self, shard: usize) -> Duration {
        Duration::from_nanos(self.nanos().saturating_sub(self.shards[shard].viewed.load(Ordering::Relaxed)))
    }

    /// The time since these were made.
    fn nanos(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The calling thread is this shard's, and that tells whether it is at a command.
    pub(crate) fn note_thread(&self, shard: usize, serving: &Serving) {
        self.shards[shard].thread.store(threads::thread().unwrap_or(0), Ordering::Relaxed);
        // A shard starts once.
        drop(self.shards[shard].serving.set(serving.clone()));
    }

    /// This shard's thread, where it is known.
    pub(crate) fn thread_of(&self, shard: usize) -> Option<u32> {
        Some(self.shards[shard].thread.load(Ordering::Relaxed)).filter(|thread| *thread != 0)
    }

    /// Whether this shard is at no command that somebody sent.
    pub(crate) fn is_at_own_work(&self, shard: usize) -> bool {
        self.shards[shard].serving.get().is_some_and(|serving| !serving.now())
    }

    /// A replica has not acknowledged all of this shard's stream, which has come to `offset`: it needs a cut to do so, unless it lacks
    /// nothing but one that is on its way.
    pub(crate) fn note_behind(&self, shard: usize, offset: u64) {
        let due = self.shards[shard].pace.is_due(offset);
        let reign = self.reign.load(Ordering::Acquire);
        if reign != 0
            && self.shards[shard].seen.load(Ordering::Relaxed) == reign
            && let Some(cutter) = self.cutter.get()
        {
            cutter.want(due);
        }
    }

    /// A client waits for acknowledgements: a tick, which would find out that a cut is needed, may be a while away.
    pub(crate) fn want_cut(&self) {
        if let Some(cutter) = self.cutter.get() {
            cutter.want(true);
        }
    }

    /// The number of a cut that begins now.
    pub(crate) fn begin_cut(&self) -> u64 {
        self.shards.iter().for_each(|shard| shard.pace.begins());
        self.cut.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Whether `shard` takes this cut into its stream: the one that was begun last, once. Whoever else sends one can
    /// at most bring it in a little earlier.
    pub(crate) fn take_cut(&self, shard: usize, number: u64) -> bool {
        let taken = number == self.cut.load(Ordering::SeqCst)
            && self.shards[shard].cut.swap(number, Ordering::SeqCst) < number;
        if taken {
            self.shards[shard].pace.takes();
            // It is at least as far as kevy has told. The record of it in the log says exactly where.
            self.ledger(shard).note_cut(number, 0);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::super::played::{apply, order, restore, shards};
    use super::*;
    use kevy_elect_plugin::position::Position;

    #[test]
    fn acknowledgements_of_who_has_no_vote_any_more_count_for_nothing_at_once() {
        let (shards, _inboxes) = shards(1);
        restore(&shards);
        let all = ["n1", "n2", "n3"].map(str::to_owned);
        shards.waits().set_up(all.to_vec(), None, Default::default(), Default::default());
        shards.set_voters(all.to_vec());
        shards.begin_reign(Epoch(7), &Position::NONE);
        assert!(apply(&shards, 0, &order(7)));
        shards.tick(0);
        let row = |node: u16| Row {
            name: format!("kevy-replica-n{node}.7.0-6004#0.1"),
            peer: std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, node),
            acknowledged: true,
            beyond: false,
            has: 0,
            sent: 0,
        };
        shards.note_stream(0, 3, &[row(2), row(3)]);
        assert!(!shards.acks_are_stale());
        shards.set_voters(all[..2].to_vec());
        assert!(shards.acks_are_stale(), "before any tick has looked");
        shards.note_stream(0, 3, &[row(2), row(3)]);
        assert!(shards.acks_are_stale(), "it is there still");
        shards.note_stream(0, 3, &[row(2)]);
        assert!(!shards.acks_are_stale());
        shards.set_voters(all.to_vec());
        assert!(!shards.acks_are_stale(), "one more takes nothing from anybody");
    }

    #[test]
    fn acknowledgements_count_again_once_no_replica_follows_the_flushed_stream() {
        let (shards, _inboxes) = shards(1);
        restore(&shards);
        shards.waits().set_up(vec!["n1".to_owned()], None, Default::default(), Default::default());
        shards.begin_reign(Epoch(7), &Position::NONE);
        assert!(apply(&shards, 0, &order(7)));
        shards.tick(0);
        let row = |flushes, acknowledged| Row {
            name: format!("kevy-replica-n1.7.{flushes}-6004#0.1"),
            peer: std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 1),
            acknowledged,
            beyond: false,
            has: 0,
            sent: 0,
        };
        shards.note_stream(0, 3, &[row(0, true)]);
        assert!(!shards.acks_are_stale());
        shards.note_flush(0);
        assert!(shards.acks_are_stale(), "before any tick has looked");
        shards.note_stream(0, 3, &[row(0, true)]);
        assert!(shards.acks_are_stale());
        shards.note_stream(0, 5, &[row(1, true)]);
        assert!(!shards.acks_are_stale());
        shards.note_stream(0, 5, &[row(0, false)]);
        assert!(!shards.acks_are_stale(), "it has acknowledged nothing that could count");
        assert_eq!(shards.tag(0).flushes, 1);
    }
}
