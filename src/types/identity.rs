//! Which cluster a node belongs to, as far as that is settled.

use crate::ids::{ClusterId, Epoch};
use std::fmt;

/// The cluster that a node belongs to. Sentences in `docs/protocol.md`, "Identity".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its id.
    pub cluster: ClusterId,
    /// In which epoch a primary proposed it to this node; `None`: a quorum has it, and it never changes again.
    pub proposed: Option<Epoch>,
}

impl Identity {
    /// One that a quorum has.
    pub const fn settled(cluster: ClusterId) -> Self {
        Self { cluster, proposed: None }
    }

    /// Whether it never changes again.
    #[inline]
    pub const fn is_settled(&self) -> bool {
        self.proposed.is_none()
    }

    /// Whether this one is to be taken where both were told: what is settled, or the later proposal.
    pub fn outranks(&self, other: Option<Self>) -> bool {
        let rank = |identity: &Self| (identity.is_settled(), identity.proposed);
        other.is_none_or(|other| rank(self) > rank(&other))
    }

    /// The one of this spelling: `<id>`, or `<id>@<epoch>` where it is proposed.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, proposed) = match text.split_once('@') {
            None => (text, None),
            Some((id, epoch)) => (id, Some(Epoch(epoch.parse().ok()?))),
        };
        Some(Self { cluster: ClusterId::from_digits(id.as_bytes())?, proposed })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.proposed {
            None => write!(f, "{}", self.cluster),
            Some(epoch) => write!(f, "{}@{epoch}", self.cluster),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_quorum_has_outranks_every_proposal_and_a_later_one_an_earlier_one() {
        let of = |bits, proposed: Option<u64>| Identity {
            cluster: ClusterId::from_bits(bits),
            proposed: proposed.map(Epoch),
        };
        assert!(of(1, Some(3)).outranks(None));
        assert!(of(1, None).outranks(Some(of(2, Some(9)))));
        assert!(of(1, Some(4)).outranks(Some(of(2, Some(3)))));
        assert!(!of(1, Some(3)).outranks(Some(of(2, Some(3)))));
        assert!(!of(1, None).outranks(Some(of(2, None))), "neither of two that are settled");
        for identity in [of(7, None), of(7, Some(3))] {
            assert_eq!(Identity::parse(&identity.to_string()), Some(identity));
        }
    }
}
