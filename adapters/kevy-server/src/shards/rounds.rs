//! Turns of the shards' loops, counted: what comes sooner than their ticks.
//!
//! A shard's loop serves its clients, then what other shards sent, sends what it has for them and its answers, ticks if a millisecond has passed, and
//! takes what is in its inbox last. An order in the inbox that does nothing is seen once such a turn ends. So orders one after the other count
//! turns, each of which takes microseconds, where ticks take milliseconds.
//!
//! Turns alone do not end a reign: a shard may go on with what had begun until a tick of its own, and the others with what it sent them
//! (`shutting`). So ticks come first, and turns only bring home the answers of what ran by then.

use super::Shards;
use super::stream::{TICKS, TURNS_BETWEEN_SHARDS};
use crate::position::marks;
use event_listener::listener;
use kevy_rt::{Argv, ArgvView, ReplicaApply};
use std::sync::atomic::Ordering;

/// The order: `ELECT.TURN <number> <turns that are left>`. No client can send it: only records that are applied are looked at.
pub(super) const TURN: &[u8] = b"ELECT.TURN";

/// The tick under way may have read its offset before the gate shut; the one after it has not. The answers of what ran on this shard
/// alone have left by then: a turn sends them before it ticks.
const TICKS_AFTER_SHUTTING: u64 = 2;
/// Turns that are asked for at once: the one under way, and a whole one.
const TURNS: u64 = 2;

impl Shards {
    /// Waits until no shard runs what passed the gate, all of it is counted, and its answers have left. The gate is shut.
    pub(crate) async fn come_to_rest(&self) {
        let reigns = self.is_reigning();
        let several = self.count() > 1;
        // Who does not reign applies a stream and answers no writes: there is no hurry.
        let (rounds, ticks) = match several && !reigns {
            true => (TURNS_BETWEEN_SHARDS, TICKS),
            false => (1, TICKS_AFTER_SHUTTING),
        };
        for _ in 0..rounds {
            let before = self.views();
            self.until(|| {
                let ticked = self.views().iter().zip(&before).all(|(now, before)| *now >= before + ticks);
                ticked && (!reigns || self.is_closed())
            })
            .await;
        }
        for _ in 0..if several && reigns { TURNS_BETWEEN_SHARDS } else { 0 } {
            let number = self.ask_for_turns(TURNS);
            self.until(|| self.have_turned(number)).await;
        }
    }

    /// Shards tell of all that is waited for here.
    async fn until(&self, come: impl Fn() -> bool) {
        loop {
            listener!(self.progress() => listener);
            if come() {
                return;
            }
            listener.await;
        }
    }

    /// Has every shard take so many turns, of two the second one begins after this call. Gives a number for
    /// [`Shards::have_turned`]. For a node that reigns: on one that follows, the order would look like a frame of its stream.
    fn ask_for_turns(&self, turns: u64) -> u64 {
        let number = self.rounds.0.fetch_add(1, Ordering::AcqRel) + 1;
        (0..self.count()).for_each(|shard| self.order_turn(shard, number, turns));
        number
    }

    /// Whether every shard has taken them.
    fn have_turned(&self, number: u64) -> bool {
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
        if number > self.rounds.0.load(Ordering::Acquire) {
            // Nobody here gave it: it came with data of somebody who lies, and would end every later wait before its time.
            return;
        }
        if left > 1 {
            // Into the inbox of which this was taken: seen at the end of the next turn.
            return self.order_turn(shard, number, left - 1);
        }
        self.shards[shard].turned.fetch_max(number, Ordering::AcqRel);
        self.progress.notify(usize::MAX);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::super::played::{apply, restore, shards};
    use super::super::shutting::played::Stub;
    use super::*;
    use futures::FutureExt;
    use kevy_elect_plugin::ids::Epoch;
    use kevy_elect_plugin::position::Position;
    use std::sync::Arc;

    fn order(number: u64, left: u64) -> Argv {
        Argv::from([TURN.to_vec(), number.to_string().into_bytes(), left.to_string().into_bytes()].to_vec())
    }

    /// What a shard does with the last tick of a turn.
    fn tick(shards: &Shards, shard: usize) {
        shards.note_tick(shard);
        shards.note_stream(shard, 0, &[]);
    }

    #[test]
    fn a_reign_is_not_over_while_a_shard_still_carries_out_what_another_one_sent_it() {
        let (shards, _inboxes) = shards(2);
        restore(&shards);
        let office = Arc::new(Stub::default());
        shards.set_office(office.clone());
        office.open();
        shards.begin_reign(Epoch(7), &Position::NONE);
        office.shut_for_a_handover();
        let mut rest = Box::pin(shards.come_to_rest());
        // Turns as many as anybody asks for.
        let mut is_over = || {
            (0..=2 * TURNS_BETWEEN_SHARDS as u64).any(|number| {
                (0..2).for_each(|shard| {
                    apply(&shards, shard, &order(number, 1));
                });
                rest.as_mut().now_or_never().is_some()
            })
        };
        assert!(!is_over());
        // One of them ticks, and tells, as often as it likes; the other one is in a long command.
        for _ in 0..9 {
            tick(&shards, 1);
            assert!(!is_over());
        }
        // It lets something pass for the other shard, and ticks often enough to have told of it.
        assert!(shards.lets_pass(0).is_ok());
        for _ in 0..4 {
            tick(&shards, 0);
            assert!(!is_over(), "the other shard has not come to what was sent to it");
            assert!(shards.runs(1).is_ok());
        }
        tick(&shards, 1);
        assert!(!is_over());
        tick(&shards, 1);
        assert!(is_over() && shards.runs(0).is_err() && shards.runs(1).is_err());
    }

    #[test]
    fn a_number_that_was_never_given_counts_for_nothing() {
        let (shards, _inboxes) = shards(1);
        restore(&shards);
        assert!(apply(&shards, 0, &order(u64::MAX, 1)), "it is nothing for kevy");
        let number = shards.ask_for_turns(1);
        assert!(!shards.have_turned(number));
        assert!(apply(&shards, 0, &order(number, 1)));
        assert!(shards.have_turned(number));
    }

    #[test]
    fn turns_are_taken_when_the_last_shard_has_come_round_so_often() {
        let (shards, _inboxes) = shards(2);
        restore(&shards);
        let number = shards.ask_for_turns(2);
        assert!(apply(&shards, 0, &order(number, 2)), "it is nothing for kevy");
        assert!(apply(&shards, 1, &order(number, 2)) && apply(&shards, 1, &order(number, 1)));
        assert!(!shards.have_turned(number), "one shard has one to go");
        assert!(apply(&shards, 0, &order(number, 1)));
        assert!(shards.have_turned(number) && !shards.have_turned(number + 1));
    }
}
