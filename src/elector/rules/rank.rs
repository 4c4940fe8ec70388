//! Who goes first among candidates, and what becomes of the others (`docs/protocol.md`, E8 and "Ranks"). Nobody else compares them.

use crate::elector::machine::Elector;
use crate::elector::state::State;
use crate::elector::timers::Timer;
use crate::event::EventKind;
use crate::ids::Epoch;
use crate::message::Message;
use crate::position::Progress;
use crate::rank::{ForceRefused, Seniority};
use crate::time::Duration;
use std::cmp::Reverse;

/// A candidate's place among all: the best is the least. Data; then preference, or time up and work; then the id.
pub(super) type Place = (Reverse<Progress>, Reverse<(u128, u64)>, usize);

impl Elector {
    /// A member's place, with this data.
    pub(super) fn place(&self, index: usize, progress: Progress) -> Place {
        if !self.ranks.are_seniority() {
            return (
                Reverse(progress),
                Reverse((self.peers[index].priority().into(), 0)),
                self.peers[index].order(),
            );
        }
        let seniority = match self.heeds_seniority() {
            true => self.ranks.counted(index, self.seniority_of(index)),
            false => (0, 0),
        };
        // The higher id goes first, as in the services for which this order was made.
        (Reverse(progress), Reverse(seniority), self.peers.all().len() - self.peers[index].order())
    }

    /// For how long this node has been up, in whole units; nothing where it gave its office up.
    #[cfg(feature = "sim")]
    pub(crate) fn units_up(&self, now: crate::time::Instant) -> u128 {
        self.ranks.counted(self.peers.me(), self.ranks.own(now)).0
    }

    /// Whether juniors wait for this node still (R4).
    #[cfg(feature = "sim")]
    pub(crate) fn is_waited_for(&self, now: crate::time::Instant) -> bool {
        self.ranks.juniors_wait(now)
    }

    fn seniority_of(&self, index: usize) -> Seniority {
        let (now, own) = (self.now(), index == self.peers.me());
        if own { self.ranks.own(now) } else { self.ranks.of(index, now) }
    }

    /// Whether `one` goes before `other`, with equal data.
    pub(super) fn is_before(&self, one: usize, other: usize) -> bool {
        self.place(one, Progress::NONE) < self.place(other, Progress::NONE)
    }

    /// Whether this node is a better candidate than `other`, with equal data.
    pub(super) fn preferred_to(&self, other: usize) -> bool {
        self.is_before(self.peers.me(), other)
    }

    /// Candidates that are there and go before this node, by position. Written out, because it is asked at every heartbeat.
    #[inline]
    pub(super) fn better_placed(&self) -> usize {
        let rank = |index: usize, progress: Progress| {
            let peer = &self.peers[index];
            (Reverse(progress), Reverse(peer.priority()), peer.order())
        };
        let mine = rank(self.peers.me(), self.data.progress());
        let better = self
            .peers
            .other_voters()
            .filter(|index| self.may_be_next(*index) && rank(*index, self.peers[*index].progress()) < mine);
        better.count()
    }

    /// Candidates that are there and go before this node, by seniority.
    #[cold]
    #[inline(never)]
    pub(super) fn seniors(&self) -> usize {
        let mine = self.place(self.peers.me(), self.data.progress());
        let better = self.peers.other_voters().filter(|index| {
            self.may_be_next(*index) && self.place(*index, self.peers[*index].progress()) < mine
        });
        better.count()
    }

    /// Whether a member may well be the next primary: it is there, fit, and not the present one.
    #[inline]
    fn may_be_next(&self, index: usize) -> bool {
        !self.primary.is(index) && self.peers[index].is_fit() && self.peers.could_reign(index, self.now())
    }

    /// Tells the other candidates how senior this node is.
    #[inline]
    pub(super) fn tell_rank(&mut self) {
        if self.ranks.are_seniority() {
            self.say_seniority();
        }
    }

    #[cold]
    #[inline(never)]
    fn say_seniority(&mut self) {
        if !self.peers.my_member().eligible() {
            return;
        }
        let rank = Message::Rank(self.ranks.own(self.now()));
        for number in 0..self.peers.partners().len() {
            let index = self.peers.partners()[number];
            if self.peers[index].eligible() {
                self.send(index, rank.clone());
            }
        }
    }

    /// A member says how senior it is.
    pub(super) fn on_rank(&mut self, from: usize, seniority: Seniority) {
        let now = self.now();
        self.ranks.said(from, seniority, now);
    }

    /// R4: whether a candidate with this data is to wait for a more senior one that is there: for this node, if it may ask for votes, or
    /// for another one.
    pub(super) fn waits_for_seniors(&self, candidate: usize, progress: Progress) -> bool {
        if !self.ranks.are_seniority() || !self.ranks.juniors_wait(self.now()) {
            return false;
        }
        let theirs = self.place(candidate, progress);
        self.goes_before(candidate, progress)
            || self.peers.other_voters().any(|index| {
                self.may_be_next(index) && self.place(index, self.peers[index].progress()) < theirs
            })
    }

    /// Whether this node is more senior than a candidate with this data, and may ask for votes.
    pub(super) fn goes_before(&self, candidate: usize, progress: Progress) -> bool {
        self.may_campaign()
            && self.place(self.peers.me(), self.data.progress()) < self.place(candidate, progress)
    }

    /// R8: how long after a process was seen to be dead an election begins; `None`: its silence begins it. `reigned`: it was the primary.
    pub(super) fn settles_after_loss(&self, reigned: bool) -> Option<Duration> {
        match reigned {
            false => Some(Duration::ZERO),
            true => self.config.auto_elect_on_peer_loss.then_some(self.config.settling_delay),
        }
    }

    /// R7: a member says that it is primary, in that epoch, and this node knows another one.
    #[cold]
    #[inline(never)]
    pub(super) fn note_two_primaries(&mut self, other: usize, other_epoch: Epoch) {
        let now = self.now();
        let Some(primary) = self.primary().filter(|_| !self.primary.is(other)) else { return };
        if self.ranks.tells_of_second(other, other_epoch, now) {
            let other = self.id(other);
            self.event(EventKind::TwoPrimaries { primary, other, other_epoch });
        }
    }

    /// R10: whether an order to this node alone can make it primary.
    pub fn can_force(&self) -> Result<(), ForceRefused> {
        match (self.peers.voters(), self.peers.my_vote()) {
            (_, None) => Err(ForceRefused::NoVote),
            (1, Some(_)) => Ok(()),
            (voters, Some(_)) => Err(ForceRefused::NotAlone { voters }),
        }
    }

    /// This node is to be elected, by its own vote: in a new epoch, with a saved vote and a lease, as in every election.
    pub(super) fn force(&mut self) {
        if self.can_force().is_ok() && matches!(self.state, State::Replica) {
            self.plan();
            self.timers.set(Timer::Campaign, self.now());
        }
    }
}
