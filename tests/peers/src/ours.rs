//! This project's elector. Saves and host calls are done at once, as kevy-elect's are.

use crate::node::{Data, Input, Node, Outbox, Seat, name};
use crate::{HEARTBEAT_MS, TIMEOUT_MS};
use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::elector::{Elector, GateState, HostAction, HostReport, Output};
use kevy_elect_plugin::ids::{Epoch, NodeId};
use kevy_elect_plugin::message::{Message, Role, Verb};
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::state::HardState;
use kevy_elect_plugin::time::{Duration, Instant};

pub(crate) struct Ours {
    elector: Elector,
    ids: Vec<NodeId>,
    record: Option<HardState>,
    data: Data,
    upstream: Option<usize>,
}

impl Ours {
    fn drain(&mut self, now: u64, out: &mut Outbox<Message>) {
        let at = instant(now);
        while let Some(output) = self.elector.poll_output() {
            match output {
                Output::Persist(seq, state) => {
                    self.record = Some(state);
                    self.elector.handle_persisted(at, seq);
                }
                Output::Send(to, message) => {
                    let receivers = to.ids().iter().filter_map(|to| self.number(*to));
                    out.extend(receivers.map(|to| (to, message.clone())));
                }
                Output::Host(HostAction::Detach(seq)) => {
                    self.upstream = None;
                    let position = position(self.data);
                    self.elector.handle_host(at, HostReport::Detached(seq, &position));
                }
                Output::Host(HostAction::Promote(epoch)) => {
                    self.upstream = None;
                    self.elector.handle_host(at, HostReport::Promoted(epoch));
                }
                Output::Host(HostAction::Follow(epoch, primary)) => {
                    self.upstream = self.number(primary);
                    self.elector.handle_host(at, HostReport::Followed(epoch));
                }
                Output::Host(HostAction::Fence(..)) => self.elector.handle_host(at, HostReport::Fenced),
                Output::Host(HostAction::Resume(_)) | Output::Event(_) => {}
                other => unreachable!("nothing here carries out {other:?}"),
            }
        }
    }

    fn number(&self, id: NodeId) -> Option<usize> {
        self.ids.iter().position(|known| *known == id)
    }
}

impl Node for Ours {
    type Message = Message;
    type Disk = Option<HardState>;

    fn start(seat: Seat, disk: Self::Disk, data: Data, now: u64, out: &mut Outbox<Message>) -> Self {
        let ids: Vec<_> = (0..seat.nodes).filter_map(|node| NodeId::new(&name(node)).ok()).collect();
        let config = Config::builder(ids[seat.me], ids.iter().map(|id| Member::voter(*id)))
            .heartbeat_interval(Duration::from_millis(HEARTBEAT_MS))
            .election_timeout(Duration::from_millis(TIMEOUT_MS))
            .build()
            .unwrap_or_else(|error| unreachable!("{error}"));
        let record = if seat.habits.keeps_votes { disk } else { None };
        let mut elector = Elector::new(config, record.clone(), 0, seat.seed, instant(now));
        elector.set_mutation(seat.habits.mutation);
        let mut node = Self { elector, ids, record, data, upstream: None };
        node.input(now, Input::Data(data), out);
        node
    }

    fn input(&mut self, now: u64, input: Input<Message>, out: &mut Outbox<Message>) {
        let at = instant(now);
        match input {
            Input::Time => self.elector.handle_timeout(at),
            Input::Message(from, message) => self.elector.handle_message(at, self.ids[from], message),
            Input::Link(peer, event) => self.elector.handle_link(at, self.ids[peer], event),
            Input::Data(data) => {
                self.data = data;
                let (stream_epoch, offsets) = (Epoch(data.stream), &[data.offset]);
                self.elector.handle_host(at, HostReport::Position { stream_epoch, offsets });
            }
        }
        self.drain(now, out);
    }

    fn wake_at(&self) -> u64 {
        self.elector.next_timeout().map_or(u64::MAX, |at| at.as_nanos() - START)
    }

    fn into_disk(self) -> Self::Disk {
        self.record
    }

    /// From the won election on, not only once the host serves: the strictest reading.
    fn office(&self) -> Option<u64> {
        self.elector.is_reigning().then(|| self.elector.epoch().0)
    }

    fn may_write(&self, now: u64) -> bool {
        matches!(self.elector.gate(), GateState::Open(until) if until > instant(now))
    }

    fn upstream(&self) -> Option<usize> {
        self.upstream
    }

    fn incarnation(&self) -> u64 {
        self.elector.status().incarnation.0
    }

    fn state(&self) -> (&'static str, u64) {
        let role = match self.elector.role() {
            Role::Primary => "primary",
            Role::Promoting => "promoting",
            Role::Candidate => "candidate",
            Role::Replica => "replica",
        };
        (role, self.elector.epoch().0)
    }

    fn told(message: &Message) -> Option<String> {
        // A match on messages needs a last arm, since they may grow. One on verbs needs none: a new one does not compile before it is sorted in here.
        match message.verb() {
            Verb::Hb | Verb::Echo | Verb::Rank => return None,
            Verb::Hello | Verb::PreOffer | Verb::PreAccept | Verb::Offer | Verb::Accept | Verb::Reject => {}
            Verb::Announce | Verb::Resign | Verb::Members | Verb::Held => {}
        }
        let verb = message.verb().as_str();
        Some(match message {
            Message::PreOffer(m) | Message::Offer(m) => format!("{verb} for epoch {}", m.epoch),
            Message::PreAccept(m) | Message::Accept(m) => format!("{verb} for epoch {}", m.epoch),
            Message::Reject(m) => format!("{verb} ({:?}) for epoch {}", m.reason, m.epoch),
            Message::Announce(m) => format!("{verb} of epoch {}", m.epoch),
            Message::Resign(m) => format!("{verb} of epoch {}", m.epoch),
            other => format!("{other:?}"),
        })
    }
}

/// Clocks that are far from zero, so that nothing saturates.
const START: u64 = 1_000_000_000_000;

fn instant(now: u64) -> Instant {
    Instant::from_nanos(START + now)
}

fn position(data: Data) -> Position {
    Position::new(Epoch(data.stream), &[data.offset]).unwrap_or_default()
}
