//! What was decided about a command where it came in, carried to the shard that runs it.

use crate::shards::Shards;
use kevy_elect_plugin::host::FenceReason;
use kevy_elect_plugin::plugin::Denied;
use kevy_elect_plugin::words;
use kevy_rt::{BlockHint, BlockKind, ResolvedCmd, VerbId};
use std::sync::atomic::{AtomicBool, Ordering};

words! {
    /// kevy hands the id of a verb from the shard where a command came in to the one that runs it, and leaves its meaning to
    /// its commands. Its own ids are 0, 1 and 2.
    pub(crate) enum Verdict {
        /// Nothing to ask.
        Free,
        /// The same, and nothing to look at afterwards.
        Plain,
        /// A write that passed the gate. It asks once more where it runs.
        Write,
        /// Must not run.
        Refused,
        /// Stands behind a browser's request.
        Intruder,
        /// The same, and there were so many that it gets no answer.
        Ignored,
        /// This server answers it, not kevy, and there is nothing to ask.
        Answered,
        /// The same, and it is a write that passed the gate. It asks once more where it runs.
        AnsweredWrite,
        /// A cut. It asks as a write does, and passes while the gate is shut for a handover (S6): it changes no data, and
        /// without one behind the last write no replica could say that it has all, and take over.
        Cut,
        /// A script that came to a replica: it may read.
        Script,
        /// Would move data between two shards, which the operator does not want.
        Apart,
    }
}

/// The bits of an id that are ours.
const BITS: u16 = 0b1111 << SHIFT;
const SHIFT: u32 = 12;

impl Verdict {
    /// The id that says so, beside what kevy's id says.
    #[inline]
    pub(crate) const fn mark(self, verb: VerbId) -> VerbId {
        let bits = match self {
            Self::Free => 0,
            Self::Write => 1,
            Self::Refused => 2,
            Self::Intruder => 3,
            Self::Ignored => 4,
            Self::Answered => 5,
            Self::AnsweredWrite => 6,
            Self::Cut => 7,
            Self::Script => 8,
            Self::Plain => 9,
            Self::Apart => 10,
        };
        VerbId::new(verb.get() & !BITS | bits << SHIFT)
    }

    /// What an id says, and kevy's own.
    #[inline]
    pub(crate) const fn of(verb: VerbId) -> (Self, VerbId) {
        let verdict = match verb.get() >> SHIFT {
            0 => Self::Free,
            1 => Self::Write,
            3 => Self::Intruder,
            4 => Self::Ignored,
            5 => Self::Answered,
            6 => Self::AnsweredWrite,
            7 => Self::Cut,
            8 => Self::Script,
            9 => Self::Plain,
            10 => Self::Apart,
            _ => Self::Refused,
        };
        (verdict, VerbId::new(verb.get() & !BITS))
    }

    /// Whether the gate lets it pass.
    #[inline]
    pub(crate) fn ask(self, shards: &Shards) -> Result<(), Denied> {
        match shards.check() {
            Err(Denied::Fenced(FenceReason::StepDown)) if self == Self::Cut => Ok(()),
            asked => asked,
        }
    }
}

/// Whether a client of this process ever waited for a list to move an element out of, with several shards.
///
/// kevy moves it between two shards as soon as the list has one, and asks nobody. So the pushes that a primary sends to a
/// node that may not write must not wake such a client.
static MOVERS: AtomicBool = AtomicBool::new(false);

/// Remembers that such a client may wait from now on, if this is one.
#[inline]
pub(crate) fn note_mover(resolved: &ResolvedCmd, shards: usize) -> bool {
    let moves =
        shards > 1 && matches!(resolved.block_hint, BlockHint::Block { kind: BlockKind::Brpoplpush, .. });
    if moves {
        MOVERS.store(true, Ordering::Relaxed);
    }
    moves
}

/// Whether one may be waiting.
pub(crate) fn has_movers() -> bool {
    MOVERS.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_and_kevys_id_travel_together() {
        for id in [0, 1, 2, (BITS - 1) & !BITS] {
            for &verdict in Verdict::ALL {
                assert_eq!(Verdict::of(verdict.mark(VerbId::new(id))), (verdict, VerbId::new(id)));
            }
        }
    }
}
