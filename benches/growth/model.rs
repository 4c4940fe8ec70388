//! Clusters on virtual time, one elector per node, to count what members cost: messages and bytes, and how long
//! elections take. No faults but the one that is measured; those are the simulator's.

use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::elector::{Elector, HostAction, HostReport, Output, PersistSeq};
use kevy_elect_plugin::event::EventKind;
use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId};
use kevy_elect_plugin::message::Message;
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::time::{Duration, Instant};
use kevy_elect_plugin::transport::LinkEvent;
use kevy_elect_plugin::wire::{FRAME_BYTES_MAX, encode};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// One way, and what is added at most by chance.
const DELAY: Duration = Duration::from_micros(200);
const JITTER_US: u64 = 100;
/// A save, and a promotion.
const SAVE: Duration = Duration::from_micros(400);
const PROMOTION: Duration = Duration::from_millis(1);
/// After a process's death: its links end, and then it refuses.
const CLOSED_AFTER: Duration = Duration::from_micros(300);
const REFUSED_AFTER: Duration = Duration::from_micros(500);
/// Within this much virtual time every election must have ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// What one node did since it was last asked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// Messages sent.
    pub(crate) messages: u64,
    /// Their frames.
    pub(crate) bytes: u64,
}

/// A cluster of voters and observers.
pub(crate) struct Model {
    ids: Vec<NodeId>,
    nodes: Vec<Node>,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    events: BTreeMap<u64, Event>,
    numbers: u64,
    now: Instant,
    writable: Option<usize>,
    rng: fastrand::Rng,
    frame: Vec<u8>,
    outputs: Vec<Output>,
}

struct Node {
    elector: Option<Elector>,
    wake: Option<Instant>,
    cost: Cost,
}

#[derive(Clone)]
enum Event {
    Wake(usize),
    Message { to: usize, from: NodeId, message: Message },
    Persisted(usize, PersistSeq),
    Promoted(usize, Epoch),
    Link { at: usize, peer: NodeId, event: LinkEvent },
}

impl Model {
    /// All are new; everybody who ever speaks is linked.
    pub(crate) fn new(
        voters: usize,
        observers: usize,
        seed: u64,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let start = Instant::from_nanos(1_000_000_000);
        let ids = (0..voters + observers)
            .map(|n| NodeId::new(&format!("n{n:04}")))
            .collect::<Result<Vec<_>, _>>()?;
        let members: Vec<_> = (ids.iter().enumerate())
            .map(|(n, id)| if n < voters { Member::voter(*id) } else { Member::observer(*id) })
            .collect();
        let mut model = Self {
            nodes: Vec::new(),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            numbers: 0,
            now: start,
            writable: None,
            rng: fastrand::Rng::with_seed(seed),
            frame: Vec::with_capacity(FRAME_BYTES_MAX),
            outputs: Vec::new(),
            ids,
        };
        for n in 0..model.ids.len() {
            let config = Config::builder(model.ids[n], members.iter().copied()).build()?;
            // Machines are not switched on in the same instant: heartbeats are spread over their interval.
            let on = start + Duration::from_micros(model.rng.u64(..100_000));
            let elector = Elector::new(config, None, 1, seed.wrapping_mul(1000) + n as u64, on);
            model.nodes.push(Node { elector: Some(elector), wake: None, cost: Cost::default() });
            model.step(n, |elector, now| {
                elector.handle_host(now, HostReport::Position { stream_epoch: Epoch::ZERO, offsets: &[0] });
            });
            for peer in 0..if n < voters { n } else { voters } {
                for (at, peer) in [(n, peer), (peer, n)] {
                    let event = LinkEvent::Up { incarnation: Incarnation(1) };
                    model.add(on, Event::Link { at, peer: model.ids[peer], event });
                }
            }
        }
        Ok(model)
    }

    /// Lets time pass until somebody may write; how long that took.
    pub(crate) fn elect(&mut self) -> Option<Duration> {
        let (begun, until) = (self.now, self.now + PATIENCE);
        while self.writable.is_none() && self.now < until {
            self.next();
        }
        self.writable.map(|_| self.now.saturating_since(begun))
    }

    /// Who may write.
    pub(crate) fn primary(&self) -> Option<usize> {
        self.writable
    }

    /// Lets `time` pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.queue.peek().is_some_and(|Reverse((at, _))| *at <= until) {
            self.next();
        }
        self.now = until;
    }

    /// What every node did since this was last asked.
    pub(crate) fn costs(&mut self) -> Vec<Cost> {
        self.nodes.iter_mut().map(|node| std::mem::take(&mut node.cost)).collect()
    }

    /// The primary's process dies: its links end, and new ones are refused.
    pub(crate) fn kill_primary(&mut self) {
        let Some(dead) = self.writable.take() else { return };
        self.nodes[dead].elector = None;
        for at in (0..self.nodes.len()).filter(|at| *at != dead) {
            let peer = self.ids[dead];
            for (after, event) in [(CLOSED_AFTER, LinkEvent::Closed), (REFUSED_AFTER, LinkEvent::Refused)] {
                let after = after + self.jitter();
                self.add(self.now + after, Event::Link { at, peer, event });
            }
        }
    }

    fn next(&mut self) {
        let Some(Reverse((at, number))) = self.queue.pop() else { return };
        self.now = self.now.max(at);
        let Some(event) = self.events.remove(&number) else { return };
        match event {
            Event::Wake(node) => {
                if self.nodes[node].wake.is_some_and(|wake| wake <= self.now) {
                    self.nodes[node].wake = None;
                    self.step(node, |elector, now| elector.handle_timeout(now));
                }
            }
            Event::Message { to, from, message } => {
                self.step(to, |elector, now| elector.handle_message(now, from, message));
            }
            Event::Persisted(node, seq) => self.step(node, |elector, now| elector.handle_persisted(now, seq)),
            Event::Promoted(node, epoch) => {
                self.step(node, |elector, now| elector.handle_host(now, HostReport::Promoted(epoch)));
            }
            Event::Link { at, peer, event } => {
                self.step(at, |elector, now| elector.handle_link(now, peer, event));
            }
        }
    }

    /// One input of one node, and all that follows from it at once.
    fn step(&mut self, node: usize, input: impl FnOnce(&mut Elector, Instant)) {
        let now = self.now;
        let Some(mut elector) = self.nodes[node].elector.take() else { return };
        let mut outputs = std::mem::take(&mut self.outputs);
        input(&mut elector, now);
        while let Some(output) = elector.poll_output() {
            match output {
                Output::Host(HostAction::Detach(seq)) => {
                    elector.handle_host(now, HostReport::Detached(seq, &Position::NONE));
                }
                Output::Host(HostAction::Follow(epoch, _)) => {
                    elector.handle_host(now, HostReport::Followed(epoch))
                }
                Output::Host(HostAction::Fence(..)) => elector.handle_host(now, HostReport::Fenced),
                other => outputs.push(other),
            }
        }
        for output in outputs.drain(..) {
            self.carry_out(node, output);
        }
        self.outputs = outputs;
        let wake = elector.next_timeout();
        if wake != self.nodes[node].wake {
            self.nodes[node].wake = wake;
            if let Some(at) = wake {
                self.add(at, Event::Wake(node));
            }
        }
        self.nodes[node].elector = Some(elector);
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        match output {
            Output::Persist(seq, _) => self.add(self.now + SAVE, Event::Persisted(node, seq)),
            Output::Send(to, message) => {
                self.frame.clear();
                encode(&message, &mut self.frame);
                let cost = &mut self.nodes[node].cost;
                cost.messages += to.ids().len() as u64;
                cost.bytes += (to.ids().len() * self.frame.len()) as u64;
                for to in to.ids() {
                    if let Ok(to) = self.ids.binary_search(to) {
                        let at = self.now + DELAY + self.jitter();
                        self.add(at, Event::Message { to, from: self.ids[node], message: message.clone() });
                    }
                }
            }
            Output::Host(HostAction::Promote(epoch)) => {
                self.add(self.now + PROMOTION, Event::Promoted(node, epoch));
            }
            Output::Event(event) if matches!(event.kind, EventKind::Writable { .. }) => {
                self.writable = Some(node)
            }
            _ => {}
        }
    }

    fn add(&mut self, at: Instant, event: Event) {
        self.numbers += 1;
        self.events.insert(self.numbers, event);
        self.queue.push(Reverse((at, self.numbers)));
    }

    fn jitter(&mut self) -> Duration {
        Duration::from_micros(self.rng.u64(..JITTER_US))
    }
}
