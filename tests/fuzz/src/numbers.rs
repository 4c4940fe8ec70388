//! Numbers that matter: near what the elector knows, at the ends of their range, or anything.

use arbitrary::Arbitrary;

/// A number, told by what it is near to.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Number {
    /// The one that the elector has.
    Same,
    /// The next one.
    Next,
    /// So many from the number that the elector has.
    Near(i8),
    /// So many from the highest of all.
    Top(u8),
    /// Two to this power.
    Power(u8),
    /// Itself.
    Raw(u64),
}

impl Number {
    /// The number, where the elector has `known`.
    pub fn at(self, known: u64) -> u64 {
        match self {
            Self::Same => known,
            Self::Next => known.saturating_add(1),
            Self::Near(off) => known.saturating_add_signed(i64::from(off)),
            Self::Top(off) => u64::MAX - u64::from(off),
            Self::Power(power) => 1 << (power % 64),
            Self::Raw(number) => number,
        }
    }
}
