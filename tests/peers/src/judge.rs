//! The judge: the same three questions for every system, asked after every event.

use crate::timeline::Line;
use kevy_elect_plugin::words;
use std::collections::BTreeMap;

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// When two nodes had been primary in one epoch, at one instant or one after the other.
    pub two_in_one_epoch: Option<u64>,
    /// When two nodes were primary at one instant, and each by its own account could see a quorum: both would have
    /// let a write pass.
    pub two_writers: Option<u64>,
    /// How long they were, in nanoseconds, all told.
    pub two_writers_for: u64,
    /// Nobody could write a minute after the heal.
    pub none_after_heal: bool,
    /// More than one node was primary then.
    pub several_after_heal: bool,
    /// Offices that were entered.
    pub promotions: u64,
    /// How long at least one node could write, in nanoseconds, and how long the run was.
    pub writable_for: u64,
    /// The whole run.
    pub lasted: u64,
    /// The run was given up: the nodes talked without end. What else stands here is of the time until then.
    pub endless: bool,
    /// What happened, where it was asked for.
    pub timeline: Vec<Line>,
}

words! {
    /// What a run must not show.
    pub enum Wrong {
        /// [`Verdict::two_in_one_epoch`].
        TwoInOneEpoch = "two in an epoch",
        /// [`Verdict::two_writers`].
        TwoWriters = "both see a quorum",
        /// [`Verdict::none_after_heal`].
        NoneAfterHeal = "none after",
        /// [`Verdict::several_after_heal`].
        SeveralAfterHeal = "several after",
    }
}

impl Verdict {
    /// Whether the run showed it.
    pub fn shows(&self, wrong: Wrong) -> bool {
        match wrong {
            Wrong::TwoInOneEpoch => self.two_in_one_epoch.is_some(),
            Wrong::TwoWriters => self.two_writers.is_some(),
            Wrong::NoneAfterHeal => self.none_after_heal,
            Wrong::SeveralAfterHeal => self.several_after_heal,
        }
    }

    /// Whether it showed any of it, or had no end.
    pub fn is_bad(&self) -> bool {
        self.endless || Wrong::ALL.iter().any(|wrong| self.shows(*wrong))
    }
}

/// What goes on in one run.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// Who was first seen in the office of each epoch.
    offices: BTreeMap<u64, usize>,
    held: Vec<Option<u64>>,
    writers: usize,
    looked: u64,
    pub(crate) verdict: Verdict,
}

/// What was seen for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    TwoInOneEpoch { epoch: u64, nodes: [usize; 2] },
    TwoWriters([usize; 2]),
}

impl Judge {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { held: vec![None; nodes], ..Self::default() }
    }

    /// A node believes to hold the office of this epoch, or none.
    pub(crate) fn office(&mut self, now: u64, node: usize, office: Option<u64>) -> Option<Finding> {
        let before = std::mem::replace(&mut self.held[node], office);
        let epoch = office.filter(|_| office != before)?;
        // A kevy primary that votes carries the new epoch's number and stays primary: that is no promotion.
        self.verdict.promotions += u64::from(before.is_none());
        let first = *self.offices.entry(epoch).or_insert(node);
        if first == node || self.verdict.two_in_one_epoch.is_some() {
            return None;
        }
        self.verdict.two_in_one_epoch = Some(now);
        Some(Finding::TwoInOneEpoch { epoch, nodes: [first, node] })
    }

    /// These nodes would let a write pass now.
    pub(crate) fn writers(&mut self, now: u64, writers: impl Iterator<Item = usize>) -> Option<Finding> {
        let passed = now - self.looked;
        self.looked = now;
        match self.writers {
            0 => {}
            1 => self.verdict.writable_for += passed,
            _ => {
                self.verdict.writable_for += passed;
                self.verdict.two_writers_for += passed;
            }
        }
        self.writers = 0;
        let mut nodes = [0; 2];
        for node in writers {
            if let Some(place) = nodes.get_mut(self.writers) {
                *place = node;
            }
            self.writers += 1;
        }
        if self.writers < 2 || self.verdict.two_writers.is_some() {
            return None;
        }
        self.verdict.two_writers = Some(now);
        Some(Finding::TwoWriters(nodes))
    }

    /// The run is over, a minute after the heal.
    pub(crate) fn end(mut self, now: u64, endless: bool, timeline: Vec<Line>) -> Verdict {
        self.verdict.endless = endless;
        self.verdict.none_after_heal = self.writers == 0;
        self.verdict.several_after_heal = self.held.iter().flatten().count() > 1;
        self.verdict.lasted = now;
        self.verdict.timeline = timeline;
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_office_is_not_shared_even_at_different_times() {
        let mut judge = Judge::new(3);
        assert_eq!(judge.office(1, 0, Some(4)), None);
        assert_eq!(judge.office(2, 0, None), None);
        assert_eq!(judge.office(3, 0, Some(4)), None, "the same node may come back to it");
        assert_eq!(judge.office(4, 1, Some(5)), None);
        let found = judge.office(5, 2, Some(4));
        assert_eq!(found, Some(Finding::TwoInOneEpoch { epoch: 4, nodes: [0, 2] }));
        assert_eq!(judge.end(9, false, Vec::new()).two_in_one_epoch, Some(5));
    }

    #[test]
    fn writers_are_counted_and_their_time_is_taken() {
        let mut judge = Judge::new(3);
        assert_eq!(judge.writers(10, [1].into_iter()), None);
        assert_eq!(judge.writers(30, [0, 1].into_iter()), Some(Finding::TwoWriters([0, 1])));
        assert_eq!(judge.writers(35, [0].into_iter()), None);
        assert_eq!(judge.writers(40, std::iter::empty()), None);
        let verdict = judge.end(50, false, Vec::new());
        assert_eq!((verdict.two_writers, verdict.two_writers_for, verdict.writable_for), (Some(30), 5, 30));
        assert!(verdict.none_after_heal && !verdict.several_after_heal);
    }
}
