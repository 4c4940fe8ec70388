//! A copy of its primary's data that this node takes just now.

use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// How far it is. How much is to come nobody knows exactly before it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copying {
    /// What is waited for.
    pub phase: Phase,
    /// What has come.
    pub bytes: u64,
    /// About how many there are, for all that the primary can tell.
    pub about: Option<u64>,
    /// Since when.
    pub took: Duration,
}

/// What a copy waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// The primary puts it together.
    Prepared,
    /// It comes.
    Received,
    /// It is here, and replaces what was here.
    Loaded,
}

impl Phase {
    fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Received => "received",
            Self::Loaded => "loaded",
        }
    }
}

impl Copying {
    /// Bytes in a second.
    pub fn rate(&self) -> u64 {
        let ms = self.took.as_millis().max(1);
        u64::try_from(u128::from(self.bytes) * 1000 / ms).unwrap_or(u64::MAX)
    }

    /// About how much is still to come.
    pub fn rest(&self) -> Option<u64> {
        match self.phase {
            Phase::Loaded => Some(0),
            Phase::Prepared | Phase::Received => Some(self.about?.saturating_sub(self.bytes)),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "phase": self.phase.as_str(),
            "bytes": self.bytes,
            "rest_bytes": self.rest(),
            "bytes_per_second": self.rate(),
            "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

impl fmt::Display for Copying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mega = |bytes: u64| bytes as f64 / 1e6;
        let (bytes, rate) = (mega(self.bytes), mega(self.rate()));
        write!(
            f,
            "a copy is {}: {bytes:.1} MB in {} s, {rate:.1} MB/s",
            self.phase.as_str(),
            self.took.as_secs()
        )?;
        match self.rest() {
            Some(rest) if rest > 0 => write!(f, ", about {:.1} MB to come", mega(rest)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_says_how_far_it_is_and_how_fast() {
        let (about, took) = (Some(80_000_000), Duration::from_millis(2_500));
        let copying = Copying { phase: Phase::Received, bytes: 50_000_000, about, took };
        assert_eq!(copying.rate(), 20_000_000);
        assert_eq!(
            copying.to_string(),
            "a copy is received: 50.0 MB in 2 s, 20.0 MB/s, about 30.0 MB to come"
        );
        assert_eq!(copying.json()["bytes_per_second"], 20_000_000);
        assert_eq!(copying.json()["rest_bytes"], 30_000_000);
        let more = Copying { bytes: 90_000_000, ..copying };
        assert_eq!(more.rest(), Some(0), "it was a guess");
        let begun = Copying { phase: Phase::Prepared, bytes: 0, about: None, took: Duration::ZERO };
        assert_eq!((begun.rate(), begun.json()["phase"].as_str()), (0, Some("prepared")));
        assert!(begun.json()["rest_bytes"].is_null(), "nobody said");
    }
}
