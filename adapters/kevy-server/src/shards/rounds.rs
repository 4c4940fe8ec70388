//! Turns of the shards' loops, counted: what comes sooner than their ticks.
//!
//! A shard's loop serves its clients, then what other shards sent, sends what it has for them and its answers, ticks if a millisecond has passed, and
//! takes what is in its inbox last. An order in the inbox that does nothing is seen once such a turn ends. So orders one after the other count
//! turns, each of which takes microseconds, where ticks take milliseconds.

use super::Shards;
use crate::position::marks;
use kevy_rt::{Argv, ArgvView, ReplicaApply};
use std::sync::atomic::Ordering;

/// The order: `ELECT.TURN <number> <turns that are left>`. No client can send it: only records that are applied are looked at.
pub(super) const TURN: &[u8] = b"ELECT.TURN";

impl Shards {
    /// Has every shard take so many turns, at least one of them a whole one that begins after this call if there are two. Gives a number for
    /// [`Shards::have_turned`]. For a node that reigns: on one that follows, the order would look like a frame of its stream.
    pub(crate) fn ask_for_turns(&self, turns: u64) -> u64 {
        let number = self.rounds.0.fetch_add(1, Ordering::AcqRel) + 1;
        (0..self.count()).for_each(|shard| self.order_turn(shard, number, turns));
        number
    }

    /// Whether every shard has taken them.
    pub(crate) fn have_turned(&self, number: u64) -> bool {
        self.shards.iter().all(|shard| shard.turned.load(Ordering::Acquire) >= number)
    }

    fn order_turn(&self, shard: usize, number: u64, left: u64) {
        let word = |n: u64| n.to_string().into_bytes();
        let order = Argv::from(vec![TURN.to_vec(), word(number), word(left)]);
        drop(self.shards[shard].inbox.send(ReplicaApply::Frame { offset: 0, argv: order }));
    }

    /// A turn of this shard ends.
    pub(super) fn turn<A: ArgvView + ?Sized>(&self, shard: usize, order: &A) {
        let number = |i| order.get(i).and_then(marks::number_of);
        let (Some(number), Some(left)) = (number(1), number(2)) else { return };
        if left > 1 {
            // Into the inbox of which this was taken: seen at the end of the next turn.
            return self.order_turn(shard, number, left - 1);
        }
        self.shards[shard].turned.fetch_max(number, Ordering::AcqRel);
        self.progress.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::super::played::{apply, restore, shards};
    use super::*;

    #[test]
    fn turns_are_taken_when_the_last_shard_has_come_round_so_often() {
        let (shards, _inboxes) = shards(2);
        restore(&shards);
        let number = shards.ask_for_turns(2);
        let order = |left: &[u8]| {
            let words = [TURN, number.to_string().as_bytes(), left].map(<[u8]>::to_vec);
            Argv::from(words.to_vec())
        };
        assert!(apply(&shards, 0, &order(b"2")), "it is nothing for kevy");
        assert!(apply(&shards, 1, &order(b"2")) && apply(&shards, 1, &order(b"1")));
        assert!(!shards.have_turned(number), "one shard has one to go");
        assert!(apply(&shards, 0, &order(b"1")));
        assert!(shards.have_turned(number) && !shards.have_turned(number + 1));
    }
}
