//! What the elector costs: `cargo bench --bench elector`. Times and allocations, 3 to 101 voters.
//!
//! `primary_interval` is everything a primary does in one heartbeat interval: its round sent to all, all echoes
//! and all heartbeats taken. `replica_interval` is the same of a replica. `election` runs from the expired timer to
//! the announced victory, all answers included.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot be set up must not go on")]

use divan::{AllocProfiler, Bencher, Divan, black_box};
use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::elector::{Elector, HostAction, HostReport, Output};
use kevy_elect_plugin::ids::{Epoch, NodeId, Round};
use kevy_elect_plugin::message::{Echo, Grant, Heartbeat, Message, Role, Standing};
use kevy_elect_plugin::position::{Position, Progress};
use kevy_elect_plugin::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const NODES: [usize; 5] = [3, 5, 7, 31, 101];
const INTERVAL: Duration = Duration::from_millis(100);
const START: Instant = Instant::from_nanos(1_000_000_000);

fn main() {
    Divan::default().config_with_args().main();
}

/// A node and its peers, which say yes to everything.
struct Cluster {
    ids: Vec<NodeId>,
    elector: Elector,
    now: Instant,
    round: u64,
}

impl Cluster {
    /// All are new and know of each other; nobody reigns.
    fn new(nodes: usize) -> Self {
        let ids: Vec<_> = (0..nodes).map(|n| NodeId::new(&format!("n{n:03}")).unwrap()).collect();
        let config = Config::builder(ids[0], ids.iter().map(|id| Member::voter(*id))).build().unwrap();
        let elector = Elector::new(config, None, 0, 1, START);
        let mut cluster = Self { ids, elector, now: START, round: 1 };
        let position = HostReport::Position { stream_epoch: Epoch::ZERO, offsets: &[0, 0] };
        cluster.elector.handle_host(START, position);
        for peer in 1..nodes {
            cluster.hear(peer, Epoch::ZERO, Role::Replica, None, Standing::New);
        }
        cluster.drain(|_, _| {});
        cluster.now += Duration::from_millis(1);
        cluster
    }

    /// The node wins.
    fn elect(&mut self) {
        self.elector.handle_timeout(self.now);
        let mut asked = Vec::new();
        self.drain(|to, message| asked.push((to, message)));
        while let Some((to, message)) = asked.pop() {
            let answer = match message {
                Message::PreOffer(o) => Message::PreAccept(Grant { epoch: o.epoch, round: o.round }),
                Message::Offer(o) => Message::Accept(Grant { epoch: o.epoch, round: o.round }),
                _ => continue,
            };
            self.elector.handle_message(self.now, to, answer);
            self.drain(|to, message| asked.push((to, message)));
        }
        assert_eq!(self.elector.role(), Role::Primary);
    }

    fn primary_interval(&mut self) {
        self.now += INTERVAL;
        self.round += 1;
        self.elector.handle_timeout(self.now);
        let mut sent = Round(0);
        self.drain(|_, message| {
            if let Message::Heartbeat(heartbeat) = message {
                sent = heartbeat.round;
            }
        });
        let epoch = self.elector.epoch();
        for peer in 1..self.ids.len() {
            let primary = Some(self.ids[0]);
            let (standing, progress) = (Standing::Member, Progress::NONE);
            let echo = Message::Echo(Echo { epoch, round: sent, primary, standing, progress });
            self.elector.handle_message(self.now, self.ids[peer], echo);
            self.hear(peer, epoch, Role::Replica, primary, standing);
            self.drain(|_, _| {});
        }
    }

    fn replica_interval(&mut self) {
        self.now += INTERVAL;
        self.round += 1;
        for peer in 1..self.ids.len() {
            let role = if peer == 1 { Role::Primary } else { Role::Replica };
            self.hear(peer, Epoch(1), role, Some(self.ids[1]), Standing::Member);
        }
        self.elector.handle_timeout(self.now);
        self.drain(|_, message| drop(black_box(message)));
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
            primary_age: Duration::ZERO,
            lease,
        };
        self.elector.handle_message(self.now, self.ids[peer], Message::Heartbeat(heartbeat));
    }

    /// What a driver does, with a disk and a host that take no time.
    fn drain(&mut self, mut sent: impl FnMut(NodeId, Message)) {
        while let Some(output) = self.elector.poll_output() {
            match output {
                Output::Persist(seq, _) => self.elector.handle_persisted(self.now, seq),
                Output::Send(to, message) => sent(to, message),
                Output::Host(HostAction::Detach(_)) => {
                    self.elector.handle_host(self.now, HostReport::Detached(&Position::NONE));
                }
                Output::Host(HostAction::Promote(epoch)) => {
                    self.elector.handle_host(self.now, HostReport::Promoted(epoch));
                }
                Output::Host(_) | Output::Event(_) => {}
            }
        }
    }
}

#[divan::bench(args = NODES)]
fn primary_interval(bencher: Bencher<'_, '_>, nodes: usize) {
    let mut cluster = Cluster::new(nodes);
    cluster.elect();
    cluster.primary_interval();
    bencher.bench_local(|| cluster.primary_interval());
    assert!(cluster.elector.lease_left(cluster.now) > Duration::ZERO, "it held its lease");
}

#[divan::bench(args = NODES)]
fn replica_interval(bencher: Bencher<'_, '_>, nodes: usize) {
    let mut cluster = Cluster::new(nodes);
    cluster.replica_interval();
    bencher.bench_local(|| cluster.replica_interval());
    assert_eq!(cluster.elector.primary(), Some(cluster.ids[1]), "it follows");
}

#[divan::bench(args = NODES)]
fn election(bencher: Bencher<'_, '_>, nodes: usize) {
    bencher.with_inputs(|| Cluster::new(nodes)).bench_local_values(|mut cluster| {
        cluster.elect();
        cluster
    });
}
