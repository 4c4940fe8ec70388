//! The elector as the sum of its parts.

use super::admission::Admission;
use super::approach::Approach;
use super::data::Data;
use super::failback::Failback;
use super::fitness::Fitness;
use super::io::{HostAction, Output};
use super::judging::Judging;
use super::last_round::LastRound;
use super::lease::Lease;
#[cfg(feature = "sim")]
use super::mutation::Mutation;
use super::peers::Peers;
use super::primary::{Following, Primary};
use super::promise::Promises;
use super::rank::Ranks;
use super::record::{Record, Unsaved};
use super::state::State;
use super::timers::Timers;
use crate::bounds::VOTE_PARTS_OF_TIMEOUT;
use crate::config::Config;
use crate::event::{Event, EventKind};
use crate::ids::{NodeId, Round};
use crate::rng::Rng;
use crate::state::HardState;
use crate::time::Instant;
use std::collections::VecDeque;

/// So many outputs of one input are taken without making room for them.
const OUTPUTS_AT_ONCE: usize = 32;

/// One node's part in the election.
#[derive(Debug, Clone)]
pub struct Elector {
    pub(super) config: Config,
    pub(super) rng: Rng,
    now: Instant,
    pub(super) timers: Timers,
    outputs: VecDeque<Output>,

    pub(super) peers: Peers,
    pub(super) record: Record,
    pub(super) promises: Promises,
    pub(super) admission: Admission,
    pub(super) approach: Approach,
    pub(super) data: Data,
    pub(super) fitness: Fitness,
    pub(super) failback: Failback,
    pub(super) ranks: Ranks,
    /// The last office was given up because an operator wanted it, and no primary is known since.
    pub(super) planned: bool,
    pub(super) leaving: bool,

    pub(super) state: State,
    /// Number of the last campaign.
    pub(super) campaigns: Round,
    pub(super) primary: Primary,
    pub(super) following: Following,
    /// A vote that waits for the host to let go of the old primary.
    pub(super) judging: Judging,
    pub(super) lease: Lease,
    pub(super) last_round: LastRound,
    /// What to do wrong, in a test of the simulator.
    #[cfg(feature = "sim")]
    pub(super) mutation: Option<Mutation>,
}

impl Elector {
    /// Puts the parts together. The record has to be saved before anybody hears of this start.
    pub(super) fn assemble(
        config: Config,
        restored: Option<HardState>,
        incarnation_floor: u64,
        seed: u64,
        now: Instant,
    ) -> (Self, Unsaved) {
        let (record, unsaved) = Record::new(restored, incarnation_floor, &config);
        let peers = Peers::new(&config, record.members());
        // Who has no vote there may get one, and is admitted by what it asks after that wait.
        let boots = peers.voters() != 1 || peers.my_vote().is_none();
        let elector = Self {
            rng: Rng::new(seed),
            now,
            timers: Timers::default(),
            // The heartbeat path never grows it, however many members there are.
            outputs: VecDeque::with_capacity(OUTPUTS_AT_ONCE),
            promises: Promises::new(&config, boots.then_some(now + record.promise())),
            admission: Admission::default(),
            approach: Approach::new(now),
            data: Data::new(record.position().clone()),
            fitness: Fitness::new(),
            failback: Failback::default(),
            ranks: Ranks::new(&config, now),
            planned: false,
            leaving: false,
            state: State::Replica,
            campaigns: Round(0),
            primary: Primary::none(),
            following: Following::nobody(now),
            judging: Judging::new(config.election_timeout / VOTE_PARTS_OF_TIMEOUT),
            lease: Lease::new(&config, peers.voters()),
            last_round: LastRound::default(),
            #[cfg(feature = "sim")]
            mutation: None,
            peers,
            record,
            config,
        };
        (elector, unsaved)
    }

    /// What to do next. Drain to `None` after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Elector::handle_timeout`], if nothing else comes first.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The latest time that this node was told.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Time never goes back.
    pub(super) fn move_on_to(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    #[inline]
    pub(super) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn event(&mut self, kind: EventKind) {
        self.output(Output::Event(Event { at: self.now, epoch: self.record.epoch(), kind }));
    }

    pub(super) fn host(&mut self, action: HostAction) {
        self.output(Output::Host(action));
    }

    pub(super) fn id(&self, index: usize) -> NodeId {
        self.peers.id(index)
    }

    /// Whether all outputs were taken.
    #[cfg(feature = "sim")]
    pub(super) fn is_drained(&self) -> bool {
        self.outputs.is_empty()
    }
}
