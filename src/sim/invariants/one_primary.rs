//! E1: at most one node is primary in an epoch.

use super::found::Found;
use crate::ids::Epoch;

#[derive(Debug, Default)]
pub(in crate::sim) struct OnePrimary {
    /// Who has reigned, in the order of the epochs' first winners.
    reigns: Vec<(Epoch, usize)>,
}

impl OnePrimary {
    /// Whether this node won that epoch.
    pub(in crate::sim) fn has_won(&self, epoch: Epoch, node: usize) -> bool {
        self.reigns.contains(&(epoch, node))
    }

    /// A node has won an election, or was promoted.
    pub(in crate::sim) fn on_reign(&mut self, node: usize, epoch: Epoch) -> Found {
        match self.reigns.iter().find(|(other, _)| *other == epoch) {
            Some((_, winner)) if *winner != node => {
                Some(("one primary per epoch (E1)", format!("n{winner} and n{node} both won epoch {epoch}")))
            }
            Some(_) => None,
            None => {
                self.reigns.push((epoch, node));
                None
            }
        }
    }
}
