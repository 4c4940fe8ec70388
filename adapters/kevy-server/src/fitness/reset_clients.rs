//! Helps kevy to get rid of clients whose connection was reset before they had read their answer: it tries for ever to
//! write the rest, which takes a whole processor (`docs/upstream.md`). The load balancers of a failover reset connections.

use crate::confirm::connections::Whose;
use crate::confirm::sink::Sink;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// A process that uses less than this share of one processor burns none. Low, because on a machine that has other work a
/// shard that burns gets only a part of one.
const BUSY_PERCENT: u32 = 10;
/// So many busy looks in a row, and it is worth while to go through all connections.
const BUSY_LOOKS: u32 = 2;
/// Going through them takes some milliseconds where they are ten thousand; so not more often than that.
const SEARCH_INTERVAL: Duration = Duration::from_secs(5);

/// Looks after the dead.
pub(crate) struct ResetClients {
    sink: Sink,
    looked: Option<(Instant, Duration)>,
    busy: u32,
    searched: Option<Instant>,
    /// Whether it was said that nothing can be done.
    said: bool,
}

impl ResetClients {
    pub(crate) fn new(sink: Sink) -> Self {
        Self { sink, looked: None, busy: 0, searched: None, said: false }
    }

    /// To be called every second or so.
    pub(crate) fn look(&mut self, now: Instant) {
        if !self.is_busy(now, used()) {
            return;
        }
        if self.searched.is_some_and(|at| now.saturating_duration_since(at) < SEARCH_INTERVAL) {
            return;
        }
        self.searched = Some(now);
        match self.sink.swallow(Whose::Dead) {
            Ok(0) => {}
            Ok(clients) => log::warn!(
                target: "kevy_elect",
                "elect event=dead_clients_closed clients={clients} why=\"their connections were reset, and kevy went on trying \
                 to answer\""
            ),
            Err(error) if !self.said => {
                self.said = true;
                log::warn!(
                    target: "kevy_elect",
                    "elect event=dead_clients_not_closed error={error:?} why=\"if this server burns a processor while it is \
                     idle, only a restart helps\""
                );
            }
            Err(_) => {}
        }
    }

    fn is_busy(&mut self, now: Instant, used: Duration) -> bool {
        let Some((then, before)) = self.looked.replace((now, used)) else { return false };
        let passed = now.saturating_duration_since(then);
        let busy = used.saturating_sub(before) * 100 > passed * BUSY_PERCENT;
        self.busy = if busy { self.busy.saturating_add(1) } else { 0 };
        self.busy >= BUSY_LOOKS
    }
}

/// The processor time that this process has used.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_stays_busy_is_looked_at() {
        let mut burn = ResetClients::new(Sink::default());
        let start = Instant::now();
        let mut look = |second: u64, used_ms: u64| {
            burn.is_busy(start + Duration::from_secs(second), Duration::from_millis(used_ms))
        };
        assert!(!look(0, 0));
        assert!(!look(1, 900) && look(2, 1_800));
        assert!(!look(3, 1_850), "it has calmed down");
        assert!(!look(4, 2_800) && look(5, 3_800));
    }
}
