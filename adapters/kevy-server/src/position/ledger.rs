//! What the data of a running shard is, kept by the shard's thread.
//!
//! Exact on a replica: its frames are counted as they are applied. On a primary kevy says at every tick how far the
//! stream is; a mark that is put into the shard's own inbox at that moment is applied before the next write.

use crate::position::marks::{Before, Cuts, Held, LOAD, Place};
use crate::position::replay::{Replay, Restored};
use kevy_elect_plugin::ids::Epoch;
use kevy_rt::ArgvView;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

/// How often a shard whose data changes says in its log where it is. What follows the last mark is counted.
const MARK_INTERVAL: Duration = Duration::from_millis(50);

/// One shard's.
#[derive(Debug)]
pub(crate) struct Ledger {
    held: Held,
    /// The newest cuts of this history that the shard has.
    cuts: Cuts,
    /// How many frames were applied when `held` was true, where the shard follows a stream.
    followed_from: Option<u64>,
    /// What the keyspace will be that replaces this one.
    incoming: Option<Incoming>,
    /// The data is not, or not for certain, what its place says: it can be claimed, and not continued.
    doubtful: bool,
    /// What the last mark said, and when.
    marked: Option<Held>,
    marked_at: Instant,
    /// Where the data on disk was read back; then what it was.
    replay: Replay,
    restored: Option<Restored>,
}

/// A keyspace on its way into a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(crate) at: Place,
    /// What the node holds until all its shards have got theirs.
    pub(crate) before: Option<Before>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            held: Held::default(),
            cuts: Cuts::default(),
            followed_from: None,
            incoming: None,
            doubtful: false,
            marked: None,
            marked_at: Instant::now(),
            replay: Replay::default(),
            restored: None,
        }
    }

    // ---- while the data on disk is read back ----

    pub(crate) fn replay(&mut self) -> &mut Replay {
        &mut self.replay
    }

    /// What was on disk is loaded, all of it unless `damaged`.
    pub(crate) fn end_replay(&mut self, damaged: bool) {
        let restored = self.replay.end(damaged);
        self.held = restored.held;
        self.cuts = restored.cuts.clone();
        self.doubtful = restored.doubtful;
        self.restored = Some(restored);
        self.marked = Some(self.held);
    }

    pub(crate) fn restored(&self) -> Option<Restored> {
        self.restored.clone()
    }

    // ---- afterwards ----

    /// What the data is now, after so many frames were applied since the process began.
    pub(crate) fn now(&self, applied: u64) -> Held {
        let mut held = self.held;
        if let (Some(at), Some(from)) = (&mut held.at, self.followed_from) {
            at.offset += applied.saturating_sub(from);
        }
        held
    }

    /// What stands beside a keyspace that is written now. The log behind it then needs a mark of its own.
    pub(crate) fn beside(&mut self, applied: u64) -> (Held, Cuts) {
        self.marked = None;
        match self.incoming {
            // A copy that kevy could not load in full is nobody's history.
            Some(_) => (Held { at: None, before: None, ..self.held }, Cuts::default()),
            None => (self.now(applied), self.cuts.clone()),
        }
    }

    /// A cut is the newest frame of this shard.
    pub(crate) fn note_cut(&mut self, number: u64, applied: u64) {
        if let Some(at) = self.now(applied).at {
            self.cuts.note(number, at);
        }
    }

    /// A mark, if the data has changed since the last one, and that was some time ago. With `at_once`: not so long.
    pub(crate) fn due(&mut self, applied: u64, at_once: bool) -> Option<Held> {
        let held = self.now(applied);
        let due = at_once || self.marked.is_none() || self.marked_at.elapsed() >= MARK_INTERVAL;
        if held.at.is_none() || self.is_loading() || self.marked == Some(held) || !due {
            return None;
        }
        self.note_marked(held);
        Some(held)
    }

    /// The next mark has something new to say beside the place: it is due though the data stays where it is.
    pub(crate) fn mark_anew(&mut self) {
        self.marked = None;
    }

    pub(crate) fn note_marked(&mut self, held: Held) {
        self.marked = Some(held);
        self.marked_at = Instant::now();
    }

    /// Another keyspace is about to replace this one.
    pub(crate) fn expect(&mut self, incoming: Incoming, number: u64) -> Vec<Vec<u8>> {
        self.incoming = Some(incoming);
        let word = |n: u64| n.to_string().into_bytes();
        vec![LOAD.to_vec(), word(self.held.lineage), word(number)]
    }

    /// Whether another keyspace is expected: until then nothing is logged.
    pub(crate) fn is_loading(&self) -> bool {
        self.incoming.is_some()
    }

    /// The keyspace was replaced.
    pub(crate) fn loaded(&mut self, applied: u64) {
        let incoming = self.incoming.take();
        self.held = Held {
            lineage: new_lineage(),
            at: incoming.map(|incoming| incoming.at),
            before: incoming.and_then(|incoming| incoming.before),
        };
        self.followed_from = Some(applied);
        self.cuts = Cuts::default();
        self.doubtful = false;
    }

    /// The place of the data, where it is certain.
    pub(crate) fn place(&self, applied: u64) -> Option<Place> {
        self.now(applied).at.filter(|_| !self.doubtful)
    }

    /// The data is not certainly what its place says.
    pub(crate) fn doubt(&mut self) {
        self.doubtful = true;
    }

    /// Frames come that follow the data at `from`, which is as well at `to`; the node held `before`. `None`: the data is elsewhere.
    pub(crate) fn go_on(
        &mut self,
        from: Place,
        to: Place,
        before: Option<Before>,
        applied: u64,
    ) -> Option<Held> {
        if self.place(applied) != Some(from) {
            return None;
        }
        if from.epoch != to.epoch {
            // Its beginning, and so a cut of all shards.
            (self.held.before, self.cuts) = (before, Cuts::of_own(to.epoch));
        }
        self.held.at = Some(to);
        // A copy that was announced would have come before this.
        (self.followed_from, self.incoming) = (Some(applied), None);
        self.note_marked(self.held);
        Some(self.held)
    }

    /// The data is not what was expected: nobody knows what it is.
    pub(crate) fn lose(&mut self) {
        (self.held.at, self.held.before, self.incoming) = (None, None, None);
        self.cuts = Cuts::default();
    }

    /// This shard starts the stream of `epoch`; its node held `before`.
    pub(crate) fn reign(&mut self, epoch: Epoch, before: Option<Before>) {
        let lineage = if self.held.lineage == 0 { new_lineage() } else { self.held.lineage };
        self.held = Held { lineage, at: Some(Place { epoch, flushes: 0, offset: 0 }), before };
        self.cuts = Cuts::of_own(epoch);
        // A copy that was announced and never came.
        (self.followed_from, self.incoming) = (None, None);
        // Whatever it is, it is this history's.
        self.doubtful = false;
    }

    /// The stream of `epoch`, which this shard started, is there now.
    pub(crate) fn own(&mut self, epoch: Epoch, flushes: u64, offset: u64) {
        if self.followed_from.is_none()
            && let Some(at) = &mut self.held.at
            && at.epoch == epoch
        {
            (at.flushes, at.offset) = (flushes, offset);
        }
    }

    /// Whether the shard follows a stream, or did last.
    pub(crate) fn follows(&self) -> bool {
        self.followed_from.is_some()
    }
}

impl Incoming {
    /// The order that goes before the keyspace into the shard's inbox.
    pub(crate) fn order(&self, number: u64) -> Vec<Vec<u8>> {
        let Place { epoch, flushes, offset } = self.at;
        let word = |n: u64| n.to_string().into_bytes();
        vec![
            LOAD.to_vec(),
            word(epoch.0),
            word(flushes),
            word(offset),
            Before::write(self.before),
            word(number),
        ]
    }

    /// With the number by which the record of it is found.
    pub(crate) fn read<A: ArgvView + ?Sized>(order: &A) -> Option<(Self, u64)> {
        let number = |i| crate::position::marks::number_of(order.get(i)?);
        let at = Place { epoch: Epoch(number(1)?), flushes: number(2)?, offset: number(3)? };
        Some((Self { at, before: Before::read(order.get(4)?)? }, number(5)?))
    }
}

/// A number that no other keyspace has.
fn new_lineage() -> u64 {
    RandomState::new().build_hasher().finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kevy_rt::Argv;

    const INCOMING: Incoming = Incoming {
        at: Place { epoch: Epoch(7), flushes: 1, offset: 40 },
        before: Some(Before { epoch: Epoch(5), offset: 9 }),
    };

    #[test]
    fn frames_are_counted_from_the_copy_they_follow() {
        let mut ledger = Ledger::new();
        ledger.expect(INCOMING, 1);
        assert_eq!(ledger.beside(3).0.at, None, "nobody knows yet what a copy will be");
        ledger.loaded(3);
        assert_eq!(ledger.now(3).at, Some(INCOMING.at));
        assert_eq!(ledger.now(5).at, Some(Place { offset: 42, ..INCOMING.at }));
        assert_eq!(ledger.now(5).before, INCOMING.before);
        let first = ledger.held.lineage;
        ledger.expect(INCOMING, 1);
        ledger.loaded(9);
        assert_ne!(ledger.held.lineage, first, "another keyspace");
        assert_eq!(ledger.now(9).at, Some(INCOMING.at));
    }

    #[test]
    fn the_order_to_expect_a_copy_comes_out_as_it_went_in() {
        assert_eq!(Incoming::read(&Argv::from(INCOMING.order(8))), Some((INCOMING, 8)));
        let bare = Incoming { before: None, ..INCOMING };
        assert_eq!(Incoming::read(&Argv::from(bare.order(9))), Some((bare, 9)));
    }

    #[test]
    fn a_primary_is_where_its_stream_is() {
        let mut ledger = Ledger::new();
        ledger.own(Epoch(7), 0, 5);
        assert_eq!(ledger.now(0).at, None, "it has started none");
        ledger.reign(Epoch(7), None);
        ledger.own(Epoch(7), 2, 5);
        assert_eq!(ledger.now(100).at, Some(Place { epoch: Epoch(7), flushes: 2, offset: 5 }));
        ledger.own(Epoch(8), 0, 0);
        assert_eq!(ledger.now(0).at.unwrap().epoch, Epoch(7));
    }

    #[test]
    fn a_mark_is_due_when_something_changed_and_at_once_behind_a_new_base() {
        let mut ledger = Ledger::new();
        ledger.reign(Epoch(7), None);
        assert!(ledger.due(0, false).is_some());
        assert_eq!(ledger.due(0, true), None, "nothing has changed");
        ledger.own(Epoch(7), 0, 5);
        assert_eq!(ledger.due(0, false), None, "it is too early");
        ledger.beside(0);
        assert!(ledger.due(0, false).is_some());
        ledger.lose();
        assert_eq!(ledger.due(0, true), None);
    }
}
