//! Who is to get the office back, and since when that could be (`docs/protocol.md`, H18).

use crate::time::{Duration, Instant};

/// A reign counts as steady once it has lasted for so many delays.
const STEADY_DELAYS: u32 = 4;
/// Behind so many reigns that did not last the delay grows no more: by then it is 64 times as long.
const DOUBLINGS_MAX: u32 = 6;

/// What this node knows of members of higher priority. Without failback nothing of it is used.
#[derive(Debug, Clone, Default)]
pub(super) struct Failback {
    /// Who could take this node's office over, and since when without a break.
    ready: Option<(usize, Instant)>,
    /// Who reigns, and since when.
    reigns: Option<(usize, Instant)>,
    /// Whose reigns did not last, and how many in a row.
    unsteady: Option<(usize, u32)>,
}

impl Failback {
    /// There is another primary, or none. How long reigns last matters of those whom this node would give its own office.
    pub(super) fn reigns(
        &mut self,
        whom: Option<usize>,
        preferred: impl Fn(usize) -> bool,
        delay: Duration,
        now: Instant,
    ) {
        self.ready = None;
        // One that is only out of reach, and goes on, has lost nothing.
        let Some(whom) = whom.filter(|whom| self.reigns.is_none_or(|(of, _)| of != *whom)) else { return };
        if let Some((of, since)) = self.reigns.replace((whom, now))
            && preferred(of)
        {
            let steady = now.saturating_since(since) >= delay * STEADY_DELAYS;
            let times = self.unsteady.filter(|(whom, _)| *whom == of).map_or(0, |(_, times)| times);
            match steady {
                false => self.unsteady = Some((of, (times + 1).min(DOUBLINGS_MAX))),
                true => self.unsteady = self.unsteady.filter(|(whom, _)| *whom != of),
            }
        }
    }

    /// Who could take over now. Gives for how long, once that is long enough.
    pub(super) fn note(
        &mut self,
        whom: Option<usize>,
        delay: Duration,
        now: Instant,
    ) -> Option<(usize, Duration)> {
        let whom = whom.or_else(|| {
            self.ready = None;
            None
        })?;
        let since = match self.ready {
            Some((ready, since)) if ready == whom => since,
            _ => {
                self.ready = Some((whom, now));
                now
            }
        };
        let doublings = self.unsteady.filter(|(of, _)| *of == whom).map_or(0, |(_, times)| times);
        let after = now.saturating_since(since);
        (after >= delay * 2_u32.pow(doublings)).then_some((whom, after))
    }

    /// It was tried, or cannot be now.
    pub(super) fn begin_anew(&mut self) {
        self.ready = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(10);

    fn first(member: usize) -> bool {
        member < 2
    }

    fn at(s: u64) -> Instant {
        Instant::from_nanos(s * 1_000_000_000)
    }

    #[test]
    fn h18_who_was_ready_without_a_break_gets_the_office_back_after_the_delay() {
        let mut failback = Failback::default();
        failback.reigns(Some(2), first, DELAY, at(0));
        assert_eq!(failback.note(Some(1), DELAY, at(1)), None);
        assert_eq!(failback.note(Some(1), DELAY, at(10)), None);
        assert_eq!(failback.note(None, DELAY, at(10)), None, "a break");
        assert_eq!(failback.note(Some(1), DELAY, at(11)), None);
        assert_eq!(failback.note(Some(0), DELAY, at(12)), None, "another one");
        assert_eq!(failback.note(Some(0), DELAY, at(22)), Some((0, DELAY)));
        failback.begin_anew();
        assert_eq!(failback.note(Some(0), DELAY, at(23)), None, "tried");
    }

    #[test]
    fn h18_whose_reigns_do_not_last_waits_twice_as_long_each_time() {
        let mut failback = Failback::default();
        for (round, waits) in [10, 20, 40, 80, 160, 320, 640, 640].into_iter().enumerate() {
            let begin = 10_000 * round as u64;
            failback.reigns(Some(2), first, DELAY, at(begin));
            assert_eq!(failback.note(Some(1), DELAY, at(begin)), None);
            assert_eq!(failback.note(Some(1), DELAY, at(begin + waits - 1)), None, "{waits}");
            assert!(failback.note(Some(1), DELAY, at(begin + waits)).is_some(), "{waits}");
            failback.reigns(Some(1), first, DELAY, at(begin + waits));
            failback.reigns(None, first, DELAY, at(begin + waits + 39));
            failback.reigns(Some(2), first, DELAY, at(begin + waits + 39));
        }
        failback.reigns(Some(1), first, DELAY, at(100_000));
        failback.reigns(None, first, DELAY, at(100_040));
        failback.reigns(Some(2), first, DELAY, at(100_040));
        failback.note(Some(1), DELAY, at(100_041));
        assert!(failback.note(Some(1), DELAY, at(100_051)).is_some(), "one that lasted counts again");
    }

    #[test]
    fn a_primary_that_was_out_of_reach_and_goes_on_has_lost_nothing() {
        let mut failback = Failback::default();
        failback.reigns(Some(1), first, DELAY, at(0));
        failback.reigns(None, first, DELAY, at(30));
        failback.reigns(Some(1), first, DELAY, at(31));
        failback.reigns(Some(2), first, DELAY, at(50));
        failback.note(Some(1), DELAY, at(60));
        assert!(failback.note(Some(1), DELAY, at(70)).is_some());
    }
}
