//! The in-memory network: the same seed gives the same run, and cuts, losses and deaths look as they do
//! over TCP.

// The allowance for tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures::FutureExt;
use futures::executor::LocalPool;
use futures::task::LocalSpawnExt;
use kevy_elect_plugin::clock::{Clock, ManualClock};
use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId, Round};
use kevy_elect_plugin::message::{Grant, Hello, Message};
use kevy_elect_plugin::time::Duration;
use kevy_elect_plugin::transport::memory::MemoryNetworkBuilder;
use kevy_elect_plugin::transport::{
    LinkEvent, MemoryNetwork, MemoryTransport, SendError, Transport, TransportEvent,
};
use kevy_elect_plugin::wire::PROTOCOL;
use std::sync::Arc;

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn vote(round: u64) -> Message {
    Message::Accept(Grant { epoch: Epoch(1), round: Round(round), identity: None })
}

struct World {
    clock: ManualClock,
    network: MemoryNetwork,
    pool: LocalPool,
    nodes: Vec<(NodeId, Arc<MemoryTransport>)>,
}

impl World {
    fn new(seed: u64, configure: impl FnOnce(MemoryNetworkBuilder) -> MemoryNetworkBuilder) -> Self {
        let clock = ManualClock::new();
        let members = ["a", "b", "c"].map(id);
        let network = configure(MemoryNetwork::builder(clock.clone(), seed, members)).build();
        let mut world = Self { clock, network, pool: LocalPool::new(), nodes: Vec::new() };
        for name in ["a", "b", "c"] {
            world.start(name, 1);
        }
        world.run(ms(20));
        world
    }

    fn start(&mut self, name: &str, incarnation: u64) {
        let transport = Arc::new(self.network.transport(id(name)));
        let hello = Hello {
            protocol: PROTOCOL,
            cluster: "test".into(),
            node: id(name),
            incarnation: Incarnation(incarnation),
            terms: String::new(),
            pass: None,
        };
        let running = transport.clone();
        self.pool.spawner().spawn_local(async move { running.run(hello).await.unwrap() }).unwrap();
        self.nodes.retain(|(node, _)| *node != id(name));
        self.nodes.push((id(name), transport));
    }

    /// Lets virtual time pass, from one deadline to the next.
    fn run(&mut self, time: Duration) {
        let end = self.clock.now() + time;
        loop {
            self.pool.run_until_stalled();
            match self.clock.next_deadline().filter(|next| *next <= end) {
                Some(next) => self.clock.advance(next.saturating_since(self.clock.now())),
                None => break,
            }
        }
        self.clock.advance(end.saturating_since(self.clock.now()));
        self.pool.run_until_stalled();
    }

    fn node(&self, name: &str) -> &MemoryTransport {
        &self.nodes.iter().find(|(node, _)| *node == id(name)).unwrap().1
    }

    fn send(&self, from: &str, to: &str, round: u64) -> Result<(), SendError> {
        self.node(from).send(id(to), &vote(round))
    }

    fn drain(&self, name: &str) -> Vec<TransportEvent> {
        std::iter::from_fn(|| self.node(name).recv().now_or_never()).collect()
    }

    fn rounds(&self, name: &str) -> Vec<u64> {
        let round = |event| match event {
            TransportEvent::Message { message: Message::Accept(grant), .. } => Some(grant.round.0),
            _ => None,
        };
        self.drain(name).into_iter().filter_map(round).collect()
    }

    fn links(&self, name: &str, peer: &str) -> Vec<LinkEvent> {
        let link = |event| match event {
            TransportEvent::Link { peer: p, event } if p == id(peer) => Some(event),
            _ => None,
        };
        self.drain(name).into_iter().filter_map(link).collect()
    }
}

fn up(incarnation: u64) -> LinkEvent {
    LinkEvent::Up { incarnation: Incarnation(incarnation) }
}

fn stormy(seed: u64) -> String {
    let mut world = World::new(seed, |b| {
        let b = b.delay(Duration::from_micros(10), ms(5)).link_timeout(ms(200));
        b.loss(0.2).duplicate(0.1).reorder(0.3)
    });
    let mut log = String::new();
    for round in 0..200 {
        for (from, to) in [("a", "b"), ("b", "c"), ("c", "a")] {
            let _ = world.send(from, to, round);
        }
        match round {
            50 => world.network.partition(&[id("a")], &[id("b"), id("c")]),
            70 => world.network.heal_all(),
            100 => world.network.kill(id("b")),
            120 => world.start("b", 2),
            _ => {}
        }
        world.run(ms(20));
        for name in ["a", "b", "c"] {
            log += &format!("{:?} {name} {:?}\n", world.clock.now(), world.drain(name));
        }
    }
    log
}

#[test]
fn one_seed_gives_one_run_and_another_seed_another() {
    let log = stormy(7);
    assert_eq!(log, stormy(7));
    assert_ne!(log, stormy(8));
    for event in ["Closed", "Reset", "Refused", "Incarnation(2)"] {
        assert!(log.contains(event), "{event} is missing");
    }
}

#[test]
fn loss_duplication_and_reordering_happen_as_often_as_asked() {
    let count = 1000;
    let run = |configure: fn(MemoryNetworkBuilder) -> MemoryNetworkBuilder| {
        let mut world = World::new(3, configure);
        let mut rounds = Vec::new();
        for round in 0..count {
            world.send("a", "b", round).unwrap();
            if round % 10 == 9 {
                world.run(ms(10));
                rounds.extend(world.rounds("b"));
            }
        }
        rounds
    };
    assert_eq!(run(|b| b.delay(ms(1), ms(5))), (0..count).collect::<Vec<_>>(), "in order, all, once");
    let lost = count as usize - run(|b| b.loss(0.3)).len();
    assert!((200..400).contains(&lost), "{lost}");
    let doubled = run(|b| b.duplicate(0.3)).len() - count as usize;
    assert!((200..400).contains(&doubled), "{doubled}");
    let rounds = run(|b| b.reorder(0.5).delay(ms(1), ms(5)));
    assert_eq!(rounds.len(), count as usize);
    assert!(rounds.windows(2).filter(|pair| pair[0] > pair[1]).count() > 50);
}

#[test]
fn a_cut_is_silent_one_way_and_its_link_breaks_without_evidence_of_a_crash() {
    let mut world = World::new(1, |b| b);
    world.drain("a");
    world.drain("b");
    world.network.cut(id("a"), id("b"));
    world.send("a", "b", 1).unwrap();
    world.send("b", "a", 2).unwrap();
    world.run(ms(1000));
    assert_eq!(world.drain("b"), [], "nothing is told of a cut");
    assert_eq!(world.rounds("a"), [2]);
    world.run(ms(1500));
    assert_eq!(world.links("a", "b"), [LinkEvent::Reset]);
    assert_eq!(world.links("b", "a"), [LinkEvent::Reset]);
    world.network.heal(id("a"), id("b"));
    world.run(ms(400));
    assert_eq!(world.links("a", "b"), [up(1)]);
    world.send("a", "b", 3).unwrap();
    world.run(ms(5));
    assert_eq!(world.rounds("b"), [3], "what was sent into the cut is gone");
}

#[test]
fn a_queued_cut_delivers_late_and_in_order() {
    let mut world = World::new(1, |b| b);
    world.network.cut_queued(id("a"), id("b"));
    (1..=3).for_each(|round| world.send("a", "b", round).unwrap());
    world.run(ms(500));
    assert_eq!(world.rounds("b"), []);
    world.network.heal(id("a"), id("b"));
    world.send("a", "b", 4).unwrap();
    world.run(ms(5));
    assert_eq!(world.rounds("b"), [1, 2, 3, 4]);
}

#[test]
fn a_killed_process_is_closed_then_refused_a_dark_machine_only_reset() {
    let mut world = World::new(1, |b| b);
    world.drain("b");
    world.send("a", "b", 9).unwrap();
    world.network.kill(id("a"));
    assert_eq!(world.send("a", "b", 10), Err(SendError::Closed));
    world.run(ms(2));
    let events = world.drain("b");
    assert_eq!(events[0], TransportEvent::Message { from: id("a"), message: vote(9) }, "sent before it died");
    let link = |event| TransportEvent::Link { peer: id("a"), event };
    assert_eq!(events[1..], [link(LinkEvent::Closed), link(LinkEvent::Refused)]);

    world.drain("b");
    world.network.power_off(id("c"));
    world.run(ms(1500));
    assert_eq!(world.links("b", "c"), []);
    world.run(ms(3000));
    assert_eq!(world.links("b", "c"), [LinkEvent::Reset], "never refused: nobody answers at all");
    world.start("c", 2);
    world.run(ms(400));
    assert_eq!(world.links("b", "c"), [up(2)]);
}

#[test]
fn reset_links_come_back_and_are_no_evidence() {
    let mut world = World::new(1, |b| b);
    world.drain("a");
    world.network.reset_links(id("a"), id("b"));
    world.run(ms(300));
    assert_eq!(world.links("a", "b"), [LinkEvent::Reset, up(1)]);
}
