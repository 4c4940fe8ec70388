//! S1: a write that a quorum of voters with data confirmed is in the history of every later primary.
//!
//! Where copies were lost (a wiped disk, a power cut) the promise is: it is there as long as the write is
//! still held by so many voters that every quorum meets one of them.

use super::found::Found;
use crate::ids::Epoch;
use crate::sim::data::{Data, Offsets};
use crate::sim::server::Server;

#[derive(Debug, Default)]
pub(in crate::sim) struct Confirmed {
    /// Per epoch, how far each shard is confirmed.
    confirmed: Vec<(Epoch, Offsets)>,
    /// What each primary had when it was promoted.
    elected: Vec<(Epoch, usize, Data)>,
    /// Copies were lost by a fault.
    pub(in crate::sim) copies_lost: bool,
}

const NAME: &str = "confirmed writes survive (S1)";

impl Confirmed {
    pub(in crate::sim) fn on_promoted(
        &mut self,
        node: usize,
        epoch: Epoch,
        data: &Data,
        all: &[&Server],
        quorum: usize,
    ) -> Found {
        self.elected.push((epoch, node, data.clone()));
        let index = self.elected.len() - 1;
        for confirmed in 0..self.confirmed.len() {
            let (old, offsets) = self.confirmed[confirmed];
            if old < epoch {
                let found = self.check(index, old, offsets, all, quorum);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    pub(in crate::sim) fn on_confirmed(
        &mut self,
        epoch: Epoch,
        offsets: Offsets,
        all: &[&Server],
        quorum: usize,
    ) -> Found {
        let index = match self.confirmed.iter().position(|(other, _)| *other == epoch) {
            Some(index) => index,
            None => {
                self.confirmed.push((epoch, [0; crate::sim::data::SHARDS]));
                self.confirmed.len() - 1
            }
        };
        let known = &mut self.confirmed[index].1;
        for (known, new) in known.iter_mut().zip(offsets) {
            *known = (*known).max(new);
        }
        (0..self.elected.len())
            .filter(|later| self.elected[*later].0 > epoch)
            .find_map(|later| self.check(later, epoch, offsets, all, quorum))
    }

    fn check(&self, index: usize, epoch: Epoch, offsets: Offsets, all: &[&Server], quorum: usize) -> Found {
        let (elected, node, data) = &self.elected[index];
        for (shard, offset) in offsets.into_iter().enumerate() {
            if data.holds(epoch, shard, offset) {
                continue;
            }
            let holders = all.iter().filter(|server| server.names(epoch, shard, offset)).count();
            if self.copies_lost && holders <= all.len() - quorum {
                continue;
            }
            let text = format!(
                "write {offset} of shard {shard} in epoch {epoch} was confirmed; n{node}, elected in epoch \
                 {elected}, does not have it ({holders} nodes do)"
            );
            return Some((NAME, text));
        }
        None
    }
}
