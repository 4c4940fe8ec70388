//! The clock by which keys end.
//!
//! The store asks this crate for the time (its feature `external-clock`), and is told how late it is only while this
//! node may write. So a replica, a fenced primary and a log that is read back end no key by themselves: a key ends when
//! the primary's clock says so, and everybody else hears of it as of any other deletion. Both clocks of the store are
//! this one, so that a deadline is the same moment in a log, in a snapshot and in memory.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How late the store is told to be at first: at most this, and so before every deadline that there is. Not zero, and
/// not twice the same, because kevy makes identities of snapshots out of it.
const FIRST_MS_MAX: u64 = 1 << 30;
/// How exact the clock of a server without elections is.
const ALONE: Duration = Duration::from_millis(5);

/// Where a step differs by at least this from the time that has passed, it is a leap: what was measured before it and is written
/// behind it is off by too much. A step that only came late is none, however long it is.
const LEAP_MS: u64 = 1_000;

/// What the store was told last, in milliseconds since 1970, and when.
static TOLD: Mutex<(u64, Option<Instant>)> = Mutex::new((0, None));

/// Grows before a leap and after it, so it is odd meanwhile.
static LEAPS: AtomicU64 = AtomicU64::new(0);

/// Servers of this process with an election. They share the store's clock.
static SERVERS: AtomicUsize = AtomicUsize::new(0);

/// Held by a server for as long as it has a store.
pub(crate) struct Holder(());

impl Holder {
    pub(crate) fn new() -> Self {
        SERVERS.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        SERVERS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Tells the store some early moment: before there is anything in it, and when another node's clock counts from now on,
/// which may be behind ours. Not beside other servers in one process, which only tests have: their deadlines would jump.
pub(crate) fn rest() {
    if SERVERS.load(Ordering::SeqCst) > 1 {
        return;
    }
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.0 == 0 || told.0 > FIRST_MS_MAX {
        let early = RandomState::new().hash_one(std::process::id()) % FIRST_MS_MAX + 1;
        tell(&mut told, early);
    }
}

/// How often the clock began or ended a leap. Equal and even at two moments: there was none between them.
pub(crate) fn leaps() -> u64 {
    LEAPS.load(Ordering::SeqCst)
}

/// Tells the store how late it is. Only for a node that may write. Does not go back.
pub(crate) fn advance() {
    // Waits for who tells it just now: with one of the two clocks set, a deadline would be off by all the time at rest.
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    let now = now_ms();
    if now > told.0 {
        tell(&mut told, now);
    }
}

fn tell(told: &mut (u64, Option<Instant>), ms: u64) {
    let now = Instant::now();
    let passed = told.1.map_or(Duration::ZERO, |before| now.duration_since(before));
    let leaps = u64::from(is_leap(told.0, ms, passed));
    LEAPS.fetch_add(leaps, Ordering::SeqCst);
    *told = (ms, Some(now));
    kevy_store::set_wall_clock_ms(ms);
    kevy_store::set_clock_ns(ms.saturating_mul(1_000_000));
    LEAPS.fetch_add(leaps, Ordering::SeqCst);
}

/// Whether the step between two moments is another one than the time that has passed between them.
fn is_leap(from_ms: u64, to_ms: u64, passed: Duration) -> bool {
    let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
    to_ms.abs_diff(from_ms.saturating_add(passed_ms)) >= LEAP_MS
}

/// How late it is, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Keeps telling it, for a server that takes no part in elections.
pub(crate) fn run_alone() -> std::io::Result<()> {
    advance();
    let forever = || loop {
        std::thread::sleep(ALONE);
        advance();
    };
    std::thread::Builder::new().name("clock".to_owned()).spawn(forever).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_told_late_has_not_leapt() {
        let passed = Duration::from_secs(30);
        assert!(
            !is_leap(5_000_000, 5_030_000, passed),
            "its thread waited for a processor, or its node was fenced"
        );
        assert!(is_leap(5_000_000, 5_030_000, Duration::ZERO), "it was set");
        assert!(is_leap(5_000_000, 5_001_000, passed), "also back");
        assert!(is_leap(u64::from(u32::MAX), 1_800_000_000_000, passed), "it was at rest");
    }
}
