//! Whether automatic elections are paused: what operators said last, and why an order is not taken. Sentences in `docs/protocol.md`, "Pause".

use crate::ids::EPOCH_MAX;
use std::fmt;

/// An operator's order about automatic elections. Of two the greater one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pause {
    /// Higher than that of every order that a quorum had when this one was given.
    pub number: u64,
    /// Paused from then on, or not any more. Of two orders with one number the one that pauses is the greater.
    pub paused: bool,
}

impl Pause {
    /// The highest number.
    pub const NUMBER_MAX: u64 = EPOCH_MAX.0;
    /// How far calendars of members may be apart.
    const AHEAD_MAX_MS: u64 = 24 * 60 * 60 * 1000;
    const PAUSED: &str = "paused";
    const RUNNING: &str = "running";

    /// Whether somebody can have given it by `wall_ms` of this machine's calendar, zero: there is none (H17).
    pub fn is_plausible(self, wall_ms: u64) -> bool {
        wall_ms == 0 || self.number <= wall_ms.saturating_add(Self::AHEAD_MAX_MS)
    }

    /// The order of this spelling: `paused@<number>`, `running@<number>`.
    pub fn parse(text: &str) -> Option<Self> {
        let (word, digits) = text.split_once('@')?;
        let paused = match word {
            Self::PAUSED => true,
            Self::RUNNING => false,
            _ => return None,
        };
        let number = digits.parse().ok().filter(|number| *number <= Self::NUMBER_MAX)?;
        let pause = Self { number, paused };
        // Every order has one spelling.
        (pause.to_string() == text).then_some(pause)
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", if self.paused { Self::PAUSED } else { Self::RUNNING }, self.number)
    }
}

/// Why an order about automatic elections is not taken. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PauseRefused {
    /// It could contradict a later order that a quorum has and this node has not heard of.
    #[error("{heard} of {quorum} voters that are needed are heard here: ask a node that hears more")]
    NoQuorum {
        /// Voters heard, this one included.
        heard: usize,
        /// How many are needed.
        quorum: usize,
    },
    /// An observer, or a node that has not started.
    #[error("this node has no vote: ask one that has")]
    NoVote,
    /// Somebody said the highest number there is.
    #[error("no number is left for another order")]
    NoNumber,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h17_an_order_of_a_far_future_was_given_by_nobody() {
        let of = |number| Pause { number, paused: true };
        let now = 1_795_000_000_000;
        assert!(of(1).is_plausible(now) && of(now + Pause::AHEAD_MAX_MS).is_plausible(now));
        assert!(
            !of(now + Pause::AHEAD_MAX_MS + 1).is_plausible(now) && !of(Pause::NUMBER_MAX).is_plausible(now)
        );
        assert!(of(Pause::NUMBER_MAX).is_plausible(0), "without a calendar");
    }

    #[test]
    fn a_later_order_counts_and_each_has_one_spelling() {
        let of = |number, paused| Pause { number, paused };
        assert!(of(2, false) > of(1, true) && of(2, true) > of(2, false));
        for pause in [of(0, false), of(7, true), of(Pause::NUMBER_MAX, true)] {
            assert_eq!(Pause::parse(&pause.to_string()), Some(pause));
        }
        for wrong in
            ["", "paused", "paused@", "paused@07", "paused@-1", "Paused@7", "paused@4611686018427387904"]
        {
            assert_eq!(Pause::parse(wrong), None, "{wrong}");
        }
    }
}
