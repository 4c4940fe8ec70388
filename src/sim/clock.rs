//! Real time, and what the nodes' clocks make of it.

use crate::time::Instant;

/// One millisecond of real time, in nanoseconds.
pub(super) const MS: u64 = 1_000_000;

/// A node's monotonic clock: real time at a rate of its own, from a start of its own. Whole numbers only.
#[derive(Debug, Clone)]
pub(super) struct DriftClock {
    real: u64,
    local: u64,
    ppm: i64,
}

impl DriftClock {
    /// A clock that shows `local` at real time zero and gains `ppm` millionths.
    pub(super) fn new(local: u64, ppm: i64) -> Self {
        Self { real: 0, local, ppm }
    }

    /// What the clock shows at `real`.
    pub(super) fn local(&self, real: u64) -> Instant {
        Instant::from_nanos(self.nanos(real))
    }

    fn nanos(&self, real: u64) -> u64 {
        let passed = real.saturating_sub(self.real) as i64;
        self.local + (passed + passed * self.ppm / 1_000_000) as u64
    }

    /// The first real instant at which the clock shows `local` or more.
    pub(super) fn real(&self, local: Instant) -> u64 {
        let local = local.as_nanos();
        if local <= self.local {
            return self.real;
        }
        let rate = (1_000_000 + self.ppm) as u128;
        let passed = (u128::from(local - self.local) * 1_000_000).div_ceil(rate);
        let Ok(passed) = u64::try_from(passed) else { return u64::MAX };
        // The division in `nanos` rounds: step to the exact edge.
        let mut real = self.real.saturating_add(passed.saturating_sub(2));
        while real < u64::MAX && self.nanos(real) < local {
            real += 1;
        }
        real
    }

    /// Runs at another rate from `real` on.
    pub(super) fn set_rate(&mut self, real: u64, ppm: i64) {
        (self.local, self.real, self.ppm) = (self.nanos(real), real, ppm);
    }

    /// The machine slept from `from` to `to`, and the clock did not count.
    pub(super) fn slept(&mut self, from: u64, to: u64) {
        (self.local, self.real) = (self.nanos(from), to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_time_of_a_local_time_is_its_first_instant() {
        for ppm in [-200_000, -10_000, -1, 0, 1, 333, 10_000, 200_000] {
            let clock = DriftClock::new(12_345, ppm);
            for local in [12_346, 50_000, 999_999_937, 77_000_000_003] {
                let local = Instant::from_nanos(local);
                let real = clock.real(local);
                assert!(clock.local(real) >= local && clock.local(real - 1) < local, "{ppm} {local:?}");
            }
        }
    }

    #[test]
    fn sleep_is_not_counted() {
        let mut clock = DriftClock::new(0, 0);
        clock.slept(100, 1_000);
        assert_eq!(clock.local(1_050).as_nanos(), 150);
    }
}
