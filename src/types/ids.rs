//! The names things have: nodes, epochs, process starts, heartbeat rounds, shards.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// Longest node id, in bytes: the longest DNS label, so that a host name can be a node id.
pub const NODE_ID_BYTES_MAX: usize = 63;

/// The most shards one node may have. A position with all of them still fits one frame.
pub const SHARDS_MAX: usize = 128;

/// The highest epoch that is ever accepted. Elections count epochs one by one, so anything near the
/// end of `u64` is a forgery or garbage; accepting it once would make every later election impossible.
pub const EPOCH_MAX: Epoch = Epoch(u64::MAX >> 2);

/// By how much, at most, one node alone moves another one's epoch within an election timeout (E10). All that there are last for
/// 2^34 election timeouts that way.
pub const EPOCH_STEP_MAX: u64 = 1 << 28;

/// How far ahead of a node's own epoch another one is believed at once. Elections count epochs one by one: this is some hundred of
/// them that a node has not heard of. Who has missed more needs no more than a step of [`EPOCH_STEP_MAX`].
pub const EPOCH_NEAR: u64 = 256;

/// The name of a node: 1 to 63 visible ASCII characters without `@`, `,` and quotes.
///
/// Kept inline and `Copy`, so that naming a node never allocates. Ordered by its bytes: where
/// everything else is equal the lowest id wins an election.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId {
    bytes: [u8; NODE_ID_BYTES_MAX],
    len: u8,
}

impl NodeId {
    /// Checks and copies `id`.
    pub fn new(id: &str) -> Result<Self, NodeIdError> {
        if id.is_empty() {
            return Err(NodeIdError::Empty);
        }
        if id.len() > NODE_ID_BYTES_MAX {
            return Err(NodeIdError::TooLong { bytes: id.len() });
        }
        if let Some(found) = id.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '@' | ',' | '"' | '\''))
        {
            return Err(NodeIdError::Character { id: id.to_owned(), found });
        }
        let mut bytes = [0; NODE_ID_BYTES_MAX];
        bytes[..id.len()].copy_from_slice(id.as_bytes());
        Ok(Self { bytes, len: id.len() as u8 })
    }

    /// The codec's way in: the same rules as [`NodeId::new`], without an error to build.
    #[inline]
    pub(crate) fn from_wire(id: &[u8]) -> Option<Self> {
        if id.is_empty() || id.len() > NODE_ID_BYTES_MAX {
            return None;
        }
        let mut bytes = [0; NODE_ID_BYTES_MAX];
        for (to, from) in bytes.iter_mut().zip(id) {
            if !from.is_ascii_graphic() || matches!(from, b'@' | b',' | b'"' | b'\'') {
                return None;
            }
            *to = *from;
        }
        Some(Self { bytes, len: id.len() as u8 })
    }

    /// The codec's way out: all bytes, zero after the id, and how many are the id.
    #[inline]
    pub(crate) fn wire_bytes(&self) -> (&[u8; NODE_ID_BYTES_MAX], usize) {
        (&self.bytes, usize::from(self.len))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Only ASCII gets in, so this never takes the empty branch.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl PartialOrd for NodeId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NodeId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // As their texts compare: behind them is zero, which is below all that may stand in one.
        self.bytes.cmp(&other.bytes)
    }
}

impl Borrow<str> for NodeId {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;
    fn from_str(id: &str) -> Result<Self, NodeIdError> {
        Self::new(id)
    }
}

/// Why a text is not a node id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeIdError {
    /// No characters at all.
    #[error("a node id must not be empty")]
    Empty,
    /// Longer than [`NODE_ID_BYTES_MAX`].
    #[error("a node id has {bytes} bytes; at most {NODE_ID_BYTES_MAX} fit")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// A character outside visible ASCII, or one that separates entries of a peer list.
    #[error("node id {id:?} contains {found:?}; use visible ASCII without '@', ',' and quotes")]
    Character {
        /// The id.
        id: String,
        /// The first character that is refused.
        found: char,
    },
}

/// Counts reigns: at most one node is primary in an epoch. Raft calls it term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Before the first election; as a stream epoch: no history, no data.
    pub const ZERO: Self = Self(0);

    /// The epoch that an election asks for next, `None` at [`EPOCH_MAX`].
    pub fn next(self) -> Option<Self> {
        (self < EPOCH_MAX).then(|| Self(self.0 + 1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Tells the starts of one node's process apart: a later start has a higher number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Numbers the heartbeats of one process; the echo of a heartbeat carries its round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Round(pub u64);

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What tells one cluster's history from all others: 128 random bits, as 32 hexadecimal digits in lower case.
///
/// Not the cluster's name, which an operator chooses and may choose twice. Kept as it is spelled, because every
/// heartbeat says it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId([u8; ClusterId::DIGITS]);

impl ClusterId {
    /// How many digits it has.
    pub const DIGITS: usize = 32;

    /// The id of these bits.
    pub fn from_bits(bits: u128) -> Self {
        let digit = |i: usize| b"0123456789abcdef"[(bits >> (4 * (Self::DIGITS - 1 - i))) as usize & 15];
        Self(std::array::from_fn(digit))
    }

    /// The id that is spelled so; there is one spelling of each.
    #[inline]
    pub fn from_digits(digits: &[u8]) -> Option<Self> {
        let digits = digits.first_chunk().filter(|_| digits.len() == Self::DIGITS)?;
        let wrong = |digit: &u8| !matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        // Without an early end, so that all are looked at in a few instructions.
        (digits.iter().filter(|digit| wrong(digit)).count() == 0).then_some(Self(*digits))
    }

    /// Its digits.
    #[inline]
    pub fn digits(&self) -> &[u8; Self::DIGITS] {
        &self.0
    }

    /// The same as text.
    pub fn as_str(&self) -> &str {
        // Only digits get in, so this never takes the empty branch.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_id_has_one_spelling() {
        for bits in [0, 1, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef, u128::MAX] {
            let id = ClusterId::from_bits(bits);
            assert_eq!(id.as_str(), format!("{bits:032x}"));
            assert_eq!(ClusterId::from_digits(id.digits()), Some(id));
        }
        for wrong in ["", "0", "0123456789ABCDEF0123456789abcdef", "0123456789abcdef0123456789abcdeg"] {
            assert_eq!(ClusterId::from_digits(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(ClusterId::from_digits(&[b'0'; 33]), None);
    }

    #[test]
    fn ids_order_by_their_bytes_not_by_their_length() {
        let (a, b, c) = (NodeId::new("n1").unwrap(), NodeId::new("n10").unwrap(), NodeId::new("n2").unwrap());
        assert!(a < b && b < c);
    }

    #[test]
    fn an_id_that_could_break_a_peer_list_is_refused_by_name() {
        assert_eq!(NodeId::new(""), Err(NodeIdError::Empty));
        assert_eq!(NodeId::new(&"x".repeat(64)), Err(NodeIdError::TooLong { bytes: 64 }));
        assert!(NodeId::new("a@b").unwrap_err().to_string().contains("'@'"));
        assert!(NodeId::new("a b").is_err() && NodeId::new("é").is_err());
        assert_eq!(NodeId::new(&"x".repeat(63)).unwrap().as_str().len(), 63);
    }

    #[test]
    fn epochs_end_before_they_could_wrap() {
        assert_eq!(Epoch(6).next(), Some(Epoch(7)));
        assert_eq!(EPOCH_MAX.next(), None);
        assert_eq!(Epoch(u64::MAX).next(), None);
    }
}
