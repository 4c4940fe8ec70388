//! How far this node's data goes, and whether that can be told.

use crate::ids::Epoch;
use crate::position::{Position, PositionError, Progress};
use crate::time::{Duration, Instant};

/// What the host said of its data.
#[derive(Debug, Clone)]
pub(super) struct Data {
    /// How far it goes, as the host last said.
    position: Position,
    /// Why the host's position cannot be told. What is kept above is then too low to vote on.
    refused: Option<PositionError>,
    /// The host was fenced and still counts what it wrote in this history: until it has, the position is too low to compare there.
    settling: Option<Epoch>,
    /// How far it went when this node, as primary, looked twice before.
    earlier: [Option<(Instant, Progress)>; 2],
}

impl Data {
    pub(super) fn new(position: Position) -> Self {
        Self { position, refused: None, settling: None, earlier: [None; 2] }
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

    /// Notes how far it goes now.
    pub(super) fn look(&mut self, now: Instant) {
        self.earlier = [self.earlier[1], Some((now, self.progress()))];
    }

    /// How far it went at least so long ago, in the present history, and which of the looks that was.
    pub(super) fn earlier(&self, now: Instant, at_least: Duration) -> Option<(usize, Instant, Progress)> {
        let old = |(_, at, progress): &(usize, Instant, Progress)| {
            now.saturating_since(*at) >= at_least && progress.stream_epoch == self.progress().stream_epoch
        };
        let looks = self.earlier.iter().enumerate();
        looks.rev().filter_map(|(look, seen)| seen.map(|(at, progress)| (look, at, progress))).find(old)
    }

    /// All that the host wrote is counted, or its data begins anew.
    pub(super) fn settled(&mut self) {
        self.settling = None;
    }
}
