//! A campaign of this node: what it asked for, and who has answered.

use super::voters::VoterSet;
use crate::identity::Identity;
use crate::ids::{Epoch, Round};
use crate::message::OfferKind;
use crate::position::Position;
use crate::time::{Duration, Instant};

/// A campaign, from its first pre-vote to its end.
#[derive(Debug, Clone)]
pub(super) struct Campaign {
    kind: OfferKind,
    epoch: Epoch,
    round: Round,
    started: Instant,
    /// Whether the votes were asked for: our own was durable.
    asked: bool,
    yes: VoterSet,
    no: VoterSet,
    position: Position,
    /// The cluster to go on with, of those that voters told.
    identity: Option<Identity>,
}

impl Campaign {
    pub(super) fn new(epoch: Epoch, round: Round, position: Position, now: Instant) -> Self {
        Self {
            kind: OfferKind::PreVote,
            epoch,
            round,
            started: now,
            asked: false,
            yes: VoterSet::EMPTY,
            no: VoterSet::EMPTY,
            position,
            identity: None,
        }
    }

    pub(super) fn kind(&self) -> OfferKind {
        self.kind
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn round(&self) -> Round {
        self.round
    }

    pub(super) fn took(&self, now: Instant) -> Duration {
        now.saturating_since(self.started)
    }

    /// What this node offers: how far its data goes.
    pub(super) fn position(&self) -> &Position {
        &self.position
    }

    /// Whether others have been asked for their votes.
    pub(super) fn asked(&self) -> bool {
        self.asked
    }

    /// Pre-votes are enough: votes are counted from here on.
    pub(super) fn go_on_to_votes(&mut self) {
        self.kind = OfferKind::Vote;
        self.yes = VoterSet::EMPTY;
        self.no = VoterSet::EMPTY;
    }

    /// The host has let go: this is what the campaign offers.
    pub(super) fn offer(&mut self, position: &Position) {
        self.position.clone_from(position);
    }

    /// The others may be asked for their votes.
    pub(super) fn ask(&mut self) {
        self.asked = true;
    }

    /// Whether an answer is one to what was asked last.
    pub(super) fn is_answered_by(&self, kind: OfferKind, epoch: Epoch, round: Round) -> bool {
        self.kind == kind
            && self.epoch == epoch
            && self.round == round
            && (kind == OfferKind::PreVote || self.asked)
    }

    /// A voter said to which cluster it belongs.
    pub(super) fn told(&mut self, identity: Option<Identity>) {
        self.identity = identity.filter(|told| told.outranks(self.identity)).or(self.identity);
    }

    /// The cluster that its voters belong to, as far as they know.
    pub(super) fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// How many said yes, and whether this voter had said so before.
    pub(super) fn accept(&mut self, voter: usize) -> (usize, bool) {
        let again = self.yes.contains(voter);
        self.yes.insert(voter);
        (self.yes.len(), again)
    }

    /// How many said no.
    pub(super) fn reject(&mut self, voter: usize) -> usize {
        self.no.insert(voter);
        self.no.len()
    }

    /// The last campaign of this node had the number `last`.
    #[cfg(feature = "sim")]
    pub(super) fn digest(&self, last: Round, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        (self.kind, self.epoch, self.asked, self.yes, self.no, &self.position, self.identity).hash(hasher);
        last.0.wrapping_sub(self.round.0).hash(hasher);
    }
}
