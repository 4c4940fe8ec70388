//! I3: an id that is settled never changes, whatever anybody says: a node has another one only after its record is gone.

use super::found::Found;
use crate::identity::Identity;
use crate::ids::ClusterId;
use crate::state::HardState;

#[derive(Debug)]
pub(in crate::sim) struct Identities {
    /// What each node's record says for good.
    settled: Vec<Option<ClusterId>>,
}

impl Identities {
    pub(in crate::sim) fn new(nodes: usize) -> Self {
        Self { settled: vec![None; nodes] }
    }

    pub(in crate::sim) fn on_saved(&mut self, node: usize, state: &HardState) -> Found {
        let said = state.identity.filter(Identity::is_settled).map(|identity| identity.cluster);
        let before = std::mem::replace(&mut self.settled[node], said);
        before.filter(|before| Some(*before) != said).map(|before| {
            let text =
                format!("n{node} belonged to cluster {before}, and its record says {:?} now", state.identity);
            ("an id that is settled stays (I3)", text)
        })
    }

    /// The record is gone, and with it what it said.
    pub(in crate::sim) fn forgot(&mut self, node: usize) {
        self.settled[node] = None;
    }
}
