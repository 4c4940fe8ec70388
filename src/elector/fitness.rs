//! Who is fit to be primary: what the host says of itself, and what follows from it (`docs/protocol.md`, "Fitness").

use super::{Elector, Instant, State};
use crate::event::EventKind;
use crate::fence::{FenceReason, Health};

/// After a handover for which nobody was ready in time, this many election timeouts pass before the next attempt:
/// writes are refused during each.
const HANDOVER_PAUSE_TIMEOUTS: u32 = 5;

/// What this node knows of its own fitness.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fitness {
    /// What the host last said.
    host: Health,
    /// What was last told to the outside.
    told: Health,
    /// An unfit node that found itself without a primary leaves the office to others until then.
    stands_from: Option<Instant>,
    /// No handover before this: nobody was ready for the last one.
    pub(super) hand_over_from: Option<Instant>,
}

impl Fitness {
    pub(super) fn new() -> Self {
        Self { host: Health::Good, told: Health::Good, stands_from: None, hand_over_from: None }
    }
}

impl Elector {
    /// Whether this node can serve as primary, and what is wrong if not.
    pub(super) fn fitness(&self) -> Health {
        match self.fitness.host {
            Health::Good if self.persistence.failing() => Health::Store,
            said => said,
        }
    }

    /// The host says how it is.
    pub(super) fn on_health(&mut self, health: Health) {
        self.fitness.host = health;
        self.look_after_fitness();
    }

    /// Tells of a change, and does what follows. Called at every heartbeat too: who was not ready to take over may be
    /// by now.
    pub(super) fn look_after_fitness(&mut self) {
        let health = self.fitness();
        if self.fitness.told != health {
            self.fitness.told = health;
            self.fitness.hand_over_from = None;
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
            State::Reigning(reign) if !reign.promoted && !health.serves() => {
                self.step_down(FenceReason::HostFailing);
            }
            State::Reigning(reign) if !reign.promoted => {}
            State::Reigning(_) => {
                if self.fitness.hand_over_from.is_none_or(|at| at <= self.now) && self.fit_successor() {
                    self.step_down(FenceReason::HostFailing);
                }
            }
        }
    }

    /// Whether a primary that hands over because it is unfit gives up its office although nobody caught up in time.
    pub(super) fn resigns_anyway(&self, reason: FenceReason) -> bool {
        self.leaving || reason == FenceReason::HostFailing && !self.fitness().serves()
    }

    /// Nobody caught up with this unfit primary.
    pub(super) fn put_handover_off(&mut self) {
        let pause = self.config.election_timeout * HANDOVER_PAUSE_TIMEOUTS;
        self.fitness.hand_over_from = Some(self.now + pause);
    }

    /// Whether this node is fit enough to ask for votes.
    pub(super) fn may_stand(&self) -> bool {
        let health = self.fitness();
        health.is_good()
            || health.serves()
                && (!self.fit_successor() || self.fitness.stands_from.is_some_and(|at| at <= self.now))
    }

    /// There is no primary, and this node would stand for the office if it were fit: the others go first.
    pub(super) fn leave_to_the_fit(&mut self) {
        if self.fitness.stands_from.is_none() && self.fitness().serves() {
            self.fitness.stands_from = Some(self.now + self.config.election_timeout);
        }
    }

    /// There is a primary: the next time the others go first again.
    pub(super) fn primary_is_known(&mut self) {
        self.fitness.stands_from = None;
    }

    /// Whether a fit node that may become primary is there.
    fn fit_successor(&self) -> bool {
        let timeout = self.config.election_timeout;
        self.others().any(|index| {
            let peer = &self.peers[index];
            peer.member.eligible() && peer.health.is_good() && peer.reachable(self.now, timeout)
        })
    }
}
