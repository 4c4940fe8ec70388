//! E2: one vote per node and epoch; E3: a vote is durable before it is spoken.

use super::found::Found;
use crate::ids::Epoch;
use crate::state::HardState;

#[derive(Debug, Default)]
pub(in crate::sim) struct Votes {
    /// Voter, epoch, candidate.
    cast: Vec<(usize, Epoch, usize)>,
    /// The same of records that were lost.
    forgotten: Vec<(usize, Epoch, usize)>,
}

impl Votes {
    /// Whether the voter has not voted in this epoch yet.
    pub(in crate::sim) fn is_first(&self, voter: usize, epoch: Epoch) -> bool {
        !self.cast.iter().rev().any(|(who, when, _)| *who == voter && *when == epoch)
    }

    /// A vote leaves the voter (its own with its offer).
    pub(in crate::sim) fn on_vote(
        &mut self,
        voter: usize,
        epoch: Epoch,
        candidate: usize,
        record: Option<&HardState>,
    ) -> Found {
        let durable = record.is_some_and(|record| record.epoch >= epoch);
        if !durable {
            let text = format!("n{voter} voted for n{candidate} in epoch {epoch}; its disk does not know");
            return Some(("vote durable before spoken (E3)", text));
        }
        let earlier = self.cast.iter().rev().find(|(who, when, _)| *who == voter && *when == epoch);
        match earlier {
            Some((_, _, other)) if *other != candidate => Some((
                "one vote per epoch (E2)",
                format!("n{voter} voted for n{other} and for n{candidate} in epoch {epoch}"),
            )),
            Some(_) => None,
            None => {
                self.cast.push((voter, epoch, candidate));
                None
            }
        }
    }

    /// The record is lost. What the node may do again is bounded by admission (A3), and judged by E1: a
    /// repeated vote in an epoch that nobody won harms nobody.
    pub(in crate::sim) fn forgot(&mut self, node: usize) {
        self.forgotten.extend(self.cast.extract_if(.., |(voter, ..)| *voter == node));
    }

    /// A4: who is admitted knows every epoch in which it helped to elect somebody.
    pub(in crate::sim) fn on_admitted(
        &self,
        node: usize,
        known: Epoch,
        won: impl Fn(Epoch, usize) -> bool,
    ) -> Found {
        let helped =
            |(voter, epoch, candidate): &&_| *voter == node && *epoch > known && won(*epoch, *candidate);
        self.forgotten.iter().find(helped).map(|(_, epoch, candidate)| {
            let text =
                format!("n{node} is admitted in epoch {known}; n{candidate} won {epoch} with its vote");
            ("admitted knowing the elections that it decided (A4)", text)
        })
    }
}
