//! Is the history of the registers linearizable? todc-utils decides; this says what it is asked.
//!
//! **What is promised, and so checked.** kevy answers reads from local data: on replicas, and on a primary that was
//! fenced. Plain reads may therefore be stale and are not linearizable; they are only counted ([`Check::stale`]).
//! Two kinds of operation are:
//!
//! - a *write*: `SET`, then `WAIT` says on the same connection that a quorum holds it;
//! - a *swap*: `GETSET`, a read and a write in one command, then the same `WAIT`. This is the read that can be
//!   relied upon. It passes the write gate, so the node was primary when it read; and when the quorum has the swap it
//!   has everything before it in the same stream, also the write that was read.
//!
//! A confirmed operation takes effect once between its request and the reply of its `WAIT`. Whatever else was
//! sent (acknowledged but not confirmed, timed out, connection lost) may take effect at any time after its request, or
//! never. An error reply is a promise too: a refused operation must never be seen.
//!
//! **Bounds.** Each register takes a limited number of operations, then the clients go on with a fresh one, so that
//! a history is whole, begins with an empty register, and is checked completely. An uncertain write that no confirmed
//! swap saw is left out: taken out of an order it contradicts nobody, and it need not have happened. One that was seen
//! has happened before the first such swap returned, which bounds it too.

use std::collections::BTreeMap;
use std::time::Duration;
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

/// A register: a key that no other part of a run uses.
pub(crate) type Register = u64;
/// What a register holds; every write has a value of its own.
pub(crate) type Value = u64;
/// What an empty register holds.
pub(crate) const EMPTY: Value = 0;
/// A reply that is no value of ours. Nobody writes it, so seeing it is a violation.
pub(crate) const STRANGE: Value = Value::MAX;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `SET`.
    Write,
    /// `GETSET`, with what it read if it was answered.
    Swap(Option<Value>),
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A quorum holds it; the instant after `WAIT` said so.
    Confirmed(Duration),
    /// It may take effect at any time, or never.
    Open,
    /// The server said that it did not do it.
    Refused,
}

/// One operation on a register. Instants count from the start of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) register: Register,
    pub(crate) kind: Kind,
    /// What it writes.
    pub(crate) value: Value,
    /// Before the request was sent.
    pub(crate) invoked: Duration,
    pub(crate) outcome: Outcome,
}

/// A plain `GET` on any node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) register: Register,
    pub(crate) value: Value,
    pub(crate) invoked: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Check {
    /// Histories looked at.
    pub(crate) registers: usize,
    /// Confirmed writes and swaps in them.
    pub(crate) confirmed: usize,
    /// Uncertain ones that were seen by a confirmed swap.
    pub(crate) seen: usize,
    /// Registers without any valid order, or with a value that nobody can have written.
    pub(crate) wrong: Vec<Register>,
    /// Plain reads.
    pub(crate) reads: usize,
    /// Of these, with a value that a confirmed operation had certainly overwritten before.
    pub(crate) stale: usize,
}

/// Checks every register of these histories.
pub(crate) fn check(operations: &[Operation], reads: &[Read]) -> Check {
    let mut registers: BTreeMap<Register, (Vec<Operation>, Vec<Read>)> = BTreeMap::new();
    for operation in operations {
        registers.entry(operation.register).or_default().0.push(*operation);
    }
    for read in reads {
        registers.entry(read.register).or_default().1.push(*read);
    }
    let mut check = Check { registers: registers.len(), reads: reads.len(), ..Check::default() };
    for (register, (operations, reads)) in registers {
        let steps = steps(&operations);
        let confirmed = |o: &&Operation| matches!(o.outcome, Outcome::Confirmed(_));
        let confirmed = operations.iter().filter(confirmed).count();
        check.confirmed += confirmed;
        check.seen += steps.len() - confirmed;
        check.stale += reads.iter().filter(|read| is_stale(read, &operations)).count();
        if !is_linearizable(steps) || reads.iter().any(|read| is_invented(read, &operations)) {
            check.wrong.push(register);
        }
    }
    check
}

/// What was done to one register, in order, for whoever wants to know why it is wrong.
pub(crate) fn dump(register: Register, operations: &[Operation]) -> String {
    let mut of: Vec<_> = operations.iter().filter(|o| o.register == register).collect();
    of.sort_by_key(|o| o.invoked);
    of.iter().map(|o| format!("{:?} {:?} value {} {:?}\n", o.invoked, o.kind, o.value, o.outcome)).collect()
}

/// A register that can be written and swapped.
struct SwapRegister;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    /// What it must find, if that is known.
    finds: Option<Value>,
    leaves: Value,
}

impl Specification for SwapRegister {
    type State = Value;
    type Operation = Step;

    fn init() -> Value {
        EMPTY
    }

    fn apply(step: &Step, state: &Value) -> (bool, Value) {
        match step.finds.is_none_or(|value| value == *state) {
            true => (true, step.leaves),
            false => (false, *state),
        }
    }
}

/// The operations that must have taken effect, each with its interval.
fn steps(operations: &[Operation]) -> Vec<(Step, Duration, Duration)> {
    let mut first_seen: BTreeMap<Value, Duration> = BTreeMap::new();
    for operation in operations {
        if let (Kind::Swap(Some(value)), Outcome::Confirmed(at)) = (operation.kind, operation.outcome) {
            let first = first_seen.entry(value).or_insert(at);
            *first = at.min(*first);
        }
    }
    let step = |o: &Operation| {
        let (finds, until) = match (o.outcome, o.kind) {
            (Outcome::Confirmed(at), Kind::Swap(found)) => (found, at),
            (Outcome::Confirmed(at), Kind::Write) => (None, at),
            // What it found is not asked: an acknowledgement that nobody confirmed is no promise.
            (Outcome::Open, _) => (None, *first_seen.get(&o.value)?),
            // Left out, so that whoever saw its value finds no order.
            (Outcome::Refused, _) => return None,
        };
        Some((Step { finds, leaves: o.value }, o.invoked, until))
    };
    operations.iter().filter_map(step).collect()
}

fn is_linearizable(steps: Vec<(Step, Duration, Duration)>) -> bool {
    if steps.is_empty() {
        return true;
    }
    // Seen before it was sent: no order can be right.
    if steps.iter().any(|(_, from, until)| from > until) {
        return false;
    }
    // At one instant the requests come before the replies: such operations are concurrent.
    let mut events: Vec<_> = steps
        .iter()
        .enumerate()
        .flat_map(|(process, (step, from, until))| {
            [(*from, false, process, Action::Call(*step)), (*until, true, process, Action::Response(*step))]
        })
        .collect();
    events.sort_by_key(|(at, returns, process, _)| (*at, *returns, *process));
    let actions = events.into_iter().map(|(_, _, process, action)| (process, action)).collect();
    WGLChecker::<SwapRegister>::is_linearizable(History::from_actions(actions))
}

/// Whether something was certainly written between the write that it read and the read itself.
fn is_stale(read: &Read, operations: &[Operation]) -> bool {
    let written = match operations.iter().find(|o| o.value == read.value).map(|o| o.outcome) {
        _ if read.value == EMPTY => Duration::ZERO,
        Some(Outcome::Confirmed(at)) => at,
        // It may have taken effect later than anything that is known.
        _ => return false,
    };
    let overwrites = |o: &Operation| {
        let Outcome::Confirmed(at) = o.outcome else { return false };
        o.value != read.value && o.invoked >= written && at < read.invoked
    };
    operations.iter().any(overwrites)
}

/// Whether nobody had sent what it read, or the server had said that it did not do it.
fn is_invented(read: &Read, operations: &[Operation]) -> bool {
    let real = |o: &Operation| o.value == read.value && o.outcome != Outcome::Refused;
    read.value != EMPTY && !operations.iter().any(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn write(value: Value, from: u64, until: u64) -> Operation {
        let outcome = Outcome::Confirmed(ms(until));
        Operation { register: 1, kind: Kind::Write, value, invoked: ms(from), outcome }
    }

    fn swap(found: Value, value: Value, from: u64, until: u64) -> Operation {
        Operation { kind: Kind::Swap(Some(found)), ..write(value, from, until) }
    }

    fn open(operation: Operation) -> Operation {
        Operation { outcome: Outcome::Open, ..operation }
    }

    fn holds(operations: &[Operation]) -> bool {
        check(operations, &[]).wrong.is_empty()
    }

    #[test]
    fn what_one_primary_after_the_other_does_is_linearizable() {
        assert!(holds(&[]));
        assert!(holds(&[swap(EMPTY, 1, 0, 10), write(2, 20, 30), swap(2, 3, 40, 50), swap(3, 4, 60, 70)]));
        let concurrent = [write(1, 0, 100), write(2, 0, 100), swap(2, 3, 10, 20), swap(1, 4, 30, 40)];
        assert!(holds(&concurrent), "2, swapped, then 1, swapped");
    }

    #[test]
    fn a_confirmed_write_that_the_next_primary_lacks_is_caught() {
        assert!(!holds(&[write(1, 0, 10), write(2, 20, 30), swap(1, 3, 40, 50)]));
        assert!(!holds(&[write(1, 0, 10), swap(EMPTY, 2, 20, 30)]));
    }

    #[test]
    fn two_primaries_that_both_confirm_are_caught() {
        // Both go on from 1, each in its own history.
        assert!(!holds(&[write(1, 0, 10), swap(1, 2, 20, 60), swap(1, 3, 20, 60)]));
    }

    #[test]
    fn a_value_that_comes_back_is_caught() {
        assert!(!holds(&[write(1, 0, 10), swap(1, 2, 20, 30), swap(1, 3, 40, 50)]));
    }

    #[test]
    fn an_open_write_may_have_happened_late_or_never() {
        assert!(holds(&[write(1, 0, 10), open(write(2, 5, 6)), swap(1, 3, 40, 50)]), "never");
        assert!(
            holds(&[write(1, 0, 10), open(write(2, 5, 6)), swap(1, 3, 40, 50), swap(2, 4, 60, 70)]),
            "late"
        );
        let twice = [write(1, 0, 10), open(write(2, 5, 6)), swap(2, 3, 40, 50), swap(2, 4, 60, 70)];
        assert!(!holds(&twice), "but not twice");
        let early = [swap(2, 3, 0, 10), open(write(2, 20, 30))];
        assert!(!holds(&early), "nor before it was sent");
    }

    #[test]
    fn what_an_unconfirmed_swap_found_accuses_nobody() {
        assert!(holds(&[write(1, 0, 10), open(swap(EMPTY, 2, 20, 30)), swap(2, 3, 40, 50)]));
    }

    #[test]
    fn a_refused_write_must_not_be_seen() {
        let refused = Operation { outcome: Outcome::Refused, ..write(2, 20, 30) };
        assert!(holds(&[write(1, 0, 10), refused, swap(1, 3, 40, 50)]));
        assert!(!holds(&[write(1, 0, 10), refused, swap(2, 3, 40, 50)]));
        assert!(!holds(&[swap(STRANGE, 1, 0, 10)]));
        let read = Read { register: 1, value: 2, invoked: ms(90) };
        assert_eq!(check(&[write(1, 0, 10), refused], &[read]).wrong, [1]);
    }

    #[test]
    fn plain_reads_are_counted_as_stale_only_when_that_is_certain() {
        let history = [write(1, 0, 10), write(2, 20, 30), open(write(3, 40, 41))];
        let stale = |value, at| check(&history, &[Read { register: 1, value, invoked: ms(at) }]).stale;
        assert_eq!((stale(1, 25), stale(1, 35), stale(EMPTY, 5), stale(EMPTY, 11)), (0, 1, 0, 1));
        assert_eq!((stale(2, 90), stale(3, 90)), (0, 0));
    }

    #[test]
    fn registers_are_judged_apart() {
        let other = |o: Operation| Operation { register: 2, ..o };
        let check = check(&[write(1, 0, 10), swap(1, 2, 20, 30), other(swap(1, 3, 40, 50))], &[]);
        assert_eq!((check.registers, check.confirmed, check.wrong), (2, 3, vec![2]));
    }

    #[test]
    fn a_full_register_with_every_client_at_once_is_decided_at_once() {
        // Seven clients, each operation overlapping with six others: the last swap has no place.
        let mut history: Vec<_> = (0..98).map(|n| write(n + 1, n * 10, n * 10 + 69)).collect();
        assert!(holds(&history));
        history.push(swap(1, 500, 5000, 5010));
        assert!(!holds(&history));
    }
}
