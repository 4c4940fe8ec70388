//! Keeps a flood of bad peers out of the log: what others can cause is limited, what we decide is not.

use crate::event::EventKind;
use crate::time::{Duration, Instant};

/// How many lines about what others sent may come at once.
const BURST_MAX: u32 = 64;
/// How long it takes until one more may come.
const REFILL: Duration = Duration::from_secs(1);

/// A bucket of lines.
#[derive(Debug)]
pub(crate) struct LogLimit {
    left: u32,
    refilled: Instant,
    suppressed: u64,
}

impl LogLimit {
    pub(crate) fn new(now: Instant) -> Self {
        Self { left: BURST_MAX, refilled: now, suppressed: 0 }
    }

    /// Whether a line may be written now; if so, how many were left out before it. What is left out is
    /// still counted in the metrics.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<u64> {
        let periods = now.saturating_since(self.refilled).as_nanos() / REFILL.as_nanos();
        if periods > 0 {
            self.left =
                u32::try_from(periods).map_or(BURST_MAX, |n| self.left.saturating_add(n).min(BURST_MAX));
            self.refilled = now;
        }
        if self.left == 0 {
            self.suppressed += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// Whether a peer can cause this as often as it likes.
pub(crate) fn caused_by_others(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Judged { .. } | EventKind::Implausible { .. } | EventKind::LeaseMismatch { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_a_burst_and_then_a_line_a_second_that_tells_what_is_missing() {
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let mut limit = LogLimit::new(at(0));
        let first = (0..1000).filter(|_| limit.admit(at(1)).is_some()).count();
        assert_eq!(first, BURST_MAX as usize);
        assert_eq!(limit.admit(at(999)), None);
        assert_eq!(limit.admit(at(1001)), Some(1000 - u64::from(BURST_MAX) + 1));
        assert_eq!(limit.admit(at(1002)), None);
        let later = (0..1000).filter(|_| limit.admit(at(86_400_000)).is_some()).count();
        assert_eq!(later, BURST_MAX as usize, "a quiet day does not save up lines");
    }
}
