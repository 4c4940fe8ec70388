//! The members: who they are, who of them votes, and whom this node speaks with.

use super::io::Receivers;
use super::peer::Peer;
use super::status::{PeerStatus, Signs};
use crate::config::{Config, MEMBERS_MAX, Member, MemberKind};
use crate::ids::{Epoch, NodeId};
use crate::membership::{Generation, Membership, Voter};
use crate::time::{Duration, Instant};
use std::ops::Index;
use std::sync::Arc;

/// All members, this node included.
#[derive(Debug, Clone)]
pub(super) struct Peers {
    /// In the order of the configuration, then those that it met later: an index is good for ever. Our own entry is never looked at.
    all: Vec<Peer>,
    /// Their indices in the order of their ids.
    by_id: Vec<usize>,
    /// This node's index among them.
    me: usize,
    my_vote: Option<usize>,
    /// How many vote, those included that this node's file does not name.
    voters: usize,
    /// By which membership that is.
    generation: Generation,
    /// Whom this node ever speaks with: first those who vote, so that nobody waits behind observers on whom an office hangs. Not all others:
    /// observers keep to the voters, so what an observer does does not grow with their number, nor what they all do with its square.
    partners: Vec<usize>,
    /// How many of them vote.
    partners_voting: usize,
    /// The same for what is said to all of them, to those of them who vote, and to the others.
    to_partners: Arc<[NodeId]>,
    to_voters: Arc<[NodeId]>,
    to_observers: Arc<[NodeId]>,
    /// The first two without witnesses, where there are any.
    without_witnesses: Option<Box<[Arc<[NodeId]>; 2]>>,
    /// How long a peer counts as reachable after its last heartbeat.
    timeout: Duration,
}

impl Peers {
    pub(super) fn new(config: &Config, members: Option<&Membership>) -> Self {
        let all: Vec<_> = config.members.iter().map(|member| Peer::new(*member)).collect();
        let me = all.iter().position(|peer| peer.id() == config.node).unwrap_or_default();
        let timeout = config.election_timeout;
        let (voters, generation) = (0, Generation::FILE);
        let (to_partners, to_voters, to_observers) = ([].into(), [].into(), [].into());
        let (by_id, partners, partners_voting) = (Vec::new(), Vec::new(), 0);
        let mut peers = Self {
            me,
            my_vote: None,
            voters,
            generation,
            partners,
            partners_voting,
            to_partners,
            to_voters,
            to_observers,
            without_witnesses: None,
            all,
            by_id,
            timeout,
        };
        peers.sort();
        peers.count_by(members.unwrap_or(&Membership::of_file(config)));
        peers
    }

    /// One more. It votes if it is on the list `members`, should that be the one that is counted by. `false`: it is known already, or
    /// there is no room.
    pub(super) fn meet(&mut self, file: Member, members: &Membership) -> bool {
        if self.index(file.id).is_some() || self.all.len() >= MEMBERS_MAX {
            return false;
        }
        let counted_by = self.counts_by(members);
        let mut met = Peer::new(file);
        met.counts_as(None);
        self.all.push(met);
        self.sort();
        match counted_by {
            true => drop(self.count_by(members)),
            // A later list waits to be durable (M6): whoever is on it is numbered then.
            false => self.choose_partners(),
        }
        true
    }

    fn sort(&mut self) {
        let all = &mut self.all;
        self.by_id = (0..all.len()).collect();
        self.by_id.sort_by_key(|index| all[*index].id());
        self.by_id.iter().enumerate().for_each(|(order, index)| all[*index].set_order(order));
    }

    /// From here on these vote. Gives, for each of them, under which number it was counted until now.
    pub(super) fn count_by(&mut self, members: &Membership) -> Vec<Option<usize>> {
        let before = |id| self.index(id).and_then(|index| self.all[index].voter());
        let numbers = members.voters().iter().map(|voter| before(voter.id)).collect();
        for peer in &mut self.all {
            let number = members.voters().iter().position(|voter| voter.id == peer.id());
            peer.is_counted_anew(number.map(|number| (number, members.voters()[number].kind())));
        }
        self.choose_partners();
        self.my_vote = self.all[self.me].voter();
        self.voters = members.voters().len();
        self.generation = members.generation;
        numbers
    }

    fn choose_partners(&mut self) {
        let others = self.by_id.iter().copied().filter(|index| *index != self.me);
        let (mut partners, observers): (Vec<_>, Vec<_>) =
            others.partition(|index| self.all[*index].voter().is_some());
        self.partners_voting = partners.len();
        if self.all[self.me].voter().is_some() {
            partners.extend(observers);
        }
        let ids: Vec<_> = partners.iter().map(|index| self.id(*index)).collect();
        let (voters, observers) = ids.split_at(self.partners_voting);
        (self.to_voters, self.to_observers) = (voters.into(), observers.into());
        let hold_data = partners.iter().filter(|index| self.all[**index].kind() != MemberKind::Witness);
        let hold_data: Vec<_> = hold_data.map(|index| self.id(*index)).collect();
        let voting = &hold_data[..hold_data.len() - observers.len()];
        self.without_witnesses =
            (hold_data.len() < ids.len()).then(|| Box::new([hold_data.as_slice().into(), voting.into()]));
        (self.partners, self.to_partners) = (partners, ids.into());
    }

    /// How many vote.
    pub(super) fn voters(&self) -> usize {
        self.voters
    }

    /// The strict majority of the voters.
    #[inline]
    pub(super) fn quorum(&self) -> usize {
        self.voters / 2 + 1
    }

    /// Whether this is the list that is counted by.
    pub(super) fn counts_by(&self, members: &Membership) -> bool {
        let counted = self.all.iter().filter(|peer| peer.voter().is_some()).count();
        let same = |number: usize, voter: &Voter| {
            self.index(voter.id).is_none_or(|index| self.all[index].voter() == Some(number))
        };
        let known = members.voters().iter().filter(|voter| self.index(voter.id).is_some()).count();
        self.generation == members.generation
            && (self.voters, counted) == (members.voters().len(), known)
            && members.voters().iter().enumerate().all(|(number, voter)| same(number, voter))
    }

    /// By which membership this node counts.
    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    pub(super) fn me(&self) -> usize {
        self.me
    }

    /// This node's number among the voters, if it is one.
    pub(super) fn my_vote(&self) -> Option<usize> {
        self.my_vote
    }

    pub(super) fn my_member(&self) -> &Member {
        self.all[self.me].member()
    }

    pub(super) fn all(&self) -> &[Peer] {
        &self.all
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> &mut Peer {
        &mut self.all[index]
    }

    pub(super) fn index(&self, id: NodeId) -> Option<usize> {
        let found = self.by_id.binary_search_by(|index| self.all[*index].id().cmp(&id));
        found.ok().map(|order| self.by_id[order])
    }

    #[inline]
    pub(super) fn id(&self, index: usize) -> NodeId {
        self.all[index].id()
    }

    /// All members but this one.
    pub(super) fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let me = self.me;
        (0..self.all.len()).filter(move |index| *index != me)
    }

    /// Whom this node ever speaks with, those first who vote.
    #[inline]
    pub(super) fn partners(&self) -> &[usize] {
        &self.partners
    }

    /// The same, as receivers.
    pub(super) fn to_partners(&self) -> Receivers {
        Receivers::Many(self.to_partners.clone())
    }

    /// All voters but this node, as receivers.
    pub(super) fn to_voters(&self) -> Receivers {
        Receivers::Many(self.to_voters.clone())
    }

    /// Those that do not vote, as receivers; `None`: there is nobody.
    pub(super) fn to_observers(&self) -> Option<Receivers> {
        (!self.to_observers.is_empty()).then(|| Receivers::Many(self.to_observers.clone()))
    }

    /// All with whom this node ever speaks, or all voters, without witnesses; `None`: nobody else is one.
    #[inline]
    pub(super) fn without_witnesses(&self, partners: bool) -> Option<Receivers> {
        let lists = self.without_witnesses.as_ref()?;
        Some(Receivers::Many(lists[usize::from(!partners)].clone()))
    }

    #[cfg(feature = "sim")]
    pub(super) fn has_witnesses(&self) -> bool {
        self.without_witnesses.is_some()
    }

    pub(super) fn other_witnesses(&self) -> impl Iterator<Item = usize> + '_ {
        self.other_voters().filter(|index| self.all[*index].kind() == MemberKind::Witness)
    }

    /// All voters but this node.
    pub(super) fn other_voters(&self) -> impl Iterator<Item = usize> + '_ {
        self.partners[..self.partners_voting].iter().copied()
    }

    /// Heard within an election timeout and not known to be dead.
    pub(super) fn reachable(&self, index: usize, now: Instant) -> bool {
        self.all[index].reachable(now, self.timeout)
    }

    /// Whether this member could become primary now.
    pub(super) fn could_reign(&self, index: usize, now: Instant) -> bool {
        self.all[index].eligible() && self.reachable(index, now)
    }

    /// Voters heard within an election timeout, this node included if it is one.
    pub(super) fn voters_reachable(&self, now: Instant) -> usize {
        let others = self.other_voters().filter(|index| self.reachable(*index, now)).count();
        others + usize::from(self.my_vote().is_some())
    }

    /// The highest epoch that so many others claim at least, of those that count.
    pub(super) fn claimed_by(&self, quorum: usize, counts: impl Fn(&Peer) -> bool) -> Epoch {
        let others = self.partners.iter().map(|index| &self.all[*index]).filter(|peer| counts(peer));
        let mut claims: Vec<_> = others.map(Peer::claim).collect();
        claims.sort_unstable_by(|a, b| b.cmp(a));
        claims.get(quorum - 1).copied().unwrap_or(Epoch::ZERO)
    }

    /// What a member that has come or gone is, as far as the outside has not been told.
    pub(super) fn news(&mut self, index: usize, now: Instant) -> Option<bool> {
        let up = self.reachable(index, now);
        self.all[index].is_news(up).then_some(up)
    }

    /// The signs of those with whom this node speaks, or of all.
    pub(super) fn signs(&self, now: Instant, all: bool) -> impl Iterator<Item = (usize, Signs)> + '_ {
        let indices = if all { &self.by_id } else { &self.partners };
        indices.iter().map(move |index| (*index, self.all[*index].signs(now, self.timeout)))
    }

    /// What this node believes about its peers.
    pub(super) fn status(&self, now: Instant) -> impl Iterator<Item = PeerStatus> + '_ {
        let others = self.by_id.iter().filter(|index| **index != self.me);
        others.map(move |index| self.all[*index].status(now, self.timeout))
    }
}

impl Index<usize> for Peers {
    type Output = Peer;

    #[inline]
    fn index(&self, index: usize) -> &Peer {
        &self.all[index]
    }
}
