//! Persist, then speak: what depends on a save waits for it.

use super::{Elector, Output, PersistSeq, Round, State, Timer};
use crate::event::{EventKind, Outcome, Reason};
use crate::ids::NodeId;
use crate::message::Message;
use crate::time::Instant;
use std::collections::VecDeque;

/// Saves under way, and what waits for them.
#[derive(Debug, Clone)]
pub(super) struct Persistence {
    issued: PersistSeq,
    /// The newest save that speech depends on.
    needed: PersistSeq,
    durable: PersistSeq,
    failing: bool,
    /// Messages that wait for `needed`, at most [`HELD_PER_MEMBER`] per member.
    held: VecDeque<(NodeId, Message)>,
    held_max: usize,
    pub(super) position_saved_at: Instant,
}

/// How many messages per member may wait for a save. More are dropped: all but votes are repeated anyway.
const HELD_PER_MEMBER: usize = 4;

impl Persistence {
    pub(super) fn new(members: usize) -> Self {
        Self {
            issued: PersistSeq(0),
            needed: PersistSeq(0),
            durable: PersistSeq(0),
            failing: false,
            held: VecDeque::new(),
            held_max: HELD_PER_MEMBER * members,
            position_saved_at: Instant::ZERO,
        }
    }

    /// Whether something that was decided is not durable yet.
    pub(super) fn pending(&self) -> bool {
        self.durable < self.needed
    }

    /// How far the newest save, and the one that speech depends on, are from what is durable.
    #[cfg(feature = "sim")]
    pub(super) fn since_durable(&self) -> (u64, u64) {
        (self.issued.0 - self.durable.0, self.needed.0.saturating_sub(self.durable.0))
    }

    /// What waits for a save.
    #[cfg(feature = "sim")]
    pub(super) fn held(&self) -> impl Iterator<Item = &(NodeId, Message)> {
        self.held.iter()
    }

    /// Whether the last save failed.
    pub(super) fn failing(&self) -> bool {
        self.failing
    }
}

impl Elector {
    /// Saves the state; until that is done this node says nothing.
    pub(super) fn persist_before_speaking(&mut self) {
        // What waited spoke of a state that is over: a vote in an epoch that is not the newest any more
        // helps nobody. Dropping it also bounds the queue.
        self.persistence.held.clear();
        self.persistence.needed = self.save();
    }

    /// Saves how far the data goes, now and then; nothing waits for it.
    pub(super) fn persist_position(&mut self) {
        let due = self.now >= self.persistence.position_saved_at + super::POSITION_SAVE_INTERVAL;
        if due && !self.persistence.pending() && self.hard.position != self.position {
            self.save();
        }
    }

    fn save(&mut self) -> PersistSeq {
        self.hard.position.clone_from(&self.position);
        self.persistence.position_saved_at = self.now;
        let seq = PersistSeq(self.persistence.issued.0 + 1);
        self.persistence.issued = seq;
        self.outputs.push_back(Output::Persist(seq, self.hard.clone()));
        seq
    }

    /// Sends a message, once everything decided before it is durable.
    pub(super) fn send(&mut self, to: usize, message: Message) {
        let to = self.id(to);
        if !self.waits_for_save(&message) {
            self.outputs.push_back(Output::Send(to, message));
        } else if self.persistence.held.len() < self.persistence.held_max {
            self.persistence.held.push_back((to, message));
        }
    }

    pub(super) fn on_persisted(&mut self, seq: PersistSeq) {
        if seq > self.persistence.issued || seq <= self.persistence.durable {
            return;
        }
        let was_pending = self.persistence.pending();
        self.persistence.durable = seq;
        self.persistence.failing = false;
        if was_pending && !self.persistence.pending() {
            let held = std::mem::take(&mut self.persistence.held);
            self.outputs.extend(held.into_iter().map(|(to, message)| Output::Send(to, message)));
            self.on_own_vote_durable();
            // Peers have heard nothing of us for as long as the save took.
            if self.round > Round(0) {
                self.send_heartbeats();
            }
        }
    }

    pub(super) fn on_persist_failed(&mut self, seq: PersistSeq, error: &str) {
        if seq > self.persistence.issued || seq <= self.persistence.durable {
            return;
        }
        self.persistence.failing = true;
        self.event(EventKind::SaveFailed { error: error.to_owned() });
        if !self.persistence.pending() {
            return;
        }
        // A vote that is not durable is never spoken. The epoch stays used in memory: it may have reached
        // the disk after all.
        self.persistence.held.retain(|(_, message)| !matches!(message, Message::Accept(_)));
        if matches!(self.state, State::Campaigning(_)) {
            self.end_campaign(Outcome::Expired, Reason::Lost);
        }
    }

    /// Tries a failed save again. Called every heartbeat.
    pub(super) fn retry_failed_save(&mut self) {
        if self.persistence.failing && self.persistence.pending() {
            self.persistence.needed = self.save();
        }
    }

    /// A save failed and nothing waits: try the next one as soon as a vote is asked for.
    pub(super) fn can_save(&self) -> bool {
        !(self.persistence.failing() && self.persistence.pending())
    }
}

impl Elector {
    /// Sets a timer unless an earlier deadline is already set.
    pub(super) fn set_earlier(&mut self, timer: Timer, at: Instant) {
        if self.timers.get(timer).is_none_or(|old| at < old) {
            self.timers.set(timer, at);
        }
    }
}
