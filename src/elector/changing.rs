//! A change of who votes that is under way.

use crate::change::{Hindrance, MembersChange};
use crate::membership::Generation;
use crate::position::Progress;
use crate::time::Instant;

/// What was asked of this primary.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) change: MembersChange,
    /// How far the data went then: what the old voters may have confirmed.
    pub(super) floor: Progress,
    pub(super) begun: Instant,
    /// After that it is given up, unless it is made.
    pub(super) until: Instant,
    /// What it waited for last.
    pub(super) waits_for: Option<Hindrance>,
    /// The list that came of it.
    pub(super) made: Option<Generation>,
}
