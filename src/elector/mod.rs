//! The elector: decides which node may write. Pure: it has no socket, no file, no clock and no thread, draws random
//! numbers only from the seed that it was given, and allocates nothing on the path of heartbeats.
//!
//! **The one rule.** Call a `handle_*` method with the present time; then drain [`Elector::poll_output`]
//! until it says `None`, carrying the outputs out in their order; then copy [`Elector::gate`] to the write
//! gate *before* anything is sent; then wait for the next input or [`Elector::next_timeout`], whichever
//! comes first. The same inputs at the same times give the same outputs, on every machine.
//!
//! Inputs are grouped: `handle_*` change state; `poll_output` and `next_timeout` say what to do; the rest
//! only look. `now` never goes back: an earlier value counts as the latest one seen. Early, late and
//! repeated calls of [`Elector::handle_timeout`] do no harm.
//!
//! Invariants, checked in the simulator after every step (sentences of `docs/protocol.md`):
//!
//! 1. A vote is in an acknowledged [`Output::Persist`] before it is in a [`Output::Send`].
//! 2. One vote per epoch; epochs never go back.
//! 3. The gate is open only on a primary, within its lease.
//! 4. While a promise holds, no vote and no pre-vote goes to another node.
//! 5. Only configured voters count, by the identity of the link.

mod admission;
mod campaign;
mod decisions;
#[cfg(feature = "sim")]
mod digest;
mod fitness;
mod heartbeat;
mod io;
mod judging;
mod lease;
mod link;
mod mutation;
mod peer;
mod persist;
mod reign;
mod status;
mod timers;
mod vote;
mod voters;

pub use crate::fence::GateState;
#[cfg(feature = "sim")]
pub use digest::{Rounds, digest_message};
pub use io::{Command, DetachSeq, HostAction, HostReport, Output, PersistSeq};
#[cfg(feature = "sim")]
pub use mutation::Mutation;
#[cfg(not(feature = "sim"))]
use mutation::Mutation;
pub use status::{PeerStatus, Status};

use crate::config::{Config, Member};
use crate::event::{Event, EventKind, Reason};
use crate::fence::FenceReason;
use crate::ids::{EPOCH_MAX, Epoch, Incarnation, NodeId, Round};
use crate::link::LinkEvent;
use crate::message::{Message, Standing};
use crate::position::{Position, PositionError};
use crate::rng::Rng;
use crate::state::HardState;
use crate::time::{Duration, Instant};
use campaign::Campaign;
use judging::Judging;
use peer::Peer;
use persist::Persistence;
use reign::Reign;
use std::collections::VecDeque;
use timers::{Timer, Timers};
use vote::Promise;

/// How far ahead of our own an epoch may be and still be believed. Elections count one by one: nobody
/// gets this far in a lifetime, so a larger step is garbage or an attack, and believing it would use up
/// the epochs that are left.
pub const EPOCH_STEP_MAX: u64 = 1 << 32;

/// How often, at most, the position alone is written to the vote record.
pub const POSITION_SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// A host that has not done what it was asked after this many election timeouts never will.
const HOST_TIMEOUTS: u32 = 5;

/// One node's part in the election.
#[derive(Debug, Clone)]
pub struct Elector {
    config: Config,
    /// This node's index among the members.
    me: usize,
    /// This node's number among the voters, if it is one.
    my_vote: Option<usize>,
    /// One view per member, in the order of the configuration; our own entry is never looked at.
    peers: Vec<Peer>,
    /// Whom this node ever speaks with. Not all others: observers keep to the voters, so what an observer does
    /// does not grow with their number, nor what they all do with its square.
    partners: Vec<usize>,
    rng: Rng,
    now: Instant,
    timers: Timers,
    outputs: VecDeque<Output>,

    /// What is, or is about to be, durable.
    hard: HardState,
    persistence: Persistence,
    /// No votes before this: an earlier process may have promised something.
    booting_until: Option<Instant>,
    admission: admission::Admission,

    /// How far our data goes, as the host last said.
    position: Position,
    /// Why the host's position cannot be told. What is kept above is then too low to vote on.
    position_refused: Option<PositionError>,
    fitness: fitness::Fitness,
    paused: bool,
    leaving: bool,

    state: State,
    /// The primary that we follow, or ourselves.
    primary: Option<usize>,
    /// When it was last heard, where another process speaks as its node since.
    primary_heard: Option<Instant>,
    /// The host was fenced and still counts what it wrote: until it has, our position is too low to vote on.
    settling: bool,
    /// What the host was last told to follow, and has not been detached from since.
    following: Option<(Epoch, usize)>,
    /// When the host was told so.
    following_since: Instant,
    promise: Option<Promise>,
    /// A vote that waits for the host to let go of the old primary.
    judging: Judging,
    /// Number of the last heartbeat, and of the last campaign.
    round: Round,
    campaign_round: Round,
    /// Why the last primary was given up: what the next failover is labelled with.
    cause: Reason,
    lease: lease::Lease,
    /// What to do wrong, in a test of the simulator.
    #[cfg(feature = "sim")]
    mutation: Option<Mutation>,
}

#[derive(Debug, Clone)]
enum State {
    Replica,
    Campaigning(Campaign),
    Reigning(Reign),
}

/// Inputs.
impl Elector {
    /// A node that starts at `now`, with what its vote record holds (`None` only if there never was one).
    ///
    /// `incarnation_floor` is a number that grows from start to start even if the record is lost: the wall
    /// clock in milliseconds serves. It keeps peers from taking a node with an empty disk for an older
    /// process of itself; a clock that went back costs that node time, never safety. `seed` spreads retries.
    pub fn new(
        config: Config,
        restored: Option<HardState>,
        incarnation_floor: u64,
        seed: u64,
        now: Instant,
    ) -> Self {
        let mut voter = 0..;
        let peers: Vec<_> = config
            .members
            .iter()
            .map(|member| Peer::new(*member, if member.kind.votes() { voter.next() } else { None }))
            .collect();
        let me = peers.iter().position(|peer| peer.member.id == config.node).unwrap_or_default();
        let observer = peers[me].voter.is_none();
        let partners =
            (0..peers.len()).filter(|index| *index != me && (!observer || peers[*index].voter.is_some()));
        let partners: Vec<_> = partners.collect();
        let incarnation = Incarnation(
            restored.as_ref().map_or(1, |old| old.incarnation.0.saturating_add(1)).max(incarnation_floor),
        );
        let hard = match &restored {
            Some(old) => HardState { incarnation, ..old.clone() },
            None => HardState {
                epoch: Epoch::ZERO,
                voted_for: None,
                standing: Standing::New,
                incarnation,
                position: Position::NONE,
            },
        };
        let quorum_of_one = config.voters() == 1;
        let mut elector = Self {
            me,
            my_vote: peers[me].voter,
            rng: Rng::new(seed),
            now,
            timers: Timers::default(),
            // Room for one output of each kind to every member, and some events: the heartbeat path
            // never grows it.
            outputs: VecDeque::with_capacity(4 * partners.len() + 32),
            persistence: Persistence::new(peers.len()),
            // A cluster of one made no promise that matters: nobody else can be elected.
            booting_until: (!quorum_of_one).then_some(now + config.election_timeout),
            admission: admission::Admission::default(),
            position: hard.position.clone(),
            position_refused: None,
            fitness: fitness::Fitness::new(),
            paused: false,
            leaving: false,
            state: State::Replica,
            primary: None,
            primary_heard: None,
            settling: false,
            following: None,
            following_since: now,
            promise: None,
            judging: Judging::default(),
            round: Round(0),
            campaign_round: Round(0),
            cause: Reason::Start,
            lease: lease::Lease::new(&config),
            #[cfg(feature = "sim")]
            mutation: None,
            hard,
            peers,
            partners,
            config,
        };
        // The new incarnation is durable before anybody hears of it; the position is kept, so a second
        // restart before the first save loses nothing.
        elector.persist_before_speaking();
        elector.timers.set(Timer::Heartbeat, now);
        elector.admit_if_known();
        elector.schedule_campaign(elector.booting_until.unwrap_or(now));
        elector
    }

    /// A message came in from `from`, as the link proved. Messages from strangers are ignored.
    pub fn handle_message(&mut self, now: Instant, from: NodeId, message: Message) {
        self.catch_up(now);
        let Some(from) = self.index(from) else { return };
        if from == self.me || self.peers[from].dead {
            return;
        }
        if !self.plausible(from, &message) {
            return;
        }
        match message {
            Message::Heartbeat(heartbeat) => self.on_heartbeat(from, &heartbeat),
            Message::Echo(echo) => self.on_echo(from, &echo),
            Message::PreOffer(offer) => self.on_pre_offer(from, offer),
            Message::PreAccept(grant) => self.on_pre_accept(from, grant),
            Message::Offer(offer) => self.on_offer(from, offer),
            Message::Accept(grant) => self.on_accept(from, grant),
            Message::Reject(reject) => self.on_reject(from, &reject),
            Message::Announce(announce) => self.on_announce(from, announce.epoch),
            Message::Resign(resign) => self.on_resign(from, resign),
        }
    }

    /// Time has passed. Fires every timer that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.catch_up(now);
        for timer in Timer::ALL {
            if !timer.before_messages() && self.timers.take_due(timer, self.now) {
                self.fire(timer);
            }
        }
    }

    /// A link to `peer` changed.
    pub fn handle_link(&mut self, now: Instant, peer: NodeId, event: LinkEvent) {
        self.catch_up(now);
        if let Some(peer) = self.index(peer)
            && peer != self.me
        {
            self.on_link(peer, event);
        }
    }

    /// The host says something.
    pub fn handle_host(&mut self, now: Instant, report: HostReport<'_>) {
        self.catch_up(now);
        match report {
            HostReport::Position { stream_epoch, offsets } => {
                match self.position.set(stream_epoch, offsets) {
                    Ok(()) => self.position_refused = None,
                    Err(error) => self.refuse_position(error),
                }
            }
            HostReport::Fenced => self.on_fenced(),
            HostReport::Detached(seq, position) => self.on_detached(seq, position),
            HostReport::Promoted(epoch) => self.on_promoted(epoch),
            HostReport::PromoteFailed(epoch, error) => self.on_promote_failed(epoch, error),
            HostReport::Followed(epoch) => self.on_followed(epoch),
            HostReport::FollowFailed(epoch, error) => self.on_follow_failed(epoch, error),
            HostReport::Health(health) => self.on_health(health),
        }
    }

    /// An operator, or the machine, wants something.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        self.catch_up(now);
        match command {
            Command::StepDown => self.step_down(FenceReason::StepDown),
            Command::Shutdown => {
                self.leaving = true;
                self.abandon_campaign();
                self.step_down(FenceReason::StepDown);
            }
            Command::Pause(paused) => self.paused = paused,
            Command::ClockJumped => self.on_clock_jump(),
        }
    }

    /// The state numbered `seq`, and all before it, are durable.
    pub fn handle_persisted(&mut self, now: Instant, seq: PersistSeq) {
        self.catch_up(now);
        self.on_persisted(seq);
    }

    /// The state numbered `seq` could not be saved. What waited for it is not sent; it is tried again.
    pub fn handle_persist_failed(&mut self, now: Instant, seq: PersistSeq, error: &str) {
        self.catch_up(now);
        self.on_persist_failed(seq, error);
    }

    /// What to do next. Drain to `None` after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        let next = self.outputs.pop_front();
        if next.is_none() {
            // Begins at its beginning again: a queue that wanders through its room, which is large where members
            // are many, finds none of it in the processor's cache.
            self.outputs.clear();
        }
        next
    }

    /// When to call [`Elector::handle_timeout`], if nothing else comes first.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }
}

/// What all parts use.
impl Elector {
    /// Moves time on and applies the deadlines that no message may overtake.
    fn catch_up(&mut self, now: Instant) {
        self.now = self.now.max(now);
        for timer in Timer::ALL {
            if timer.before_messages() && self.timers.take_due(timer, self.now) {
                self.fire(timer);
            }
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Heartbeat => self.on_heartbeat_due(),
            Timer::Campaign => self.on_campaign_due(),
            Timer::Round => self.on_round_over(),
            Timer::Waiting => self.answer_waiting(),
            Timer::Lease => self.on_lease_over(),
            Timer::Promotion => {
                let epoch = self.hard.epoch;
                self.on_promote_failed(epoch, "the host did not answer in time");
            }
            Timer::Handover => self.on_handover_due(),
            Timer::Follow => {
                // If the primary is not known right now, its next heartbeat asks again.
                self.following = None;
                self.follow_primary();
            }
        }
    }

    /// Refuses epochs that no election can have reached.
    fn plausible(&mut self, from: usize, message: &Message) -> bool {
        let epoch = match message {
            Message::Heartbeat(m) => m.epoch,
            Message::Echo(m) => m.epoch,
            Message::PreOffer(m) | Message::Offer(m) => m.epoch,
            Message::PreAccept(m) | Message::Accept(m) => m.epoch,
            Message::Reject(m) => m.epoch,
            Message::Announce(m) => m.epoch,
            Message::Resign(m) => m.epoch,
        };
        let fine = epoch <= EPOCH_MAX && epoch.0 <= self.hard.epoch.0.saturating_add(EPOCH_STEP_MAX);
        if !fine {
            let peer = self.id(from);
            self.event(EventKind::Implausible { peer, what: "epoch" });
        }
        fine
    }

    /// Told once for each reason: the host says it again many times a second.
    fn refuse_position(&mut self, error: PositionError) {
        if self.position_refused.replace(error) != Some(error) {
            self.abandon_campaign();
            self.event(EventKind::PositionRefused { error });
        }
    }

    fn index(&self, id: NodeId) -> Option<usize> {
        self.peers.binary_search_by(|peer| peer.member.id.cmp(&id)).ok()
    }

    fn id(&self, index: usize) -> NodeId {
        self.peers[index].member.id
    }

    fn member(&self) -> &Member {
        &self.peers[self.me].member
    }

    /// All members but this one.
    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let me = self.me;
        (0..self.peers.len()).filter(move |index| *index != me)
    }

    /// All voters but this node.
    fn other_voters(&self) -> impl Iterator<Item = usize> + '_ {
        self.partners.iter().copied().filter(|index| self.peers[*index].voter.is_some())
    }

    fn voters_reachable(&self) -> usize {
        let timeout = self.config.election_timeout;
        self.other_voters().filter(|index| self.peers[*index].reachable(self.now, timeout)).count()
            + usize::from(self.my_vote.is_some())
    }

    fn reign(&self) -> Option<&Reign> {
        match &self.state {
            State::Reigning(reign) => Some(reign),
            _ => None,
        }
    }

    fn campaign(&self) -> Option<&Campaign> {
        match &self.state {
            State::Campaigning(campaign) => Some(campaign),
            _ => None,
        }
    }

    fn event(&mut self, kind: EventKind) {
        self.outputs.push_back(Output::Event(Event { at: self.now, epoch: self.hard.epoch, kind }));
    }

    fn host(&mut self, action: HostAction) {
        self.outputs.push_back(Output::Host(action));
    }

    /// Changes the state and tells of it where the role differs.
    fn enter(&mut self, state: State, reason: Reason) {
        let from = self.role();
        self.state = state;
        let to = self.role();
        if from != to {
            self.event(EventKind::RoleChanged { from, to, reason });
        }
    }

    fn set_primary(&mut self, primary: Option<usize>) {
        if self.primary != primary {
            self.primary = primary;
            if primary.is_some() {
                self.primary_is_known();
            }
            self.primary_heard = None;
            let primary = self.primary();
            self.event(EventKind::PrimaryChanged { primary });
        }
    }
}
