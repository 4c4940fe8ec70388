//! The clock by which keys end.
//!
//! The store asks this crate for the time (its feature `external-clock`), and is told how late it is only while this
//! node may write. So a replica, a fenced primary and a log that is read back end no key by themselves: a key ends when
//! the primary's clock says so, and everybody else hears of it as of any other deletion. Both clocks of the store are
//! this one, so that a deadline is the same moment in a log, in a snapshot and in memory.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How late the store is told to be at first: at most this, and so before every deadline that there is. Not zero, and
/// not twice the same, because kevy makes identities of snapshots out of it.
const FIRST_MS_MAX: u64 = 1 << 30;
/// How exact the clock of a server without elections is.
const ALONE: Duration = Duration::from_millis(5);

/// A step of at least this is a leap: what was measured before it and is written behind it is off by too much.
const LEAP_MS: u64 = 1_000;

/// What the store was told last, in milliseconds since 1970.
static TOLD: Mutex<u64> = Mutex::new(0);

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
    if *told == 0 || *told > FIRST_MS_MAX {
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
    if now > *told {
        tell(&mut told, now);
    }
}

fn tell(told: &mut u64, ms: u64) {
    let leaps = u64::from(ms.abs_diff(*told) >= LEAP_MS);
    LEAPS.fetch_add(leaps, Ordering::SeqCst);
    *told = ms;
    kevy_store::set_wall_clock_ms(ms);
    kevy_store::set_clock_ns(ms.saturating_mul(1_000_000));
    LEAPS.fetch_add(leaps, Ordering::SeqCst);
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
