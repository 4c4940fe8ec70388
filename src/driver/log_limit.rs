//! Bounds how many lines of each kind the log gets. No kind is exempt, not even this node's own decisions: peers cause those too, by
//! what they send.

use crate::time::{Duration, Instant};

/// How many lines of one kind may come at once, and how long it takes until one more may.
type Rate = (u32, Duration);

/// What somebody sent: an offer, a refused connection.
const FRAMES: Rate = (64, Duration::from_secs(1));
/// What this node believes and does because of it. One honest failover in a large cluster is some hundred of these at once, and they
/// are what an operator looks for.
const DECISIONS: Rate = (256, Duration::from_millis(500));

/// The kinds that one message is enough for.
const OF_FRAMES: [&str; 5] = ["judged", "implausible", "epoch_ahead", "lease_mismatch", "refused"];

/// A bucket of lines for each kind.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    kinds: Vec<(&'static str, Bucket)>,
}

impl LogLimit {
    /// Whether a line of this kind may be written now; if so, how many were left out before it. What is left out is
    /// still counted in the metrics.
    pub(crate) fn admit(&mut self, kind: &'static str, now: Instant) -> Option<u64> {
        let known = self.kinds.iter().position(|(known, _)| *known == kind);
        let at = known.unwrap_or_else(|| {
            let rate = if OF_FRAMES.contains(&kind) { FRAMES } else { DECISIONS };
            self.kinds.push((kind, Bucket::new(rate, now)));
            self.kinds.len() - 1
        });
        self.kinds[at].1.admit(now)
    }
}

#[derive(Debug)]
struct Bucket {
    rate: Rate,
    left: u32,
    refilled: Instant,
    suppressed: u64,
}

impl Bucket {
    fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, left: rate.0, refilled: now, suppressed: 0 }
    }

    fn admit(&mut self, now: Instant) -> Option<u64> {
        let (burst_max, refill) = self.rate;
        let periods = now.saturating_since(self.refilled).as_nanos() / refill.as_nanos();
        if periods > 0 {
            self.left =
                u32::try_from(periods).map_or(burst_max, |n| self.left.saturating_add(n).min(burst_max));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_a_burst_and_then_a_line_now_and_then_that_tells_what_is_missing() {
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        for (kind, other, (burst_max, refill)) in
            [("judged", "role", FRAMES), ("role", "judged", DECISIONS), ("fenced", "resigned", DECISIONS)]
        {
            let mut limit = LogLimit::default();
            let refill = u64::try_from(refill.as_millis()).unwrap_or(u64::MAX);
            let first = (0..1000).filter(|_| limit.admit(kind, at(1)).is_some()).count();
            assert_eq!(first, burst_max as usize);
            assert_eq!(limit.admit(kind, at(refill)), None);
            assert_eq!(limit.admit(kind, at(refill + 1)), Some(1000 - u64::from(burst_max) + 1));
            assert_eq!(limit.admit(kind, at(refill + 2)), None);
            assert_eq!(
                limit.admit(other, at(refill + 2)),
                Some(0),
                "one flood does not hide the other's lines"
            );
            let later = (0..1000).filter(|_| limit.admit(kind, at(86_400_000)).is_some()).count();
            assert_eq!(later, burst_max as usize, "a quiet day does not save up lines");
        }
    }
}
