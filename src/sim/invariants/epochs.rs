//! E4: a node's epoch never goes back, neither on disk nor in what it says; and it says no epoch that its
//! disk does not know.

use super::found::Found;
use crate::ids::Epoch;
use crate::message::Message;
use crate::state::HardState;

#[derive(Debug)]
pub(in crate::sim) struct Epochs {
    spoken: Vec<Epoch>,
    saved: Vec<Epoch>,
    /// When each epoch was first seen on any node.
    born: Vec<(Epoch, u64)>,
    went_back: Option<String>,
}

impl Epochs {
    pub(in crate::sim) fn new(nodes: usize) -> Self {
        let zero = vec![Epoch::ZERO; nodes];
        Self { spoken: zero.clone(), saved: zero, born: vec![(Epoch::ZERO, 0)], went_back: None }
    }

    /// Some node is in this epoch now.
    pub(in crate::sim) fn on_epoch(&mut self, epoch: Epoch, now: u64) {
        if self.born.last().is_none_or(|(newest, _)| *newest < epoch) {
            self.born.push((epoch, now));
        }
    }

    /// Whether any epoch above `epoch` was first seen after `since`; `None` if none was.
    pub(in crate::sim) fn born_after(&self, epoch: Epoch, since: u64) -> bool {
        // Every epoch above ours that exists was raised by somebody while we were healthy, or before.
        let above = self.born.iter().rev().take_while(|(other, _)| *other > epoch);
        above.clone().count() == 0 || above.clone().all(|(_, at)| *at > since)
    }

    pub(in crate::sim) fn on_saved(&mut self, node: usize, state: &HardState) {
        if state.epoch < self.saved[node] {
            let (old, new) = (self.saved[node], state.epoch);
            self.went_back = Some(format!("n{node} saved epoch {new} after {old}"));
        }
        self.saved[node] = state.epoch;
    }

    pub(in crate::sim) fn on_send(
        &mut self,
        node: usize,
        message: &Message,
        record: Option<&HardState>,
    ) -> Found {
        const NAME: &str = "epochs only grow (E4)";
        if let Some(text) = self.went_back.take() {
            return Some((NAME, text));
        }
        let epoch = match message {
            Message::Heartbeat(m) => m.epoch,
            Message::Echo(m) => m.epoch,
            Message::Reject(m) => m.epoch,
            Message::Announce(m) => m.epoch,
            // These name an epoch that is asked for, given or given up.
            Message::PreOffer(_) | Message::Offer(_) | Message::Resign(_) => return None,
            Message::PreAccept(_) | Message::Accept(_) => return None,
            // These name the epoch in which a list was made.
            Message::Members(_) | Message::Held(_) | Message::Rank(_) => return None,
        };
        let spoken = self.spoken[node];
        if epoch < spoken {
            return Some((NAME, format!("n{node} says epoch {epoch} after it said {spoken}")));
        }
        self.spoken[node] = epoch;
        let durable = record.map_or(Epoch::ZERO, |record| record.epoch);
        (epoch > durable).then(|| (NAME, format!("n{node} says epoch {epoch}; its disk knows {durable}")))
    }

    pub(in crate::sim) fn forgot(&mut self, node: usize) {
        (self.spoken[node], self.saved[node]) = (Epoch::ZERO, Epoch::ZERO);
    }
}
