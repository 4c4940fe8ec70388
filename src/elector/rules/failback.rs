//! A member of higher priority gets the office back by itself, where that is configured (`docs/protocol.md`, H18).

use crate::elector::machine::Elector;
use crate::event::EventKind;
use crate::time::Duration;

impl Elector {
    /// Once in a heartbeat interval, where it is configured: whether somebody is to have this office.
    #[cold]
    #[inline(never)]
    pub(super) fn look_for_failback(&mut self, delay: Duration) {
        let now = self.now();
        let whom = self.may_fail_back().then(|| self.preferred_and_ready()).flatten();
        let after = self.failback_after(delay);
        let Some((whom, after)) = self.failback.note(whom, after, now) else { return };
        self.failback.begin_anew();
        let to = self.id(whom);
        self.event(EventKind::FailsBack { to, after });
        self.begin_transfer(Some(to), self.config.election_timeout);
    }

    /// Whether this primary writes, and does nothing about its office already. Somebody who pauses elections wants it to stay where it is.
    fn may_fail_back(&self) -> bool {
        let idle = |reign: &crate::elector::reign::Reign| {
            reign.promoted()
                && reign.fenced().is_none()
                && reign.transfer().is_none()
                && reign.handover().is_none()
                && reign.change().is_none()
        };
        self.state.reign().is_some_and(idle) && !self.is_paused() && !self.leaving
    }

    /// Of those with a higher priority that could take over now, the one with the highest; then the lower id.
    fn preferred_and_ready(&self) -> Option<usize> {
        let (now, ours) = (self.now(), self.peers.my_member().priority);
        let patience = self.config.election_timeout;
        self.peers
            .others()
            .filter(|index| self.peers[*index].priority() > ours)
            .filter(|index| self.comes_near(*index, patience, now).is_ok())
            .max_by_key(|index| {
                (self.peers[*index].priority(), std::cmp::Reverse(self.peers[*index].order()))
            })
    }

    /// The primary changes: whose reigns do not last is remembered.
    pub(super) fn note_reign(&mut self) {
        if let Some(delay) = self.config.failback {
            let (now, ours) = (self.now(), self.peers.my_member().priority);
            let preferred = |member: usize| self.peers[member].priority() > ours;
            self.failback.reigns(self.primary.index(), preferred, delay, now);
        }
    }
}
