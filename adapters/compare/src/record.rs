//! What is known of a key on a node, and when two nodes agree on it.

use std::collections::BTreeMap;
use std::time::Duration;

const TYPES: [&str; 7] = ["none", "string", "list", "set", "zset", "hash", "stream"];

/// A key as one node has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Of type and value.
    pub digest: u64,
    /// When it ends, in Unix milliseconds; 0: never.
    pub deadline_ms: u64,
    kind: u8,
}

impl Record {
    /// What the node calls its type.
    pub fn type_name(&self) -> &'static str {
        TYPES.get(usize::from(self.kind)).copied().unwrap_or("unknown")
    }
}

/// How two nodes disagree on a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disagreement {
    /// One has it, one does not.
    Missing,
    /// They have it with different types.
    Type,
    /// With different values.
    Value,
    /// With different ends.
    Expiry,
}

impl Disagreement {
    /// As a person would say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Type => "type",
            Self::Value => "value",
            Self::Expiry => "expiry",
        }
    }
}

/// Whether and how they disagree. Ends may be `slack` apart: a node keeps them on its own clock.
pub(crate) fn disagreement(a: Option<&Record>, b: Option<&Record>, slack: Duration) -> Option<Disagreement> {
    let (a, b) = match (a, b) {
        (None, None) => return None,
        (Some(a), Some(b)) => (a, b),
        _ => return Some(Disagreement::Missing),
    };
    let apart = Duration::from_millis(a.deadline_ms.abs_diff(b.deadline_ms));
    match () {
        () if a.kind != b.kind => Some(Disagreement::Type),
        () if a.digest != b.digest => Some(Disagreement::Value),
        () if (a.deadline_ms == 0) != (b.deadline_ms == 0) || apart > slack => Some(Disagreement::Expiry),
        () => None,
    }
}

/// Full records by their keys.
pub(crate) fn parse(bytes: &[u8], into: &mut BTreeMap<Vec<u8>, Record>) -> Option<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk()?;
        let (key, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let (digest, after) = after.split_first_chunk()?;
        let (deadline, after) = after.split_first_chunk()?;
        let (kind, after) = after.split_first()?;
        rest = after;
        let record = Record {
            digest: u64::from_le_bytes(*digest),
            deadline_ms: u64::from_le_bytes(*deadline),
            kind: *kind,
        };
        into.insert(key.to_vec(), record);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, digest: u64, deadline_ms: u64) -> Record {
        Record { digest, deadline_ms, kind }
    }

    #[test]
    fn ends_may_be_a_little_apart_and_nothing_else_may() {
        let slack = Duration::from_millis(1000);
        let one = record(1, 7, 50_000);
        let with = |other: Record| disagreement(Some(&one), Some(&other), slack);
        assert_eq!(with(one), None);
        assert_eq!(with(record(1, 7, 51_000)), None);
        assert_eq!(with(record(1, 7, 51_001)), Some(Disagreement::Expiry));
        assert_eq!(with(record(1, 7, 0)), Some(Disagreement::Expiry));
        assert_eq!(with(record(1, 8, 50_000)), Some(Disagreement::Value));
        assert_eq!(with(record(2, 7, 50_000)), Some(Disagreement::Type));
        assert_eq!(disagreement(Some(&one), None, slack), Some(Disagreement::Missing));
        assert_eq!(disagreement(None, None, slack), None);
    }

    #[test]
    fn records_come_out_as_they_were_sent_and_cut_ones_not_at_all() {
        let mut bytes = Vec::new();
        for (key, digest) in [(&b"a"[..], 1_u64), (b"", 2), (b"\xff\r\n", 3)] {
            bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(&digest.to_le_bytes());
            bytes.extend_from_slice(&9_u64.to_le_bytes());
            bytes.push(5);
        }
        let mut found = BTreeMap::new();
        assert_eq!(parse(&bytes, &mut found), Some(()));
        assert_eq!(found.len(), 3);
        assert_eq!(found[&b"\xff\r\n"[..]], record(5, 3, 9));
        assert_eq!(found[&b""[..]].type_name(), "hash");
        assert_eq!(parse(&bytes[..bytes.len() - 1], &mut found), None);
    }
}
