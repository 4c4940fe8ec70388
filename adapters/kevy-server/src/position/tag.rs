//! Whose history a snapshot is: a mark on every snapshot that this server ships.
//!
//! kevy serves its stream to whoever asks, in any role. A primary that crashed and came back empty would
//! thus hand its emptiness to every replica that reconnects before it is found to be gone. So a primary
//! marks its snapshots with the epoch in which it reigns, a node that does not reign marks them with none,
//! and a follower loads only what the primary of the epoch that it was told to follow has marked.
//!
//! The mark travels in the frame that kevy keeps beside the keyspace (its catalog record), behind the
//! parts that kevy reads; plain kevy ignores it.

use crate::continuation::path::Beginnings;
use crate::position::marks::{Cuts, Held};
use kevy_elect_plugin::ids::Epoch;
use kevy_rt::{Argv, ArgvView, Store};
use std::cell::Cell;
use std::fmt;

const MARK: &[u8] = b"ELECT1";
/// Parts of the catalog record that are kevy's: its name, lineage, version and three catalogs.
const KEVY_PARTS: usize = 6;
/// Parts of what the data is.
const HELD_PARTS: usize = 5;
/// Stands at the end where the data may be further on than the frame says (K11).
const ABOUT: &[u8] = b"about";
/// Parts of a mark. What this shard's data is follows them.
const MARK_PARTS: usize = 4;

/// Whose history a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// The epoch in which its sender reigns; [`Epoch::ZERO`]: it does not.
    pub epoch: Epoch,
    /// How often this shard was flushed in this reign. Each time kevy starts its stream anew at offset 0.
    pub flushes: u64,
    /// How many shards the sender has. Streams go shard to shard, so the follower must have as many.
    pub shards: usize,
}

impl Tag {
    /// `frame`, marked.
    pub fn mark(self, frame: Argv) -> Argv {
        let mut marked = frame;
        if marked.len() == KEVY_PARTS {
            marked.push(MARK);
            for number in [self.epoch.0, self.flushes, self.shards as u64] {
                marked.push(number.to_string().as_bytes());
            }
        }
        marked
    }

    /// The mark on `frame`, if it has one.
    pub fn read(frame: &Argv) -> Option<Self> {
        if frame.get(KEVY_PARTS)? != MARK {
            return None;
        }
        let number = |i: usize| std::str::from_utf8(frame.get(KEVY_PARTS + i)?).ok()?.parse::<u64>().ok();
        Some(Self {
            epoch: Epoch(number(1)?),
            flushes: number(2)?,
            shards: usize::try_from(number(3)?).ok()?,
        })
    }

    /// `frame` as [`Tag::mark`] made it, with what the data beside it is, where histories began, and the cluster's id. `about`: the data may
    /// be further on.
    pub(crate) fn add_held(
        mut frame: Argv,
        (held, cuts): &(Held, Cuts),
        beginnings: &Beginnings,
        cluster: &[u8],
        about: bool,
    ) -> Argv {
        if frame.len() == KEVY_PARTS + MARK_PARTS {
            held.beside(cuts).iter().for_each(|word| frame.push(word));
            frame.push(beginnings.write().as_bytes());
            frame.push(cluster);
            if about {
                frame.push(ABOUT);
            }
        }
        frame
    }

    /// Whether the data beside it may be further on than it says.
    pub(crate) fn is_about<A: ArgvView + ?Sized>(frame: &A) -> bool {
        frame.get(KEVY_PARTS + MARK_PARTS + HELD_PARTS + 2) == Some(ABOUT)
    }

    /// The cluster that the data belongs to, as it stands there.
    pub(crate) fn cluster_beside<A: ArgvView + ?Sized>(frame: &A) -> Option<&[u8]> {
        frame.get(KEVY_PARTS + MARK_PARTS + HELD_PARTS + 1)
    }

    /// Where histories began, as it stands there.
    pub(crate) fn beginnings_beside<A: ArgvView + ?Sized>(frame: &A) -> Option<&[u8]> {
        frame.get(KEVY_PARTS + MARK_PARTS + HELD_PARTS)
    }

    /// Whether `frame` stood beside a keyspace that this server wrote; then, what it says of the data.
    pub(crate) fn held_beside<A: ArgvView + ?Sized>(frame: &A) -> Option<Option<(Held, Cuts)>> {
        (frame.get(KEVY_PARTS)? == MARK).then(|| Held::read_beside(frame, KEVY_PARTS + MARK_PARTS))
    }

    /// The mark in a shipped snapshot, and how many keys it has. Reads all of it, so a damaged one is found before it replaces data.
    pub fn of_snapshot(bytes: &[u8]) -> Result<(Option<Self>, u64), String> {
        let keys = Cell::new(0);
        let count = |_: &[u8]| {
            keys.set(keys.get() + 1);
            false
        };
        let aux = kevy_persist::load_snapshot_with_aux(&mut Store::new(), bytes, count);
        let tag = aux.map(|frame| frame.as_ref().and_then(Self::read)).map_err(|error| error.to_string())?;
        Ok((tag, keys.get()))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}, {} shards", self.epoch, self.shards)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::marks::Place;

    fn record() -> Argv {
        Argv::from(["CATALOG", "7", "1", "", "", ""].map(|part| part.as_bytes().to_vec()).to_vec())
    }

    #[test]
    fn a_mark_comes_out_as_it_went_in_and_leaves_kevys_parts_alone() {
        let tag = Tag { epoch: Epoch(5), flushes: 2, shards: 4 };
        let marked = tag.mark(record());
        assert_eq!(Tag::read(&marked), Some(tag));
        assert!((0..KEVY_PARTS).all(|i| marked.get(i) == record().get(i)));
        assert_eq!(tag.mark(marked.clone()), marked, "a record is marked once");
    }

    #[test]
    fn what_the_data_is_stands_behind_the_mark() {
        let marked = Tag { epoch: Epoch(5), flushes: 2, shards: 4 }.mark(record());
        assert_eq!(Tag::held_beside(&record()), None, "kevy's own");
        assert_eq!(Tag::held_beside(&marked), Some(None), "of an earlier version");
        let held = Held { lineage: 9, ..Held::default() };
        let mut cuts = Cuts::default();
        cuts.note(7, Place { epoch: Epoch(5), flushes: 2, offset: 40 });
        let mut beginnings = Beginnings::default();
        beginnings.note(Epoch(5), Some(Place { epoch: Epoch(4), flushes: 0, offset: 9 }));
        let (beside, id) = ((held, cuts), "0123456789abcdef".repeat(2));
        let add = |about| Tag::add_held(marked.clone(), &beside, &beginnings, id.as_bytes(), about);
        assert!(Tag::is_about(&add(true)));
        let full = add(false);
        assert!(!Tag::is_about(&full));
        assert_eq!(Tag::beginnings_beside(&full), Some(beginnings.write().as_bytes()));
        assert_eq!(Tag::cluster_beside(&full), Some(id.as_bytes()));
        assert_eq!(Tag::held_beside(&full), Some(Some(beside.clone())));
        assert_eq!(Tag::read(&full), Some(Tag { epoch: Epoch(5), flushes: 2, shards: 4 }));
    }

    #[test]
    fn what_plain_kevy_ships_has_no_mark() {
        assert_eq!(Tag::read(&record()), None);
        let mut image = Vec::new();
        let mut store = Store::new();
        store.load_str(b"k".to_vec(), b"v".to_vec(), None);
        kevy_persist::write_snapshot_to(&store, &mut image).unwrap();
        assert_eq!(Tag::of_snapshot(&image), Ok((None, 1)));
    }

    #[test]
    fn a_damaged_snapshot_is_found_before_it_is_loaded() {
        assert!(Tag::of_snapshot(b"KEVY but not really").is_err());
        assert!(Tag::of_snapshot(b"").is_err());
    }
}
