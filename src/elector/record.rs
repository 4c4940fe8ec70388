//! The vote record: in which epoch this node is, for whom it voted there, and what of that is durable.
//!
//! Persist, then speak: what is said of a change waits for its save.

use super::io::{Output, PersistSeq, Receivers};
use crate::config::Config;
use crate::identity::Identity;
use crate::ids::{Epoch, Incarnation, NodeId};
use crate::membership::{Generation, Membership};
use crate::message::{Message, Standing};
use crate::pause::Pause;
use crate::position::{Position, Progress};
use crate::state::HardState;
use crate::time::{Duration, Instant};
use std::collections::VecDeque;

/// How often, at most, the position alone is written to the vote record.
pub(crate) const POSITION_SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// How many messages per member may wait for a save. More are dropped: all but votes are repeated anyway.
const HELD_PER_MEMBER: usize = 4;

/// What is, or is about to be, durable; and what waits for that.
#[derive(Debug, Clone)]
pub(super) struct Record {
    hard: HardState,
    issued: PersistSeq,
    /// The newest save that speech depends on.
    needed: PersistSeq,
    durable: PersistSeq,
    failing: bool,
    /// Messages that wait for `needed`, at most [`HELD_PER_MEMBER`] per member.
    held: VecDeque<(Receivers, Message)>,
    held_max: usize,
    position_saved_at: Instant,
    /// The promise is shorter than the newest save says.
    shortened: bool,
}

/// The record says something that is not saved yet.
#[must_use = "what was decided has to be saved before this node speaks of it"]
pub(super) struct Unsaved(());

impl Record {
    /// Of a process that starts. `restored` is what the disk holds; see [`super::Elector::new`].
    pub(super) fn new(
        restored: Option<HardState>,
        incarnation_floor: u64,
        config: &Config,
    ) -> (Self, Unsaved) {
        let next = restored.as_ref().map_or(1, |old| old.incarnation.0.saturating_add(1));
        let incarnation = Incarnation(next.max(incarnation_floor));
        let mut hard = match restored {
            // What an earlier process promised is not shorter because this one promises less (P7).
            Some(old) => HardState { incarnation, promise: old.promise.max(config.election_timeout), ..old },
            None => HardState {
                epoch: Epoch::ZERO,
                voted_for: None,
                standing: Standing::New,
                incarnation,
                identity: None,
                members: None,
                pause: None,
                promise: config.election_timeout,
                floor: Progress::NONE,
                position: Position::NONE,
            },
        };
        // The first list that a node runs with is the one that it goes on with, whatever its file says later.
        hard.members.get_or_insert_with(|| Membership::of_file(config));
        let record = Self {
            hard,
            issued: PersistSeq(0),
            needed: PersistSeq(0),
            durable: PersistSeq(0),
            failing: false,
            held: VecDeque::new(),
            held_max: HELD_PER_MEMBER * config.members.len(),
            position_saved_at: Instant::ZERO,
            shortened: false,
        };
        (record, Unsaved(()))
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.hard.epoch
    }

    pub(super) fn voted_for(&self) -> Option<NodeId> {
        self.hard.voted_for
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        self.hard.incarnation
    }

    pub(super) fn standing(&self) -> Standing {
        self.hard.standing
    }

    /// Whether every vote that this node ever gave is known to it.
    #[inline]
    pub(super) fn is_complete(&self) -> bool {
        self.hard.standing == Standing::Member
    }

    /// The cluster that this node belongs to, if it was told.
    #[inline]
    pub(super) fn identity(&self) -> Option<Identity> {
        self.hard.identity
    }

    /// What an operator last said about automatic elections.
    #[inline]
    pub(super) fn pause(&self) -> Option<Pause> {
        self.hard.pause
    }

    /// An operator said something newer.
    pub(super) fn take_pause(&mut self, pause: Pause) -> Unsaved {
        debug_assert!(Some(pause) > self.hard.pause);
        self.hard.pause = Some(pause);
        Unsaved(())
    }

    /// Who votes.
    pub(super) fn members(&self) -> Option<&Membership> {
        self.hard.members.as_ref()
    }

    /// Which of all memberships that is.
    #[inline]
    pub(super) fn generation(&self) -> Generation {
        self.hard.members.as_ref().map_or(Generation::FILE, |members| members.generation)
    }

    /// A primary, or somebody who heard one, says who votes.
    pub(super) fn take_members(&mut self, members: Membership) -> Unsaved {
        self.hard.members = Some(members);
        Unsaved(())
    }

    /// The longest promise that this process may give, or that an earlier one may have given.
    #[inline]
    pub(super) fn promise(&self) -> Duration {
        self.hard.promise
    }

    /// This process is about to promise for longer.
    pub(super) fn promise_longer(&mut self, promise: Duration) -> Unsaved {
        debug_assert!(promise > self.hard.promise);
        self.hard.promise = promise;
        Unsaved(())
    }

    /// No promise runs that is longer than this. What is saved next says so; nothing waits for that.
    pub(super) fn promises_are(&mut self, usual: Duration) {
        if self.hard.promise > usual {
            self.hard.promise = usual;
            self.shortened = true;
        }
    }

    /// Lower than this nobody gets this node's vote.
    #[inline]
    pub(super) fn floor(&self) -> Progress {
        self.hard.floor
    }

    /// An operator admitted this node for the sake of data that goes so far.
    pub(super) fn raise_floor(&mut self, floor: Progress) {
        self.hard.floor = self.hard.floor.max(floor);
    }

    /// How far the data went when that was last saved.
    pub(super) fn position(&self) -> &Position {
        &self.hard.position
    }

    /// Goes on to a later epoch, or votes in the present one. Nobody else ever gets the vote of that epoch.
    pub(super) fn enter(&mut self, epoch: Epoch, vote: Option<NodeId>) -> Unsaved {
        debug_assert!(epoch > self.hard.epoch || epoch == self.hard.epoch && vote.is_some());
        self.hard.epoch = epoch;
        self.hard.voted_for = vote;
        Unsaved(())
    }

    /// This node belongs to this cluster, for good if that is settled.
    pub(super) fn belong(&mut self, identity: Identity) -> Unsaved {
        self.hard.identity = Some(identity);
        Unsaved(())
    }

    /// This node can have forgotten nothing, or has learned all of it.
    pub(super) fn complete(&mut self) -> Unsaved {
        self.hard.standing = Standing::Member;
        Unsaved(())
    }

    /// Saves a change; until that is done this node says nothing.
    pub(super) fn save_before_speaking(
        &mut self,
        Unsaved(()): Unsaved,
        position: &Position,
        now: Instant,
    ) -> Output {
        // What waited spoke of a state that is over: a vote in an epoch that is not the newest any more
        // helps nobody. Dropping it also bounds the queue.
        self.held.clear();
        let save = self.save(position, now);
        self.needed = self.issued;
        save
    }

    /// Saves how far the data goes, now and then; nothing waits for it.
    pub(super) fn save_position(&mut self, position: &Position, now: Instant) -> Option<Output> {
        let due = now >= self.position_saved_at + POSITION_SAVE_INTERVAL;
        (due && !self.pending() && (self.shortened || self.hard.position != *position))
            .then(|| self.save(position, now))
    }

    /// Tries again what failed, if something waits for it.
    pub(super) fn save_again(&mut self, position: &Position, now: Instant) -> Option<Output> {
        if self.can_save() {
            return None;
        }
        let save = self.save(position, now);
        self.needed = self.issued;
        Some(save)
    }

    fn save(&mut self, position: &Position, now: Instant) -> Output {
        self.hard.position.clone_from(position);
        if position.progress() >= self.hard.floor {
            // Whatever is voted for from here on is compared with that.
            self.hard.floor = Progress::NONE;
        }
        self.position_saved_at = now;
        self.shortened = false;
        self.issued = PersistSeq(self.issued.0 + 1);
        Output::Persist(self.issued, self.hard.clone())
    }

    /// One member more has to be told something.
    pub(super) fn meet(&mut self) {
        self.held_max += HELD_PER_MEMBER;
    }

    /// Keeps a message until what was decided before it is durable.
    pub(super) fn hold(&mut self, to: Receivers, message: Message) {
        if self.held.len() < self.held_max {
            self.held.push_back((to, message));
        }
    }

    /// A save is done. Gives what waited, if this was what it waited for.
    pub(super) fn saved(&mut self, seq: PersistSeq) -> Option<VecDeque<(Receivers, Message)>> {
        if !self.is_under_way(seq) {
            return None;
        }
        let was_pending = self.pending();
        self.durable = seq;
        self.failing = false;
        (was_pending && !self.pending()).then(|| std::mem::take(&mut self.held))
    }

    /// A save failed; says whether it was one that is under way.
    pub(super) fn failed(&mut self, seq: PersistSeq) -> bool {
        if !self.is_under_way(seq) {
            return false;
        }
        self.failing = true;
        if self.pending() {
            // A vote that is not durable is never spoken. The epoch stays used in memory: it may have reached
            // the disk after all.
            self.held.retain(|(_, message)| !matches!(message, Message::Accept(_)));
        }
        true
    }

    fn is_under_way(&self, seq: PersistSeq) -> bool {
        self.durable < seq && seq <= self.issued
    }

    /// Whether something that was decided is not durable yet.
    #[inline]
    pub(super) fn pending(&self) -> bool {
        self.durable < self.needed
    }

    /// Whether the last save failed.
    pub(super) fn failing(&self) -> bool {
        self.failing
    }

    /// A save failed and nothing waits: try the next one as soon as a vote is asked for.
    pub(super) fn can_save(&self) -> bool {
        !(self.failing && self.pending())
    }

    /// Hashes the record and how its saves stand, where the data goes as far as `position`.
    #[cfg(feature = "sim")]
    pub(super) fn digest(&self, now: Instant, position: &Position, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        let HardState {
            epoch,
            voted_for,
            standing,
            incarnation,
            identity,
            floor,
            pause,
            members,
            promise,
            position: saved,
        } = &self.hard;
        (epoch, voted_for, standing, incarnation, identity, floor, pause, members, promise).hash(hasher);
        if saved != position {
            let age = now.saturating_since(self.position_saved_at).min(POSITION_SAVE_INTERVAL);
            (saved, age).hash(hasher);
        }
        let needed = self.needed.0.saturating_sub(self.durable.0);
        (self.issued.0 - self.durable.0, needed, self.failing).hash(hasher);
    }

    /// What waits for a save.
    #[cfg(feature = "sim")]
    pub(super) fn held(&self) -> impl Iterator<Item = &(Receivers, Message)> {
        self.held.iter()
    }
}
