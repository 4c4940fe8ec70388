//! The only source of chance in the elector: a seed that its owner chose.

/// Spreads retries; nothing is kept secret with it.
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, which must not be zero.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        crate::rng::below(&mut self.0, bound)
    }
}
