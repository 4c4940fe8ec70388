//! Any sequence of messages, links, host reports, saves, restarts and steps of time into one elector.
//!
//! Messages may say anything, also what no honest peer can say. Whatever comes in (sentences of
//! `docs/protocol.md`):
//!
//! 1. Nothing panics, no input makes more than [`OUTPUTS_MAX`] outputs, and timers come to rest.
//! 2. Epochs never go back, also over restarts, and none is spoken that is not durable (E4).
//! 3. One vote per epoch, durable before it is spoken, as long as the record is not lost (E2, E3).
//! 4. The gate is open on a primary only, and for no longer than a lease (L3).
//! 5. What is sent goes to members and can be written and read (W1 to W15).

mod script;

pub use script::Script;
use script::{Report, Say, Step};

use kevy_elect_plugin::config::{Config, LossPolicy, Member};
use kevy_elect_plugin::elector::{Elector, GateState, HostAction, HostReport, Mutation, Output, PersistSeq};
use kevy_elect_plugin::ids::{EPOCH_MAX, Epoch, NodeId, Round};
use kevy_elect_plugin::message::{Message, Offer, Role};
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::state::HardState;
use kevy_elect_plugin::time::Instant;
use kevy_elect_plugin::wire::{Frame, decode, encode};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The most outputs that one input may make, beside a fixed number for every member.
pub const OUTPUTS_MAX: usize = 64;
const OUTPUTS_PER_MEMBER_MAX: usize = 16;
/// Calls of `handle_timeout` at one instant after which nothing may be due any more.
const TIMEOUTS_TO_REST: usize = 8;

/// Plays the script and checks after every step.
pub fn check(script: Script) {
    let members = script.members();
    let mut node = Node::start(&script, members);
    node.elector.set_mutation(mutation());
    for step in &script.steps {
        node.step(step);
    }
}

/// A deliberate fault, by the name in this variable: to see that the fuzzer would find it.
fn mutation() -> Option<Mutation> {
    static NAMED: OnceLock<Option<Mutation>> = OnceLock::new();
    *NAMED.get_or_init(|| {
        let name = std::env::var("KEVY_ELECT_MUTATION").ok()?;
        Some(Mutation::named(&name).unwrap_or_else(|| panic!("no mutation is called {name}")))
    })
}

struct Node {
    config: Config,
    members: Vec<Member>,
    elector: Elector,
    now: Instant,
    seed: u64,
    /// What a restart finds.
    record: Option<HardState>,
    /// Saves that are not over, the oldest first.
    saves: Vec<(PersistSeq, HardState)>,
    /// Where the host's data ends.
    position: Position,
    /// What was asked last, for answers that fit.
    asked: Option<(bool, Offer)>,
    beat: Round,
    /// Epoch to candidate: every vote that was spoken since the record was lost.
    votes: BTreeMap<u64, NodeId>,
    epoch: Epoch,
}

impl Node {
    fn start(script: &Script, members: Vec<Member>) -> Self {
        let policy = if script.dominate { LossPolicy::Dominate } else { LossPolicy::Sum };
        let config = Config::builder(members[0].id, members.iter().copied()).loss_policy(policy);
        let config = config.build().expect("a fair configuration");
        let record = script.record(&members);
        let now = Instant::from_nanos(script.clock_nanos);
        let elector = Elector::new(config.clone(), record.clone(), 0, script.seed, now);
        let position = record.as_ref().map_or(Position::NONE, |record| record.position.clone());
        let epoch = elector.epoch();
        let votes = record.iter().filter_map(|record| Some((record.epoch.0, record.voted_for?))).collect();
        let mut node = Self {
            config,
            members,
            elector,
            now,
            seed: script.seed,
            record,
            saves: Vec::new(),
            position,
            asked: None,
            beat: Round(0),
            votes,
            epoch,
        };
        node.drain();
        node
    }

    fn step(&mut self, step: &Step) {
        let (now, elector) = (self.now, &mut self.elector);
        match step {
            Step::Message { from, say } => {
                let (from, known) = (self.name(*from), self.known());
                let message = say.message(known, |who| self.name(who));
                self.elector.handle_message(now, from, message);
            }
            Step::Answer { from, yes } => {
                let Some((vote, offer)) = self.asked.clone() else { return };
                let (from, message) = (self.name(*from), Say::answer(vote, &offer, *yes));
                self.elector.handle_message(now, from, message);
            }
            Step::Echo { from } => {
                let message = Say::echo(self.elector.epoch(), self.beat, self.config.node());
                let from = self.name(*from);
                self.elector.handle_message(now, from, message);
            }
            Step::Link { peer, event } => {
                let event = event.event();
                let peer = self.name(*peer);
                self.elector.handle_link(now, peer, event);
            }
            Step::Wait(time) => {
                self.now += time.duration();
                return;
            }
            Step::WaitForTimer => {
                self.now = self.now.max(elector.next_timeout().unwrap_or(self.now));
                return self.time_passes();
            }
            Step::Timeout => return self.time_passes(),
            // A clock that goes back counts as one that stands still.
            Step::EarlyTimeout(early) => {
                elector.handle_timeout(self.now.saturating_sub(early.duration()));
            }
            Step::Saved => {
                let Some((seq, state)) = self.saves.pop() else { return };
                self.saves.clear();
                self.record = Some(state);
                self.elector.handle_persisted(now, seq);
            }
            Step::SaveFailed { kept } => {
                let Some((seq, state)) = self.saves.pop() else { return };
                self.saves.clear();
                if *kept {
                    self.record = Some(state);
                }
                self.elector.handle_persist_failed(now, seq, "told to fail");
            }
            Step::Host(report) => self.report(report),
            Step::Command(command) => {
                let command = command.command(|who| self.name(who));
                self.elector.handle_command(now, command);
            }
            Step::Restart { lost, floor } => self.restart(*lost, *floor),
        }
        self.drain();
        self.judge();
    }

    /// The driver calls at every deadline. Calling again at the same instant must come to rest.
    fn time_passes(&mut self) {
        for _ in 0..TIMEOUTS_TO_REST {
            self.elector.handle_timeout(self.now);
            self.drain();
            self.judge();
            if self.elector.next_timeout().is_none_or(|at| at > self.now) {
                return;
            }
        }
        // At the end of time every deadline is over for ever.
        let end = self.now + self.config.election_timeout() * 8 == Instant::from_nanos(u64::MAX);
        assert!(end, "{:?} is due again and again at {:?}", self.elector.next_timeout(), self.now);
    }

    fn report(&mut self, report: &Report) {
        let (now, epoch) = (self.now, self.elector.epoch().0);
        match report {
            Report::Position { stream, offsets } => {
                let stream_epoch = Epoch(stream.at(epoch));
                let offsets: Vec<u64> = offsets.iter().map(|offset| offset.at(0)).collect();
                // What is refused leaves the position as it was.
                let _ = self.position.set(stream_epoch, &offsets);
                self.elector.handle_host(now, HostReport::Position { stream_epoch, offsets: &offsets });
            }
            Report::Promoted(at) => self.elector.handle_host(now, HostReport::Promoted(Epoch(at.at(epoch)))),
            Report::PromoteFailed(at) => {
                self.elector.handle_host(now, HostReport::PromoteFailed(Epoch(at.at(epoch)), "told to fail"));
            }
            Report::Followed(at) => self.elector.handle_host(now, HostReport::Followed(Epoch(at.at(epoch)))),
            Report::FollowFailed(at) => {
                self.elector.handle_host(now, HostReport::FollowFailed(Epoch(at.at(epoch)), "told to fail"));
            }
            Report::Fenced => self.elector.handle_host(now, HostReport::Fenced),
            Report::Health(health) => self.elector.handle_host(now, HostReport::Health(health.health())),
        }
    }

    fn restart(&mut self, lost: bool, floor: u64) {
        let before = self.elector.status().incarnation;
        if lost {
            // Whatever it said before binds it no more; admission is what protects the others (A1).
            self.record = None;
            self.votes.clear();
            self.epoch = Epoch::ZERO;
        } else if let Some(record) = &self.record {
            assert!(record.epoch <= self.epoch);
            self.epoch = record.epoch;
        } else {
            self.epoch = Epoch::ZERO;
        }
        self.saves.clear();
        (self.asked, self.beat) = (None, Round(0));
        let seed = self.seed ^ floor;
        self.elector = Elector::new(self.config.clone(), self.record.clone(), floor, seed, self.now);
        self.elector.set_mutation(mutation());
        let after = self.elector.status().incarnation;
        // A process that saved nothing was never heard of.
        let known = self.record.as_ref().is_some_and(|record| record.incarnation >= before);
        assert!(!known || after > before || before.0 == u64::MAX, "incarnation {after} after {before}");
    }

    fn drain(&mut self) {
        let max = OUTPUTS_MAX + OUTPUTS_PER_MEMBER_MAX * self.members.len();
        let mut outputs = 0;
        while let Some(output) = self.elector.poll_output() {
            outputs += 1;
            assert!(outputs <= max, "more than {max} outputs for one input: {output:?}");
            match output {
                Output::Persist(seq, state) => {
                    assert!(self.saves.last().is_none_or(|(last, _)| *last < seq));
                    self.saves.push((seq, state));
                }
                Output::Host(HostAction::Detach(seq)) => {
                    let position = self.position.clone();
                    self.elector.handle_host(self.now, HostReport::Detached(seq, &position));
                }
                Output::Host(_) => {}
                Output::Send(to, message) => {
                    to.ids().iter().for_each(|to| self.judge_send(*to, &message));
                }
                Output::Event(event) => assert!(!event.to_string().is_empty()),
                other => unreachable!("nothing here carries out {other:?}"),
            }
        }
        // A driver writes the newest state only; a few that wait are all there ever are.
        if self.saves.len() > 4 {
            self.saves.drain(..self.saves.len() - 1);
        }
    }

    fn judge_send(&mut self, to: NodeId, message: &Message) {
        assert!(
            to != self.config.node() && self.members.iter().any(|member| member.id == to),
            "sent to {to}"
        );
        let mut bytes = Vec::new();
        encode(message, &mut bytes);
        let read = decode(&bytes);
        let Ok(Some((Frame::Message(read), used))) = read else { panic!("{message:?} reads as {read:?}") };
        let mut again = Vec::new();
        encode(&read, &mut again);
        assert!(used == bytes.len() && again == bytes, "{message:?} reads as {read:?}");

        let durable = self.record.as_ref().map_or(Epoch::ZERO, |record| record.epoch);
        match message {
            Message::Heartbeat(m) => {
                assert!(m.epoch <= durable, "{message:?} before the disk knows; it has {durable}");
                self.beat = m.round;
            }
            Message::Echo(m) => assert!(m.epoch <= durable, "{message:?}; the disk has {durable}"),
            Message::Announce(m) => assert!(m.epoch <= durable, "{message:?}; the disk has {durable}"),
            Message::PreOffer(offer) => self.asked = Some((false, offer.clone())),
            Message::Offer(offer) => {
                self.asked = Some((true, offer.clone()));
                self.judge_vote(offer.epoch, self.config.node());
            }
            Message::Accept(grant) => self.judge_vote(grant.epoch, to),
            _ => {}
        }
    }

    fn judge_vote(&mut self, epoch: Epoch, candidate: NodeId) {
        let record = self.record.as_ref().expect("a vote and no record");
        let durable = record.epoch > epoch || record.epoch == epoch && record.voted_for == Some(candidate);
        assert!(durable, "a vote for {candidate} in {epoch}; the disk has {record:?}");
        let first = *self.votes.entry(epoch.0).or_insert(candidate);
        assert_eq!(first, candidate, "two votes in epoch {epoch}");
    }

    fn judge(&mut self) {
        let (elector, now) = (&self.elector, self.now);
        let (epoch, status) = (elector.epoch(), elector.status());
        assert!(epoch >= self.epoch && epoch <= EPOCH_MAX, "epoch {epoch} after {}", self.epoch);
        self.epoch = epoch;
        if let GateState::Open(until) = elector.gate() {
            assert_eq!(status.role, Role::Primary);
            let longest = Config::lease_max(self.config.election_timeout(), self.config.drift_percent());
            assert!(until <= now + longest, "a lease until {until:?} at {now:?}");
        }
        assert!(elector.lease_left(now) <= self.config.election_timeout());
        assert!(elector.peers().count() + 1 == self.members.len());
        assert!(status.voters_reachable <= self.config.voters());
    }

    fn known(&self) -> script::Known {
        let campaign = self.asked.as_ref().map_or(Round(0), |(_, offer)| offer.round);
        script::Known { epoch: self.elector.epoch(), beat: self.beat, campaign }
    }

    /// Members by their number, and beyond them a stranger.
    fn name(&self, number: u8) -> NodeId {
        let known = self.members.get(usize::from(number) % (self.members.len() + 1));
        known.map_or_else(|| NodeId::new("stranger").expect("a name"), |member| member.id)
    }
}
