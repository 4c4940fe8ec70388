//! The members, and what this node knows of each: there or not, and what it last said of itself.

#[cfg(feature = "sim")]
use super::approach::Approach;
use super::io::Receivers;
use super::status::{PeerStatus, Signs};
use crate::config::{Config, MEMBERS_MAX, Member, MemberKind};
use crate::fence::Health;
use crate::identity::Identity;
use crate::ids::{Epoch, Incarnation, NodeId};
use crate::membership::{Generation, Membership, Voter};
use crate::message::{Heartbeat, Offer, Role, Standing};
use crate::pause::Pause;
use crate::position::Progress;
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
    /// How long a peer counts as reachable after its last heartbeat.
    timeout: Duration,
}

/// What this node knows of one peer.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// As this node's file says.
    file: Member,
    /// As it counts: whether it votes is not the file's to say.
    member: Member,
    /// The newest membership that it is known to have in its record.
    has: Option<Generation>,
    /// When it was last told of the present one.
    told: Option<Instant>,
    /// Its number among the voters, if it is one.
    voter: Option<usize>,
    /// Its place in the order of ids.
    order: usize,
    incarnation: Option<Incarnation>,
    linked: bool,
    /// A link to the present incarnation ended in order: half of the evidence of a crash.
    closed: bool,
    /// The present incarnation is known to be dead. What still comes in from it is ignored.
    dead: bool,
    /// Heard within an election timeout, as last told to the outside.
    up: bool,
    heard: Option<Instant>,
    role: Option<Role>,
    epoch: Epoch,
    /// The highest epoch far ahead of ours that it claimed on its present link.
    claim: Epoch,
    /// When that was last told to the outside.
    claim_told: Option<Instant>,
    /// What it alone moved this node by, for a test of the simulator.
    #[cfg(feature = "sim")]
    budget: Approach,
    standing: Standing,
    /// The present incarnation said that it has no record and knows of no election.
    was_fresh: bool,
    /// It said that it has no record, whatever it says by now.
    was_new: bool,
    /// It said that it has no record, and holds data that an election began.
    forgot: bool,
    progress: Progress,
    /// That, when this node, as primary, looked twice before.
    earlier: [Progress; 2],
    primary: Option<NodeId>,
    health: Health,
    /// The cluster that the present incarnation said it belongs to.
    identity: Option<Identity>,
    /// That is another one than ours: nothing that it says counts.
    foreign: bool,
    /// What an operator last said about automatic elections, as it knows.
    pause: Option<Pause>,
    /// A pre-vote that was refused for a reason that passes by itself; answered when it has passed.
    waiting: Option<Offer>,
    /// The lease that did not fit our promise, as last complained about.
    lease_mismatch: Option<Duration>,
}

impl Peers {
    pub(super) fn new(config: &Config, members: Option<&Membership>) -> Self {
        let all: Vec<_> = config.members.iter().map(|member| Peer::new(*member)).collect();
        let me = all.iter().position(|peer| peer.member.id == config.node).unwrap_or_default();
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
        self.all.push(Peer { member: counted(file, None), ..Peer::new(file) });
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
        self.by_id.sort_by_key(|index| all[*index].file.id);
        self.by_id.iter().enumerate().for_each(|(order, index)| all[*index].order = order);
    }

    /// From here on these vote. Gives, for each of them, under which number it was counted until now.
    pub(super) fn count_by(&mut self, members: &Membership) -> Vec<Option<usize>> {
        let before = |id| self.index(id).and_then(|index| self.all[index].voter);
        let numbers = members.voters().iter().map(|voter| before(voter.id)).collect();
        for peer in &mut self.all {
            peer.told = None;
            peer.forget_what_it_lacked();
            peer.voter = members.voters().iter().position(|voter| voter.id == peer.file.id);
            peer.member = counted(peer.file, peer.voter.map(|number| members.voters()[number].kind()));
        }
        self.choose_partners();
        self.my_vote = self.all[self.me].voter;
        self.voters = members.voters().len();
        self.generation = members.generation;
        numbers
    }

    fn choose_partners(&mut self) {
        let others = self.by_id.iter().copied().filter(|index| *index != self.me);
        let (mut partners, observers): (Vec<_>, Vec<_>) =
            others.partition(|index| self.all[*index].voter.is_some());
        self.partners_voting = partners.len();
        if self.all[self.me].voter.is_some() {
            partners.extend(observers);
        }
        let ids: Vec<_> = partners.iter().map(|index| self.id(*index)).collect();
        let (voters, observers) = ids.split_at(self.partners_voting);
        (self.to_voters, self.to_observers) = (voters.into(), observers.into());
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
        let counted = self.all.iter().filter(|peer| peer.voter.is_some()).count();
        let same = |number: usize, voter: &Voter| {
            self.index(voter.id).is_none_or(|index| self.all[index].voter == Some(number))
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
        &self.all[self.me].member
    }

    pub(super) fn all(&self) -> &[Peer] {
        &self.all
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> &mut Peer {
        &mut self.all[index]
    }

    pub(super) fn index(&self, id: NodeId) -> Option<usize> {
        let found = self.by_id.binary_search_by(|index| self.all[*index].member.id.cmp(&id));
        found.ok().map(|order| self.by_id[order])
    }

    #[inline]
    pub(super) fn id(&self, index: usize) -> NodeId {
        self.all[index].member.id
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
        let mut claims: Vec<_> = others.map(|peer| peer.claim).collect();
        claims.sort_unstable_by(|a, b| b.cmp(a));
        claims.get(quorum - 1).copied().unwrap_or(Epoch::ZERO)
    }

    /// What a member that has come or gone is, as far as the outside has not been told.
    pub(super) fn news(&mut self, index: usize, now: Instant) -> Option<bool> {
        let peer = &mut self.all[index];
        let up = peer.reachable(now, self.timeout);
        peer.is_news(up).then_some(up)
    }

    /// The signs of those with whom this node speaks, or of all.
    pub(super) fn signs(&self, now: Instant, all: bool) -> impl Iterator<Item = (usize, Signs)> + '_ {
        let indices = if all { &self.by_id } else { &self.partners };
        indices.iter().map(move |index| {
            let peer = &self.all[*index];
            let (up, linked, foreign) = (peer.reachable(now, self.timeout), peer.linked, peer.foreign);
            (*index, Signs { up, linked, foreign, epoch: peer.epoch, heard: peer.heard })
        })
    }

    /// What this node believes about its peers.
    pub(super) fn status(&self, now: Instant) -> impl Iterator<Item = PeerStatus> + '_ {
        let others = self.by_id.iter().filter(|index| **index != self.me);
        others.map(move |index| {
            let peer = &self.all[*index];
            PeerStatus {
                member: peer.member,
                up: peer.reachable(now, self.timeout),
                linked: peer.linked,
                heard: peer.heard,
                role: peer.role,
                epoch: peer.epoch,
                progress: peer.progress,
                primary: peer.primary,
                health: peer.health,
                cluster: peer.identity.map(|identity| identity.cluster),
                foreign: peer.foreign,
            }
        })
    }
}

/// What a member is that votes, or does not, whatever the file says. The file goes on to say which of the voters is preferred.
fn counted(file: Member, votes_as: Option<MemberKind>) -> Member {
    match votes_as {
        Some(kind) if file.kind == kind => file,
        Some(MemberKind::Witness) => Member::witness(file.id),
        Some(_) => Member::voter(file.id),
        None if file.kind.votes() => Member::observer(file.id),
        None => file,
    }
}

impl Index<usize> for Peers {
    type Output = Peer;

    #[inline]
    fn index(&self, index: usize) -> &Peer {
        &self.all[index]
    }
}

impl Peer {
    fn new(member: Member) -> Self {
        Self {
            file: member,
            member,
            has: None,
            told: None,
            voter: None,
            order: 0,
            incarnation: None,
            linked: false,
            closed: false,
            dead: false,
            up: false,
            heard: None,
            role: None,
            epoch: Epoch::ZERO,
            claim: Epoch::ZERO,
            claim_told: None,
            #[cfg(feature = "sim")]
            budget: Approach::new(Instant::ZERO),
            standing: Standing::New,
            was_fresh: false,
            was_new: false,
            forgot: false,
            progress: Progress::NONE,
            earlier: [Progress::NONE; 2],
            primary: None,
            health: Health::Good,
            identity: None,
            foreign: false,
            pause: None,
            waiting: None,
            lease_mismatch: None,
        }
    }

    pub(super) fn id(&self) -> NodeId {
        self.member.id
    }

    /// Its place in the order of ids.
    #[inline]
    pub(super) fn order(&self) -> usize {
        self.order
    }

    pub(super) fn eligible(&self) -> bool {
        self.member.eligible()
    }

    pub(super) fn priority(&self) -> u8 {
        self.member.priority
    }

    /// Its number among the voters, if it is one.
    pub(super) fn voter(&self) -> Option<usize> {
        self.voter
    }

    /// The newest membership that it is known to have in its record.
    pub(super) fn has(&self) -> Option<Generation> {
        self.has
    }

    /// Notes that it is told now of the present list, if it is to be: at once, and then, while it is `heard`, once in so long.
    pub(super) fn is_told(&mut self, now: Instant, every: Duration, heard: bool) -> bool {
        let due = self.told.is_none_or(|at| heard && now.saturating_since(at) >= every);
        if due {
            self.told = Some(now);
        }
        due
    }

    pub(super) fn holds(&mut self, generation: Generation) {
        self.has = self.has.max(Some(generation));
    }

    /// Whether this node's file says that it votes.
    pub(super) fn has_vote_in_file(&self) -> bool {
        self.file.kind.votes()
    }

    /// Whether it holds no data, with a vote or without.
    pub(super) fn is_witness(&self) -> bool {
        self.file.kind == MemberKind::Witness
    }

    pub(super) fn is_linked(&self) -> bool {
        self.linked
    }

    /// Which start of its process speaks.
    pub(super) fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation
    }

    /// A link to the present incarnation ended in order.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    pub(super) fn heard(&self) -> Option<Instant> {
        self.heard
    }

    /// The highest epoch that it said.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The present incarnation said that it has no record and knows of no election.
    pub(super) fn was_fresh(&self) -> bool {
        self.was_fresh
    }

    /// The present incarnation said that it has no record, and holds data of an election: it may have forgotten votes.
    pub(super) fn forgot(&self) -> bool {
        self.forgot
    }

    /// What it last said its vote record is worth.
    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    /// The cluster that it said it belongs to.
    #[inline]
    pub(super) fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// Whether it belongs to another cluster than this node.
    #[inline]
    pub(super) fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// It says to which cluster it belongs; says whether that is news. What it said before and was worth more came later: a
    /// process does not go back on it.
    pub(super) fn belongs(&mut self, identity: Option<Identity>) -> bool {
        let news = identity.is_some_and(|said| said.outranks(self.identity));
        if news {
            self.identity = identity;
        }
        news
    }

    /// It is, or is not, of another cluster; says whether that is news. Of one that is, nothing else is known.
    pub(super) fn set_foreign(&mut self, foreign: bool) -> bool {
        let news = self.foreign != foreign;
        if news {
            self.foreign = foreign;
            self.heard = None;
            self.waiting = None;
        }
        news
    }

    /// The present incarnation said that it has no record.
    pub(super) fn said_new(&self) -> bool {
        self.heard.is_some() && self.was_new
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress
    }

    /// Notes that for later.
    pub(super) fn look(&mut self) {
        self.earlier = [self.earlier[1], self.progress];
    }

    /// What it was at that look.
    pub(super) fn earlier(&self, look: usize) -> Progress {
        self.earlier[look]
    }

    pub(super) fn kind(&self) -> MemberKind {
        self.member.kind
    }

    /// How it last said it is.
    pub(super) fn health(&self) -> Health {
        self.health
    }

    /// What an operator last said about automatic elections, as it last said.
    pub(super) fn pause(&self) -> Option<Pause> {
        self.pause
    }

    pub(super) fn is_fit(&self) -> bool {
        self.health.is_good()
    }

    fn reachable(&self, now: Instant, timeout: Duration) -> bool {
        !self.dead && self.heard.is_some_and(|at| now < at + timeout)
    }

    /// Whether the outside has not been told that this peer is up, or is not.
    pub(super) fn is_news(&mut self, up: bool) -> bool {
        let news = self.up != up;
        if news {
            self.up = up;
        }
        news
    }

    #[inline]
    pub(super) fn note(&mut self, now: Instant, heartbeat: &Heartbeat) {
        self.heard = Some(now);
        self.role = Some(heartbeat.role);
        self.epoch = self.epoch.max(heartbeat.epoch);
        self.standing = heartbeat.standing;
        if heartbeat.standing == Standing::New {
            self.was_new = true;
            self.was_fresh |= heartbeat.epoch == Epoch::ZERO;
            self.forgot |= heartbeat.progress.stream_epoch > Epoch::ZERO;
        }
        self.progress = heartbeat.progress;
        self.primary = heartbeat.primary;
        self.health = heartbeat.health;
        self.pause = heartbeat.pause;
    }

    /// It says that it is in an epoch far ahead of ours.
    pub(super) fn claims(&mut self, epoch: Epoch) {
        self.claim = self.claim.max(epoch);
        self.epoch = self.epoch.max(epoch);
    }

    #[cfg(feature = "sim")]
    pub(super) fn budget(&mut self) -> &mut Approach {
        &mut self.budget
    }

    /// Its link ended, or a new one began: what was claimed is said again, if it is still so.
    pub(super) fn forget_claim(&mut self) {
        self.claim = Epoch::ZERO;
    }

    /// Whether its claim is to be told now, which it is at most once in `pause`.
    pub(super) fn tells_of_claim(&mut self, now: Instant, pause: Duration) -> bool {
        let due = self.claim_told.is_none_or(|at| now.saturating_since(at) >= pause);
        if due {
            self.claim_told = Some(now);
        }
        due
    }

    /// What it offered is newer than its last heartbeat.
    pub(super) fn offered(&mut self, progress: Progress) {
        self.progress = progress;
    }

    /// What it echoed may be newer than its last heartbeat.
    pub(super) fn echoed(&mut self, progress: Progress) {
        self.progress = self.progress.max(progress);
    }

    /// It is linked to this process of its node; gives the one that was known before.
    pub(super) fn link_up(&mut self, incarnation: Incarnation) -> Option<Incarnation> {
        self.told = None;
        self.linked = true;
        self.closed = false;
        self.dead = false;
        self.incarnation.replace(incarnation)
    }

    /// Its link ended, in order or not.
    pub(super) fn link_down(&mut self, in_order: bool) {
        self.linked = false;
        self.closed |= in_order;
    }

    pub(super) fn is_gone(&mut self) {
        self.dead = true;
    }

    /// A6: that it once had no record says nothing any more. Where it still has none, its next heartbeat says so.
    fn forget_what_it_lacked(&mut self) {
        (self.was_fresh, self.was_new, self.forgot) = (false, false, false);
    }

    /// It gave up its office.
    pub(super) fn resigned(&mut self) {
        self.role = None;
    }

    /// A new process took the place of the one this was known of.
    pub(super) fn restarted(&mut self) {
        self.dead = false;
        self.closed = false;
        self.has = None;
        self.role = None;
        self.standing = Standing::New;
        self.forget_what_it_lacked();
        self.progress = Progress::NONE;
        self.primary = None;
        self.health = Health::Good;
        self.identity = None;
        self.foreign = false;
        self.waiting = None;
        self.lease_mismatch = None;
        self.heard = None;
    }

    /// A pre-vote of it that is answered later.
    pub(super) fn waiting(&self) -> Option<&Offer> {
        self.waiting.as_ref()
    }

    pub(super) fn wait_with(&mut self, offer: Option<Offer>) {
        self.waiting = offer;
    }

    pub(super) fn take_waiting(&mut self) -> Option<Offer> {
        self.waiting.take()
    }

    /// Notes the lease that it takes if it is longer than what this node promises; says whether that is news.
    pub(super) fn lease_mismatch(&mut self, mismatch: Option<Duration>) -> bool {
        let news = self.lease_mismatch != mismatch;
        self.lease_mismatch = mismatch;
        news
    }

    /// Where only the present counts: `new` says that the peer's epoch counts too.
    #[cfg(feature = "sim")]
    pub(super) fn digest(
        &self,
        now: Instant,
        timeout: Duration,
        new: bool,
        hasher: &mut impl std::hash::Hasher,
    ) {
        use std::hash::Hash;
        (self.incarnation, self.closed, self.dead, self.progress, self.identity, self.foreign, self.claim)
            .hash(hasher);
        (self.pause, self.has).hash(hasher);
        let age = self.heard.map(|at| now.saturating_since(at).min(timeout));
        age.filter(|age| new || *age < timeout).hash(hasher);
        if new {
            (self.epoch, self.standing, self.was_fresh, self.was_new, self.forgot).hash(hasher);
        }
    }
}
