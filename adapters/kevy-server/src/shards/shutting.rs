//! A gate that shuts for a handover, seen from a shard (F23 of `docs/protocol.md`).
//!
//! The election shuts the gate while a shard is in the middle of something: half of an `EXEC` or a script would have been
//! carried out. So a shard goes on until its next tick, which no command spans, and what it has sent on to another shard by then is
//! still carried out there. The election goes on once that is over on every shard, however long one of them took to its tick, and
//! each has told of its stream since ([`Shards::is_closed`]).

use super::Shards;
use kevy_elect_plugin::plugin::Denied;
use std::sync::atomic::Ordering;

/// Ticks of a shard, from when all have ticked, after which what others sent to it before is done: the one under way, and a whole turn.
const TICKS_OF_WHAT_WAS_SENT: u64 = 2;

impl Shards {
    /// Whether a write that comes in on `shard` may pass.
    #[inline]
    pub(crate) fn lets_pass(&self, shard: usize) -> Result<(), Denied> {
        self.check().or_else(|denied| self.passes_late(shard, denied))
    }

    /// The same where the gate is shut.
    #[cold]
    pub(crate) fn passes_late(&self, shard: usize, denied: Denied) -> Result<(), Denied> {
        self.begun(self.shards[shard].shutting.ticks.load(Ordering::Relaxed) == 0, denied)
    }

    /// Whether a write may run on `shard` that came in when it could pass, on whatever shard that was.
    #[inline]
    pub(crate) fn runs(&self, shard: usize) -> Result<(), Denied> {
        self.check().or_else(|denied| self.runs_late(shard, denied))
    }

    /// The same where the gate is shut.
    #[cold]
    pub(crate) fn runs_late(&self, shard: usize, denied: Denied) -> Result<(), Denied> {
        let after_all = self.shards[shard].shutting.ticks_after_all.load(Ordering::Relaxed);
        self.begun(after_all < self.ticks_of_what_was_sent(), denied)
    }

    fn begun(&self, in_time: bool, denied: Denied) -> Result<(), Denied> {
        match self.office() {
            Some(office) if in_time => office.check_begun(),
            _ => Err(denied),
        }
    }

    /// `shard` ticks: it is in the middle of nothing.
    pub(crate) fn note_tick(&self, shard: usize) {
        let own = &self.shards[shard].shutting;
        if self.check().is_ok() {
            own.closed.store(false, Ordering::Release);
            own.ticks.store(0, Ordering::Release);
            own.ticks_after_all.store(0, Ordering::Relaxed);
            return;
        }
        own.ticks.fetch_add(1, Ordering::AcqRel);
        if self.shards.iter().all(|shard| shard.shutting.ticks.load(Ordering::Acquire) > 0) {
            own.ticks_after_all.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// `shard` has told of its stream, in the tick that was noted last.
    pub(super) fn note_told(&self, shard: usize) {
        let own = &self.shards[shard].shutting;
        if own.ticks_after_all.load(Ordering::Relaxed) >= self.ticks_of_what_was_sent() {
            own.closed.store(true, Ordering::Release);
        }
    }

    /// One shard has nobody to send anything to: what had begun is over when it ticks.
    fn ticks_of_what_was_sent(&self) -> u64 {
        if self.count() > 1 { TICKS_OF_WHAT_WAS_SENT } else { 1 }
    }

    /// Whether nothing runs on any shard that the gate had let pass before it was shut, and each has told of all that did. True
    /// also while it is open: there is nothing to wait for then.
    pub(crate) fn is_closed(&self) -> bool {
        self.shards.iter().all(|shard| shard.shutting.closed.load(Ordering::Acquire)) || self.check().is_ok()
    }
}

#[cfg(test)]
pub(super) mod played {
    use super::*;
    use crate::office::{Office, Standing};
    use kevy_elect_plugin::host::FenceReason;
    use kevy_elect_plugin::ids::Epoch;
    use std::sync::atomic::AtomicBool;

    pub(crate) const SHUT: Denied = Denied::Fenced(FenceReason::StepDown);

    /// Whether the gate is open, and whether the lease runs.
    #[derive(Default)]
    pub(crate) struct Stub(AtomicBool, AtomicBool);

    impl Stub {
        pub(crate) fn open(&self) {
            self.0.store(true, Ordering::Relaxed);
            self.1.store(true, Ordering::Relaxed);
        }

        pub(crate) fn shut_for_a_handover(&self) {
            self.0.store(false, Ordering::Relaxed);
        }
    }

    impl Office for Stub {
        fn check(&self) -> Result<(), Denied> {
            self.0.load(Ordering::Relaxed).then_some(()).ok_or(SHUT)
        }
        fn check_begun(&self) -> Result<(), Denied> {
            self.1.load(Ordering::Relaxed).then_some(()).ok_or(SHUT)
        }
        fn standing(&self) -> Standing {
            Standing { primary: true, epoch: Epoch(1), of: None }
        }
        fn on_offset(&self, _: usize, _: u64) {}
        fn on_joined(&self, _: Epoch, _: &[u64]) {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::played::shards;
    use super::played::{SHUT, Stub};
    use std::sync::Arc;

    #[test]
    fn a_shard_goes_on_until_its_tick_and_with_what_was_sent_to_it_until_two_after_all_have_ticked() {
        let (shards, _inboxes) = shards(2);
        let office = Arc::new(Stub::default());
        shards.set_office(office.clone());
        office.open();
        let may = |shard| (shards.lets_pass(shard).is_ok(), shards.runs(shard).is_ok());
        for _ in 0..2 {
            shards.note_tick(0);
            shards.note_tick(1);
            assert_eq!([may(0), may(1)], [(true, true); 2], "open");
            office.shut_for_a_handover();
            assert_eq!([may(0), may(1)], [(true, true); 2], "in the middle of something");
            for _ in 0..5 {
                shards.note_tick(0);
                assert_eq!(
                    [may(0), may(1)],
                    [(false, true), (true, true)],
                    "the other one may still send something"
                );
            }
            shards.note_tick(1);
            shards.note_tick(0);
            assert_eq!([may(0), may(1)], [(false, true); 2], "it may be on its way");
            shards.note_tick(1);
            shards.note_tick(0);
            assert_eq!([may(0), may(1)], [(false, false); 2]);
            office.open();
        }
    }

    #[test]
    fn without_a_lease_nothing_goes_on() {
        let (shards, _inboxes) = shards(1);
        let office = Arc::new(Stub::default());
        shards.set_office(office.clone());
        assert_eq!((shards.lets_pass(0), shards.runs(0)), (Err(SHUT), Err(SHUT)));
    }
}
