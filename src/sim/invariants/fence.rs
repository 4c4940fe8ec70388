//! F2: the fence is up before a resignation releases anybody; F9: it is up before a dead process' links end.

use super::Found;
use crate::fence::GateState;
use crate::time::Instant;

#[derive(Debug)]
pub(in crate::sim) struct Fence;

impl Fence {
    pub(in crate::sim) fn on_resign(&self, node: usize, open: bool) -> Found {
        open.then(|| {
            (
                "fence before resignation (F2)",
                format!("n{node} resigned while its gate would let a write pass"),
            )
        })
    }

    /// The real gate lets writes pass at `now`: so must the elector want it, also while it speaks.
    pub(in crate::sim) fn on_open(&self, node: usize, now: Instant, wanted: Option<GateState>) -> Found {
        (!matches!(wanted, Some(GateState::Open(until)) if until > now)).then(|| {
            (
                "fence before anything else (F2)",
                format!("n{node}'s gate lets writes pass; its elector wants {wanted:?}"),
            )
        })
    }

    /// The links of a process end, in order or by force.
    pub(in crate::sim) fn on_end(&self, node: usize, open: bool) -> Found {
        open.then(|| ("fence before the end (F9)", format!("n{node}'s links end while its gate is open")))
    }
}
