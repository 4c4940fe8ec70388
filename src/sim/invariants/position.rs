//! S2: a voter whose data goes further than the candidate's does not vote for it; S3: it has let go of the
//! old primary before its vote leaves.

use super::found::Found;
use crate::config::LossPolicy;
use crate::ids::Epoch;
use crate::message::{Grant, Offer};
use crate::position::Position;

#[derive(Debug, Default)]
pub(in crate::sim) struct Positions {
    /// What each candidate last offered.
    offered: Vec<(usize, Epoch, Position)>,
}

impl Positions {
    pub(in crate::sim) fn on_offer(&mut self, from: usize, offer: &Offer) {
        self.offered.retain(|(who, ..)| *who != from);
        self.offered.push((from, offer.epoch, offer.position.clone()));
    }

    #[expect(clippy::too_many_arguments, reason = "all that is known when a vote leaves")]
    pub(in crate::sim) fn on_accept(
        &self,
        from: usize,
        to: usize,
        grant: &Grant,
        first: bool,
        mine: &Position,
        acknowledges: Option<(Epoch, usize)>,
        policy: LossPolicy,
    ) -> Found {
        let epoch = grant.epoch;
        if let Some((old, primary)) = acknowledges {
            let text = format!(
                "n{from} voted for n{to} in epoch {epoch} and still acknowledges to n{primary} of epoch {old}"
            );
            return Some(("detached before voting (S3)", text));
        }
        let offer = self.offered.iter().find(|(who, when, _)| *who == to && *when == epoch);
        let (true, Some((_, _, theirs))) = (first, offer) else { return None };
        let behind =
            theirs.progress() < mine.progress() || policy == LossPolicy::Dominate && !theirs.dominates(mine);
        behind.then(|| {
            let text = format!("n{from} at {mine:?} voted for n{to} at {theirs:?} in epoch {epoch}");
            ("votes go to more data (S2)", text)
        })
    }
}
