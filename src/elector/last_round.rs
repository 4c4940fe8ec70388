//! What a node's last round of heartbeats said, if it went to all.

use crate::message::Heartbeat;

/// Witnesses may be left out of a round that tells them nothing new, and never of two in a row.
#[derive(Debug, Clone, Default)]
pub(super) struct LastRound(Option<Heartbeat>);

impl LastRound {
    pub(super) fn goes_to_all(&mut self, heartbeat: Heartbeat) {
        self.0 = Some(heartbeat);
    }

    pub(super) fn leaves_somebody_out(&mut self) {
        self.0 = None;
    }

    /// Whether it went to all and said this, but for its number and for how far the data goes, which is nothing to a witness.
    pub(super) fn said_to_all(&self, heartbeat: &Heartbeat) -> bool {
        let (round, progress) = (heartbeat.round, heartbeat.progress);
        self.0.is_some_and(|said| Heartbeat { round, progress, ..said } == *heartbeat)
    }

    #[cfg(feature = "sim")]
    pub(super) fn digest(&self, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        let said = self.0.map(|h| (h.epoch, h.role, h.standing, h.primary, h.health, h.identity, h.pause));
        said.hash(hasher);
    }
}
