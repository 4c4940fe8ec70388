//! Pausing automatic elections, in the whole cluster (`docs/protocol.md`, "Pause").

use crate::elector::machine::Elector;
use crate::event::EventKind;
use crate::pause::{Pause, PauseRefused};
use crate::time::Instant;

impl Elector {
    /// The order that an operator would give now, at `wall_ms` of the machine's calendar: a number that no order has which a quorum has
    /// by now, and as a rule none that was given before.
    pub fn next_pause(&self, paused: bool, wall_ms: u64, now: Instant) -> Result<Pause, PauseRefused> {
        if self.peers.my_vote().is_none() {
            return Err(PauseRefused::NoVote);
        }
        let (heard, quorum) = (self.peers.voters_reachable(now), self.peers.quorum());
        if heard < quorum {
            return Err(PauseRefused::NoQuorum { heard, quorum });
        }
        let known =
            self.peers.others().filter_map(|peer| self.peers[peer].pause()).chain(self.record.pause());
        let next = known.map(|pause| pause.number + 1).max().unwrap_or(1);
        let number = next.max(wall_ms.min(Pause::NUMBER_MAX));
        if next > Pause::NUMBER_MAX {
            return Err(PauseRefused::NoNumber);
        }
        Ok(Pause { number, paused })
    }

    /// Whether a quorum has the order that this node has.
    pub fn pause_is_agreed(&self) -> bool {
        let ours = self.record.pause();
        let has = |peer: &usize| self.peers[*peer].pause() == ours;
        ours.is_some()
            && !self.record.pending()
            && self.peers.other_voters().filter(has).count() + 1 >= self.peers.quorum()
    }

    /// An order that this node has not. An earlier one than its own changes nothing.
    #[cold]
    #[inline(never)]
    pub(super) fn on_pause(&mut self, pause: Pause) {
        if self.record.pause() >= Some(pause) {
            return;
        }
        let was = self.record.pause().is_some_and(|pause| pause.paused);
        let unsaved = self.record.take_pause(pause);
        self.persist_before_speaking(unsaved);
        if pause.paused != was {
            self.event(EventKind::Paused { paused: pause.paused });
        }
        if self.is_paused() {
            self.abandon_campaign();
        } else {
            self.answer_waiting();
        }
    }

    /// The office was given up because an operator wanted it. The election of a successor is part of that, so a pause does not stop it.
    pub(super) fn plan(&mut self) {
        self.planned = true;
    }

    /// Somebody reigns.
    #[inline]
    pub(super) fn end_plan(&mut self) {
        self.planned = false;
    }
}
