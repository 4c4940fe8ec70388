//! The simulator's only source of chance: everything that happens in a run follows from one seed.

/// The generator of the core, or none. Whole numbers only: the same draws on every machine.
#[derive(Debug, Clone)]
pub(super) struct Rng {
    draws: crate::rng::Rng,
    steady: bool,
}

impl Rng {
    /// A generator for `purpose` in the run of `seed`: draws for one purpose do not shift those for another,
    /// so that a shrunk plan still meets much the same network.
    pub(super) fn new(seed: u64, purpose: u64) -> Self {
        let draws = crate::rng::Rng::new(seed ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let mut rng = Self { draws, steady: false };
        rng.next();
        rng
    }

    /// Always the middle of the range, so that nothing depends on how often it was asked before.
    pub(super) fn steady() -> Self {
        Self { draws: crate::rng::Rng::new(0), steady: true }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.draws.next()
    }

    /// Below `bound`; zero where `bound` is zero.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        if self.steady {
            return bound / 2;
        }
        self.draws.below(bound)
    }

    /// From `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True `per_mille` times in a thousand.
    pub(super) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of `items`, which must not be empty.
    pub(super) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }
}
