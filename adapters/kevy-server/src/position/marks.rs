//! Where in which history a shard's data is, written into the data itself.
//!
//! A number that is kept in another file than the data is synced at another time, and says after a power cut or a kill
//! what the data is not. So the log says it: marks stand between its records, a rewritten log and a snapshot carry
//! one beside the keyspace, and who reads a log back counts on from the last one. Rules: `docs/protocol.md`,
//! section "The position is the data".
//!
//! Neither marks nor the count can be sent by a client: only records that are applied are looked at.

use crate::continuation::path::Beginnings;
use crate::position::tag::position_offset;
use kevy_elect_plugin::ids::Epoch;
use kevy_elect_plugin::position::Position;
use kevy_rt::{ArgvView, Store};
use std::collections::VecDeque;

/// A record of the log: where the data is at this place. Words: lineage, place, place before, number; and, where the log does not
/// have them yet, the beginnings of histories that are known.
pub(crate) const MARK: &[u8] = b"ELECT.MARK";
/// A record of the log: the keyspace is about to be replaced. Words: the lineage that ends here, number.
pub(crate) const LOAD: &[u8] = b"ELECT.LOAD";
/// An order that goes the way of frames: go on in another history, or anew in the same one. Never in a log.
pub(crate) const GO_ON: &[u8] = b"ELECT.GO-ON";
/// What stands before the words of [`Held`] in the frame beside a keyspace.
const HELD: &[u8] = b"HELD1";
const NONE: &[u8] = b"-";
/// Cuts that are remembered of one shard: as far as one may be ahead of another.
const CUTS_MAX: usize = 256;

/// Where one shard is in one history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) epoch: Epoch,
    pub(crate) flushes: u64,
    /// Frames of the stream since the last flush.
    pub(crate) offset: u64,
}

/// Where one shard was in the history that its node held before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Before {
    pub(crate) epoch: Epoch,
    /// As in a [`Position`].
    pub(crate) offset: u64,
}

/// Cuts that one shard has, with the place behind each: with several shards a node holds what lies before the newest cut
/// that all of them have. Marks do not carry them, for the log has their records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Cuts(VecDeque<(u64, Place)>);

impl Cuts {
    /// Those of a history that this node has just begun: all shards are at its beginning.
    pub(crate) fn of_own(epoch: Epoch) -> Self {
        Self(VecDeque::from([(0, Place { epoch, flushes: 0, offset: 0 })]))
    }

    pub(crate) fn note(&mut self, number: u64, place: Place) {
        if self.0.back().is_some_and(|(last, at)| at.epoch == place.epoch && *last >= number) {
            return;
        }
        if self.0.len() == CUTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((number, place));
    }

    fn place(&self, number: u64) -> Option<Place> {
        self.0.iter().find(|(known, _)| *known == number).map(|(_, place)| *place)
    }

    fn newest(&self) -> Option<Place> {
        self.0.back().map(|(_, place)| *place)
    }

    fn write(&self) -> Vec<u8> {
        let words = self.0.iter().map(|(n, p)| format!("{n}:{}:{}:{}", p.epoch.0, p.flushes, p.offset));
        words.collect::<Vec<_>>().join(",").into_bytes()
    }

    fn read(word: &[u8]) -> Option<Self> {
        let cut = |word| {
            let [number, epoch, flushes, offset] = numbers(word)?;
            Some((number, Place { epoch: Epoch(epoch), flushes, offset }))
        };
        let words = word.split(|byte| *byte == b',').filter(|word| !word.is_empty());
        words.map(cut).collect::<Option<_>>().map(Self)
    }
}

/// What the data of one shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Held {
    /// Which keyspace this is: a full copy begins a new one. Marks of another one belong to other data. 0: has none.
    pub(crate) lineage: u64,
    /// `None`: nobody knows.
    pub(crate) at: Option<Place>,
    /// What counts as long as not all shards have come to the history of `at`.
    pub(crate) before: Option<Before>,
}

impl Place {
    fn position_offset(self) -> u64 {
        position_offset(self.flushes, self.offset)
    }

    pub(crate) fn write(place: Option<Self>) -> Vec<u8> {
        place.map_or_else(
            || NONE.to_vec(),
            |p| format!("{}:{}:{}", p.epoch.0, p.flushes, p.offset).into_bytes(),
        )
    }

    pub(crate) fn read(word: &[u8]) -> Option<Option<Self>> {
        if word == NONE {
            return Some(None);
        }
        let [epoch, flushes, offset] = numbers(word)?;
        Some(Some(Self { epoch: Epoch(epoch), flushes, offset }))
    }
}

impl Before {
    /// What `position` says of `shard`.
    pub(crate) fn of(position: &Position, shard: usize) -> Option<Self> {
        let offset = *position.offsets().get(shard)?;
        Some(Self { epoch: position.stream_epoch(), offset })
    }

    pub(crate) fn write(before: Option<Self>) -> Vec<u8> {
        before.map_or_else(|| NONE.to_vec(), |b| format!("{}:{}", b.epoch.0, b.offset).into_bytes())
    }

    pub(crate) fn read(word: &[u8]) -> Option<Option<Self>> {
        if word == NONE {
            return Some(None);
        }
        let [epoch, offset] = numbers(word)?;
        Some(Some(Self { epoch: Epoch(epoch), offset }))
    }
}

/// `N` decimal numbers with colons between them, and nothing else.
pub(crate) fn numbers<const N: usize>(word: &[u8]) -> Option<[u64; N]> {
    let mut found = [0; N];
    let mut words = word.split(|byte| *byte == b':');
    for number in &mut found {
        *number = number_of(words.next()?)?;
    }
    words.next().is_none().then_some(found)
}

pub(crate) fn number_of(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

impl Held {
    fn words(&self) -> [Vec<u8>; 3] {
        [self.lineage.to_string().into_bytes(), Place::write(self.at), Before::write(self.before)]
    }

    fn read<A: ArgvView + ?Sized>(frame: &A, from: usize) -> Option<Self> {
        Some(Self {
            lineage: number_of(frame.get(from)?)?,
            at: Place::read(frame.get(from + 1)?)?,
            before: Before::read(frame.get(from + 2)?)?,
        })
    }

    /// The record that says so, with a number to find it by.
    pub(crate) fn mark(&self, number: u64) -> Vec<Vec<u8>> {
        let [lineage, at, before] = self.words();
        vec![MARK.to_vec(), lineage, at, before, number.to_string().into_bytes()]
    }

    /// The words that say so in the frame beside a keyspace.
    pub(crate) fn beside(&self, cuts: &Cuts) -> Vec<Vec<u8>> {
        let [lineage, at, before] = self.words();
        vec![HELD.to_vec(), lineage, at, before, cuts.write()]
    }

    /// What [`beside`](Self::beside) wrote, in a frame in which it begins at `from`.
    pub(crate) fn read_beside<A: ArgvView + ?Sized>(frame: &A, from: usize) -> Option<(Self, Cuts)> {
        if frame.get(from)? != HELD {
            return None;
        }
        Some((Self::read(frame, from + 1)?, Cuts::read(frame.get(from + 4)?)?))
    }
}

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
    /// Records that kevy adds to the one before them, and does not stream: name and key of each.
    added: VecDeque<(Vec<u8>, Vec<u8>)>,
    /// Where histories began. These are facts, whatever data they stand in.
    beginnings: Beginnings,
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
    /// A whole keyspace was read. `held`: what stood beside it.
    pub(crate) fn base(&mut self, beside: Option<(Held, Cuts)>) {
        let named = beside.is_some();
        let (held, cuts) = beside.unwrap_or_default();
        let beginnings = std::mem::take(&mut self.beginnings);
        *self = Self { held, cuts, named, data: true, beginnings, ..Self::default() };
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
                before.filter(follows).map_or(Record::Other, Record::Frame)
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
        {
            log::warn!("a mark in the log says {said:?} where {counted:?} was counted; the mark is right");
            self.doubtful = true;
        }
        if let Some(said) = held.at.filter(|said| self.held.at.is_none_or(|at| at.epoch != said.epoch)) {
            // Within one keyspace another history begins where this node took up an office, or went on at its first frame.
            self.cuts = Cuts::of_own(said.epoch);
        }
        // A mark of this very keyspace: it was not replaced after all.
        (self.held, self.named, self.loading) = (held, true, false);
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
        let (named, data, doubtful) = (self.named || damaged, self.data, self.doubtful);
        Restored { held, cuts: self.cuts.clone(), named, data, doubtful }
    }
}

/// What a node holds whose shards hold this: the newest history of which every shard says where it is.
pub(crate) fn position(shards: &[Restored]) -> Position {
    if !shards.iter().any(|shard| shard.data || shard.held.at.is_some()) {
        return Position::NONE;
    }
    if let Some(position) = same_history(shards) {
        return position;
    }
    let entries: Vec<Vec<Before>> = (0..shards.len()).map(|shard| entries(shard, shards)).collect();
    let in_history = |epoch| {
        let offset =
            |of: &Vec<Before>| of.iter().find(|entry| entry.epoch == epoch).map(|entry| entry.offset);
        entries.iter().map(offset).collect::<Option<Vec<u64>>>()
    };
    let mut epochs: Vec<Epoch> = entries.iter().flatten().map(|entry| entry.epoch).collect();
    epochs.sort_unstable();
    let newest = epochs.into_iter().rev().find_map(|epoch| Position::new(epoch, &in_history(epoch)?).ok());
    newest.unwrap_or(Position::NONE)
}

/// Where the node is in the history that all its shards have: one shard, where that is, several at the newest cut that all of
/// them have (S7).
fn same_history(shards: &[Restored]) -> Option<Position> {
    let (first, others) = shards.split_first()?;
    let at = first.held.at?;
    if others.is_empty() {
        return Position::new(at.epoch, &[at.position_offset()]).ok();
    }
    let in_history = |shard: &Restored| shard.held.at.is_some_and(|there| there.epoch == at.epoch);
    let cut = |number| {
        let place = |shard: &Restored| shard.cuts.place(number).filter(|place| place.epoch == at.epoch);
        let offsets = shards.iter().map(|shard| place(shard).map(Place::position_offset));
        Position::new(at.epoch, &offsets.collect::<Option<Vec<u64>>>()?).ok()
    };
    let numbers = first.cuts.0.iter().rev().map(|(number, _)| *number);
    others.iter().all(in_history).then(|| numbers.into_iter().find_map(cut))?
}

/// The histories of which a shard says where it is. Data that no election has named belongs to a history without a name:
/// more than nothing, less than any that an election began.
fn entries(shard: usize, shards: &[Restored]) -> Vec<Before> {
    let restored = &shards[shard];
    let unnamed = Before { epoch: Epoch::ZERO, offset: u64::from(shard == 0) };
    let place = match shards {
        [alone] => alone.held.at,
        // What it said as part of its node lay before a cut.
        _ => {
            restored.cuts.newest().filter(|place| restored.held.at.is_some_and(|at| at.epoch == place.epoch))
        }
    };
    let at = place.map(|at| Before { epoch: at.epoch, offset: at.position_offset() });
    let at = at.or((!restored.named).then_some(unnamed));
    // A shard alone in its history holds what it holds; one of several was not part of it before they all had a cut.
    let all = shards.len() > 1
        && shards.iter().all(|other| other.held.at.map(|at| at.epoch) == restored.held.at.map(|at| at.epoch));
    at.filter(|_| !all || !restored.named).into_iter().chain(restored.held.before).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kevy_rt::Argv;

    fn at(epoch: u64, offset: u64) -> Option<Place> {
        Some(Place { epoch: Epoch(epoch), flushes: 0, offset })
    }

    fn held(lineage: u64, epoch: u64, offset: u64) -> Held {
        Held { lineage, at: at(epoch, offset), before: None }
    }

    fn argv(line: &str) -> Argv {
        Argv::from(line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    fn mark(held: Held) -> Argv {
        Argv::from(held.mark(0))
    }

    fn replay(records: &[Argv]) -> Restored {
        let mut replay = Replay::default();
        for record in records {
            replay.take(record);
        }
        replay.end(false)
    }

    #[test]
    fn what_is_held_comes_out_as_it_went_in() {
        let all = [
            Held::default(),
            held(5, 7, 9),
            Held { before: Some(Before { epoch: Epoch(3), offset: 1 << 41 }), ..held(1, 2, 3) },
        ];
        for one in all {
            assert_eq!(Held::read(&mark(one), 1), Some(one));
            let mut cuts = Cuts::of_own(Epoch(3));
            assert_eq!(Held::read_beside(&Argv::from(one.beside(&cuts)), 0), Some((one, cuts.clone())));
            cuts.note(9, Place { epoch: Epoch(3), flushes: 1, offset: 77 });
            assert_eq!(Held::read_beside(&Argv::from(one.beside(&cuts)), 0), Some((one, cuts)));
        }
        for wrong in
            ["ELECT.MARK x - - 0", "ELECT.MARK 1 1:2 - 0", "ELECT.MARK 1 1:2:3:4 - 0", "ELECT.MARK 1 - 5 0"]
        {
            assert_eq!(Held::read(&argv(wrong), 1), None, "{wrong}");
        }
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
        replay.base(None);
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
        replay.base(Some((held(2, 5, 100), Cuts::default())));
        replay.take(&argv("SET a 1"));
        replay.take(&mark(held(1, 3, 11)));
        assert_eq!(replay.end(false).held, held(2, 5, 101));
        replay.base(None);
        assert!(!replay.end(false).named);
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

    #[test]
    fn a_node_claims_the_newest_history_that_all_its_shards_know() {
        let shard = |epoch, cuts: &[(u64, u64)], before: Option<(u64, u64)>| {
            let place = |offset| Place { epoch: Epoch(epoch), flushes: 0, offset };
            Restored {
                held: Held {
                    lineage: 1,
                    // Somewhere behind its last cut.
                    at: Some(place(1000)),
                    before: before.map(|(epoch, offset)| Before { epoch: Epoch(epoch), offset }),
                },
                cuts: Cuts(cuts.iter().map(|(number, offset)| (*number, place(*offset))).collect()),
                named: true,
                data: true,
                doubtful: false,
            }
        };
        let claim = |epoch, offsets: &[u64]| Position::new(Epoch(epoch), offsets).unwrap();
        assert_eq!(position(&[shard(7, &[], None)]), claim(7, &[1000]), "one shard needs no cuts");
        let (ahead, back) = (shard(7, &[(3, 10), (4, 20)], None), shard(7, &[(2, 1), (3, 5)], None));
        assert_eq!(position(&[ahead.clone(), back.clone()]), claim(7, &[10, 5]), "the newest that both have");
        assert_eq!(position(&[back, ahead]), claim(7, &[5, 10]));
        let old = shard(5, &[(9, 50)], None);
        assert_eq!(position(&[shard(7, &[(1, 1)], Some((5, 40))), old.clone()]), claim(5, &[40, 50]));
        // Both have a copy, and no cut yet: the node has not joined.
        assert_eq!(
            position(&[shard(7, &[], Some((5, 40))), shard(7, &[], Some((5, 50)))]),
            claim(5, &[40, 50])
        );
        // Was on its way to 7 when 9 came, and held 5 all the while.
        assert_eq!(
            position(&[shard(9, &[], Some((5, 40))), shard(7, &[(1, 3)], Some((5, 50)))]),
            claim(5, &[40, 50])
        );
        assert_eq!(position(&[shard(7, &[(1, 1)], None), old]), Position::NONE);
        let unnamed = Restored { data: true, ..Restored::default() };
        assert_eq!(position(&[Restored::default(), unnamed.clone()]), claim(0, &[1, 0]));
        assert_eq!(position(&[shard(7, &[], Some((0, 1))), unnamed]), claim(0, &[1, 0]));
        assert_eq!(position(&[Restored::default(), Restored::default()]), Position::NONE);
    }
}
