//! F2: the fence is up before a resignation releases anybody; F9: it is up before a dead process' links end; F10: the host knows
//! every lease before the gate opens for it.

use super::found::Found;
use crate::fence::GateState;
use crate::ids::Epoch;
use crate::time::Instant;

#[derive(Debug)]
pub(in crate::sim) struct Fence;

const UNTOLD: &str = "the host knows the lease first (F10)";

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

    /// The host is told of a lease: the gate may not be open for it yet.
    pub(in crate::sim) fn on_told(&self, node: usize, lease: Instant, gate: Option<Instant>) -> Found {
        (gate >= Some(lease)).then(|| {
            let text =
                format!("n{node}'s host is told of the lease until {lease:?}; the gate has {gate:?} already");
            (UNTOLD, text)
        })
    }

    /// The gate lets writes pass: the host was told until when.
    pub(in crate::sim) fn on_lease(
        &self,
        node: usize,
        told: Option<Instant>,
        gate: Option<Instant>,
    ) -> Found {
        (gate > told).then(|| {
            (UNTOLD, format!("n{node}'s gate is open until {gate:?}; its host was told of {told:?}"))
        })
    }

    /// An answer leaves for a write that passed earlier, and somebody else may write by now.
    pub(in crate::sim) fn on_answer(&self, node: usize, epoch: Epoch, other: usize) -> Found {
        let text = format!("n{node} answers a write of epoch {epoch} while n{other} may write");
        Some(("answered within the lease (F10)", text))
    }

    /// The links of a process end, in order or by force.
    pub(in crate::sim) fn on_end(&self, node: usize, open: bool) -> Found {
        open.then(|| ("fence before the end (F9)", format!("n{node}'s links end while its gate is open")))
    }
}
