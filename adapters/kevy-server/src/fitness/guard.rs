//! The watchdog of the lease: ends this process if it is stopped with writes that it has not answered.

use kevy_elect_plugin::clock::{Clock, SystemClock};
use kevy_elect_plugin::time::Instant;
use kevy_elect_watchdog::{Instant as Alarm, Watchdog};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Wound up with every lease, and down once everything that passed under it is answered.
pub(crate) struct Guard {
    watchdog: Watchdog,
    /// How long after the lease.
    slack: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How often it was put off: a wish to stand down that is older than the last time is void.
    reading: Reading,
    up: bool,
    /// When it goes off while it is up.
    alarm: Option<Alarm>,
}

/// A moment between two leases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reading(u64);

impl Guard {
    /// One that lets the process live for `slack` longer than a lease.
    pub(crate) fn new(slack: Duration) -> io::Result<Self> {
        Ok(Self { watchdog: Watchdog::new()?, slack, state: Mutex::default() })
    }

    /// Writes may pass until `until` on the clock of the election.
    pub(crate) fn put_off(&self, until: Instant) {
        let mut state = self.state();
        // This clock first: a stop between the two makes the alarm early, never late.
        let alarm =
            Alarm::now().map(|now| now + until.saturating_since(SystemClock::new().now()) + self.slack);
        let alarm_at = alarm.as_ref().ok().copied();
        if let Err(error) = alarm.and_then(|alarm| self.watchdog.put_off(alarm)) {
            // It goes off at the end of the lease before: too early, which is safe.
            log::error!(target: "kevy_elect", "elect event=watchdog_failed error={error:?}");
        }
        state.reading.0 += 1;
        (state.up, state.alarm) = (true, alarm_at);
    }

    /// The moment from which [`Guard::stand_down`] counts.
    pub(crate) fn reading(&self) -> Reading {
        self.state().reading
    }

    /// Whether the process ends unless this is put off or stands down.
    pub(crate) fn is_up(&self) -> bool {
        self.state().up
    }

    /// How long until it goes off.
    pub(crate) fn left(&self) -> Duration {
        let state = self.state();
        let (Some(alarm), Ok(now)) = (state.alarm, Alarm::now()) else { return Duration::ZERO };
        alarm.saturating_since(now)
    }

    /// For how long shards may take to answer before they are kept from it (F11).
    pub(crate) fn patience(&self) -> Duration {
        patience(self.left(), self.slack)
    }

    /// Everything that passed before `since` is answered.
    pub(crate) fn stand_down(&self, since: Reading) {
        let mut state = self.state();
        if state.reading != since {
            return;
        }
        if let Err(error) = self.watchdog.stand_down() {
            log::error!(target: "kevy_elect", "elect event=watchdog_failed error={error:?}");
        }
        state.up = false;
    }

    /// It is not needed for now.
    pub(crate) fn rest(&self) {
        if self.is_up() {
            self.stand_down(self.reading());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Half of what is left: the other half is for keeping them from it, on a machine that has other work too. Where that work let the
/// end of the lease be seen late, there is no time for shards, which have to be let run many times.
fn patience(left: Duration, slack: Duration) -> Duration {
    (left / 2).min(left.saturating_sub(slack / 2))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn shards_are_waited_for_while_there_is_time_and_not_at_all_where_the_end_was_seen_late() {
        let (ms, slack) = (Duration::from_millis, Duration::from_millis(100));
        assert_eq!(patience(ms(900), slack), ms(450));
        assert_eq!(patience(ms(100), slack), ms(50));
        assert_eq!(patience(ms(70), slack), ms(20));
        assert_eq!(patience(ms(49), slack), ms(0));
        assert_eq!(patience(ms(0), slack), ms(0));
    }

    #[test]
    fn a_wish_from_before_the_lease_was_renewed_is_void() {
        let far = SystemClock::new().now() + Duration::from_secs(3600);
        let guard = Guard::new(Duration::from_millis(25)).unwrap();
        assert!(!guard.is_up());
        guard.put_off(far);
        let before = guard.reading();
        guard.put_off(far);
        guard.stand_down(before);
        assert!(guard.is_up());
        guard.stand_down(guard.reading());
        assert!(!guard.is_up());
    }

    #[test]
    fn it_rests_while_there_is_one_voter_and_is_up_again_with_the_next_lease() {
        let far = SystemClock::new().now() + Duration::from_secs(3600);
        let guard = Guard::new(Duration::from_millis(25)).unwrap();
        guard.put_off(far);
        guard.rest();
        assert!(!guard.is_up());
        guard.put_off(far);
        assert!(guard.is_up());
    }
}
