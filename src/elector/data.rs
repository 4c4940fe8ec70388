//! How far this node's data goes, and whether that can be told.

use crate::ids::Epoch;
use crate::position::{Position, PositionError, Progress};

/// What the host said of its data.
#[derive(Debug, Clone)]
pub(super) struct Data {
    /// How far it goes, as the host last said.
    position: Position,
    /// Why the host's position cannot be told. What is kept above is then too low to vote on.
    refused: Option<PositionError>,
    /// The host was fenced and still counts what it wrote in this history: until it has, the position is too low to compare there.
    settling: Option<Epoch>,
}

impl Data {
    pub(super) fn new(position: Position) -> Self {
        Self { position, refused: None, settling: None }
    }

    pub(super) fn position(&self) -> &Position {
        &self.position
    }

    pub(super) fn progress(&self) -> Progress {
        self.position.progress()
    }

    /// Whether the position covers all that the host holds.
    pub(super) fn is_told(&self) -> bool {
        self.settling.is_none() && self.refused.is_none()
    }

    /// Whether more may be held here than in a history that goes as far as `theirs`, which cannot be told yet. A later history is not
    /// compared with by offsets.
    pub(super) fn may_exceed(&self, theirs: &Position) -> bool {
        self.refused.is_some() || self.settling.is_some_and(|written| theirs.stream_epoch() <= written)
    }

    /// The history in which the host still counts.
    pub(super) fn settling(&self) -> Option<Epoch> {
        self.settling
    }

    /// The host says how far it is. Gives what is wrong with that once for each reason: the host says it again many
    /// times a second.
    pub(super) fn tell(&mut self, stream_epoch: Epoch, offsets: &[u64]) -> Option<PositionError> {
        match self.position.set(stream_epoch, offsets) {
            Ok(()) => {
                self.refused = None;
                None
            }
            Err(error) => (self.refused.replace(error) != Some(error)).then_some(error),
        }
    }

    /// The host has let go of its primary: its data ends here.
    pub(super) fn end_at(&mut self, position: &Position) {
        self.position.clone_from(position);
    }

    /// The host was fenced; what it wrote in this epoch is not counted yet.
    pub(super) fn settle(&mut self, written: Epoch) {
        self.settling = self.settling.max(Some(written));
    }

    /// All that the host wrote is counted, or its data begins anew.
    pub(super) fn settled(&mut self) {
        self.settling = None;
    }
}
