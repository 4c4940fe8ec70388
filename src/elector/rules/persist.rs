//! Persist, then speak: what depends on a save waits for it.

use crate::elector::io::{Output, PersistSeq, Receivers};
use crate::elector::machine::Elector;
use crate::elector::record::Unsaved;
use crate::event::{EventKind, Outcome, Reason};
use crate::ids::Round;
use crate::message::Message;

impl Elector {
    /// Saves what was decided; until that is done this node says nothing.
    pub(super) fn persist_before_speaking(&mut self, unsaved: Unsaved) {
        let save = self.record.save_before_speaking(unsaved, self.data.position(), self.now());
        self.output(save);
    }

    /// Saves how far the data goes, now and then; nothing waits for it.
    pub(super) fn persist_position(&mut self) {
        if self.record.promise() > self.promises.length.usual() && self.promises.are_usual(self.now()) {
            self.record.promises_are(self.promises.length.usual());
        }
        if let Some(save) = self.record.save_position(self.data.position(), self.now()) {
            self.output(save);
            self.look_how_fast();
        }
    }

    /// Tries a failed save again. Called every heartbeat.
    pub(super) fn retry_failed_save(&mut self) {
        if let Some(save) = self.record.save_again(self.data.position(), self.now()) {
            self.output(save);
        }
    }

    /// Sends a message, once everything decided before it is durable.
    pub(super) fn send(&mut self, to: usize, message: Message) {
        self.send_to(Receivers::One(self.id(to)), message);
    }

    /// The same, to each of these.
    pub(super) fn send_to(&mut self, to: Receivers, message: Message) {
        if self.waits_for_save(&message) {
            self.record.hold(to, message);
        } else {
            self.output(Output::Send(to, message));
        }
    }

    pub(super) fn on_persisted(&mut self, seq: PersistSeq) {
        let Some(held) = self.record.saved(seq) else { return };
        for (to, message) in held {
            self.output(Output::Send(to, message));
        }
        self.count_by_record();
        self.on_own_vote_durable();
        // Peers have heard nothing of us for as long as the save took.
        if self.lease.round() > Round(0) {
            self.send_heartbeats();
        }
    }

    pub(super) fn on_persist_failed(&mut self, seq: PersistSeq, error: &str) {
        if !self.record.failed(seq) {
            return;
        }
        self.event(EventKind::SaveFailed { error: error.to_owned() });
        if self.record.pending() && self.state.campaign().is_some() {
            self.end_campaign(Outcome::Expired, Reason::Lost);
        }
    }
}
