//! The cluster at one moment, and what can happen next.

use crate::broken::Broken;
use crate::machine::{Input, Machine, Sent};
use crate::time::{NODES, id};
use kevy_elect_plugin::elector::{Mutation, Rounds, digest_message};
use kevy_elect_plugin::ids::{Epoch, Incarnation};
use kevy_elect_plugin::link::LinkEvent;
use kevy_elect_plugin::message::{Message, Role, Verb};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A tick of real time passes for everybody.
    Tick,
    /// A node does what is due.
    Wake(usize),
    /// Of the messages under way between two nodes, this one arrives.
    Deliver {
        /// Who sent it.
        from: usize,
        /// Who gets it.
        to: usize,
        /// Which, the oldest first.
        at: usize,
    },
    /// A save is over.
    Saved(usize),
    /// A process dies; the save under way has, or has not, reached the disk.
    Crash {
        /// Whose.
        node: usize,
        /// Whether it has.
        saved: bool,
    },
    /// A process starts again.
    Restart(usize),
    /// A node learns that a peer's process is gone: the link ended in order, and a connection was refused.
    Gone {
        /// Who learns it.
        at: usize,
        /// Of whom.
        peer: usize,
    },
    /// A node learns of the peer's new process.
    LinkUp {
        /// Who learns it.
        at: usize,
        /// Of whom.
        peer: usize,
    },
}

/// The cluster.
#[derive(Clone)]
pub struct World {
    pub(crate) machines: [Arc<Machine>; NODES],
    /// Messages under way, from and to. They may overtake each other; one that never arrives is lost.
    wires: [[Arc<Vec<Message>>; NODES]; NODES],
    /// Real time.
    pub(crate) tick: u64,
    /// How many more crashes there may be.
    pub(crate) crashes_left: u8,
    pub(crate) crashed: bool,
    /// Who has won each epoch.
    winners: Arc<BTreeMap<u64, usize>>,
    /// The first sentence that does not hold any more.
    pub(crate) broken: Option<Broken>,
    /// How many actions led here. No part of the state: fewer may lead here, too.
    pub(crate) depth: u32,
}

/// What does not change in a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) mutation: Option<Mutation>,
    pub(crate) in_flight_max: usize,
    pub(crate) beats: Beats,
}

/// Which heartbeats the network carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beats {
    /// All.
    All,
    /// Only those of primaries; the others' are lost, as on any bad day. Far fewer states, so it goes deeper.
    Primaries,
}

/// A verb that is missing here is not judged in `World::judge_sent`.
const _: fn(Verb) = |verb| match verb {
    Verb::Hello | Verb::Hb | Verb::Echo | Verb::PreOffer | Verb::PreAccept | Verb::Offer => {}
    Verb::Accept | Verb::Reject | Verb::Announce | Verb::Resign | Verb::Members | Verb::Held | Verb::Rank => {
    }
};

impl World {
    pub(crate) fn new(machines: [Machine; NODES], tick: u64, crashes: u8) -> Self {
        Self {
            machines: machines.map(Arc::new),
            wires: Default::default(),
            tick,
            crashes_left: crashes,
            crashed: false,
            winners: Arc::default(),
            broken: None,
            depth: 0,
        }
    }

    /// All that can happen, in a fixed order.
    pub(crate) fn actions(&self, actions: &mut Vec<Action>) {
        actions.push(Action::Tick);
        for node in 0..NODES {
            let machine = &self.machines[node];
            let Some(process) = &machine.process else {
                actions.push(Action::Restart(node));
                continue;
            };
            if machine.is_due(self.tick) {
                actions.push(Action::Wake(node));
            }
            if process.saving.is_some() {
                actions.push(Action::Saved(node));
            }
            if self.crashes_left > 0 {
                actions.push(Action::Crash { node, saved: false });
                if process.saving.is_some() {
                    actions.push(Action::Crash { node, saved: true });
                }
            }
            for peer in (0..NODES).filter(|peer| *peer != node) {
                match (process.linked[peer], self.machines[peer].incarnation()) {
                    (Some(_), None) => actions.push(Action::Gone { at: node, peer }),
                    (known, Some(there)) if known != Some(there) => {
                        actions.push(Action::LinkUp { at: node, peer });
                    }
                    (known, _) if known.is_some() => {
                        let wire = self.wires[peer][node].len();
                        actions.extend((0..wire).map(|at| Action::Deliver { from: peer, to: node, at }));
                    }
                    _ => {}
                }
            }
        }
    }

    /// The cluster after an action.
    pub(crate) fn after(&self, action: Action, rules: Rules) -> Self {
        let mut next = self.clone();
        next.depth += 1;
        next.act(action, rules);
        next
    }

    pub(crate) fn act(&mut self, action: Action, rules: Rules) {
        match action {
            Action::Tick => {
                self.tick += 1;
                self.judge();
            }
            Action::Wake(node) => self.step(node, rules, |machine, tick| machine.input(tick, Input::Time)),
            Action::Saved(node) => self.step(node, rules, |machine, tick| machine.input(tick, Input::Saved)),
            Action::Deliver { from, to, at } => {
                let message = Arc::make_mut(&mut self.wires[from][to]).remove(at);
                self.step(to, rules, |machine, tick| machine.input(tick, Input::Message(from, &message)));
            }
            Action::Crash { node, saved } => {
                self.crashes_left -= 1;
                self.crashed = true;
                Arc::make_mut(&mut self.machines[node]).crash(saved);
                // What it had not read is gone with it; what it sent may still arrive.
                self.wires.iter_mut().for_each(|from| from[node] = Arc::default());
                self.judge();
            }
            Action::Restart(node) => {
                self.step(node, rules, |machine, tick| machine.start(tick, rules.mutation));
            }
            Action::Gone { at, peer } => {
                self.wires[peer][at] = Arc::default();
                for event in [LinkEvent::Closed, LinkEvent::Refused] {
                    self.step(at, rules, |machine, tick| machine.input(tick, Input::Link(peer, event)));
                }
            }
            Action::LinkUp { at, peer } => {
                let Some(there) = self.machines[peer].incarnation() else { return };
                // Nothing of an earlier process is delivered after this (T13).
                let old = self.machines[at].process.as_ref().and_then(|process| process.linked[peer]);
                if old.is_some() {
                    self.wires[peer][at] = Arc::default();
                    // Nothing is cut here, so the end of what led to the process before is read first (T6).
                    self.step(at, rules, |machine, tick| {
                        machine.input(tick, Input::Link(peer, LinkEvent::Closed))
                    });
                }
                let event = LinkEvent::Up { incarnation: Incarnation(there) };
                self.step(at, rules, |machine, tick| machine.input(tick, Input::Link(peer, event)));
            }
        }
    }

    /// Lets a machine do something, puts what it sends on the wires, and looks whether all still holds.
    fn step(&mut self, node: usize, rules: Rules, work: impl FnOnce(&mut Machine, u64) -> Vec<Sent>) {
        let reigned = self.reign(node);
        let before = self.epoch(node);
        let machine = Arc::make_mut(&mut self.machines[node]);
        let sent = work(machine, self.tick);
        for (to, message) in sent {
            self.judge_sent(node, to, &message);
            self.put(node, to, message, rules);
        }
        let epoch = self.epoch(node);
        if epoch < before {
            self.broken(Broken::EpochWentBack);
        }
        let reigns = self.reign(node);
        if reigns.is_some()
            && reigns != reigned
            && let Some(epoch) = epoch
            && *Arc::make_mut(&mut self.winners).entry(epoch.0).or_insert(node) != node
        {
            self.broken(Broken::TwoPrimaries);
        }
        self.judge();
    }

    /// A peer without a link gets nothing. Where too much is under way the oldest gives up its place, as in the
    /// transport's queues.
    fn put(&mut self, from: usize, to: usize, message: Message, rules: Rules) {
        let linked = self.machines[from].process.as_ref().and_then(|process| process.linked[to]);
        if linked.is_none() || linked != self.machines[to].incarnation() {
            return;
        }
        if rules.beats == Beats::Primaries
            && let Message::Heartbeat(heartbeat) = &message
            && matches!(heartbeat.role, Role::Candidate | Role::Replica)
        {
            return;
        }
        let most = rules.in_flight_max;
        let wire = Arc::make_mut(&mut self.wires[from][to]);
        if wire.len() >= most {
            wire.remove(0);
        }
        wire.push(message);
    }

    fn judge_sent(&mut self, node: usize, to: usize, message: &Message) {
        let record = &self.machines[node].disk;
        let durable = record.epoch;
        let vote = match message {
            Message::Offer(offer) => Some((offer.epoch, node)),
            Message::Accept(grant) => Some((grant.epoch, to)),
            Message::Heartbeat(_) | Message::Echo(_) | Message::Announce(_) => None,
            _ => return,
        };
        let Some((epoch, candidate)) = vote else {
            let spoken = match message {
                Message::Heartbeat(heartbeat) => heartbeat.epoch,
                Message::Echo(echo) => echo.epoch,
                Message::Announce(announce) => announce.epoch,
                _ => return,
            };
            if spoken > durable {
                self.broken(Broken::SpokenBeforeDurable);
            }
            return;
        };
        let on_disk = durable > epoch || durable == epoch && record.voted_for == Some(id(candidate));
        match self.machines[node].spoken {
            Some((old, other)) if old == epoch && other != candidate => self.broken(Broken::TwoVotes),
            Some((old, _)) if old > epoch => self.broken(Broken::EpochWentBack),
            _ if !on_disk => self.broken(Broken::VoteNotDurable),
            _ => Arc::make_mut(&mut self.machines[node]).spoken = Some((epoch, candidate)),
        }
    }

    /// Looks at who may write now.
    fn judge(&mut self) {
        let mut writers = self.writers();
        let (Some(writer), second) = (writers.next(), writers.next()) else { return };
        drop(writers);
        if second.is_some() {
            self.broken(Broken::TwoWriters);
        }
        let bound = self.machines.iter().filter(|machine| machine.is_bound_to(writer, self.tick)).count();
        if bound <= NODES / 2 {
            self.broken(Broken::WriterWithoutQuorum);
        }
    }

    fn broken(&mut self, what: Broken) {
        // What a writer without a quorum leads to is the greater harm.
        if matches!(self.broken, None | Some(Broken::WriterWithoutQuorum)) {
            self.broken = Some(what);
        }
    }

    /// Who may write now.
    pub(crate) fn writers(&self) -> impl Iterator<Item = usize> + '_ {
        (0..NODES).filter(|node| self.machines[*node].writes(self.tick))
    }

    /// A node's epoch, while its process runs.
    pub(crate) fn epoch(&self, node: usize) -> Option<Epoch> {
        self.machines[node].process.as_ref().map(|process| process.elector.epoch())
    }

    fn reign(&self, node: usize) -> Option<Epoch> {
        let process = self.machines[node].process.as_ref()?;
        process.elector.is_reigning().then(|| process.elector.epoch())
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let rounds: [Rounds; NODES] = std::array::from_fn(|node| self.machines[node].rounds());
        (self.crashes_left, self.crashed, &*self.winners, self.broken).hash(hasher);
        for (from, machine) in self.machines.iter().enumerate() {
            machine.digest(self.tick, &rounds, hasher);
            for (to, wire) in self.wires[from].iter().enumerate() {
                wire.len().hash(hasher);
                for message in wire.iter() {
                    digest_message(message, rounds[from], rounds[to], hasher);
                }
            }
        }
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        let digest = |world: &Self| {
            let mut hasher = std::hash::DefaultHasher::new();
            world.hash(&mut hasher);
            hasher.finish()
        };
        digest(self) == digest(other)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One line: the time, each node's role and epoch, what is under way.
impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t={}", self.tick)?;
        for (node, machine) in self.machines.iter().enumerate() {
            match &machine.process {
                None => write!(f, " | n{node} down")?,
                Some(process) => {
                    let status = process.elector.status();
                    write!(f, " | n{node} {} e{}", status.role, status.epoch)?;
                    if machine.writes(self.tick) {
                        f.write_str(" WRITES")?;
                    } else if status.role == Role::Primary {
                        f.write_str(" fenced")?;
                    }
                    if let Some((to, until)) = status.promise
                        && until > crate::time::local(node, self.tick)
                    {
                        write!(f, " promised {to}")?;
                    }
                    if process.saving.is_some() {
                        f.write_str(" saving")?;
                    }
                }
            }
        }
        for (from, wires) in self.wires.iter().enumerate() {
            for (to, wire) in wires.iter().enumerate().filter(|(_, wire)| !wire.is_empty()) {
                let verbs: Vec<_> = wire.iter().map(|message| message.verb().as_str()).collect();
                write!(f, " | {from}>{to} {}", verbs.join(","))?;
            }
        }
        Ok(())
    }
}

/// What happens, with the message that is delivered.
pub(crate) fn told(world: &World, action: Action) -> String {
    match action {
        Action::Tick => "a tick passes".to_owned(),
        Action::Wake(node) => format!("n{node} does what is due"),
        Action::Saved(node) => format!("n{node}'s save is durable"),
        Action::Deliver { from, to, at } => {
            let message = &world.wires[from][to][at];
            format!("n{to} gets of n{from}: {message:?}")
        }
        Action::Crash { node, saved } => {
            format!("n{node} dies{}", if saved { ", its save has reached the disk" } else { "" })
        }
        Action::Restart(node) => format!("n{node} starts again"),
        Action::Gone { at, peer } => format!("n{at} learns that n{peer}'s process is gone"),
        Action::LinkUp { at, peer } => format!("n{at} learns of n{peer}'s new process"),
    }
}
