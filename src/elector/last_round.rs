//! What a node's last round of heartbeats said, if it went to all.

use crate::message::Heartbeat;

/// Witnesses may be left out of a round that tells them nothing new, and never of two in a row. Elsewhere nothing is kept.
#[derive(Debug, Clone, Default)]
pub(super) struct LastRound {
    /// In a place of its own, which is made once: an elector without witnesses is no larger for it.
    said: Option<Box<Heartbeat>>,
    to_all: bool,
}

impl LastRound {
    pub(super) fn goes(&mut self, heartbeat: Heartbeat, to_all: bool) {
        self.to_all = to_all;
        match &mut self.said {
            Some(said) => **said = heartbeat,
            none => *none = Some(Box::new(heartbeat)),
        }
    }

    /// Whether it went to all and said this, but for its number and for how far the data goes, which is nothing to a witness.
    pub(super) fn said_to_all(&self, heartbeat: &Heartbeat) -> bool {
        let (round, progress) = (heartbeat.round, heartbeat.progress);
        let said = self.said.as_ref().filter(|_| self.to_all);
        said.is_some_and(|said| Heartbeat { round, progress, ..**said } == *heartbeat)
    }

    #[cfg(feature = "sim")]
    pub(super) fn digest(&self, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        let said = self.said.as_ref().filter(|_| self.to_all);
        let said = said.map(|h| (h.epoch, h.role, h.standing, h.primary, h.health, h.identity, h.pause));
        said.hash(hasher);
    }
}
