//! A host that takes seconds for a promotion, a retarget or a fence delays no heartbeat and no vote: real
//! drivers over the in-memory transport, on a clock that moves when it is told to.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of a test that fails says where")]

mod support;

use async_trait::async_trait;
use kevy_elect_plugin::clock::{Clock, ManualClock};
use kevy_elect_plugin::fence::FenceReason;
use kevy_elect_plugin::host::{HostError, ReplicationHost};
use kevy_elect_plugin::ids::{Epoch, NodeId};
use kevy_elect_plugin::message::{Hello, Message, Verb};
use kevy_elect_plugin::plugin::ElectPlugin;
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::time::{Duration, Instant};
use kevy_elect_plugin::transport::{MemoryTransport, SendError, Transport, TransportError, TransportEvent};
use std::sync::{Arc, Mutex};
use support::{Cluster, Host, Wraps};

/// How long each kind of call takes. A promotion must end before five election timeouts have passed.
const PROMOTE: Duration = Duration::from_secs(3);
const FOLLOW: Duration = Duration::from_secs(4);
const FENCE: Duration = Duration::from_secs(2);
const HEARTBEAT: Duration = Duration::from_millis(100);
/// What the steps of the virtual clock add to anything.
const SLACK: Duration = Duration::from_millis(1);

/// What happened at which node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Sent(NodeId, Verb),
    Came(NodeId, Verb),
    CallBegan,
    CallEnded,
}

#[derive(Clone)]
struct Log {
    clock: ManualClock,
    seen: Arc<Mutex<Vec<(Instant, usize, Seen)>>>,
}

impl Log {
    fn note(&self, node: usize, seen: Seen) {
        self.seen.lock().unwrap().push((self.clock.now(), node, seen));
    }
}

struct Slow(usize, Log, Arc<Host>);

/// Notes the end of a call also where it is cancelled.
struct InFlight<'a>(&'a Slow);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.1.note(self.0.0, Seen::CallEnded);
    }
}

impl Slow {
    async fn take(&self, time: Duration) -> InFlight<'_> {
        self.1.note(self.0, Seen::CallBegan);
        let in_flight = InFlight(self);
        let clock = &self.1.clock;
        clock.timer(clock.now() + time).await;
        in_flight
    }
}

#[async_trait]
impl ReplicationHost for Slow {
    async fn promote(&self, epoch: Epoch) -> Result<(), HostError> {
        let _call = self.take(PROMOTE).await;
        self.2.promote(epoch).await
    }
    async fn follow(&self, epoch: Epoch, primary: NodeId) -> Result<(), HostError> {
        let _call = self.take(FOLLOW).await;
        self.2.follow(epoch, primary).await
    }
    async fn fence(&self, epoch: Epoch, reason: FenceReason) -> Result<(), HostError> {
        let _call = self.take(FENCE).await;
        self.2.fence(epoch, reason).await
    }
    fn lease_renewed(&self, until: Instant) {
        self.2.lease_renewed(until);
    }
    async fn detach(&self) -> Result<Position, HostError> {
        self.2.detach().await
    }
}

struct Tap(usize, Log, MemoryTransport);

#[async_trait]
impl Transport for Tap {
    async fn run(&self, hello: Hello) -> Result<(), TransportError> {
        self.2.run(hello).await
    }
    fn send(&self, to: NodeId, message: &Message) -> Result<(), SendError> {
        self.1.note(self.0, Seen::Sent(to, message.verb()));
        self.2.send(to, message)
    }
    async fn recv(&self) -> TransportEvent {
        let event = self.2.recv().await;
        if let TransportEvent::Message { from, message } = &event {
            self.1.note(self.0, Seen::Came(*from, message.verb()));
        }
        event
    }
    async fn close(&self) {
        self.2.close().await;
    }
}

#[test]
fn slow_hosts_delay_no_heartbeat_and_no_vote() {
    let clock = ManualClock::new();
    let log = Log { clock: clock.clone(), seen: Arc::default() };
    let executor = smol::LocalExecutor::new();
    let (on_host, on_wire) = (log.clone(), log.clone());
    smol::block_on(executor.run(async {
        let spawn = |task| executor.spawn(task).detach();
        let wraps = Wraps {
            host: Some(Box::new(move |i, host, _| Arc::new(Slow(i, on_host.clone(), host)))),
            transport: Some(Box::new(move |i, transport| Arc::new(Tap(i, on_wire.clone(), transport)))),
            ..Wraps::default()
        };
        let mut cluster = Cluster::on_clock(clock, 5, 7, &spawn, wraps);
        // The others are being pointed at the first primary when it dies, so they vote meanwhile.
        cluster.until("a first primary", |c| c.writable() == Some(0)).await;
        cluster.for_time(Duration::from_secs(1), |_| {}).await;
        cluster.kill(0);
        cluster.until("a second primary", |c| c.writable() == Some(1)).await;
        // And one whose fence takes its time, as soon as somebody holds its history.
        cluster
            .until("it is fenced", |c| {
                c.nodes[1].plugin.step_down();
                c.writable().is_none()
            })
            .await;
        cluster.for_time(Duration::from_secs(10), |_| {}).await;
        cluster.until("a third primary", |c| c.writable().is_some()).await;
    }));

    let seen = log.seen.lock().unwrap();
    let mut beats = 0;
    let mut votes = 0;
    let mut ended = 0;
    for node in 0..5 {
        let mine: Vec<_> =
            seen.iter().filter(|(_, at, _)| *at == node).map(|(at, _, what)| (*at, *what)).collect();
        let mut calls = 0_usize;
        let mut last_ended = Instant::ZERO;
        // Peers by the time of the last heartbeat sent to them, and offers that wait for an answer.
        let mut last: Vec<(NodeId, Instant)> = Vec::new();
        let mut asked: Vec<(NodeId, Instant)> = Vec::new();
        for (at, what) in mine {
            match what {
                Seen::CallBegan => calls += 1,
                Seen::CallEnded => {
                    calls -= 1;
                    last_ended = at;
                }
                Seen::Sent(to, Verb::Hb) => {
                    if let Some((_, before)) = last.iter().find(|(peer, _)| *peer == to)
                        && calls > 0
                    {
                        let gap = at.saturating_since(*before);
                        // A quarter longer while it expects one of the primary (L9).
                        assert!(
                            gap <= HEARTBEAT + HEARTBEAT / 4 + SLACK,
                            "n{}: no heartbeat for {gap:?} at {at:?}",
                            node + 1
                        );
                        beats += 1;
                    }
                    last.retain(|(peer, _)| *peer != to);
                    last.push((to, at));
                }
                Seen::Came(from, Verb::Offer | Verb::PreOffer) => asked.push((from, at)),
                Seen::Sent(to, Verb::Accept | Verb::PreAccept | Verb::Reject) => {
                    // A pre-vote may be given later than asked for, when a promise ends: the newest question counts
                    // for the vote itself.
                    if let Some(question) = asked.iter().rposition(|(from, _)| *from == to) {
                        let (_, came) = asked.remove(question);
                        let took = at.saturating_since(came);
                        assert!(took <= SLACK, "n{}: an answer took {took:?}", node + 1);
                        votes += usize::from(calls > 0);
                        ended += usize::from(matches!(what, Seen::Sent(_, Verb::Accept)) && last_ended == at);
                    }
                }
                Seen::Sent(..) | Seen::Came(..) => {}
            }
        }
        assert!(asked.is_empty(), "n{}: unanswered: {asked:?}", node + 1);
    }
    assert!(beats > 500, "only {beats} heartbeats while a host was at work");
    assert!(votes >= 3, "only {votes} answers while a host was at work");
    assert_eq!(
        ended, 3,
        "each who votes stops to follow the one before, whom it was still being pointed at (S3)"
    );
}
