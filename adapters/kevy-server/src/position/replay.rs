//! Reads a shard's data back, and finds what it is at the end of it.

use crate::continuation::path::Beginnings;
use crate::position::marks::{Cuts, Held, LOAD, MARK, Place, number_of};
use kevy_elect_plugin::ids::ClusterId;
use kevy_rt::{ArgvView, Store};
use std::collections::VecDeque;

/// Reads a shard's data back: finds what it is at the end of it.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    held: Held,
    cuts: Cuts,
    /// Whether anything of the data says what it is.
    named: bool,
    /// Whether there is any data.
    data: bool,
    /// A replacement of the keyspace had begun. Whatever follows it here does not belong to what is before it.
    loading: bool,
    /// It is not known what the data is, whatever marks say, until a whole keyspace comes.
    void: bool,
    /// A mark contradicted the count.
    doubtful: bool,
    /// The data is at the place that was read, or further on: until the next mark (K11).
    about: bool,
    /// Records that kevy adds to the one before them, and does not stream: name and key of each.
    added: VecDeque<(Vec<u8>, Vec<u8>)>,
    /// Where histories began. These are facts, whatever data they stand in.
    beginnings: Beginnings,
    /// The cluster that it says it belongs to.
    cluster: Option<ClusterId>,
}

/// What a record of the log turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    /// One of ours, and nothing for kevy.
    Mark,
    /// One of ours, which says that the ones before it were counted wrongly.
    Correction,
    /// The frame of this place.
    Frame(Place),
    /// Anything else.
    Other,
}

/// What is known of one shard once its data is read back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Restored {
    pub(crate) held: Held,
    pub(crate) cuts: Cuts,
    pub(crate) named: bool,
    pub(crate) data: bool,
    /// Whether a mark contradicted the count: good enough for a claim, not for going on.
    pub(crate) doubtful: bool,
}

impl Replay {
    /// A whole keyspace was read. `beside`: what stood beside it; `about`: it may be further on.
    pub(crate) fn base(&mut self, beside: Option<(Held, Cuts)>, about: bool) {
        let named = beside.is_some();
        let (held, cuts) = beside.unwrap_or_default();
        let (beginnings, cluster) = (std::mem::take(&mut self.beginnings), self.cluster);
        *self = Self { held, cuts, named, data: true, about, beginnings, cluster, ..Self::default() };
    }

    /// The cluster that the data belongs to, where a word says it.
    pub(crate) fn belong(&mut self, word: Option<&[u8]>) {
        self.cluster = word.and_then(ClusterId::from_digits).or(self.cluster);
    }

    /// The cluster that the data belongs to, as far as it was read.
    pub(crate) fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }

    /// Where histories began, in the words of [`Beginnings::write`].
    pub(crate) fn learn(&mut self, word: Option<&[u8]>) {
        let told = word.and_then(|word| Beginnings::read(std::str::from_utf8(word).ok()?));
        self.beginnings.learn(&told.unwrap_or_default());
    }

    /// Where histories began, as far as it was read.
    pub(crate) fn beginnings(&self) -> &Beginnings {
        &self.beginnings
    }

    /// A record is applied. Says what it is.
    pub(crate) fn take<A: ArgvView + ?Sized>(&mut self, record: &A) -> Record {
        match record.first() {
            Some(name) if name == MARK => {
                let was = self.doubtful;
                if let Some(held) = Held::read(record, 1) {
                    self.mark(held);
                }
                self.learn(record.get(5));
                self.belong(record.get(6));
                if self.doubtful && !was { Record::Correction } else { Record::Mark }
            }
            Some(name) if name == LOAD => {
                let lineage = record.get(1).and_then(number_of);
                self.loading |= lineage.is_some_and(|lineage| lineage == self.held.lineage);
                Record::Mark
            }
            name => {
                let before = self.held.at;
                self.count(name.unwrap_or_default(), record.get(1).unwrap_or_default());
                if let (Some(number), Some(at)) = (crate::position::cuts::number(record), self.held.at) {
                    self.cuts.note(number, at);
                }
                let follows =
                    |before: &Place| self.held.at == Some(Place { offset: before.offset + 1, ..*before });
                before.filter(|before| !self.about && follows(before)).map_or(Record::Other, Record::Frame)
            }
        }
    }

    fn mark(&mut self, held: Held) {
        let other = self.held.lineage != 0 && self.held.lineage != held.lineage;
        if other || self.void {
            return;
        }
        if let (Some(counted), Some(said)) = (self.held.at, held.at)
            && (counted.epoch, counted.flushes) == (said.epoch, said.flushes)
            && counted.offset != said.offset
            && !self.about
        {
            log::warn!("a mark in the log says {said:?} where {counted:?} was counted; the mark is right");
            self.doubtful = true;
        }
        if let Some(said) = held.at.filter(|said| self.held.at.is_none_or(|at| at.epoch != said.epoch)) {
            // Within one keyspace another history begins where this node took up an office, or went on at its first frame.
            self.cuts = Cuts::of_own(said.epoch);
        }
        // A mark of this very keyspace: it was not replaced after all.
        (self.held, self.named, self.loading, self.about) = (held, true, false, false);
    }

    fn count(&mut self, name: &[u8], key: &[u8]) {
        self.data = true;
        if std::mem::take(&mut self.loading) {
            (self.held.at, self.held.before) = (None, None);
            self.cuts = Cuts::default();
            self.void = true;
        }
        match self.added.pop_front() {
            Some((added, of)) if added.eq_ignore_ascii_case(name) && of == key => return,
            _ => self.added.clear(),
        }
        let Some(at) = &mut self.held.at else { return };
        if name.eq_ignore_ascii_case(b"FLUSHALL") || name.eq_ignore_ascii_case(b"FLUSHDB") {
            // kevy starts the stream anew, and streams no record of it.
            (at.flushes, at.offset) = (at.flushes + 1, 0);
        } else {
            at.offset += 1;
        }
    }

    /// A record was applied: what of the following ones does kevy add to it, by the very rule by which it logs?
    pub(crate) fn applied<A: ArgvView + ?Sized>(&mut self, store: &Store, record: &A) {
        for frame in kevy_verbs::aof::ttl_followup(store, record) {
            if let (Some(name), Some(key)) = (frame.first(), frame.get(1)) {
                self.added.push_back((name.to_vec(), key.to_vec()));
            }
        }
    }

    /// Everything was read. `damaged`: what was read is not all that was written.
    pub(crate) fn end(&self, damaged: bool) -> Restored {
        let mut held = self.held;
        if damaged {
            (held.at, held.before) = (None, None);
        }
        let (named, data) = (self.named || damaged, self.data);
        let doubtful = self.doubtful || self.about;
        Restored { held, cuts: self.cuts.clone(), named, data, doubtful }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::position::claim::position;
    use crate::position::marks::tests::{argv, at, held, mark};
    use kevy_elect_plugin::ids::Epoch;
    use kevy_elect_plugin::position::Position;
    use kevy_rt::Argv;

    fn replay(records: &[Argv]) -> Restored {
        let mut replay = Replay::default();
        for record in records {
            replay.take(record);
        }
        replay.end(false)
    }

    #[test]
    fn the_clusters_id_is_read_out_of_marks_and_outlives_a_new_keyspace() {
        let (mut replay, digits) = (Replay::default(), "0123456789abcdef".repeat(2));
        replay.take(&argv("ELECT.MARK 5 7:0:9 - 0"));
        assert_eq!(replay.cluster(), None);
        replay.take(&argv(&format!("ELECT.MARK 5 7:0:9 - 0 2:1:1:5 {digits}")));
        assert_eq!(replay.cluster().unwrap().to_string(), digits);
        replay.base(None);
        replay.take(&argv("ELECT.MARK 5 7:0:9 - 0 2:1:1:5 nonsense"));
        assert_eq!(replay.cluster().unwrap().to_string(), digits);
    }

    #[test]
    fn every_frame_has_its_place_and_a_mark_says_where_histories_began() {
        let mut replay = Replay::default();
        let mut told = held(1, 3, 10).mark(0);
        told.push(b"3:2:0:77,2:1:1:5".to_vec());
        assert_eq!(replay.take(&argv("SET a 1")), Record::Other, "of no history");
        assert_eq!(replay.take(&Argv::from(told)), Record::Mark);
        assert_eq!(replay.take(&argv("SET b 2")), Record::Frame(at(3, 10).unwrap()));
        assert_eq!(replay.take(&argv("FLUSHALL")), Record::Other);
        assert_eq!(replay.take(&argv("DEL b")), Record::Frame(Place { flushes: 1, ..at(3, 0).unwrap() }));
        let wrong = Held { at: Some(Place { flushes: 1, ..at(3, 9).unwrap() }), ..held(1, 3, 0) };
        assert_eq!(replay.take(&mark(wrong)), Record::Correction);
        replay.base(None, false);
        assert_eq!(replay.beginnings().write(), "2:1:1:5,3:2:0:77", "a new keyspace changes no facts");
    }

    #[test]
    fn records_are_counted_from_the_last_mark() {
        let read = replay(&[argv("SET a 1"), mark(held(1, 3, 10)), argv("SET b 2"), argv("DEL b")]);
        assert_eq!(read.held, held(1, 3, 12));
        let flushed = replay(&[mark(held(1, 3, 10)), argv("SET b 2"), argv("FLUSHALL"), argv("SET c 3")]);
        assert_eq!(flushed.held.at, Some(Place { epoch: Epoch(3), flushes: 1, offset: 1 }));
        assert_eq!(replay(&[argv("SET a 1")]), Restored { data: true, ..Restored::default() });
    }

    #[test]
    fn what_kevy_adds_to_a_record_is_not_counted() {
        let mut store = Store::new();
        let mut replay = Replay::default();
        replay.take(&mark(held(1, 3, 0)));
        let apply = |replay: &mut Replay, store: &mut Store, record: Argv| {
            replay.take(&record);
            kevy_verbs::exec(store, &record[0].to_ascii_uppercase(), &record, &mut Vec::new());
            replay.applied(store, &record);
        };
        for line in [
            "SET k v EX 100",
            "PEXPIREAT k 99999999999999",
            "SET k w EX 100",
            "SET l v",
            "PEXPIREAT l 99999999999999",
        ] {
            apply(&mut replay, &mut store, argv(line));
        }
        assert_eq!(replay.end(false).held, held(1, 3, 4), "only the first deadline was added by kevy");
    }

    #[test]
    fn a_whole_keyspace_begins_anew_and_only_its_own_marks_count() {
        let mut replay = Replay::default();
        replay.take(&mark(held(1, 3, 10)));
        replay.base(Some((held(2, 5, 100), Cuts::default())), false);
        replay.take(&argv("SET a 1"));
        replay.take(&mark(held(1, 3, 11)));
        assert_eq!(replay.end(false).held, held(2, 5, 101));
        replay.base(None, false);
        assert!(!replay.end(false).named);
    }

    /// A primary's keyspace has what was written since the tick of which its place is.
    #[test]
    fn a_keyspace_that_may_be_further_on_is_certain_from_the_next_mark_on() {
        let mut replay = Replay::default();
        replay.base(Some((held(2, 5, 100), Cuts::default())), true);
        assert_eq!(replay.take(&argv("SET a 1")), Record::Other, "nobody knows its place");
        let read = replay.end(false);
        assert_eq!((read.held, read.doubtful), (held(2, 5, 101), true), "no more than this can be claimed");
        assert_eq!(replay.take(&mark(held(2, 5, 140))), Record::Mark, "no contradiction");
        assert_eq!(replay.take(&argv("SET b 1")), Record::Frame(at(5, 140).unwrap()));
        let read = replay.end(false);
        assert_eq!((read.held, read.doubtful), (held(2, 5, 141), false));
    }

    #[test]
    fn a_copy_that_began_and_did_not_land_leaves_the_old_data_or_nothing() {
        let begun = [mark(held(1, 3, 10)), argv("ELECT.LOAD 1 5")];
        assert_eq!(replay(&begun).held, held(1, 3, 10));
        let given_up =
            begun.iter().cloned().chain([mark(held(1, 4, 0)), argv("SET a 1")]).collect::<Vec<_>>();
        assert_eq!(replay(&given_up).held, held(1, 4, 1), "elected instead");
        let mixed: Vec<Argv> = begun.into_iter().chain([argv("SET a 1"), mark(held(1, 3, 11))]).collect();
        let read = replay(&mixed);
        assert_eq!((read.held.at, read.named), (None, true));
        let other = [mark(held(2, 3, 10)), argv("ELECT.LOAD 1 5"), argv("SET a 1")];
        assert_eq!(replay(&other).held, held(2, 3, 11), "left over from data that was replaced");
    }

    #[test]
    fn damaged_data_is_nothing_whatever_its_marks_say() {
        let mut replay = Replay::default();
        replay.take(&mark(held(1, 3, 10)));
        replay.take(&argv("SET a 1"));
        assert_eq!(position(&[replay.end(true)]), Position::NONE);
    }
}
