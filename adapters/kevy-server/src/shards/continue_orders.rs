//! Going on in another history without a copy: what a shard tells others for it, what it keeps, and the order to do so.
//! Rules: `docs/protocol.md`, section "Continuation".

use super::continue_state::ContinueState;
use super::{Applied, Shards};
use crate::continuation::path::{Beginnings, Told, Why};
use crate::continuation::ring::Ring;
use crate::position::marks::{self, Before, Place};
use crate::position::replay::Record;
use kevy_elect_plugin::ids::Epoch;
use kevy_rt::{Argv, ArgvView, ReplicaApply};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

impl Shards {
    /// Bounds what each shard keeps of what it receives.
    pub(crate) fn keep_at_most(&self, bytes: usize) {
        for shard in &self.shards {
            *shard.continued.kept() = Ring::new(bytes);
        }
    }

    /// What this shard tells whoever is about to follow it.
    pub(crate) fn told(&self, shard: usize) -> Told {
        let state = &self.shards[shard];
        let (reign, started) = (self.reign.load(Ordering::Acquire), state.started.load(Ordering::Acquire));
        Told {
            epoch: if reign == started { Epoch(reign) } else { Epoch::ZERO },
            flushes: state.flushes.load(Ordering::Acquire),
            shards: self.count(),
            beginnings: state.continued.beginnings().clone(),
        }
    }

    /// A primary has told this, and this shard will know it too.
    pub(crate) fn learn(&self, shard: usize, beginnings: &Beginnings) {
        let continued = &self.shards[shard].continued;
        if continued.beginnings().learn(beginnings) {
            continued.news.store(true, Ordering::Release);
        }
    }

    /// A record of the log was read back. The last ones are kept as if they had been received just now, for those who lack them.
    pub(super) fn note_read<A: ArgvView + ?Sized>(&self, shard: usize, read: Record, record: &A) {
        let continued = &self.shards[shard].continued;
        if read == Record::Correction {
            return continued.kept().clear();
        }
        if continued.log_bytes.load(Ordering::Relaxed) == 0 {
            let bytes = self.disk().filter(|disk| disk.logs).map_or(0, |disk| disk.log_bytes(shard));
            continued.log_bytes.store(bytes.max(1), Ordering::Relaxed);
        }
        let done = continued.read_bytes.fetch_add(logged_bytes(record), Ordering::Relaxed);
        let Record::Frame(at) = read else { return };
        let mut kept = continued.kept();
        let left = continued.log_bytes.load(Ordering::Relaxed).saturating_sub(done);
        // What would only make room for what comes after it costs a start nothing.
        if continued.read_base.load(Ordering::Relaxed) || left <= 2 * kept.bytes_max() as u64 {
            kept.push(at, record);
        }
    }

    /// All of the log was read back.
    pub(super) fn end_reading(&self, shard: usize, beginnings: &Beginnings, damaged: bool) {
        let continued = &self.shards[shard].continued;
        continued.beginnings().learn(beginnings);
        if damaged {
            continued.kept().clear();
        }
    }

    /// What is known of where histories began.
    pub(crate) fn beginnings(&self, shard: usize) -> Beginnings {
        self.shards[shard].continued.beginnings().clone()
    }

    /// Where the data is, if that is certain. Only once nothing is on its way to the shard.
    pub(crate) fn place(&self, shard: usize) -> Option<Place> {
        self.ledger(shard).place(self.shards[shard].applied.load(Ordering::Acquire))
    }

    /// Whether the data is what the shard's own stream has made it.
    pub(crate) fn is_of_own_stream(&self, shard: usize) -> bool {
        self.shards[shard].started.load(Ordering::Acquire) != 0 && !self.ledger(shard).follows()
    }

    /// The data is not certainly what its place says.
    pub(crate) fn note_doubt(&self, shard: usize) {
        self.ledger(shard).doubt();
    }

    /// The frame at `at` was received from its primary.
    pub(crate) fn keep(&self, shard: usize, at: Place, argv: &Argv) {
        self.shards[shard].continued.kept().push(at, argv);
    }

    /// An answer with up to `count` frames from `from` on; `None` where the first of them is not kept.
    pub(crate) fn kept(&self, shard: usize, from: Place, count: usize) -> Option<Vec<u8>> {
        self.shards[shard].continued.kept().answer(from, count)
    }

    /// The history that this shard's own stream is, or was last, and how often it was flushed.
    pub(crate) fn own_stream(&self, shard: usize) -> (Epoch, u64) {
        let state = &self.shards[shard];
        (Epoch(state.started.load(Ordering::Acquire)), state.flushes.load(Ordering::Acquire))
    }

    /// Bytes of frames that are kept.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.continued.kept().bytes()).sum()
    }

    /// The same for who must not wait. `None`: a shard just puts some in, or gives some away.
    pub(crate) fn try_kept_bytes(&self) -> Option<usize> {
        self.shards.iter().map(|shard| shard.continued.kept.try_lock().ok().map(|kept| kept.bytes())).sum()
    }

    /// A copy is on its way into the shard.
    pub(crate) fn note_copy(&self, shard: usize, why: Option<Why>) {
        self.shards[shard].continued.copies.fetch_add(1, Ordering::Relaxed);
        let why = why.map_or("unknown", Why::as_str);
        metrics::counter!("kevy_server_copies_total", "reason" => why).increment(1);
    }

    /// The shard goes on without a copy.
    pub(crate) fn note_continuation(&self, shard: usize, kind: &'static str) {
        self.shards[shard].continued.continuations.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("kevy_server_continuations_total", "kind" => kind).increment(1);
    }

    /// How often data of this node was copied, and how often it was continued.
    pub(crate) fn copies_and_continuations(&self) -> (u64, u64) {
        let sum = |of: fn(&ContinueState) -> &AtomicU64| {
            self.shards.iter().map(|shard| of(&shard.continued).load(Ordering::Relaxed)).sum()
        };
        (sum(|continued| &continued.copies), sum(|continued| &continued.continuations))
    }

    /// Orders a shard whose data is at `from` to go on at `to`, which is the same data. Says the order's number.
    pub(crate) fn order_to_go_on(&self, shard: usize, from: Place, to: Place) -> u64 {
        let state = &self.shards[shard];
        let before = *state.before.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let place = |place| Place::write(Some(place));
        let number_word = number.to_string().into_bytes();
        let order = vec![marks::GO_ON.to_vec(), place(from), place(to), Before::write(before), number_word];
        // kevy takes the offset for that of the last frame that was applied. It cannot say that there was none.
        let offset = to.offset.saturating_sub(1);
        drop(state.inbox.send(ReplicaApply::Frame { offset, argv: Argv::from(order) }));
        number
    }

    /// Whether that order was carried out; `None`: not yet.
    pub(crate) fn went_on(&self, shard: usize, number: u64) -> Option<bool> {
        let continued = &self.shards[shard].continued;
        let done = continued.done.load(Ordering::Acquire) >= number;
        (done || continued.void.load(Ordering::Acquire) >= number).then_some(done)
    }

    /// The order arrives, behind all that was sent before.
    pub(super) fn go_on<A: ArgvView + ?Sized>(&self, shard: usize, order: &A) -> Applied {
        let place = |i| Place::read(order.get(i)?)?;
        let before = order.get(3).and_then(Before::read).flatten();
        let state = &self.shards[shard];
        let (Some(from), Some(to), Some(number)) =
            (place(1), place(2), order.get(4).and_then(marks::number_of))
        else {
            return Applied::Done;
        };
        let applied = state.applied.load(Ordering::Acquire);
        let held = self.ledger(shard).go_on(from, to, before, applied);
        let outcome = if held.is_some() { &state.continued.done } else { &state.continued.void };
        outcome.store(number, Ordering::Release);
        held.map_or(Applied::Done, |held| {
            state.marked.fetch_max(number, Ordering::AcqRel);
            Applied::Logged(self.signed(shard, held, number))
        })
    }
}

/// What a record takes in a log: length and checksum, and an array of bulk strings.
fn logged_bytes<A: ArgvView + ?Sized>(record: &A) -> u64 {
    const HEADER: usize = 8;
    let head = |number: usize| 3 + number.checked_ilog10().unwrap_or_default() as usize + 1;
    let words = (0..record.len()).filter_map(|i| record.get(i)).map(|word| head(word.len()) + word.len() + 2);
    (HEADER + head(record.len()) + words.sum::<usize>()) as u64
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use kevy_rt::replica_inbox_pair;

    fn at(epoch: u64, offset: u64) -> Place {
        Place { epoch: Epoch(epoch), flushes: 0, offset }
    }

    fn order(from: Place, to: Place, number: u64) -> Argv {
        let place = |place| Place::write(Some(place));
        let number = number.to_string().into_bytes();
        Argv::from(vec![marks::GO_ON.to_vec(), place(from), place(to), b"4:9".to_vec(), number])
    }

    /// One shard, played by the test, that holds ten frames of history 4.
    fn shards() -> Shards {
        let (sender, _inbox) = replica_inbox_pair();
        let shards = Shards::new(vec![sender]);
        shards.note_restored(0);
        let incoming = crate::position::ledger::Incoming { at: at(4, 10), before: None };
        shards.note_record(0, &Argv::from(incoming.order(1)));
        shards.note_load(0);
        shards
    }

    #[test]
    fn a_shard_goes_on_only_from_the_place_that_the_order_is_for() {
        let shards = shards();
        assert_eq!(shards.place(0), Some(at(4, 10)));
        for wrong in [at(4, 9), at(4, 11), at(3, 10)] {
            assert_eq!(shards.note_record(0, &order(wrong, at(7, 0), 50)), Applied::Done);
            assert_eq!((shards.went_on(0, 50), shards.place(0)), (Some(false), Some(at(4, 10))));
        }
        assert_eq!(shards.went_on(0, 51), None);
        let Applied::Logged(words) = shards.note_record(0, &order(at(4, 10), at(7, 0), 51)) else {
            unreachable!("a mark is logged");
        };
        assert_eq!(
            (words[2].as_slice(), words[3].as_slice(), words[4].as_slice()),
            (&b"7:0:0"[..], &b"4:9"[..], &b"51"[..])
        );
        assert_eq!((shards.went_on(0, 51), shards.place(0)), (Some(true), Some(at(7, 0))));
        shards.note_record(0, &Argv::from(vec![b"SET".to_vec(), b"k".to_vec(), b"v".to_vec()]));
        assert_eq!(shards.place(0), Some(at(7, 1)), "frames are counted on from there");
    }

    #[test]
    fn a_record_is_as_long_as_it_is_in_a_log() {
        for words in [vec!["PING"], vec!["SET", "k", ""], vec!["SET", "0123456789", "x"]] {
            let record = Argv::from(words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>());
            let mut log = Vec::new();
            kevy_persist::write_record_multibulk(&mut log, &record, &mut Vec::new()).unwrap();
            assert_eq!(logged_bytes(&record), log.len() as u64, "{words:?}");
        }
    }

    #[test]
    fn doubtful_data_goes_nowhere() {
        let shards = shards();
        shards.note_doubt(0);
        assert_eq!(shards.place(0), None);
        shards.note_record(0, &order(at(4, 10), at(7, 0), 50));
        assert_eq!(shards.went_on(0, 50), Some(false));
    }

    #[test]
    fn what_is_kept_is_counted_without_waiting_for_who_moves_it() {
        let shards = shards();
        let giving = shards.shards[0].continued.kept();
        assert_eq!(shards.try_kept_bytes(), None);
        drop(giving);
        assert_eq!(shards.try_kept_bytes(), Some(0));
    }

    #[test]
    fn who_does_not_reign_says_so() {
        let shards = shards();
        assert_eq!(shards.told(0).epoch, Epoch::ZERO);
    }
}
