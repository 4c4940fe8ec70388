//! Who is fit to be primary: what the host says of itself, and what follows from it (`docs/protocol.md`, "Fitness").

use crate::elector::machine::Elector;
use crate::elector::state::State;
use crate::elector::timers::Timer;
use crate::event::EventKind;
use crate::fence::{FenceReason, Health};

/// After a handover for which nobody was ready in time, this many election timeouts pass before the next attempt:
/// writes are refused during each.
const HANDOVER_PAUSE_TIMEOUTS: u32 = 5;

impl Elector {
    /// Whether this node can serve as primary, and what is wrong if not.
    pub(super) fn health(&self) -> Health {
        self.fitness.health(self.record.failing())
    }

    /// The host says how it is.
    pub(super) fn on_health(&mut self, health: Health) {
        self.fitness.said(health);
        self.look_after_fitness();
    }

    /// The host says whether its server answers. Who is late because it did not asks at once.
    pub(super) fn on_answers(&mut self, answers: bool) {
        let again = self.fitness.said_it_answers(answers);
        match &self.state {
            State::Replica if again && !self.primary.is_known() => {
                self.timers.set_earlier(Timer::Campaign, self.now());
            }
            State::Campaigning(_) if !answers => self.abandon_campaign(),
            _ => {}
        }
    }

    /// Tells of a change, and does what follows. Called at every heartbeat too: who was not ready to take over may be
    /// by now.
    pub(super) fn look_after_fitness(&mut self) {
        let health = self.health();
        if self.fitness.is_news(health) {
            self.event(EventKind::Fitness { health });
        }
        if health.is_good() {
            return;
        }
        match &self.state {
            State::Replica => {}
            State::Campaigning(_) if !self.may_stand() => self.abandon_campaign(),
            State::Campaigning(_) => {}
            // It has never served: somebody else may try at once.
            State::Reigning(reign) if !reign.promoted() && !health.serves() => {
                self.hand_over(FenceReason::HostFailing);
            }
            State::Reigning(reign) if !reign.promoted() => {}
            State::Reigning(_) => {
                if !self.is_paused() && self.fitness.may_hand_over(self.now()) && self.fit_successor() {
                    self.hand_over(FenceReason::HostFailing);
                }
            }
        }
    }

    /// Whether a primary that hands over because it is unfit gives up its office although nobody caught up in time.
    pub(super) fn resigns_anyway(&self, reason: FenceReason) -> bool {
        self.leaving || reason == FenceReason::HostFailing && !self.health().serves()
    }

    /// Nobody caught up with this unfit primary.
    pub(super) fn put_handover_off(&mut self) {
        let pause = self.config.election_timeout * HANDOVER_PAUSE_TIMEOUTS;
        self.fitness.put_handover_off(self.now() + pause);
    }

    /// Whether this node is fit enough to ask for votes.
    pub(super) fn may_stand(&self) -> bool {
        let health = self.health();
        // E16: elected now, it would not be promoted soon.
        self.fitness.answers()
            && (health.is_good()
                || health.serves() && (!self.fit_successor() || self.fitness.stands(self.now())))
    }

    /// There is no primary, and this node would stand for the office if it were fit: the others go first.
    pub(super) fn leave_to_the_fit(&mut self) {
        if self.health().serves() {
            self.fitness.leave_to_others(self.now() + self.config.election_timeout);
        }
    }

    /// Whether a fit node that may become primary is there.
    fn fit_successor(&self) -> bool {
        self.peers
            .others()
            .any(|index| self.peers[index].is_fit() && self.peers.could_reign(index, self.now()))
    }
}
