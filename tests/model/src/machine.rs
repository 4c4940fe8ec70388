//! One machine: the disk, the process with the real elector, and what it knows of its links.

use crate::time::{NODES, config, id, local, number};
use kevy_elect_plugin::elector::{
    Elector, GateState, HostAction, HostReport, Mutation, Output, PersistSeq, Rounds,
};
use kevy_elect_plugin::ids::Epoch;
use kevy_elect_plugin::link::LinkEvent;
use kevy_elect_plugin::message::Message;
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::state::HardState;
use std::hash::{Hash, Hasher};

/// SplitMix64 draws zero from this seed: a retry comes as early as it can, and a late wake covers the rest.
const EARLIEST: u64 = 0x9e37_79b9_7f4a_7c15_u64.wrapping_neg();

/// A machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) node: usize,
    /// What a restart finds.
    pub(crate) disk: HardState,
    pub(crate) process: Option<Process>,
    /// The newest vote that was spoken: epoch and candidate. A machine remembers it for the checker, not for itself.
    pub(crate) spoken: Option<(Epoch, usize)>,
}

/// A process.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) elector: Elector,
    /// Which start of the process this is.
    pub(crate) incarnation: u64,
    /// The newest save, not durable yet.
    pub(crate) saving: Option<(PersistSeq, HardState)>,
    /// Which incarnation of each peer it is linked with.
    pub(crate) linked: [Option<u64>; NODES],
}

/// What a process wants to be sent.
pub(crate) type Sent = (usize, Message);

/// An input of the elector.
pub(crate) enum Input<'a> {
    Time,
    Message(usize, &'a Message),
    Link(usize, LinkEvent),
    Saved,
}

impl Machine {
    pub(crate) fn new(node: usize, disk: HardState) -> Self {
        Self { node, disk, process: None, spoken: None }
    }

    /// Starts the process; gives what it sends.
    pub(crate) fn start(&mut self, tick: u64, mutation: Option<Mutation>) -> Vec<Sent> {
        let now = local(self.node, tick);
        let mut elector = Elector::new(config(self.node), Some(self.disk.clone()), 0, EARLIEST, now);
        elector.set_mutation(mutation);
        let incarnation = elector.status().incarnation.0;
        self.process = Some(Process { elector, incarnation, saving: None, linked: [None; NODES] });
        self.drain(tick)
    }

    /// The process ends. Whether the save under way has reached the disk, nobody knows.
    pub(crate) fn crash(&mut self, saved: bool) {
        if let Some(Process { saving: Some((_, state)), .. }) = self.process.take()
            && saved
        {
            self.disk = state;
        }
    }

    /// Gives the elector an input and carries out what it wants; gives what it sends.
    pub(crate) fn input(&mut self, tick: u64, input: Input<'_>) -> Vec<Sent> {
        let now = local(self.node, tick);
        let Some(process) = &mut self.process else { return Vec::new() };
        process.elector.set_seed(EARLIEST);
        match input {
            Input::Time => process.elector.handle_timeout(now),
            Input::Message(from, message) => process.elector.handle_message(now, id(from), message.clone()),
            Input::Link(peer, event) => {
                process.linked[peer] = match event {
                    LinkEvent::Up { incarnation } => Some(incarnation.0),
                    _ => None,
                };
                process.elector.handle_link(now, id(peer), event);
            }
            Input::Saved => {
                let Some((seq, state)) = process.saving.take() else { return Vec::new() };
                self.disk = state;
                process.elector.handle_persisted(now, seq);
            }
        }
        self.drain(tick)
    }

    /// The host does everything at once and has the same data everywhere: nothing narrows who may win.
    fn drain(&mut self, tick: u64) -> Vec<Sent> {
        let now = local(self.node, tick);
        let Some(process) = &mut self.process else { return Vec::new() };
        let mut sent = Vec::new();
        while let Some(output) = process.elector.poll_output() {
            match output {
                Output::Persist(seq, state) => process.saving = Some((seq, state)),
                Output::Send(to, message) => {
                    let receivers = to.ids().iter().filter_map(|to| number(*to));
                    sent.extend(receivers.map(|to| (to, message.clone())));
                }
                Output::Host(HostAction::Detach(seq)) => {
                    process.elector.handle_host(now, HostReport::Detached(seq, &Position::NONE));
                }
                Output::Host(HostAction::Promote(epoch)) => {
                    process.elector.handle_host(now, HostReport::Promoted(epoch));
                }
                Output::Host(HostAction::Follow(epoch, _)) => {
                    process.elector.handle_host(now, HostReport::Followed(epoch));
                }
                Output::Host(HostAction::Fence(..)) => {
                    process.elector.handle_host(now, HostReport::Fenced);
                }
                Output::Host(HostAction::Resume(_)) | Output::Event(_) => {}
                other => unreachable!("the model cannot carry out {other:?}"),
            }
        }
        sent
    }

    /// Which start of the process runs.
    pub(crate) fn incarnation(&self) -> Option<u64> {
        self.process.as_ref().map(|process| process.incarnation)
    }

    /// Whether its elector wants to be called.
    pub(crate) fn is_due(&self, tick: u64) -> bool {
        let due = self.process.as_ref().and_then(|process| process.elector.next_timeout());
        due.is_some_and(|at| at <= local(self.node, tick))
    }

    /// Whether its gate would let a write pass.
    pub(crate) fn writes(&self, tick: u64) -> bool {
        let gate = self.process.as_ref().map(|process| process.elector.gate());
        matches!(gate, Some(GateState::Open(until)) if until > local(self.node, tick))
    }

    /// Whether this voter cannot help to elect anybody but `primary` now.
    pub(crate) fn is_bound_to(&self, primary: usize, tick: u64) -> bool {
        let Some(process) = &self.process else { return true };
        let (status, now) = (process.elector.status(), local(self.node, tick));
        self.node == primary
            || status.promise.is_some_and(|(to, until)| to == id(primary) && until > now)
            || status.booting_until.is_some_and(|until| until > now)
    }

    pub(crate) fn rounds(&self) -> Rounds {
        self.process.as_ref().map(|process| process.elector.rounds()).unwrap_or_default()
    }

    /// Hashes what decides the future of this machine.
    pub(crate) fn digest(&self, tick: u64, rounds: &[Rounds], hasher: &mut impl Hasher) {
        digest_record(&self.disk, hasher);
        self.spoken.hash(hasher);
        self.process.is_some().hash(hasher);
        if let Some(process) = &self.process {
            process.elector.digest(local(self.node, tick), rounds, hasher);
            process.linked.hash(hasher);
            process.saving.is_some().hash(hasher);
            if let Some((_, state)) = &process.saving {
                digest_record(state, hasher);
            }
        }
    }
}

fn digest_record(record: &HardState, hasher: &mut impl Hasher) {
    (record.epoch, record.voted_for.and_then(number), record.incarnation, record.standing).hash(hasher);
}
