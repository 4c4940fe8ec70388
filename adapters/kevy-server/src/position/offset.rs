//! A place in a shard's stream, as an offset that only grows.

/// Bits of a position's offset that hold kevy's own offset; `FLUSHALL` count above them.
const OFFSET_BITS: u32 = 40;

/// kevy's offset `next` after `flushes` restarts of the stream in one reign, as an offset that only grows.
pub(crate) fn position_offset(flushes: u64, next: u64) -> u64 {
    flushes.saturating_mul(1 << OFFSET_BITS).saturating_add(next.min((1 << OFFSET_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_moves_the_position_on_although_kevy_starts_at_zero() {
        assert!(position_offset(1, 0) > position_offset(0, 1_000_000_000));
        assert_eq!(position_offset(0, 7), 7);
    }
}
