//! The time of a transport over TCP: the system's.

use crate::clock::{Clock, SystemClock};
use crate::time::{Duration, Instant};
use async_io::Timer;
use futures::future::{Either, select};

pub(super) fn now() -> Instant {
    SystemClock.now()
}

/// `None`: the time is up.
pub(super) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    match select(std::pin::pin!(future), Timer::after(limit)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}
