//! Who may copy from this primary now: one node at a time, so that another one can confirm writes meanwhile (C13 of
//! `docs/protocol.md`).

use super::Shards;
use crate::confirm::names::{Name, Row};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A node that has no connection for so long has given up.
const ABSENT_MAX: Duration = Duration::from_secs(3);
/// Nobody keeps the others waiting for longer, whatever it is at.
const TURN_MAX: Duration = Duration::from_secs(120);

/// Whose turn it is.
#[derive(Default)]
pub(super) struct Turns(Mutex<Option<Turn>>);

struct Turn {
    node: String,
    since: Instant,
    seen: Instant,
}

impl Turns {
    fn now(&self) -> MutexGuard<'_, Option<Turn>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, node: &str, now: Instant) -> bool {
        let mut turn = self.now();
        let over = |turn: &Turn| now - turn.seen >= ABSENT_MAX || now - turn.since >= TURN_MAX;
        match &mut *turn {
            Some(turn) if turn.node == node => turn.seen = now,
            Some(other) if !over(other) => return false,
            free => *free = Some(Turn { node: node.to_owned(), since: now, seen: now }),
        }
        true
    }

    /// The connections to a shard's stream are these.
    fn look(&self, rows: &[Row], now: Instant) {
        let mut turn = self.now();
        let Some(holder) = &mut *turn else { return };
        let is_its = |row: &&Row| Name::read(&row.name).is_some_and(|name| name.node == holder.node);
        let mut its = rows.iter().filter(is_its).peekable();
        if its.peek().is_some() {
            holder.seen = now;
        }
        if its.any(|row| row.acknowledged) {
            // It has joined.
            *turn = None;
        }
    }
}

impl Shards {
    /// Whether `node` may copy from this primary now. Then it is its turn until it has joined, or given up.
    pub(crate) fn may_copy(&self, node: &str) -> bool {
        self.waits.is_member(node) && self.turns.take(node, Instant::now())
    }

    /// The connections to a shard's stream are these.
    pub(super) fn look_at_turn(&self, rows: &[Row]) {
        self.turns.look(rows, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kevy_elect_plugin::ids::Epoch;
    use std::net::{Ipv4Addr, SocketAddrV4};

    fn row(node: &str, acknowledged: bool) -> Row {
        let name = Name { node: node.to_owned(), epoch: Epoch(3), flushes: 0, dialled: 7 };
        let peer = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
        Row { name: name.spell(6004, 0), peer, acknowledged }
    }

    #[test]
    fn one_copies_and_the_others_wait_until_it_has_joined() {
        let (turns, now) = (Turns::default(), Instant::now());
        assert!(turns.take("n1", now) && !turns.take("n2", now) && turns.take("n1", now));
        turns.look(&[row("n1", false), row("n2", true)], now + Duration::from_secs(2));
        assert!(!turns.take("n2", now + Duration::from_secs(4)), "it is still at it");
        turns.look(&[row("n1", true)], now + Duration::from_secs(4));
        assert!(turns.take("n2", now + Duration::from_secs(4)));
    }

    #[test]
    fn who_has_given_up_or_takes_for_ever_keeps_nobody_waiting() {
        let (turns, now) = (Turns::default(), Instant::now());
        assert!(turns.take("n1", now) && turns.take("n2", now + ABSENT_MAX));
        for second in 0..TURN_MAX.as_secs() {
            turns.look(&[row("n2", false)], now + ABSENT_MAX + Duration::from_secs(second));
        }
        assert!(turns.take("n1", now + ABSENT_MAX + TURN_MAX));
    }
}
