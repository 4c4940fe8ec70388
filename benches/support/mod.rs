//! One elector and peers that say yes to everything: what `benches/elector.rs`, `cargo instructions` and `cargo
//! growth` measure.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement that cannot be set up must not go on")]
#![allow(dead_code, unreachable_pub, reason = "each of its users measures something else")]

use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::elector::{Elector, HostAction, HostReport, Output};
use kevy_elect_plugin::fence::Health;
use kevy_elect_plugin::ids::{Epoch, NodeId, Round};
use kevy_elect_plugin::message::{Echo, Grant, Heartbeat, Message, Offer, Role, Standing};
use kevy_elect_plugin::position::{Position, Progress};
use kevy_elect_plugin::time::{Duration, Instant};

/// The heartbeat interval.
pub const INTERVAL: Duration = Duration::from_millis(100);
const START: Instant = Instant::from_nanos(1_000_000_000);

/// A node and its peers, which say yes to everything.
pub struct Cluster {
    ids: Vec<NodeId>,
    voters: usize,
    pub elector: Elector,
    pub now: Instant,
    round: u64,
}

impl Cluster {
    /// The first voter. All are new and know of each other; nobody reigns.
    pub fn new(voters: usize) -> Self {
        Self::with_observers(voters, 0)
    }

    /// The same beside observers.
    pub fn with_observers(voters: usize, observers: usize) -> Self {
        Self::of(0, voters, observers)
    }

    /// The last observer, which follows a primary.
    pub fn observer(voters: usize, observers: usize) -> Self {
        let mut cluster = Self::of(voters + observers - 1, voters, observers);
        cluster.observer_interval();
        cluster
    }

    fn of(node: usize, voters: usize, observers: usize) -> Self {
        let ids: Vec<_> =
            (0..voters + observers).map(|n| NodeId::new(&format!("n{n:04}")).unwrap()).collect();
        let member =
            |(n, id): (usize, &NodeId)| if n < voters { Member::voter(*id) } else { Member::observer(*id) };
        let config = Config::builder(ids[node], ids.iter().enumerate().map(member)).build().unwrap();
        let elector = Elector::new(config, None, 0, 1, START);
        let mut cluster = Self { ids, voters, elector, now: START, round: 1 };
        let position = HostReport::Position { stream_epoch: Epoch::ZERO, offsets: &[0, 0] };
        cluster.elector.handle_host(START, position);
        for peer in 1..voters {
            cluster.hear(peer, Epoch::ZERO, Role::Replica, None, Standing::New);
        }
        cluster.drain(|_, _| {});
        cluster.now += Duration::from_millis(1);
        cluster
    }

    /// The node wins: from the expired timer to the announced victory, all answers included.
    pub fn elect(&mut self) {
        self.elector.handle_timeout(self.now);
        let mut answers = Vec::new();
        let yes = |to, message: &Message| {
            let grant = |o: &Offer| Grant { epoch: o.epoch, round: o.round, identity: None };
            match message {
                Message::PreOffer(offer) => Some((to, Message::PreAccept(grant(offer)))),
                Message::Offer(offer) => Some((to, Message::Accept(grant(offer)))),
                _ => None,
            }
        };
        self.drain(|to, message| answers.extend(yes(to, message)));
        while let Some((from, answer)) = answers.pop() {
            self.elector.handle_message(self.now, from, answer);
            self.drain(|to, message| answers.extend(yes(to, message)));
        }
        assert_eq!(self.elector.role(), Role::Primary);
    }

    /// Everything a primary does in one heartbeat interval: its round sent to all, all echoes and all heartbeats
    /// taken.
    pub fn primary_interval(&mut self) {
        let sent = self.heartbeat();
        for peer in 1..self.ids.len() {
            if peer < self.voters {
                self.echo(peer, sent);
            }
            self.hear(peer, self.elector.epoch(), Role::Replica, Some(self.ids[0]), Standing::Member);
            self.drain(|_, _| {});
        }
    }

    /// The primary's timer: one round to all. Its number.
    pub fn heartbeat(&mut self) -> Round {
        self.now += INTERVAL;
        self.round += 1;
        self.elector.handle_timeout(self.now);
        let mut sent = Round(0);
        self.drain(|_, message| {
            if let Message::Heartbeat(heartbeat) = message {
                sent = heartbeat.round;
            }
        });
        sent
    }

    /// A voter's answer to a round of the primary.
    pub fn echo(&mut self, peer: usize, round: Round) {
        let (primary, epoch) = (Some(self.ids[0]), self.elector.epoch());
        let (standing, progress) = (Standing::Member, Progress::NONE);
        let echo = Message::Echo(Echo { epoch, round, primary, standing, progress });
        self.elector.handle_message(self.now, self.ids[peer], echo);
        self.drain(|_, _| {});
    }

    /// The same of a replica: the second voter reigns.
    pub fn replica_interval(&mut self) {
        self.replica_interval_with(|_, message| _ = std::hint::black_box(message));
    }

    /// The same, giving what it sends in answer.
    pub fn replica_interval_with(&mut self, mut sent: impl FnMut(NodeId, &Message)) {
        self.now += INTERVAL;
        self.round += 1;
        for peer in 1..self.voters {
            let role = if peer == 1 { Role::Primary } else { Role::Replica };
            self.hear(peer, Epoch(1), role, Some(self.ids[1]), Standing::Member);
        }
        self.elector.handle_timeout(self.now);
        self.drain(&mut sent);
    }

    /// The same of an observer: it hears its primary, and tells it how far it is.
    pub fn observer_interval(&mut self) {
        self.now += INTERVAL;
        self.round += 1;
        self.hear(1, Epoch(1), Role::Primary, Some(self.ids[1]), Standing::Member);
        self.elector.handle_timeout(self.now);
        self.drain(|_, message| _ = std::hint::black_box(message));
    }

    /// The second voter's id, who reigns over replicas and observers.
    pub fn other(&self) -> NodeId {
        self.ids[1]
    }

    fn hear(&mut self, peer: usize, epoch: Epoch, role: Role, primary: Option<NodeId>, standing: Standing) {
        let lease = if role == Role::Primary { Duration::from_millis(900) } else { Duration::ZERO };
        let heartbeat = Heartbeat {
            epoch,
            round: Round(self.round),
            role,
            standing,
            progress: Progress::NONE,
            primary,
            promise: Duration::ZERO,
            lease,
            health: Health::Good,
            identity: None,
            pause: None,
        };
        self.elector.handle_message(self.now, self.ids[peer], Message::Heartbeat(heartbeat));
    }

    /// What a driver does, with a disk and a host that take no time.
    fn drain(&mut self, mut sent: impl FnMut(NodeId, &Message)) {
        while let Some(output) = self.elector.poll_output() {
            match output {
                Output::Persist(seq, _) => self.elector.handle_persisted(self.now, seq),
                Output::Send(ref to, ref message) => to.ids().iter().for_each(|to| sent(*to, message)),
                Output::Host(HostAction::Detach(seq)) => {
                    self.elector.handle_host(self.now, HostReport::Detached(seq, &Position::NONE));
                }
                Output::Host(HostAction::Promote(epoch)) => {
                    self.elector.handle_host(self.now, HostReport::Promoted(epoch));
                }
                _ => {}
            }
        }
    }
}
