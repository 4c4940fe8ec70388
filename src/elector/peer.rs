//! What this node knows of one peer.

use crate::config::Member;
use crate::fence::Health;
use crate::ids::{Epoch, Incarnation, NodeId};
use crate::message::{Heartbeat, Offer, Role, Standing};
use crate::position::Progress;
use crate::time::{Duration, Instant};

#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) member: Member,
    /// Its number among the voters, if it is one.
    pub(super) voter: Option<usize>,
    pub(super) incarnation: Option<Incarnation>,
    pub(super) linked: bool,
    /// A link to the present incarnation ended in order: half of the evidence of a crash.
    pub(super) closed: bool,
    /// The present incarnation is known to be dead. What still comes in from it is ignored.
    pub(super) dead: bool,
    /// Heard within an election timeout, as last told to the outside.
    pub(super) up: bool,
    pub(super) heard: Option<Instant>,
    pub(super) role: Option<Role>,
    pub(super) epoch: Epoch,
    pub(super) standing: Standing,
    /// The present incarnation said that it has no record and knows of no election.
    pub(super) was_fresh: bool,
    pub(super) progress: Progress,
    pub(super) primary: Option<NodeId>,
    pub(super) health: Health,
    /// A pre-vote that was refused for a reason that passes by itself; answered when it has passed.
    pub(super) waiting: Option<Offer>,
    /// The lease that did not fit our promise, as last complained about.
    pub(super) lease_mismatch: Option<Duration>,
}

impl Peer {
    pub(super) fn new(member: Member, voter: Option<usize>) -> Self {
        Self {
            member,
            voter,
            incarnation: None,
            linked: false,
            closed: false,
            dead: false,
            up: false,
            heard: None,
            role: None,
            epoch: Epoch::ZERO,
            standing: Standing::New,
            was_fresh: false,
            progress: Progress::NONE,
            primary: None,
            health: Health::Good,
            waiting: None,
            lease_mismatch: None,
        }
    }

    pub(super) fn note(&mut self, now: Instant, heartbeat: &Heartbeat) {
        self.heard = Some(now);
        self.role = Some(heartbeat.role);
        self.epoch = self.epoch.max(heartbeat.epoch);
        self.standing = heartbeat.standing;
        self.was_fresh |= heartbeat.standing == Standing::New && heartbeat.epoch == Epoch::ZERO;
        self.progress = heartbeat.progress;
        self.primary = heartbeat.primary;
        self.health = heartbeat.health;
    }

    /// A new process took the place of the one this was known of.
    pub(super) fn restarted(&mut self) {
        self.dead = false;
        self.closed = false;
        self.role = None;
        self.standing = Standing::New;
        self.was_fresh = false;
        self.progress = Progress::NONE;
        self.primary = None;
        self.health = Health::Good;
        self.waiting = None;
        self.lease_mismatch = None;
        self.heard = None;
    }

    /// Heard within `timeout` and not known to be dead.
    pub(super) fn reachable(&self, now: Instant, timeout: Duration) -> bool {
        !self.dead && self.heard.is_some_and(|at| now.saturating_since(at) < timeout)
    }
}
