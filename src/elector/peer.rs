//! What this node knows of one member: there or not, and what it last said of itself.

#[cfg(feature = "sim")]
use super::approach::Approach;
use super::status::{PeerStatus, Signs};
use crate::config::{Member, MemberKind};
use crate::fence::Health;
use crate::identity::Identity;
use crate::ids::{Epoch, Incarnation, NodeId};
use crate::membership::Generation;
use crate::message::{Heartbeat, Offer, Role, Standing};
use crate::pause::Pause;
use crate::position::Progress;
use crate::time::{Duration, Instant};

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

impl Peer {
    /// One that the file names, of which nothing else is known.
    pub(super) fn new(member: Member) -> Self {
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

    /// As it counts.
    pub(super) fn member(&self) -> &Member {
        &self.member
    }

    /// It counts as this kind of voter, or as none, whatever the file says. The file goes on to say whether it is preferred.
    pub(super) fn counts_as(&mut self, voter: Option<(usize, MemberKind)>) {
        self.voter = voter.map(|(number, _)| number);
        self.member = counted(self.file, voter.map(|(_, kind)| kind));
    }

    /// The same by another list, of which it is to be told.
    pub(super) fn is_counted_anew(&mut self, voter: Option<(usize, MemberKind)>) {
        self.told = None;
        self.forget_what_it_lacked();
        self.counts_as(voter);
    }

    /// Its place in the order of ids.
    #[inline]
    pub(super) fn order(&self) -> usize {
        self.order
    }

    pub(super) fn set_order(&mut self, order: usize) {
        self.order = order;
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

    /// Heard within `timeout` and not known to be dead.
    pub(super) fn reachable(&self, now: Instant, timeout: Duration) -> bool {
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

    /// The highest epoch far ahead of ours that it claims.
    pub(super) fn claim(&self) -> Epoch {
        self.claim
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

    /// What is shown of it by numbers.
    pub(super) fn signs(&self, now: Instant, timeout: Duration) -> Signs {
        let up = self.reachable(now, timeout);
        Signs { up, linked: self.linked, foreign: self.foreign, epoch: self.epoch, heard: self.heard }
    }

    /// What this node believes about it.
    pub(super) fn status(&self, now: Instant, timeout: Duration) -> PeerStatus {
        PeerStatus {
            member: self.member,
            up: self.reachable(now, timeout),
            linked: self.linked,
            heard: self.heard,
            role: self.role,
            epoch: self.epoch,
            progress: self.progress,
            primary: self.primary,
            health: self.health,
            cluster: self.identity.map(|identity| identity.cluster),
            foreign: self.foreign,
        }
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
