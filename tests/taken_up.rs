//! Members that nobody's file names at the start are taken up while the others run: M12 and M13 of `docs/protocol.md`, with real drivers on
//! virtual time.

#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use futures::future::BoxFuture;
use kevy_elect_plugin::change::{ChangeRefused, MembersChange};
use kevy_elect_plugin::clock::{Clock, ManualClock};
use kevy_elect_plugin::config::{Config, Member, MemberKind};
use kevy_elect_plugin::elector::{Elector, Output};
use kevy_elect_plugin::event::EventKind;
use kevy_elect_plugin::ids::{Epoch, Incarnation, NodeId, Round};
use kevy_elect_plugin::link::LinkEvent;
use kevy_elect_plugin::membership::{Generation, Membership};
use kevy_elect_plugin::message::{Heartbeat, Message, Standing};
use kevy_elect_plugin::plugin::{ElectPlugin, ElectSnapshot};
use kevy_elect_plugin::time::{Duration, Instant};
use support::{Cluster, Wraps};

/// The index of the node that only its own file names.
const NEW: usize = 3;
const PATIENCE: Duration = Duration::from_secs(20);

/// Three that know each other, and one that only itself knows.
fn with_cluster(seed: u64, test: impl AsyncFnOnce(&mut Cluster<'_>)) {
    let executor = smol::LocalExecutor::new();
    let spawn = |future: BoxFuture<'static, ()>| executor.spawn(future).detach();
    let wraps = Wraps { strangers: 1, ..Wraps::default() };
    let mut cluster = Cluster::on_clock(ManualClock::new(), 4, seed, &spawn, wraps);
    smol::block_on(executor.run(test(&mut cluster)));
}

fn look(cluster: &Cluster<'_>, node: usize) -> ElectSnapshot {
    cluster.nodes[node].plugin.snapshot()
}

/// Waits for the first primary, whom the others follow.
async fn first(cluster: &Cluster<'_>) -> usize {
    let follow = |cluster: &Cluster<'_>, primary: usize| {
        let id = Some(cluster.nodes[primary].id);
        (0..NEW).all(|node| look(cluster, node).primary == id)
    };
    cluster.until("one reigns", |cluster| cluster.writable().is_some_and(|one| follow(cluster, one))).await;
    cluster.writable().unwrap()
}

fn meet(cluster: &Cluster<'_>, node: usize) {
    cluster.nodes[node].plugin.meet(Member::observer(cluster.nodes[NEW].id), "").unwrap();
}

fn voters(cluster: &Cluster<'_>, node: usize) -> usize {
    look(cluster, node).membership.voters().len()
}

#[test]
fn m12_a_node_is_taken_up_one_by_one_and_gets_its_vote_and_no_write_is_refused() {
    for seed in 0..5 {
        with_cluster(seed, async |cluster| {
            let primary = first(cluster).await;
            let (before, new) = (look(cluster, primary), cluster.nodes[NEW].id);
            let goes_on = |cluster: &Cluster<'_>| {
                let now = look(cluster, primary);
                assert_eq!((cluster.writable(), now.epoch), (Some(primary), before.epoch));
            };
            let unchanged = |cluster: &Cluster<'_>| {
                goes_on(cluster);
                for node in 0..NEW {
                    assert_eq!(look(cluster, node).membership, before.membership);
                    assert_eq!(look(cluster, node).quorum, 2);
                }
            };
            let add = |cluster: &Cluster<'_>| {
                cluster.nodes[primary].plugin.change_members(MembersChange::Add(new), PATIENCE)
            };
            assert_eq!(add(cluster), Err(ChangeRefused::Unknown(new)));
            // Only one knows it for a while, and says that the others differ; and so on.
            let others: Vec<usize> = (0..NEW).filter(|node| *node != primary).collect();
            for node in [others[0], primary, others[1]] {
                meet(cluster, node);
                cluster.for_time(Duration::from_secs(2), unchanged).await;
                let known: Vec<bool> =
                    (0..NEW).map(|one| look(cluster, one).peers.iter().any(|peer| peer.id == new)).collect();
                let differs = |one: usize| look(cluster, one).peers.iter().any(|peer| peer.differs.is_some());
                let mixed = known.contains(&true) && known.contains(&false);
                assert_eq!((0..NEW).map(differs).collect::<Vec<_>>(), [mixed; NEW], "{known:?}");
            }
            meet(cluster, primary);
            assert_eq!(look(cluster, NEW).primary, Some(before.node));
            assert_eq!(add(cluster).unwrap().voters().len(), 4);
            let end = cluster.clock.now() + PATIENCE;
            while (0..=NEW).any(|node| voters(cluster, node) != 4) {
                assert!(cluster.clock.now() < end, "{:#?}", look(cluster, primary));
                cluster.for_time(Duration::from_millis(10), goes_on).await;
            }
            assert!((0..=NEW).all(|node| look(cluster, node).quorum == 3));
            cluster.kill(primary);
            // A quorum of four is three, and three are left: nobody is elected without the new one's vote.
            cluster
                .until("the next one reigns", |cluster| cluster.writable().is_some_and(|one| one != primary))
                .await;
        });
    }
}

#[test]
fn m13_a_voter_that_does_not_know_a_new_one_counts_it_all_the_same_and_goes_without_its_vote() {
    for seed in 0..5 {
        with_cluster(seed, async |cluster| {
            let primary = first(cluster).await;
            let [told, untold] = [1, 2].map(|step| (primary + step) % NEW);
            let new = cluster.nodes[NEW].id;
            [primary, told].into_iter().for_each(|node| meet(cluster, node));
            cluster.until("it follows", |cluster| look(cluster, NEW).primary.is_some()).await;
            cluster.nodes[primary].plugin.change_members(MembersChange::Add(new), PATIENCE).unwrap();
            cluster
                .until("all have the list", |cluster| (0..=NEW).all(|node| voters(cluster, node) == 4))
                .await;
            // It never had a vote record: a quorum tells it that it has forgotten nothing (A4).
            cluster.until("it is admitted", |cluster| look(cluster, NEW).standing == Standing::Member).await;
            assert_eq!(look(cluster, untold).quorum, 3);
            cluster.kill(primary);
            // Three of four have to vote, and the one that was not told has only one vote beside its own.
            cluster.until("one reigns", |cluster| cluster.writable().is_some_and(|one| one != primary)).await;
            assert_ne!(cluster.writable(), Some(untold));
            let (reigns, epoch) = (cluster.writable(), look(cluster, untold).epoch);
            meet(cluster, untold);
            cluster
                .for_time(Duration::from_secs(3), |cluster| {
                    assert_eq!((cluster.writable(), look(cluster, untold).epoch), (reigns, epoch));
                })
                .await;
            let known = look(cluster, untold).peers.into_iter().find(|peer| peer.id == new).unwrap();
            assert!(known.kind == MemberKind::Voter && known.up && known.linked, "{known:?}");
        });
    }
}

#[test]
fn m14_where_members_are_looked_for_is_nothing_by_which_anybody_decides() {
    with_cluster(0, async |cluster| {
        let primary = first(cluster).await;
        let seen = |cluster: &Cluster<'_>| {
            (0..NEW)
                .map(|node| look(cluster, node))
                .map(|node| (node.epoch, node.primary, node.membership, node.quorum, node.incarnation))
                .collect::<Vec<_>>()
        };
        let before = seen(cluster);
        let members: Vec<NodeId> = cluster.nodes.iter().map(|node| node.id).collect();
        for (node, moved) in (0..NEW).flat_map(|node| members.iter().map(move |moved| (node, *moved))) {
            cluster.nodes[node].plugin.relocate(moved, "elsewhere:1").unwrap();
        }
        cluster
            .for_time(Duration::from_secs(3), |cluster| {
                assert_eq!((cluster.writable(), seen(cluster)), (Some(primary), before.clone()));
            })
            .await;
        let new = members[NEW];
        assert!((0..NEW).all(|node| look(cluster, node).peers.iter().all(|peer| peer.id != new)));
    });
}

/// Whoever lost its record is admitted where nobody has one. Of a voter that it does not know it cannot know that.
#[test]
fn a3_a_voter_that_is_not_known_may_have_a_record() {
    let [n1, n2, n3, n4] = [1, 2, 3, 4].map(|n| NodeId::new(&format!("n{n}")).unwrap());
    let at = |ms| Instant::ZERO + Duration::from_millis(ms);
    let admitted = |list: [NodeId; 3], more: Option<NodeId>| {
        let config = Config::builder(n1, list.map(Member::voter)).build().unwrap();
        let of_all = Config::builder(n1, list.into_iter().chain(more).map(Member::voter)).build().unwrap();
        let mut elector = Elector::new(config, None, 1, 1, at(0));
        let heartbeat = |round| {
            Message::Heartbeat(Heartbeat { epoch: Epoch(1), round: Round(round), ..Heartbeat::blank() })
        };
        let mut admitted = false;
        for ms in (0..5000).step_by(100) {
            for peer in [n2, n3] {
                if ms == 0 {
                    elector.handle_link(at(ms), peer, LinkEvent::Up { incarnation: Incarnation(1) });
                    let list = Membership::of_file(&of_all);
                    assert_eq!(list.generation, Generation::FILE);
                    elector.handle_message(at(ms), peer, Message::Members(list));
                }
                elector.handle_message(at(ms), peer, heartbeat(ms));
            }
            elector.handle_timeout(at(ms));
            while let Some(output) = elector.poll_output() {
                match output {
                    Output::Persist(seq, _) => elector.handle_persisted(at(ms), seq),
                    Output::Event(event) => admitted |= event.kind == EventKind::Admitted,
                    _ => {}
                }
            }
        }
        admitted
    };
    assert!(admitted([n1, n2, n3], None));
    assert!(!admitted([n1, n2, n3], Some(n4)));
}
