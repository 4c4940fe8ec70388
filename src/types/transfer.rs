//! A planned transfer of the office: why it does not begin, and how it ends.

use crate::fence::{FenceReason, Health};
use crate::ids::NodeId;
use crate::position::Progress;
use crate::time::Duration;
use crate::words::words;
use std::fmt;

/// Why a transfer does not begin. Nothing has changed, and no write was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferRefused {
    /// Only the primary gives its office away.
    #[error("this node is not primary, {}", Whom(*.primary))]
    NotPrimary {
        /// Whom to ask.
        primary: Option<NodeId>,
    },
    /// This node was elected a moment ago and does not serve yet.
    #[error("this node was elected a moment ago and does not take writes yet: try again when it does")]
    Promoting,
    /// It refuses writes already.
    #[error("this primary refuses writes itself ({}): no transfer can be planned now", .0.as_str())]
    Fenced(FenceReason),
    /// It is about to give its office away.
    #[error("a transfer is under way: wait for its end")]
    Underway,
    /// The node that was asked for cannot take over.
    #[error("{node} cannot take over: {why}")]
    Unready {
        /// Who was asked for.
        node: NodeId,
        /// What keeps it.
        why: Unready,
    },
    /// Nobody can take over.
    #[error("nobody can take over: {}", Each(.0))]
    Nobody(Vec<(NodeId, Unready)>),
}

/// What keeps a node from taking an office over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unready {
    /// It is not in the configuration.
    #[error("no member of this cluster has this id")]
    Unknown,
    /// It has the office.
    #[error("it is the primary")]
    Reigns,
    /// A witness.
    #[error("it is a witness, which holds no data")]
    Witness,
    /// An observer.
    #[error("it is an observer, which is never primary")]
    Observer,
    /// Its priority.
    #[error("its priority is 0, so it is never primary")]
    PriorityZero,
    /// Not heard within an election timeout, or its process is gone.
    #[error("it cannot be reached")]
    Unreachable,
    /// It says so itself.
    #[error("it is unfit ({})", .0.as_str())]
    Unfit(Health),
    /// It has not joined the present history: it copies, or has not begun to follow.
    #[error("it does not hold this primary's history yet (it is at {0}): it copies, or does not follow")]
    OtherHistory(Progress),
    /// It is too far behind to come near in the time that the transfer has, as fast as it has got on lately.
    #[error("it lags: it is {behind} behind and {}", Speed(*.needs))]
    Lags {
        /// By how much, in the unit of the host's offsets.
        behind: u64,
        /// How long it would take it to come near, if it gains on the primary at all.
        needs: Option<Duration>,
    },
}

impl Unready {
    /// Whether time mends it.
    pub(crate) fn is_lag(&self) -> bool {
        matches!(self, Self::Lags { .. })
    }
}

words! {
    /// How a transfer ended.
    #[non_exhaustive]
    pub enum TransferOutcome {
        /// The office was given up in favour of the other node.
        HandedOver = "handed-over",
        /// The other node did not come close enough in time: this node is primary as before.
        Late = "late",
        /// The office ended in another way meanwhile.
        Overtaken = "overtaken",
    }
}

struct Whom(Option<NodeId>);

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(primary) => write!(f, "ask {primary}"),
            None => f.write_str("and knows of none"),
        }
    }
}

struct Speed(Option<Duration>);

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(needs) => {
                write!(f, "needs about {} s: wait, or give it more time", needs.as_millis().div_ceil(1000))
            }
            None => f.write_str("does not come nearer: see what keeps it"),
        }
    }
}

struct Each<'a>(&'a [(NodeId, Unready)]);

impl fmt::Display for Each<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("there is no other member");
        }
        for (number, (node, why)) in self.0.iter().enumerate() {
            write!(f, "{}{node}: {why}", if number == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}
