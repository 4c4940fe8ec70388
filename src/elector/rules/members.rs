//! Who votes: how that is learnt, and how a primary changes it (`docs/protocol.md`, "Membership").

use crate::change::{ChangeRefused, Hindrance, MembersChange};
use crate::config::{Member, MemberKind};
use crate::elector::changing::Change;
use crate::elector::io::Receivers;
use crate::elector::machine::Elector;
use crate::elector::reign::Reign;
use crate::elector::timers::Timer;
use crate::event::EventKind;
use crate::fence::FenceReason;
use crate::ids::Epoch;
use crate::membership::{Generation, Membership, Voter};
use crate::message::Message;
use crate::time::{Duration, Instant};

/// A change under way is looked at this many times per heartbeat interval.
const LOOKS_PER_HEARTBEAT: u32 = 4;
/// Whoever has not said that it has the list is told again after so many heartbeats.
const TOLD_EVERY_HEARTBEATS: u32 = 2;

/// Learning who votes.
impl Elector {
    /// This node's file names one more (M12). Whoever votes, by whatever list, is the same as before.
    #[cold]
    pub(super) fn meet(&mut self, member: Member) {
        if self.peers.meet(member, &self.membership()) {
            self.ranks.meet();
            self.record.meet();
        }
    }

    /// A member says who votes.
    #[cold]
    #[inline(never)]
    pub(super) fn on_members(&mut self, from: usize, members: Membership) {
        self.peers.get_mut(from).holds(members.generation);
        let ours = self.record.generation();
        if members.generation < ours {
            return self.tell_members(from);
        }
        if members.generation == ours {
            return match self.membership().voters() == members.voters() {
                true => self.send(from, Message::Held(ours)),
                // Two lists of one generation differ only if both come from files. A node without its record takes the other one's.
                false if !self.record.is_complete() => self.take_members(members),
                false => {
                    let peer = self.id(from);
                    let ours = self.membership().list();
                    self.event(EventKind::MembersContradict { peer, theirs: members.list(), ours });
                }
            };
        }
        // It is told again, once this node is in that epoch, and has saved what it has decided before.
        if members.generation.epoch > self.record.epoch() || self.record.pending() {
            return;
        }
        if self.state.reign().is_some() {
            // Made before this reign, by a primary that could not tell it to a quorum: this one's voters elected it by their
            // own list, and that is what it goes on with.
            let again = self.membership().at(ours.next_in(self.record.epoch()));
            return self.take_members(again);
        }
        let taken = members.generation;
        self.take_members(members);
        // Once it is durable.
        self.send(from, Message::Held(taken));
    }

    /// A member says that it has a list in its record.
    pub(super) fn on_held(&mut self, from: usize, generation: Generation) {
        let had = self.peers[from].has();
        self.peers.get_mut(from).holds(generation);
        let Some(reign) = self.state.reign() else { return };
        if reign.change().is_some() {
            self.timers.set_earlier(Timer::Members, self.now());
        }
        let begins_to_count = had < Some(generation) && generation == self.peers.generation();
        if begins_to_count && self.peers[from].voter().is_some() {
            // It could not answer the last heartbeat as a voter of that list: it can answer this one (M11).
            self.send_round(Receivers::One(self.id(from)));
        }
    }

    /// A node without a record counts by its file until it is told better.
    #[cold]
    pub(super) fn tell_new(&mut self, peer: usize) {
        let generation = self.record.generation();
        let knows = self.peers[peer].has() >= Some(generation);
        // Its file is as ours: who is an observer there knows that it has no vote.
        let takes_itself_for_one = self.peers[peer].has_vote_in_file() || generation > Generation::FILE;
        if self.record.is_complete() && self.peers[peer].voter().is_none() && takes_itself_for_one && !knows {
            self.tell_members(peer);
        }
    }

    /// Tells those who are linked and have an older list, until they say that they have it.
    #[cold]
    pub(super) fn on_members_due(&mut self) {
        let (ours, every) = (self.peers.generation(), self.config.heartbeat_interval * TOLD_EVERY_HEARTBEATS);
        if ours > Generation::FILE {
            // What is not durable is not told, and is told once it is.
            let mut lack = self.record.pending();
            for number in 0..self.peers.partners().len() {
                let peer = self.peers.partners()[number];
                if !self.record.pending() && self.lacks(peer) {
                    lack = true;
                    // Somebody who is not heard is told when he is linked, and then when he is heard again.
                    let now = self.now();
                    let heard = self.peers.reachable(peer, now);
                    if self.peers.get_mut(peer).is_told(now, every, heard) {
                        self.tell_members(peer);
                    }
                }
            }
            if lack {
                self.timers.set_earlier(Timer::Members, self.now() + every);
            }
        }
        self.go_on_with_change();
    }

    /// A peer was linked.
    pub(super) fn tell_if_it_lacks(&mut self, peer: usize) {
        if self.peers.generation() > Generation::FILE && self.lacks(peer) {
            self.timers.set_earlier(Timer::Members, self.now());
        }
    }

    /// A primary of this node's epoch cannot reign by the list that this node counts by: it has a later one, which this node could not take
    /// when it was told (M7). It is told again once it says what it has.
    #[cold]
    pub(super) fn ask_for_later_list(&mut self, primary: usize, epoch: Epoch) {
        let has_later = self.peers[primary].has() > Some(self.record.generation());
        if epoch == self.record.epoch() && has_later && !self.record.pending() {
            self.tell_members(primary);
        }
    }

    fn lacks(&self, peer: usize) -> bool {
        self.peers[peer].is_linked() && self.peers[peer].has() < Some(self.peers.generation())
    }

    fn tell_members(&mut self, to: usize) {
        let members = self.membership();
        self.send(to, Message::Members(members));
    }

    /// Another list is in this node's record from here on. It counts by it once that is durable.
    fn take_members(&mut self, members: Membership) {
        self.abandon_campaign();
        self.judging.close();
        let unsaved = self.record.take_members(members);
        self.persist_before_speaking(unsaved);
        if self.counts_early() {
            self.count_by_record();
        }
    }

    /// The record is durable: its list is the one to count by.
    pub(super) fn count_by_record(&mut self) {
        let members = match self.record.members() {
            Some(members) if self.peers.counts_by(members) => return,
            Some(members) => members.clone(),
            None => return,
        };
        self.abandon_campaign();
        let numbers = self.peers.count_by(&members);
        self.lease.renumber(&numbers);
        self.admission.forget_answers();
        self.event(EventKind::Members { generation: members.generation, voters: members.list() });
        if self.state.reign().is_some() && self.peers.my_vote().is_none() {
            // A primary never takes its own vote (M2), so another node made this list. Nobody votes for this node any more.
            self.resign(FenceReason::Deposed, None);
        }
        self.renew_lease();
        self.answer_waiting();
        self.admit_if_known();
        self.timers.set_earlier(Timer::Members, self.now());
    }
}

/// Changing who votes.
impl Elector {
    /// Whether a change could begin at `now`, and what the list would be.
    pub fn can_change(&self, change: MembersChange, now: Instant) -> Result<Membership, ChangeRefused> {
        let Some(reign) = self.state.reign() else {
            return Err(ChangeRefused::NotPrimary { primary: self.primary() });
        };
        if reign.change().is_some() || reign.transfer().is_some() || reign.handover().is_some() {
            return Err(ChangeRefused::Underway);
        }
        if !self.writes(now) {
            return Err(ChangeRefused::Fenced(reign.fenced()));
        }
        self.changed(change)
    }

    /// An operator wants one voter more, or one less.
    pub(super) fn begin_change(&mut self, change: MembersChange, patience: Duration) {
        let now = self.now();
        if let Err(why) = self.can_change(change, now) {
            return self.event(EventKind::ChangeRefused { change, why });
        }
        let floor = self.data.progress();
        let begun = Change { change, floor, begun: now, until: now + patience, waits_for: None, made: None };
        if let Some(reign) = self.state.reign_mut() {
            reign.set_change(Some(begun));
        }
        self.go_on_with_change();
    }

    /// A change is over, if one was under way.
    pub(super) fn end_change(&mut self, waits_for: Option<Hindrance>) {
        let now = self.now();
        let Some(reign) = self.state.reign_mut() else { return };
        let Some(change) = reign.change() else { return };
        reign.set_change(None);
        let took = now.saturating_since(change.begun);
        self.event(EventKind::ChangeEnded { change: change.change, waits_for, took });
    }

    fn go_on_with_change(&mut self) {
        let Some(change) = self.state.reign().and_then(Reign::change) else { return };
        let look = self.now() + self.config.heartbeat_interval / LOOKS_PER_HEARTBEAT;
        self.timers.set_earlier(Timer::Members, look);
        if self.record.pending() {
            return;
        }
        let waits_for = match change.made {
            Some(made) if self.holders(made) >= self.peers.quorum() => return self.end_change(None),
            Some(_) => Some(Hindrance::Untold),
            None => self.hindrance(&change),
        };
        if self.now() >= change.until {
            return self.end_change(waits_for.or(Some(Hindrance::Unsettled)));
        }
        if let Some(reign) = self.state.reign_mut() {
            reign.set_change(Some(Change { waits_for, ..change }));
        }
        let present = self.membership();
        let generation = present.generation.next_in(self.record.epoch());
        match waits_for {
            // Not of this reign: it has to be, before it is known who has it.
            Some(Hindrance::Unsettled) if present.generation.epoch != self.record.epoch() => {
                self.take_members(present.at(generation));
            }
            Some(_) => {}
            None => match self.changed(change.change) {
                Ok(changed) => {
                    if let Some(reign) = self.state.reign_mut() {
                        reign.set_change(Some(Change { made: Some(generation), ..change }));
                    }
                    self.take_members(changed.at(generation));
                }
                Err(why) => {
                    self.event(EventKind::ChangeRefused { change: change.change, why });
                    self.end_change(Some(Hindrance::Unsettled));
                }
            },
        }
    }

    /// What keeps a change from being made now, if anything.
    fn hindrance(&self, change: &Change) -> Option<Hindrance> {
        let (now, present) = (self.now(), self.peers.generation());
        if !self.writes(now) {
            return Some(Hindrance::Fenced);
        }
        if !self.is_settled_list(present) {
            return Some(Hindrance::Unsettled);
        }
        let reachable = |index: &usize| self.peers.reachable(*index, now);
        let silent = |index: &usize| reachable(index) && self.peers[*index].has().is_none();
        if let Some(older) = self.peers.other_voters().find(silent) {
            return Some(Hindrance::OlderRelease(self.id(older)));
        }
        let with_data = |index: &usize| self.peers[*index].kind() == MemberKind::Voter;
        let has_all = |index: &usize| self.has_come_to(*index, change.floor);
        let data_nodes = self.peers.other_voters().filter(with_data).count() + 1;
        let holders = self.peers.other_voters().filter(with_data).filter(has_all).count() + 1;
        if holders < self.peers.quorum().min(data_nodes) {
            return Some(Hindrance::Behind);
        }
        let changed = self.changed(change.change).ok()?;
        if let MembersChange::Add(node) = change.change {
            let index = self.peers.index(node)?;
            if !reachable(&index) || self.peers[index].has() < Some(present) {
                return Some(Hindrance::NotHeard(node));
            }
            if !self.peers[index].is_witness() && !has_all(&index) {
                return Some(Hindrance::NotCaughtUp(node));
            }
        }
        let heard = |voter: &&Voter| {
            self.peers.index(voter.id).is_some_and(|index| index == self.peers.me() || reachable(&index))
        };
        let (heard, quorum) = (changed.voters().iter().filter(heard).count(), changed.quorum());
        (heard < quorum).then_some(Hindrance::TooFew { heard, quorum })
    }

    /// The list after a change of the present one.
    fn changed(&self, change: MembersChange) -> Result<Membership, ChangeRefused> {
        let present = self.membership();
        let node = change.node();
        let index = self.peers.index(node).ok_or(ChangeRefused::Unknown(node))?;
        let votes = present.voter(node).is_some();
        let mut voters = present.voters().to_vec();
        match change {
            MembersChange::Add(_) if votes => return Err(ChangeRefused::Votes(node)),
            MembersChange::Remove(_) if !votes => return Err(ChangeRefused::HasNoVote(node)),
            MembersChange::Remove(_) if index == self.peers.me() => return Err(ChangeRefused::Reigns(node)),
            MembersChange::Add(_) => voters.push(Voter { id: node, witness: self.peers[index].is_witness() }),
            MembersChange::Remove(_) => voters.retain(|voter| voter.id != node),
        }
        self.changes_more(&mut voters);
        Membership::new(present.generation, voters).ok_or(ChangeRefused::Impossible)
    }

    /// Whether this node still writes by the lease of those who voted before one was added (M11).
    pub(crate) fn carries_lease(&self) -> bool {
        self.lease.is_carried()
    }

    /// How many voters have this list in their records, this node included.
    pub(super) fn holders(&self, generation: Generation) -> usize {
        self.peers.other_voters().filter(|index| self.peers[*index].has() >= Some(generation)).count() + 1
    }

    /// Whether writes pass, and will for a moment.
    fn writes(&self, now: Instant) -> bool {
        let open = self.state.reign().is_some_and(|reign| reign.promoted() && reign.fenced().is_none());
        let idle = self.state.reign().is_some_and(|reign| reign.handover().is_none());
        open && idle && self.lease.until().is_some_and(|until| until > now)
    }
}
