//! The situations of the election manager of the distributed inference system that `rank = "seniority"` comes from, one test each: real
//! drivers and services without data over the in-memory transport, on virtual time. Sentences R1 to R10 of `docs/protocol.md`.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of a test that fails says where")]

mod support;

use futures::FutureExt;
use futures::StreamExt;
use kevy_elect_plugin::clock::ManualClock;
use kevy_elect_plugin::config::ConfigBuilder;
use kevy_elect_plugin::event::{Event, EventKind, Outcome};
use kevy_elect_plugin::host::{HostError, ReplicationHost};
use kevy_elect_plugin::ids::{Epoch, NodeId};
use kevy_elect_plugin::message::{OfferKind, Role};
use kevy_elect_plugin::plugin::ElectPlugin;
use kevy_elect_plugin::position::Position;
use kevy_elect_plugin::rank::{ForceRefused, Rank};
use kevy_elect_plugin::time::Duration;
use kevy_elect_plugin::transfer::TransferRefused;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use support::{Cluster, Host, Wraps};

/// A service without data, which counts its work.
struct Service {
    /// Tells the test's harness what it was told.
    host: Arc<Host>,
    work: Arc<AtomicU64>,
}

#[async_trait::async_trait]
impl ReplicationHost for Service {
    async fn promote(&self, _: Epoch) -> Result<(), HostError> {
        Ok(())
    }
    async fn follow(&self, _: Epoch, _: NodeId) -> Result<(), HostError> {
        Ok(())
    }
    async fn detach(&self) -> Result<Position, HostError> {
        Ok(Position::NONE)
    }
    fn lease_renewed(&self, until: kevy_elect_plugin::time::Instant) {
        self.host.lease_renewed(until);
    }
    fn work(&self) -> u64 {
        self.work.load(Ordering::Relaxed)
    }
}

/// Plays a test on a cluster of so many services, each with a counter of its work.
fn play(
    nodes: usize,
    settings: fn(ConfigBuilder) -> ConfigBuilder,
    test: impl AsyncFnOnce(&mut Cluster<'_>, &[Arc<AtomicU64>]),
) {
    let executor = smol::LocalExecutor::new();
    let spawn = |future| executor.spawn(future).detach();
    let work: Vec<_> = (0..nodes).map(|_| Arc::new(AtomicU64::new(0))).collect();
    let of_node = work.clone();
    let wraps = Wraps {
        host: Some(Box::new(move |i, host, _| Arc::new(Service { host, work: of_node[i].clone() }))),
        config: Some(Box::new(move |config| settings(config.rank(Rank::Seniority)))),
        ..Wraps::default()
    };
    let mut cluster = Cluster::on_clock(ManualClock::new(), nodes, 7, &spawn, wraps);
    smol::block_on(executor.run(test(&mut cluster, &work)));
}

const SECOND: Duration = Duration::from_secs(1);

fn usual(config: ConfigBuilder) -> ConfigBuilder {
    config
}

async fn leads(cluster: &Cluster<'_>, node: usize) {
    cluster.until(&format!("n{} leads", node + 1), |c| c.followed_by_all(node)).await;
}

/// Nobody writes but perhaps n3, which was killed a moment ago and not cleared away yet.
fn nobody_else(cluster: &Cluster<'_>) -> bool {
    cluster.writable().is_none_or(|node| node == 2)
}

/// What a node's plugin told since `events` was asked for.
fn told(events: &mut futures::stream::BoxStream<'static, Event>) -> Vec<EventKind> {
    std::iter::from_fn(|| events.next().now_or_never().flatten()).map(|event| event.kind).collect()
}

#[test]
fn an_election_that_starts_is_told_and_so_is_who_was_elected_and_the_new_primary() {
    play(3, usual, async |cluster, _| {
        let mut events: Vec<_> = cluster.nodes.iter().map(|node| node.plugin.events()).collect();
        leads(cluster, 2).await;
        let id = cluster.nodes[2].id;
        let winner = told(&mut events[2]);
        let started = |kind: &EventKind| matches!(kind, EventKind::Campaign { kind: OfferKind::PreVote, .. });
        let elected = |kind: &EventKind| {
            matches!(kind, EventKind::CampaignEnded { kind: OfferKind::Vote, outcome: Outcome::Won, .. })
        };
        assert!(winner.iter().position(started).unwrap() < winner.iter().position(elected).unwrap());
        for events in &mut events[..2] {
            assert!(told(events).contains(&EventKind::PrimaryChanged { primary: Some(id) }));
        }
        assert_eq!(
            cluster.nodes[2].plugin.snapshot().epoch,
            Epoch(1),
            "its session is the epoch, which only grows"
        );
    });
}

#[test]
fn a_single_node_elects_itself_and_can_be_told_to_while_elections_are_paused() {
    play(1, usual, async |cluster, _| {
        leads(cluster, 0).await;
        cluster.nodes[0].plugin.pause(true).unwrap();
        cluster.for_time(SECOND, |_| {}).await;
        cluster.kill(0);
        cluster.restart(0);
        cluster.for_time(5 * SECOND, |c| assert_eq!(c.writable(), None)).await;
        cluster.nodes[0].plugin.force_primary().unwrap();
        leads(cluster, 0).await;
        assert_eq!(cluster.nodes[0].plugin.snapshot().epoch, Epoch(2));
    });
}

#[test]
fn a_node_that_is_not_alone_is_not_forced_so_it_cannot_be_a_second_primary() {
    play(3, usual, async |cluster, _| {
        leads(cluster, 2).await;
        let alone = cluster.ids(&[0]);
        cluster.network.partition(&alone, &cluster.ids(&[1, 2]));
        cluster.for_time(3 * SECOND, |_| {}).await;
        assert_eq!(cluster.nodes[0].plugin.force_primary(), Err(ForceRefused::NotAlone { voters: 3 }));
        cluster.for_time(3 * SECOND, |c| assert_eq!(c.writable(), Some(2))).await;
    });
}

#[test]
fn who_has_been_up_longest_is_elected_whatever_its_id_and_its_work() {
    play(3, usual, async |cluster, work| {
        leads(cluster, 2).await;
        cluster.for_time(3 * SECOND, |_| {}).await;
        cluster.kill(1);
        cluster.restart(1);
        work[1].store(1000, Ordering::Relaxed);
        cluster.for_time(3 * SECOND, |_| {}).await;
        cluster.kill(2);
        leads(cluster, 0).await;
    });
}

#[test]
fn among_nodes_of_one_age_most_work_decides_and_then_the_higher_id() {
    play(5, usual, async |cluster, work| {
        leads(cluster, 4).await;
        for (node, work) in work.iter().enumerate() {
            work.store([3, 9, 9, 1, 0][node], Ordering::Relaxed);
        }
        cluster.for_time(SECOND, |_| {}).await;
        cluster.kill(4);
        leads(cluster, 2).await;
        cluster.kill(2);
        leads(cluster, 1).await;
    });
}

#[test]
fn a_senior_node_that_comes_back_into_sight_takes_no_office_from_a_junior_one() {
    play(3, usual, async |cluster, _| {
        leads(cluster, 2).await;
        cluster.for_time(3 * SECOND, |_| {}).await;
        cluster.network.partition(&cluster.ids(&[2]), &cluster.ids(&[0, 1]));
        leads_of(cluster, 1, &[0, 1]).await;
        let mut events = cluster.nodes[1].plugin.events();
        // So that the old primary speaks before it hears of the new one.
        cluster.for_time(SECOND / 20, |_| {}).await;
        cluster.network.heal_all();
        cluster.for_time(5 * SECOND, |c| assert_eq!(c.writable(), Some(1))).await;
        // Two primaries seen: the old one had not heard yet.
        let seen =
            told(&mut events).into_iter().filter(|kind| matches!(kind, EventKind::TwoPrimaries { .. }));
        assert_eq!(seen.count(), 1);
    });
}

async fn leads_of(cluster: &Cluster<'_>, node: usize, of: &[usize]) {
    let id = Some(cluster.nodes[node].id);
    let known = |c: &Cluster<'_>| {
        c.writable() == Some(node) && of.iter().all(|i| c.nodes[*i].plugin.snapshot().primary == id)
    };
    cluster.until(&format!("n{} leads", node + 1), known).await;
}

#[test]
fn a_primary_that_dies_is_replaced_after_the_settling_delay() {
    play(
        3,
        |config| config.settling_delay(Duration::from_millis(500)),
        async |cluster, _| {
            leads(cluster, 2).await;
            cluster.for_time(3 * SECOND, |_| {}).await;
            cluster.kill(2);
            cluster.for_time(Duration::from_millis(450), |c| assert!(nobody_else(c))).await;
            let early = |c: &Cluster<'_>| {
                c.nodes[..2].iter().all(|node| node.plugin.snapshot().role == Role::Replica)
            };
            assert!(early(cluster));
            cluster.for_time(Duration::from_millis(250), |_| {}).await;
            leads(cluster, 1).await;
        },
    );
}

#[test]
fn with_automatic_elections_on_loss_off_only_its_silence_replaces_a_primary() {
    play(
        3,
        |config| config.auto_elect_on_peer_loss(false),
        async |cluster, _| {
            leads(cluster, 2).await;
            cluster.for_time(3 * SECOND, |_| {}).await;
            cluster.kill(2);
            cluster.for_time(Duration::from_millis(850), |c| assert!(nobody_else(c))).await;
            leads(cluster, 1).await;
        },
    );
}

#[test]
fn an_election_without_a_quorum_times_out_is_told_and_starts_again() {
    play(3, usual, async |cluster, _| {
        leads(cluster, 2).await;
        let mut events = cluster.nodes[0].plugin.events();
        cluster.kill(2);
        cluster.kill(1);
        cluster.for_time(5 * SECOND, |c| assert!(nobody_else(c))).await;
        let expired =
            |kind: &EventKind| matches!(kind, EventKind::CampaignEnded { outcome: Outcome::Expired, .. });
        assert!(told(&mut events).iter().filter(|kind| expired(kind)).count() >= 2);
        cluster.restart(1);
        cluster.until("somebody leads", |c| c.writable().is_some()).await;
    });
}

#[test]
fn a_primary_that_steps_down_goes_last_and_the_most_senior_of_the_others_takes_over() {
    play(4, usual, async |cluster, _| {
        leads(cluster, 3).await;
        cluster.for_time(3 * SECOND, |_| {}).await;
        cluster.kill(2);
        cluster.restart(2);
        cluster.for_time(3 * SECOND, |_| {}).await;
        cluster.nodes[3].plugin.step_down();
        leads(cluster, 1).await;
        assert_eq!(cluster.nodes[3].plugin.snapshot().role, Role::Replica);
    });
}

#[test]
fn a_single_node_that_is_to_step_down_has_nobody_to_go_to() {
    play(1, usual, async |cluster, _| {
        leads(cluster, 0).await;
        let mut events = cluster.nodes[0].plugin.events();
        cluster.nodes[0].plugin.step_down();
        cluster.for_time(SECOND, |c| assert_eq!(c.writable(), Some(0))).await;
        let refused =
            |kind: &EventKind| matches!(kind, EventKind::TransferRefused { why: TransferRefused::Nobody(_) });
        assert!(told(&mut events).iter().any(refused));
    });
}

#[test]
fn a_junior_that_an_operator_names_takes_over_from_a_senior() {
    play(3, usual, async |cluster, _| {
        leads(cluster, 2).await;
        cluster.for_time(3 * SECOND, |_| {}).await;
        cluster.kill(0);
        cluster.restart(0);
        cluster.for_time(3 * SECOND, |_| {}).await;
        let junior = cluster.nodes[0].id;
        cluster.nodes[2].plugin.transfer(Some(junior), SECOND).unwrap();
        leads(cluster, 0).await;
    });
}
