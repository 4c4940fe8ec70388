//! Acknowledgements, and who waits for them.

use super::Server;
use super::act::{Act, Payload};
use crate::ids::Epoch;
use crate::sim::data::{Offsets, Place, SHARDS};
use crate::sim::server_mutation::ServerMutation;

impl Server {
    /// Tells the primary what is held. `anyway`: also if that was said before.
    pub(super) fn acknowledge(&mut self, anyway: bool, out: &mut Vec<Act>) {
        let Some((epoch, primary)) = self.target.filter(|_| self.joined) else { return };
        let offsets = match self.habits {
            None => self.data.last().offsets,
            Some(_) if self.wrong(ServerMutation::AcknowledgesUnnamed) => self.place().1,
            Some(habits) => match self.log.covers(&self.data, habits.fsync, !self.to_the_end()) {
                Some(offsets) => offsets,
                None => return,
            },
        };
        // A message may be lost: it is said again with the next change, as over a connection that is never lost for long.
        if anyway || self.told != Some((epoch, offsets)) || self.rng.chance(100) {
            self.told = Some((epoch, offsets));
            out.push(Act::Send(primary, Payload::Ack { epoch, offsets }));
        }
    }

    /// A replica connects, from these offsets on. What it acknowledged before counts as long as it says nothing else: it is one node.
    pub(super) fn connects(&mut self, from: usize, turn: u64, offsets: Offsets) {
        self.attached[from] = Some((turn, offsets));
        self.acked_before[from] = self.acked[from];
    }

    /// A replica holds the stream so far. Confirmations reach clients of a fenced primary too, as kevy does it.
    pub(super) fn on_ack(&mut self, from: usize, epoch: Epoch, offsets: Offsets, out: &mut Vec<Act>) {
        let known = self.serving == Some(epoch);
        if !known && (self.serving.is_none() || !self.wrong(ServerMutation::CountsOldReigns)) {
            return;
        }
        for (old, new) in self.acked[from].iter_mut().zip(offsets) {
            *old = (*old).max(new);
        }
        self.count_confirmed(out);
    }

    /// What a quorum holds, this node included.
    pub(super) fn count_confirmed(&mut self, out: &mut Vec<Act>) {
        let Some(epoch) = self.serving else { return };
        let last = self.data.last().offsets;
        let mut confirmed = [0; SHARDS];
        for (shard, confirmed) in confirmed.iter_mut().enumerate().take(self.shards) {
            let mut offsets = [0; 32];
            for ((slot, acked), counts) in offsets.iter_mut().zip(&self.acked).zip(&self.counts) {
                *slot = if *counts { acked[shard] } else { 0 };
            }
            let mut rows = self.acked.len();
            if self.wrong(ServerMutation::CountsConnections) {
                let before = self.acked_before.iter().zip(&self.counts).filter(|(_, counts)| **counts);
                for (acked, slot) in before.map(|(before, _)| before[shard]).zip(&mut offsets[rows..]) {
                    (*slot, rows) = (acked, rows + 1);
                }
            }
            let offsets = &mut offsets[..rows];
            offsets.sort_unstable_by(|a, b| b.cmp(a));
            *confirmed = if self.replicas == 0 { last[shard] } else { offsets[self.replicas - 1] };
        }
        let Some(habits) = self.habits else {
            out.push(Act::Confirmed(epoch, confirmed));
            return;
        };
        // The primary's own log is one of the copies.
        let own = match self.wrong(ServerMutation::AcknowledgesUnnamed) {
            true => last,
            false => self.log.covers(&self.data, habits.fsync, false).unwrap_or_default(),
        };
        confirmed.iter_mut().zip(own).for_each(|(confirmed, own)| *confirmed = (*confirmed).min(own));
        if confirmed != self.confirmed {
            self.confirmed = confirmed;
            // Nobody waits for a cut; and a primary that has voted for another one may still put some into its streams.
            let writes = confirmed.map(|offset| Place { epoch, offset }.without_cuts().offset);
            out.push(Act::Confirmed(epoch, writes));
        }
        self.parked.answer(&confirmed, out);
    }
}
