//! Keeps a flood of bad peers out of the log: what others can cause is limited, what we decide is not.

use crate::event::EventKind;
use crate::time::{Duration, Instant};

/// What a line is about, where others can cause it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Something that somebody sent: an offer, a refused connection.
    Frame,
    /// What this node now believes of its peers because of it: who is primary, who is there. One honest failover
    /// in a large cluster is some hundred of these at once, and they are what an operator looks for.
    Belief,
}

/// How many lines may come at once, and how long it takes until one more may.
const FRAMES: (u32, Duration) = (64, Duration::from_secs(1));
const BELIEFS: (u32, Duration) = (512, Duration::from_millis(100));

/// A bucket of lines for each cause.
#[derive(Debug)]
pub(crate) struct LogLimit {
    frames: Bucket,
    beliefs: Bucket,
}

impl LogLimit {
    pub(crate) fn new(now: Instant) -> Self {
        Self { frames: Bucket::new(FRAMES, now), beliefs: Bucket::new(BELIEFS, now) }
    }

    /// Whether a line may be written now; if so, how many were left out before it. What is left out is
    /// still counted in the metrics.
    pub(crate) fn admit(&mut self, cause: Cause, now: Instant) -> Option<u64> {
        match cause {
            Cause::Frame => self.frames.admit(now),
            Cause::Belief => self.beliefs.admit(now),
        }
    }
}

#[derive(Debug)]
struct Bucket {
    burst_max: u32,
    refill: Duration,
    left: u32,
    refilled: Instant,
    suppressed: u64,
}

impl Bucket {
    fn new((burst_max, refill): (u32, Duration), now: Instant) -> Self {
        Self { burst_max, refill, left: burst_max, refilled: now, suppressed: 0 }
    }

    fn admit(&mut self, now: Instant) -> Option<u64> {
        let periods = now.saturating_since(self.refilled).as_nanos() / self.refill.as_nanos();
        if periods > 0 {
            self.left = u32::try_from(periods)
                .map_or(self.burst_max, |n| self.left.saturating_add(n).min(self.burst_max));
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

/// Whether peers can cause this as often as they like.
pub(crate) fn caused_by_others(kind: &EventKind) -> Option<Cause> {
    match kind {
        EventKind::Judged { .. }
        | EventKind::Implausible { .. }
        | EventKind::EpochAhead { .. }
        | EventKind::TermsDiffer { .. }
        | EventKind::TermsAgree { .. }
        | EventKind::LeaseMismatch { .. } => Some(Cause::Frame),
        EventKind::PrimaryChanged { .. }
        | EventKind::PrimarySuspected { .. }
        | EventKind::Following { .. }
        | EventKind::FollowFailed { .. }
        | EventKind::PeerUp { .. }
        | EventKind::PeerDown { .. }
        | EventKind::Fitness { .. } => Some(Cause::Belief),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_a_burst_and_then_a_line_now_and_then_that_tells_what_is_missing() {
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        for (cause, (burst_max, refill)) in [(Cause::Frame, FRAMES), (Cause::Belief, BELIEFS)] {
            let mut limit = LogLimit::new(at(0));
            let refill = u64::try_from(refill.as_millis()).unwrap_or(u64::MAX);
            let first = (0..1000).filter(|_| limit.admit(cause, at(1)).is_some()).count();
            assert_eq!(first, burst_max as usize);
            assert_eq!(limit.admit(cause, at(refill - 1)), None);
            assert_eq!(limit.admit(cause, at(refill + 1)), Some(1000 - u64::from(burst_max) + 1));
            assert_eq!(limit.admit(cause, at(refill + 2)), None);
            let other = if cause == Cause::Frame { Cause::Belief } else { Cause::Frame };
            assert_eq!(
                limit.admit(other, at(refill + 2)),
                Some(0),
                "one flood does not hide the other's lines"
            );
            let later = (0..1000).filter(|_| limit.admit(cause, at(86_400_000)).is_some()).count();
            assert_eq!(later, burst_max as usize, "a quiet day does not save up lines");
        }
    }
}
