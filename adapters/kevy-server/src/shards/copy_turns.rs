//! Who may copy from this primary now: one voter at a time, so that another one can confirm writes meanwhile (C13 of
//! `docs/protocol.md`). A copy is all the data there is, whoever takes it; so of those who wait, the one goes first whose
//! acknowledgements count for more, and then the one who has waited longest.

use crate::confirm::names::{Name, Row};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// A node that has no connection for so long has given up.
const ABSENT_MAX: Duration = Duration::from_secs(3);
/// Nobody keeps the others waiting for longer, whatever it is at.
const TURN_MAX: Duration = Duration::from_secs(120);

/// Who has not asked for so long does not wait any more. Who waits asks every few hundred milliseconds at least.
const ASKS_WITHIN: Duration = Duration::from_secs(1);

/// Whose turn it is.
#[derive(Default)]
pub(super) struct Turns {
    now: Mutex<Now>,
    /// Those who have a vote.
    voters: RwLock<Option<Vec<String>>>,
    /// How often a vote was taken.
    taken: AtomicU64,
}

#[derive(Default)]
struct Now {
    turn: Option<Turn>,
    /// The ones who asked and were refused.
    waiting: Vec<Waiting>,
}

struct Waiting {
    node: String,
    voter: bool,
    since: Instant,
    asked: Instant,
}

struct Turn {
    node: String,
    since: Instant,
    seen: Instant,
}

impl Turns {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn votes(&self, node: &str) -> bool {
        let voters = self.voters.read().unwrap_or_else(PoisonError::into_inner);
        voters.as_ref().is_none_or(|voters| voters.iter().any(|voter| voter == node))
    }

    pub(super) fn has_one_voter(&self) -> bool {
        let voters = self.voters.read().unwrap_or_else(PoisonError::into_inner);
        voters.as_ref().is_some_and(|voters| voters.len() == 1)
    }

    /// These have a vote from here on; says whether somebody has none any more.
    pub(super) fn set_voters(&self, voters: Vec<String>) -> bool {
        let mut known = self.voters.write().unwrap_or_else(PoisonError::into_inner);
        let taken = known.iter().flatten().any(|voter| !voters.contains(voter));
        *known = Some(voters);
        drop(known);
        if taken {
            self.taken.fetch_add(1, Ordering::SeqCst);
        }
        taken
    }

    /// How often a vote was taken. Whoever looks at connections meanwhile has looked too early.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    pub(super) fn take(&self, node: &str, now: Instant) -> bool {
        let voter = self.votes(node);
        let mut all = self.now();
        let Now { turn, waiting } = &mut *all;
        let over = |turn: &Turn| now - turn.seen >= ABSENT_MAX || now - turn.since >= TURN_MAX;
        match turn {
            Some(turn) if turn.node == node => {
                turn.seen = now;
                return true;
            }
            Some(other) if over(other) => *turn = None,
            // It acknowledges nothing, so nobody sees that it has joined.
            Some(other) if voter && !self.votes(&other.node) => *turn = None,
            _ => {}
        }
        waiting.retain(|other| now - other.asked < ASKS_WITHIN);
        match waiting.iter_mut().find(|other| other.node == node) {
            Some(known) => known.asked = now,
            None => {
                waiting.push(Waiting { node: node.to_owned(), voter, since: now, asked: now });
            }
        }
        let first = waiting.iter().min_by_key(|other| (!other.voter, other.since));
        if turn.is_some() || first.is_none_or(|first| first.node != node) {
            return false;
        }
        waiting.retain(|other| other.node != node);
        *turn = Some(Turn { node: node.to_owned(), since: now, seen: now });
        true
    }

    /// The connections to a shard's stream are these.
    pub(super) fn look(&self, rows: &[Row], now: Instant) {
        let mut all = self.now();
        let Some(holder) = &mut all.turn else { return };
        let is_its = |row: &&Row| Name::read(&row.name).is_some_and(|name| name.node == holder.node);
        let mut its = rows.iter().filter(is_its).peekable();
        if its.peek().is_some() {
            holder.seen = now;
        }
        if its.any(|row| row.acknowledged) {
            // It has joined.
            all.turn = None;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use kevy_elect_plugin::ids::Epoch;
    use std::net::{Ipv4Addr, SocketAddrV4};

    fn row(node: &str, acknowledged: bool) -> Row {
        let name = Name { node: node.to_owned(), epoch: Epoch(3), flushes: 0, dialled: 7 };
        let peer = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
        Row { name: name.spell(6004, 0), peer, acknowledged, beyond: false, has: 0, sent: 0 }
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
    fn a_voter_goes_before_an_observer_and_then_the_one_who_has_waited_longest() {
        let (turns, now) = (Turns::default(), Instant::now());
        turns.set_voters(vec!["n1".to_owned(), "n2".to_owned(), "n3".to_owned()]);
        let at = |ms| now + Duration::from_millis(ms);
        assert!(turns.take("n1", at(0)));
        for (ms, node) in [(1, "observer"), (2, "n3"), (3, "n2")] {
            assert!(!turns.take(node, at(ms)));
        }
        turns.look(&[row("n1", true)], at(10));
        assert!(!turns.take("observer", at(20)) && !turns.take("n2", at(20)));
        assert!(turns.take("n3", at(20)));
        turns.look(&[row("n3", true)], at(30));
        // Those who have given up are not waited for.
        assert!(!turns.take("observer", at(40)));
        assert!(turns.take("observer", at(20) + ASKS_WITHIN));
        // An observer's turn keeps no voter waiting.
        assert!(turns.take("n2", at(21) + ASKS_WITHIN));
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
