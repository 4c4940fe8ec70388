//! What a server holds: the writes of every primary it followed, shard by shard, history by history.
//!
//! A write is known by its shard, the epoch of the primary that took it, and its number there: no two primaries write in one epoch (E1).
//! So two servers that hold the same numbers of the same epochs hold the same, and a fork shows whatever its offsets are.

use crate::ids::Epoch;
use crate::position::Position;

/// The most shards a simulated server has.
pub(super) const SHARDS: usize = 3;
/// Where servers have habits, a write leaves the offset at the next multiple of this, and a cut one further: so the offset itself tells behind
/// which write there are how many cuts (S6), and there is room for one fewer.
pub(super) const WRITE: u64 = 64;
/// A flush leaves the offset here, or at the next multiple: offsets only grow, and the writes after it are counted anew.
const FLUSH: u64 = 1 << 26;

/// One offset per shard.
pub(super) type Offsets = [u64; SHARDS];

/// A cut through all streams: its number, and where it lies.
pub(super) type Cut = (u64, Offsets);

/// How far one shard is in one history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Place {
    pub(super) epoch: Epoch,
    pub(super) offset: u64,
}

impl Place {
    /// Where a history starts.
    pub(super) const fn first(epoch: Epoch) -> Self {
        Self { epoch, offset: 0 }
    }

    /// The place right behind a flush at this one.
    pub(super) const fn flushed(self) -> Self {
        Self { offset: (self.offset / FLUSH + 1) * FLUSH, ..self }
    }

    /// Behind the same writes, and no cut.
    pub(super) const fn without_cuts(self) -> Self {
        Self { offset: self.offset / WRITE * WRITE, ..self }
    }

    /// Behind so many writes more.
    pub(super) const fn written(self, writes: u64) -> Self {
        Self { offset: (self.offset / WRITE + writes) * WRITE, ..self }
    }

    /// Behind one more cut, if there is room for one.
    pub(super) const fn cut(self) -> Self {
        let room = self.offset % WRITE + 1 < WRITE;
        Self { offset: self.offset + room as u64, ..self }
    }

    /// What of the way from `least` to this place is there where it ends at `offset`: cuts that are not known to have been there are not.
    pub(super) fn ends_at(self, least: u64, offset: u64) -> u64 {
        if offset >= self.without_cuts().offset { offset } else { (offset / WRITE * WRITE).max(least) }
    }

    /// Where it would be, had nothing been written since the last flush.
    pub(super) const fn last_flush(self) -> u64 {
        self.offset / FLUSH * FLUSH
    }

    /// This place, after as many flushes as `other`: what the wrong server takes it for.
    pub(super) const fn unflushed(self, other: Self) -> Self {
        Self { offset: other.last_flush() + self.offset % FLUSH, ..self }
    }

    /// Whether `other` is in the same history, no flush is between them, and it is not ahead.
    pub(super) fn reaches(self, other: Self) -> bool {
        self.epoch == other.epoch && self.last_flush() == other.last_flush() && other.offset <= self.offset
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.epoch, self.offset / FLUSH, self.offset % FLUSH)
    }
}

/// Where a history began: its epoch, and the place in the one before.
pub(super) type Beginning = (Epoch, Place);

/// How many beginnings a server remembers, as C2 bounds it.
const PATH_MAX: usize = 4;

/// What one shard holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ShardData {
    /// How far it goes in each history, in their order.
    pub(super) runs: Vec<Place>,
    /// What is there besides, or is missing, as a digest. Zero where all was done that the primaries sent, and no more.
    pub(super) odd: u64,
    /// When its key with an end ends, in nanoseconds of real time. Zero: there is none.
    pub(super) ends: u64,
    /// What the server knows of the path on which it came, oldest first.
    pub(super) path: Vec<Beginning>,
}

impl ShardData {
    /// Where it is.
    pub(super) fn end(&self) -> Place {
        self.runs.last().copied().unwrap_or_default()
    }

    pub(super) fn offset_mut(&mut self) -> &mut u64 {
        if self.runs.is_empty() {
            self.runs.push(Place::default());
        }
        let last = self.runs.len() - 1;
        &mut self.runs[last].offset
    }

    /// How far it goes in this history; `None`: it was never in it.
    pub(super) fn within(&self, epoch: Epoch) -> Option<u64> {
        self.runs.iter().rev().find(|place| place.epoch == epoch).map(|place| place.offset)
    }

    /// The next history begins here; `known`: at this place, for all that the server knows.
    pub(super) fn begin(&mut self, epoch: Epoch, known: Place) {
        if self.path.len() == PATH_MAX {
            self.path.remove(0);
        }
        self.path.push((epoch, known));
        self.runs.push(Place::first(epoch));
    }

    /// What a server takes its data for that goes on from `place`, whatever it has: where that is something else, some writes
    /// are missing, or done twice, or not those of this history.
    pub(super) fn pretend(&mut self, place: Place) {
        let end = self.end();
        if end != place {
            self.miss(
                end.offset ^ place.offset.rotate_left(20) ^ (end.epoch.0 ^ place.epoch.0).rotate_left(40) | 1,
            );
            match end.epoch == place.epoch {
                true => *self.offset_mut() = place.offset,
                false => self.runs.push(place),
            }
        }
    }

    /// What is not as it was sent; zero: nothing.
    pub(super) fn miss(&mut self, what: u64) {
        if what != 0 {
            self.odd = (self.odd ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        }
    }

    /// The writes themselves: a history in which there is none, or only cuts, leaves nothing.
    fn writes(&self) -> impl Iterator<Item = Place> {
        self.runs.iter().map(|place| place.without_cuts()).filter(|place| place.offset > 0)
    }

    /// Whether the writes here are the first ones of `begun`, with which history `epoch` began, or all of them, and some of that history.
    pub(super) fn is_prefix(&self, begun: &Self, epoch: Epoch) -> bool {
        let joined = self.end().epoch == epoch;
        let mut all = begun.writes();
        let mut mine = self.writes().filter(|place| place.epoch != epoch).peekable();
        while let Some(place) = mine.next() {
            let Some(theirs) = all.next() else { return false };
            let whole = joined || mine.peek().is_some();
            if if whole { place != theirs } else { !theirs.reaches(place) } {
                return false;
            }
        }
        self.odd == begun.odd && !(joined && all.next().is_some())
    }

    /// Whether `other` is this one and what came after it.
    pub(super) fn goes_on_as(&self, other: &Self) -> bool {
        let Some((end, before)) = self.runs.split_last() else { return true };
        let theirs = other.runs.get(before.len());
        other.runs.starts_with(before)
            && theirs.is_some_and(|place| place.epoch == end.epoch && place.offset >= end.offset)
            && self.odd == other.odd
    }

    /// Takes over some of what `other` has besides, in its order; `draw` says how much of so many frames.
    pub(super) fn come_closer(&mut self, other: &Self, mut draw: impl FnMut(u64) -> u64) {
        let (first, last) = (self.runs.len().saturating_sub(1), other.runs.len().saturating_sub(1));
        let within = first + draw((last - first) as u64) as usize;
        let newest = other.runs[within];
        let least = if within == first { self.end().offset } else { 0 };
        let least = least.max(newest.last_flush());
        let offset = newest.ends_at(least, least + draw(newest.offset - least));
        self.runs.clone_from(&other.runs);
        self.runs.truncate(within + 1);
        *self.offset_mut() = offset;
        self.path = other.path.iter().filter(|(epoch, _)| *epoch <= newest.epoch).copied().collect();
    }

    fn catch_up(&mut self, other: &Self) {
        (self.odd, self.ends) = (other.odd, other.ends);
        let (mine, theirs) = (self.runs.len(), other.runs.len());
        if mine == theirs && mine > 0 && self.runs[..mine - 1] == other.runs[..mine - 1] {
            self.runs[mine - 1] = other.runs[mine - 1];
        } else {
            self.runs.clone_from(&other.runs);
        }
        if self.path != other.path {
            self.path.clone_from(&other.path);
        }
    }

    /// What is different where both have come as far in the same history.
    fn differs(&self, other: &Self) -> Option<String> {
        if self.end() != other.end() {
            return None;
        }
        if !self.writes().eq(other.writes()) {
            return Some(format!("histories {:?} and {:?}", self.runs, other.runs));
        }
        if self.odd != other.odd {
            return Some(format!("digests {:x} and {:x}", self.odd, other.odd));
        }
        (self.ends != other.ends).then(|| format!("a key that ends at {} and at {}", self.ends, other.ends))
    }
}

/// Where all shards are in one history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) epoch: Epoch,
    pub(super) offsets: Offsets,
}

/// All writes a server holds. Write `n` of a shard in an epoch is there if its lane goes at least to `n` in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Data {
    pub(super) lanes: [ShardData; SHARDS],
    /// The last cut through all streams that is there on every shard (S6), and the history that it is of.
    pub(super) cut: Cut,
    pub(super) cut_in: Epoch,
}

impl Data {
    /// Whether all writes up to `offset` of `shard` in `epoch` are there.
    pub(super) fn holds(&self, epoch: Epoch, shard: usize, offset: u64) -> bool {
        offset == 0 || self.lanes[shard].within(epoch).is_some_and(|upto| upto >= offset)
    }

    /// Starts the stream of `epoch`: offsets count from zero again.
    pub(super) fn begin(&mut self, epoch: Epoch, known: [Place; SHARDS]) {
        self.lanes.iter_mut().zip(known).for_each(|(lane, known)| lane.begin(epoch, known));
        self.set_cut(epoch, Cut::default());
    }

    pub(super) fn set_cut(&mut self, of: Epoch, cut: Cut) {
        (self.cut_in, self.cut) = (of, cut);
    }

    /// The newest history of which every shard says where it is (K5).
    pub(super) fn last(&self) -> Part {
        let epoch = self.lanes.iter().map(|lane| lane.end().epoch).min().unwrap_or_default();
        Part { epoch, offsets: self.lanes.each_ref().map(|lane| lane.within(epoch).unwrap_or_default()) }
    }

    /// Where the newest cut lies that is there on all shards; the beginning of a history is one.
    pub(super) fn last_cut(&self) -> Part {
        let last = self.last();
        let offsets = if self.cut_in == last.epoch { self.cut.1 } else { [0; SHARDS] };
        Part { offsets, ..last }
    }

    /// The position, as the host tells it.
    pub(super) fn position(&self, shards: usize) -> Position {
        let last = self.last();
        Position::new(last.epoch, &last.offsets[..shards]).unwrap_or_default()
    }

    /// Nothing is there any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Becomes equal to `other`; cheap where only the newest history has grown.
    pub(super) fn catch_up(&mut self, other: &Self) {
        (self.cut, self.cut_in) = (other.cut, other.cut_in);
        self.lanes.iter_mut().zip(&other.lanes).for_each(|(mine, theirs)| mine.catch_up(theirs));
    }

    /// What is different at `shard`, where both have come as far in the same history.
    pub(super) fn differs(&self, other: &Self, shard: usize) -> Option<String> {
        self.lanes[shard].differs(&other.lanes[shard])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(runs: &[(u64, u64)]) -> ShardData {
        let runs = runs.iter().map(|(epoch, writes)| Place { epoch: Epoch(*epoch), offset: *writes * WRITE });
        ShardData { runs: runs.collect(), ..ShardData::default() }
    }

    #[test]
    fn a_prefix_is_told_from_a_fork_by_its_writes() {
        let begun = lane(&[(1, 10), (2, 5), (3, 0)]);
        let all = [(1, 10), (2, 5)];
        for prefix in
            [&all[..], &[(1, 7)], &[(1, 10), (2, 0)], &[(1, 10), (9, 0)], &[(1, 10), (2, 5), (3, 8)], &[]]
        {
            assert!(lane(prefix).is_prefix(&begun, Epoch(3)), "{prefix:?}");
        }
        for fork in [&[(1, 11)][..], &[(1, 10), (2, 6)], &[(1, 9), (2, 1)], &[(9, 15)], &[(1, 10), (3, 0)]] {
            assert!(!lane(fork).is_prefix(&begun, Epoch(3)), "{fork:?}");
        }
        let odd = ShardData { odd: 1, ..lane(&all) };
        assert!(!odd.is_prefix(&begun, Epoch(3)));
    }

    #[test]
    fn cuts_are_no_writes() {
        let mut cut = lane(&[(1, 10), (2, 5)]);
        *cut.offset_mut() = cut.end().cut().cut().offset;
        assert!(lane(&[(1, 10), (2, 5)]).writes().eq(cut.writes()));
        cut.runs.push(Place::first(Epoch(3)).cut());
        assert!(cut.is_prefix(&lane(&[(1, 10), (2, 5), (4, 0)]), Epoch(4)), "a reign of nothing but cuts");
        assert_eq!(cut.end().written(1), Place { offset: WRITE, epoch: Epoch(3) });
        assert_eq!(cut.runs[1].ends_at(0, 2 * WRITE + 7), 2 * WRITE);
        assert_eq!(cut.runs[1].ends_at(0, 5 * WRITE + 1), 5 * WRITE + 1);
        let full = (0..2 * WRITE).fold(Place::first(Epoch(1)), |place, _| place.cut());
        assert_eq!(full.without_cuts().offset, 0, "never a write");
    }

    #[test]
    fn what_lies_before_a_flush_is_no_prefix() {
        let before = Place { epoch: Epoch(1), offset: 7 * WRITE };
        let after = before.flushed().written(9);
        assert!(!after.reaches(before) && after.reaches(before.flushed()) && after.reaches(after));
        assert!(!lane(&[(1, 7)]).is_prefix(&lane(&[(1, after.offset / WRITE)]), Epoch(2)));
    }

    #[test]
    fn a_log_that_was_cut_off_holds_a_prefix() {
        let (kept, all) = (lane(&[(1, 4)]), lane(&[(1, 10), (2, 5), (3, 2)]));
        assert!(kept.goes_on_as(&all) && !all.goes_on_as(&kept));
        for first in 0..3 {
            let (mut cut, mut drawn) = (kept.clone(), vec![1, first]);
            cut.come_closer(&all, |_| drawn.pop().unwrap_or_default());
            assert!(cut.is_prefix(&all, Epoch(4)) && kept.goes_on_as(&cut), "{cut:?}");
        }
    }
}
