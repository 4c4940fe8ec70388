//! What must hold, whatever goes wrong. One file each; every one names the sentence of `docs/protocol.md`
//! that it guards.

pub(super) mod confirmed;
pub(super) mod contents;
pub(super) mod continued;
pub(super) mod convergence;
pub(super) mod epochs;
pub(super) mod failback;
pub(super) mod fence;
mod found;
pub(super) mod handed_over;
pub(super) mod healthy;
pub(super) mod identity;
pub(super) mod lease;
pub(super) mod one_primary;
pub(super) mod one_writer;
pub(super) mod orders;
pub(super) mod paused;
pub(super) mod position;
pub(super) mod reach;
pub(super) mod seniority;
pub(super) mod served;
pub(super) mod votes;

pub(super) use found::{Check, Found};
pub use found::{INVARIANTS, Violation};

use super::plan::Plan;

/// All invariants, with what they remember of the run.
pub(super) struct Invariants {
    pub(super) one_primary: one_primary::OnePrimary,
    pub(super) one_writer: one_writer::OneWriter,
    pub(super) lease: lease::Lease,
    pub(super) fence: fence::Fence,
    pub(super) votes: votes::Votes,
    pub(super) epochs: epochs::Epochs,
    pub(super) position: position::Positions,
    pub(super) confirmed: confirmed::Confirmed,
    pub(super) healthy: healthy::Healthy,
    pub(super) convergence: convergence::Convergence,
    pub(super) orders: orders::Orders,
    pub(super) contents: contents::Contents,
    pub(super) continued: continued::Continued,
    pub(super) served: served::Served,
    pub(super) handed_over: handed_over::HandedOver,
    pub(super) reach: reach::Reach,
    pub(super) paused: paused::Paused,
    pub(super) seniors: seniority::Seniors,
    pub(super) failbacks: failback::Failbacks,
    pub(super) identities: identity::Identities,
}

impl Invariants {
    pub(super) fn new(plan: &Plan) -> Self {
        let nodes = plan.setup.members();
        Self {
            one_primary: one_primary::OnePrimary::default(),
            one_writer: one_writer::OneWriter,
            lease: lease::Lease,
            fence: fence::Fence,
            votes: votes::Votes::default(),
            epochs: epochs::Epochs::new(nodes),
            position: position::Positions::default(),
            confirmed: confirmed::Confirmed::default(),
            healthy: healthy::Healthy::new(plan),
            convergence: convergence::Convergence::new(plan),
            orders: orders::Orders,
            contents: contents::Contents,
            continued: continued::Continued::default(),
            served: served::Served::default(),
            handed_over: handed_over::HandedOver,
            reach: reach::Reach::new(plan),
            paused: paused::Paused::default(),
            seniors: seniority::Seniors,
            failbacks: failback::Failbacks,
            identities: identity::Identities::new(nodes),
        }
    }

    /// The node's vote record is gone: what it said before binds it no more, by itself.
    pub(super) fn forgot(&mut self, node: usize) {
        self.votes.forgot(node);
        self.epochs.forgot(node);
        self.identities.forgot(node);
    }
}
