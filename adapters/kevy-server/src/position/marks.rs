//! Where in which history a shard's data is, written into the data itself.
//!
//! A number that is kept in another file than the data is synced at another time, and says after a power cut or a kill
//! what the data is not. So the log says it: marks stand between its records, a rewritten log and a snapshot carry
//! one beside the keyspace, and who reads a log back counts on from the last one. Rules: `docs/protocol.md`,
//! section "The position is the data".
//!
//! Neither marks nor the count can be sent by a client: only records that are applied are looked at.

use crate::position::offset::position_offset;
use kevy_elect_plugin::ids::Epoch;
use kevy_elect_plugin::position::Position;
use kevy_rt::ArgvView;
use std::collections::VecDeque;

/// A record of the log: where the data is at this place. Words: lineage, place, place before, number; and, where the log does not
/// have them yet, the beginnings of histories that are known, and the cluster's id.
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
pub(crate) struct Cuts(pub(super) VecDeque<(u64, Place)>);

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

    pub(super) fn place(&self, number: u64) -> Option<Place> {
        self.0.iter().find(|(known, _)| *known == number).map(|(_, place)| *place)
    }

    pub(super) fn newest(&self) -> Option<Place> {
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
    pub(super) fn position_offset(self) -> u64 {
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

    pub(super) fn read<A: ArgvView + ?Sized>(frame: &A, from: usize) -> Option<Self> {
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use kevy_rt::Argv;

    pub(crate) fn at(epoch: u64, offset: u64) -> Option<Place> {
        Some(Place { epoch: Epoch(epoch), flushes: 0, offset })
    }

    pub(crate) fn held(lineage: u64, epoch: u64, offset: u64) -> Held {
        Held { lineage, at: at(epoch, offset), before: None }
    }

    pub(crate) fn argv(line: &str) -> Argv {
        Argv::from(line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    pub(crate) fn mark(held: Held) -> Argv {
        Argv::from(held.mark(0))
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
}
