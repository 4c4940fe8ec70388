//! A voter's own heartbeats go right behind its echoes, and a witness's in every second interval: L9 and L11 of `docs/protocol.md`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use async_trait::async_trait;
use futures::future::poll_fn;
use kevy_elect_plugin::clock::ManualClock;
use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::elector::{Elector, Output};
use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId, Round};
use kevy_elect_plugin::link::LinkEvent;
use kevy_elect_plugin::message::{Heartbeat, Hello, Message, Role, Standing, Verb};
use kevy_elect_plugin::time::{Duration, Instant};
use kevy_elect_plugin::transport::{MemoryTransport, SendError, Transport, TransportError, TransportEvent};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use support::{Cluster, Wraps};

const PRIMARY: &str = "v1";
const VOTER: &str = "v2";
const WITNESS: &str = "w";
const OBSERVER: &str = "o";
/// Between two heartbeats, for all of them.
const INTERVAL: u64 = 100;

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

/// One node that hears a primary. All times are milliseconds since its start.
struct Node {
    elector: Elector,
    now: u64,
    /// When it began a round of heartbeats, and when it answered one.
    rounds: Vec<u64>,
    echoes: Vec<u64>,
}

impl Node {
    fn new(name: &str) -> Self {
        let members = [PRIMARY, VOTER, "v3"].map(|name| Member::voter(id(name)));
        let members =
            members.into_iter().chain([Member::witness(id(WITNESS)), Member::observer(id(OBSERVER))]);
        let config = Config::builder(id(name), members).build().unwrap();
        let mut elector = Elector::new(config, None, 0, 1, at(0));
        elector.handle_link(at(0), id(PRIMARY), LinkEvent::Up { incarnation: Incarnation(1) });
        let mut node = Self { elector, now: 0, rounds: Vec::new(), echoes: Vec::new() };
        node.drain();
        node
    }

    fn drain(&mut self) {
        while let Some(output) = self.elector.poll_output() {
            match output {
                Output::Persist(seq, _) => self.elector.handle_persisted(at(self.now), seq),
                Output::Send(_, Message::Heartbeat(_)) => self.rounds.push(self.now),
                Output::Send(_, Message::Echo(_)) => self.echoes.push(self.now),
                _ => {}
            }
        }
    }

    /// Lets time pass until `until`; the primary is heard whenever `heard` says so.
    fn run(&mut self, until: u64, heard: impl Fn(u64) -> bool) {
        while self.now < until {
            self.now += 1;
            if heard(self.now) {
                self.elector.handle_message(at(self.now), id(PRIMARY), heartbeat(self.now));
                self.drain();
            }
            if self.elector.next_timeout().is_some_and(|due| due <= at(self.now)) {
                self.elector.handle_timeout(at(self.now));
                self.drain();
            }
        }
    }

    /// The rounds since `from`, and the pauses between them.
    fn rounds_since(&self, from: u64) -> (Vec<u64>, Vec<u64>) {
        let rounds: Vec<_> = self.rounds.iter().copied().filter(|at| *at >= from).collect();
        let pauses = rounds.windows(2).map(|pair| pair[1] - pair[0]).collect();
        (rounds, pauses)
    }
}

fn at(ms: u64) -> Instant {
    Instant::from_nanos(1_000_000_000) + Duration::from_millis(ms)
}

fn heartbeat(round: u64) -> Message {
    Message::Heartbeat(Heartbeat {
        epoch: Epoch(1),
        round: Round(round),
        role: Role::Primary,
        standing: Standing::Member,
        primary: Some(id(PRIMARY)),
        promise: Duration::from_millis(1000),
        lease: Duration::from_millis(700),
        ..Heartbeat::blank()
    })
}

#[test]
fn l9_from_any_moment_on_a_voter_is_in_step_after_a_few_rounds_and_speaks_once_in_an_interval() {
    for phase in 0..INTERVAL {
        let mut node = Node::new(VOTER);
        node.run(1000 + phase, |now| now % INTERVAL == phase);
        // The same primary, by some milliseconds early or late.
        let shifted = phase + 37;
        node.run(3000, |now| now % INTERVAL == shifted % INTERVAL);
        for from in [500, 1500] {
            let (rounds, _) = node.rounds_since(from);
            let rounds: Vec<_> = rounds.into_iter().filter(|at| *at < from + 500).collect();
            assert_eq!(rounds.len(), 5, "phase {phase}: {rounds:?}");
            assert!(rounds.iter().all(|at| node.echoes.contains(at)), "phase {phase}: {rounds:?}");
        }
        let (rounds, pauses) = node.rounds_since(200);
        let longest = INTERVAL + INTERVAL / 4;
        assert!(pauses.iter().all(|pause| (50..=longest).contains(pause)), "phase {phase}: {rounds:?}");
    }
}

#[test]
fn l9_however_often_a_primary_speaks_a_voter_makes_no_more_than_two_rounds_of_an_interval() {
    for every in 1..=400 {
        let mut node = Node::new(VOTER);
        node.run(4000, |now| now % every == 0);
        let (rounds, pauses) = node.rounds_since(500);
        assert!(pauses.iter().all(|pause| (50..=125).contains(pause)), "every {every} ms: {rounds:?}");
    }
}

#[test]
fn l9_a_silent_primary_costs_a_quarter_of_an_interval_once() {
    let mut node = Node::new(VOTER);
    node.run(1500, |now| now % INTERVAL == 0 && now <= 1000);
    let (rounds, _) = node.rounds_since(1000);
    assert_eq!(rounds, [1000, 1125, 1225, 1325, 1425]);
}

#[test]
fn l9_an_observer_speaks_at_its_own_time() {
    let mut node = Node::new(OBSERVER);
    node.run(2000, |now| now % INTERVAL == 30);
    let (rounds, pauses) = node.rounds_since(500);
    assert!(node.echoes.is_empty());
    assert!(pauses.len() > 10 && pauses.iter().all(|pause| *pause == INTERVAL), "{rounds:?}");
    assert!(rounds.iter().all(|at| at % INTERVAL != 30), "{rounds:?}");
}

/// A primary that has nothing new to say speaks to a witness in every second round (L10).
#[test]
fn l11_from_any_moment_on_a_witness_is_in_step_after_a_few_rounds_and_speaks_once_in_two_intervals() {
    for phase in 0..2 * INTERVAL {
        let mut node = Node::new(WITNESS);
        node.run(4000 + phase, |now| now % (2 * INTERVAL) == phase);
        let (rounds, _) = node.rounds_since(2000);
        let rounds: Vec<_> = rounds.into_iter().filter(|at| *at < 4000).collect();
        assert_eq!(rounds.len(), 10, "phase {phase}: {rounds:?}");
        assert!(rounds.iter().all(|at| node.echoes.contains(at)), "phase {phase}: {rounds:?}");
    }
}

#[test]
fn l11_however_often_a_primary_speaks_a_witness_is_silent_for_no_more_than_nine_quarters_of_an_interval() {
    for every in 1..=400 {
        let mut node = Node::new(WITNESS);
        node.run(4000, |now| now % every == 0);
        let (rounds, pauses) = node.rounds_since(500);
        assert!(pauses.iter().all(|pause| (50..=225).contains(pause)), "every {every} ms: {rounds:?}");
    }
}

/// What a node said to whom, and how often its transport had been run by then.
type Said = Arc<Mutex<Vec<(NodeId, Verb, u64)>>>;

struct Tap {
    inner: MemoryTransport,
    runs: Mutex<u64>,
    said: Said,
}

#[async_trait]
impl Transport for Tap {
    async fn run(&self, hello: Hello) -> Result<(), TransportError> {
        let mut running = pin!(self.inner.run(hello));
        poll_fn(|cx| {
            *self.runs.lock().unwrap() += 1;
            running.as_mut().poll(cx)
        })
        .await
    }
    fn send(&self, to: NodeId, message: &Message) -> Result<(), SendError> {
        self.said.lock().unwrap().push((to, message.verb(), *self.runs.lock().unwrap()));
        self.inner.send(to, message)
    }
    async fn recv(&self) -> TransportEvent {
        self.inner.recv().await
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}

/// A transport writes when it is run: what is said between two runs leaves in one packet.
#[test]
fn l9_the_echo_and_the_round_behind_it_leave_together() {
    let said: Vec<Said> = (0..3).map(|_| Said::default()).collect();
    let of_node = said.clone();
    let executor = smol::LocalExecutor::new();
    smol::block_on(executor.run(async {
        let spawn = |task| executor.spawn(task).detach();
        let tap = move |node: usize, inner| {
            Arc::new(Tap { inner, runs: Mutex::default(), said: of_node[node].clone() }) as Arc<dyn Transport>
        };
        let wraps = Wraps { transport: Some(Box::new(tap)), ..Wraps::default() };
        let cluster = Cluster::on_clock(ManualClock::new(), 3, 7, &spawn, wraps);
        cluster.until("a primary that both follow", |c| c.followed_by_all(0)).await;
        cluster.for_time(Duration::from_secs(1), |_| {}).await;
        said.iter().for_each(|said| said.lock().unwrap().clear());
        cluster.for_time(Duration::from_secs(2), |_| {}).await;
        let primary = cluster.nodes[0].id;
        for node in &said[1..] {
            let to_primary: Vec<_> =
                node.lock().unwrap().iter().copied().filter(|(to, ..)| *to == primary).collect();
            let echoes: Vec<_> = to_primary.windows(2).filter(|pair| pair[0].1 == Verb::Echo).collect();
            assert!((19..=21).contains(&echoes.len()), "{to_primary:?}");
            for pair in echoes {
                assert_eq!((pair[1].1, pair[1].2), (Verb::Hb, pair[0].2), "{to_primary:?}");
            }
        }
    }));
}
