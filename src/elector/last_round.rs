//! What a node's last round of heartbeats said, if it went to all.

use crate::ids::Round;
use crate::message::Heartbeat;

/// Witnesses may be left out of a round that says nothing new, and never of two in a row.
#[derive(Debug, Clone, Default)]
pub(super) struct LastRound(Option<Heartbeat>);

impl LastRound {
    pub(super) fn goes_to_all(&mut self, heartbeat: Heartbeat) {
        self.0 = Some(heartbeat);
    }

    pub(super) fn leaves_somebody_out(&mut self) {
        self.0 = None;
    }

    /// Whether it went to all and said this, but for its number.
    pub(super) fn said_to_all(&self, heartbeat: &Heartbeat) -> bool {
        self.0.is_some_and(|said| Heartbeat { round: heartbeat.round, ..said } == *heartbeat)
    }

    #[cfg(feature = "sim")]
    pub(super) fn digest(&self, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        let said = self.0.map(|said| Heartbeat { round: Round(0), ..said });
        said.map(|h| (h.epoch, h.role, h.standing, h.progress, h.primary, h.health, h.identity, h.pause))
            .hash(hasher);
    }
}
