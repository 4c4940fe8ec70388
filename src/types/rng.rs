//! Numbers that follow from a seed: the same on every machine.

/// The next number after `state`: SplitMix64 (Steele, Lea, Flood 2014), one addition and three mixes. It spreads retries
/// and draws faults; nothing is kept secret with it.
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number below `bound`, which must not be zero.
pub(crate) fn below(state: &mut u64, bound: u64) -> u64 {
    // The high half of a 128-bit product: no division, a bias far below what retries could show.
    ((u128::from(next(state)) * u128::from(bound)) >> 64) as u64
}

/// A number from 0 to below 1.
pub(crate) fn unit(state: &mut u64) -> f64 {
    (next(state) >> 11) as f64 / (1_u64 << 53) as f64
}
