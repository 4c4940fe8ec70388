//! Which places are a prefix of a primary's history: C1 to C3 of `docs/protocol.md`.
//!
//! A history began at a place of the one before. These beginnings are facts: each epoch has one primary, and what its shard held
//! when it took up the office never changes. So a shard collects them, its own and those that it is told, and whoever has
//! enough of them can follow the path from a primary's history back to its own.

use crate::position::marks::{Place, number_of};
use kevy_elect_plugin::ids::Epoch;
use kevy_elect_plugin::words;
use std::collections::BTreeMap;
use std::fmt;

/// Beginnings that are remembered of one shard, the newest ones.
const BEGINNINGS_MAX: usize = 32;

/// Where histories began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Beginnings(BTreeMap<Epoch, Place>);

impl Beginnings {
    /// The history of `epoch` began at `place`, or at one that is not known. Whether that was news.
    pub(crate) fn note(&mut self, epoch: Epoch, place: Option<Place>) -> bool {
        // A history begins later than what it begins from.
        let Some(place) = place.filter(|place| place.epoch < epoch) else { return false };
        let news = self.0.insert(epoch, place) != Some(place);
        while self.0.len() > BEGINNINGS_MAX {
            self.0.pop_first();
        }
        news && self.0.contains_key(&epoch)
    }

    /// What another shard knows. Whether any of that was news.
    pub(crate) fn learn(&mut self, others: &Self) -> bool {
        others.0.iter().fold(false, |news, (epoch, place)| self.note(*epoch, Some(*place)) || news)
    }

    /// `<epoch>:<epoch before>:<flushes>:<offset>`, with commas between them.
    pub(crate) fn write(&self) -> String {
        let began = |(epoch, at): (&Epoch, &Place)| {
            format!("{}:{}:{}:{}", epoch.0, at.epoch.0, at.flushes, at.offset)
        };
        self.0.iter().map(began).collect::<Vec<_>>().join(",")
    }

    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut beginnings = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let [epoch, before, flushes, offset] = crate::position::marks::numbers(word.as_bytes())?;
            beginnings.note(Epoch(epoch), Some(Place { epoch: Epoch(before), flushes, offset }));
        }
        Some(beginnings)
    }

    fn of(&self, epoch: Epoch) -> Option<Place> {
        self.0.get(&epoch).copied()
    }
}

/// What a primary tells of one of its shards.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Told {
    /// Zero: the node does not reign.
    pub(crate) epoch: Epoch,
    pub(crate) flushes: u64,
    pub(crate) shards: usize,
    pub(crate) beginnings: Beginnings,
}

impl Told {
    /// One word for each: `<epoch> <flushes> <shards> <beginnings>`
    pub(crate) fn write(&self) -> String {
        format!("{} {} {} {}", self.epoch.0, self.flushes, self.shards, self.beginnings.write())
    }

    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut number = || number_of(words.next()?.as_bytes());
        let (epoch, flushes, shards) = (Epoch(number()?), number()?, usize::try_from(number()?).ok()?);
        let beginnings = Beginnings::read(words.next()?)?;
        words.next().is_none().then_some(Self { epoch, flushes, shards, beginnings })
    }
}

/// Frames of one history that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: Place,
    pub(crate) until: u64,
}

/// How data gets to where a primary's is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is of the primary's own history: the stream goes on here.
    Here,
    /// It is where this history begins: it is now at its beginning.
    Enters(Epoch),
    /// It has these frames behind the place where this history begins: a fork, unless they change nothing.
    Ahead { behind: Vec<Span>, of: Epoch },
    /// It is behind the place of the same history, and of the same flush, at which the next one begins.
    Lacks { until: u64 },
    /// It has to be copied.
    Copy(Why),
}

words! {
    /// Why data is copied.
    pub(crate) enum Why {
        /// It is not known what it is.
        Unknown = "unknown",
        /// The primary does not know how its history is connected with this one.
        NoPath = "no-path",
        /// It has what the primary's history lacks.
        Fork = "fork",
        /// The primary's history was flushed since.
        Flushed = "flushed",
        /// Frames that it lacks are not kept any more.
        Missing = "missing",
        /// The primary cannot be asked.
        Mute = "mute",
        /// What came could not be taken.
        Broken = "broken",
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "it is not known what this node's data is",
            Self::NoPath => "the primary does not know how its history goes back to this node's",
            Self::Fork => "this node has what the primary's history lacks",
            Self::Flushed => "the primary was flushed since",
            Self::Missing => "what this node lacks is not kept any more",
            Self::Mute => "the primary cannot be asked, or is of an earlier release",
            Self::Broken => "what came could not be taken",
        })
    }
}

/// The next step of data at `place`, for one who also knows `own` beginnings.
pub(crate) fn way(place: Option<Place>, primary: &Told, own: &Beginnings) -> Way {
    let Some(place) = place else { return Way::Copy(Why::Unknown) };
    if place.epoch == primary.epoch {
        return if place.flushes == primary.flushes { Way::Here } else { Way::Copy(Why::Flushed) };
    }
    match step(place, primary) {
        Way::Copy(Why::Fork) => back(place, primary, own),
        way => way,
    }
}

/// The same along the primary's path alone.
fn step(place: Place, primary: &Told) -> Way {
    let mut next = primary.epoch;
    while let Some(at) = primary.beginnings.of(next) {
        if at.epoch == place.epoch {
            return match place.flushes.cmp(&at.flushes) {
                std::cmp::Ordering::Equal if place.offset == at.offset => Way::Enters(next),
                std::cmp::Ordering::Equal if place.offset < at.offset => Way::Lacks { until: at.offset },
                std::cmp::Ordering::Equal => {
                    Way::Ahead { behind: vec![Span { from: at, until: place.offset }], of: next }
                }
                std::cmp::Ordering::Less => Way::Copy(Why::Flushed),
                std::cmp::Ordering::Greater => Way::Copy(Why::Fork),
            };
        }
        if at.epoch < place.epoch {
            // The path goes past it, on another branch.
            return Way::Copy(Why::Fork);
        }
        next = at.epoch;
    }
    Way::Copy(Why::NoPath)
}

/// From a history that is not on the path back to where it left the path, over all frames behind that.
fn back(mut place: Place, primary: &Told, own: &Beginnings) -> Way {
    let mut behind = Vec::new();
    // A history begins in an earlier one, so this ends.
    while place.flushes == 0
        && let Some(began) = own.of(place.epoch)
    {
        if place.offset > 0 {
            behind.push(Span { from: Place { offset: 0, ..place }, until: place.offset });
        }
        match step(began, primary) {
            Way::Copy(Why::Fork) => place = began,
            Way::Enters(of) if behind.is_empty() => return Way::Enters(of),
            Way::Enters(of) => return Way::Ahead { behind, of },
            Way::Ahead { behind: more, of } => {
                behind.extend(more);
                return Way::Ahead { behind, of };
            }
            // It would have to fetch in another history than its own.
            _ => break,
        }
    }
    Way::Copy(Why::Fork)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    fn at(epoch: u64, flushes: u64, offset: u64) -> Place {
        Place { epoch: Epoch(epoch), flushes, offset }
    }

    fn beginnings(all: &[(u64, Place)]) -> Beginnings {
        let mut beginnings = Beginnings::default();
        for (epoch, place) in all {
            beginnings.note(Epoch(*epoch), Some(*place));
        }
        beginnings
    }

    /// Histories 3, 5, 8: 5 began behind 100 frames of 3, 8 behind 40 of 5.
    fn primary() -> Told {
        let beginnings = beginnings(&[(5, at(3, 0, 100)), (8, at(5, 0, 40))]);
        Told { epoch: Epoch(8), flushes: 0, shards: 1, beginnings }
    }

    fn way_of(place: Place) -> Way {
        way(Some(place), &primary(), &Beginnings::default())
    }

    fn ahead(behind: &[(Place, u64)], of: u64) -> Way {
        let behind = behind.iter().map(|(from, until)| Span { from: *from, until: *until }).collect();
        Way::Ahead { behind, of: Epoch(of) }
    }

    #[test]
    fn whoever_is_where_a_history_begins_enters_it() {
        assert_eq!(way_of(at(5, 0, 40)), Way::Enters(Epoch(8)));
        assert_eq!(way_of(at(3, 0, 100)), Way::Enters(Epoch(5)), "one history after the other");
        assert_eq!(way_of(at(8, 0, 7)), Way::Here);
    }

    #[test]
    fn whoever_is_behind_lacks_what_is_before_the_next_beginning() {
        assert_eq!(way_of(at(5, 0, 39)), Way::Lacks { until: 40 });
        assert_eq!(way_of(at(5, 0, 0)), Way::Lacks { until: 40 });
        assert_eq!(way_of(at(3, 0, 40)), Way::Lacks { until: 100 }, "not the beginning of another history");
    }

    #[test]
    fn a_fork_is_never_a_prefix_whatever_its_offset() {
        assert_eq!(way_of(at(5, 0, 41)), ahead(&[(at(5, 0, 40), 41)], 8));
        assert_eq!(way_of(at(3, 0, 101)), ahead(&[(at(3, 0, 100), 101)], 5), "an older one");
        for offset in [0, 39, 40, 41, 100] {
            assert_eq!(way_of(at(6, 0, offset)), Way::Copy(Why::Fork), "6 is not on the path: {offset}");
            assert_eq!(way_of(at(4, 0, offset)), Way::Copy(Why::Fork), "nor is 4: {offset}");
            assert_eq!(way_of(at(2, 0, offset)), Way::Copy(Why::NoPath), "2 is from before: {offset}");
            assert_eq!(way_of(at(9, 0, offset)), Way::Copy(Why::Fork), "9 is newer: {offset}");
        }
    }

    #[test]
    fn what_a_flush_has_ended_is_no_prefix() {
        let mut primary = primary();
        primary.flushes = 2;
        let way = |place| way(Some(place), &primary, &Beginnings::default());
        assert_eq!(way(at(8, 1, 7)), Way::Copy(Why::Flushed));
        assert_eq!(way(at(8, 2, 7)), Way::Here);
        let beginnings = beginnings(&[(8, at(5, 3, 40))]);
        let primary = Told { beginnings, ..primary };
        let way = |place| super::way(Some(place), &primary, &Beginnings::default());
        assert_eq!(way(at(5, 2, 40)), Way::Copy(Why::Flushed));
        assert_eq!(way(at(5, 4, 40)), Way::Copy(Why::Fork));
        assert_eq!(way(at(5, 3, 40)), Way::Enters(Epoch(8)));
    }

    #[test]
    fn a_history_that_is_not_on_the_path_leads_back_to_it_over_all_that_was_written_since() {
        // 7 began in 6, and 6 began in 5, where 8 began too; 9 began where 5 had less, 4 behind 110 of 3.
        let own = beginnings(&[(4, at(3, 0, 110)), (6, at(5, 0, 40)), (7, at(6, 0, 2)), (9, at(5, 0, 39))]);
        let way = |place| way(Some(place), &primary(), &own);
        assert_eq!(way(at(6, 0, 0)), Way::Enters(Epoch(8)), "nothing was");
        assert_eq!(way(at(6, 0, 1)), ahead(&[(at(6, 0, 0), 1)], 8));
        assert_eq!(way(at(7, 0, 0)), ahead(&[(at(6, 0, 0), 2)], 8));
        assert_eq!(way(at(7, 0, 3)), ahead(&[(at(7, 0, 0), 3), (at(6, 0, 0), 2)], 8));
        assert_eq!(way(at(4, 0, 1)), ahead(&[(at(4, 0, 0), 1), (at(3, 0, 100), 110)], 5), "all of it");
        assert_eq!(way(at(9, 0, 0)), Way::Copy(Why::Fork), "it would have to fetch in another history");
        assert_eq!(way(at(6, 1, 1)), Way::Copy(Why::Fork), "what a flush has ended does not lead back");
    }

    #[test]
    fn data_of_an_unknown_place_and_a_history_of_an_unknown_beginning_are_copied() {
        assert_eq!(way(None, &primary(), &Beginnings::default()), Way::Copy(Why::Unknown));
        let mut primary = primary();
        primary.beginnings = Beginnings::default();
        primary.beginnings.note(Epoch(8), None);
        assert_eq!(way(Some(at(5, 0, 40)), &primary, &Beginnings::default()), Way::Copy(Why::NoPath));
    }

    #[test]
    fn what_is_told_comes_out_as_it_went_in_and_is_bounded() {
        for told in [Told::default(), primary()] {
            assert_eq!(Told::read(&told.write()), Some(told));
        }
        for wrong in ["", "8 0", "8 0 1", "8 0 1 5:3:0", "8 0 1 5:3:0:x", "8 0 1  more"] {
            assert_eq!(Told::read(wrong), None, "{wrong:?}");
        }
        let mut all = Beginnings::default();
        for epoch in 1..100 {
            all.note(Epoch(epoch), Some(at(epoch - 1, 0, 1)));
        }
        assert_eq!(all.0.len(), BEGINNINGS_MAX);
        assert!(all.of(Epoch(99)).is_some() && all.of(Epoch(50)).is_none());
        all.note(Epoch(100), Some(at(100, 0, 1)));
        assert_eq!(all.of(Epoch(100)), None, "no history begins with itself");
    }
}
