//! The only source of chance in the elector: a seed that its owner chose.

/// SplitMix64 (Steele, Lea, Flood 2014): one addition and three mixes, no state worth attacking.
/// It spreads retries; nothing is kept secret with it.
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be zero.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        // The high half of a 128-bit product: no division, a bias far below what retries could show.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}
