//! One scenario, unchanged, on four executors: nothing in the plugin knows where it runs.

#![allow(clippy::unwrap_used, reason = "a helper of a test that fails says where")]

mod support;

use futures::StreamExt;
use futures::executor::block_on;
use futures::future::{BoxFuture, Either, select};
use futures::stream::FuturesUnordered;
use kevy_elect_plugin::fence::{Denied, FenceReason};
use kevy_elect_plugin::plugin::ElectPlugin;
use kevy_elect_plugin::time::Duration;
use support::{Cluster, Spawn};

/// Election, kill, restart, partition, heal, handover: with a check at every step of virtual time that at
/// most one node would write.
async fn a_life(spawn: Spawn<'_>) {
    let mut cluster = Cluster::new(3, 7, spawn);
    cluster.until("a first primary", |c| c.followed_by_all(0)).await;
    let first = cluster.nodes[0].plugin.snapshot().epoch;

    cluster.kill(0);
    cluster.until("a primary after the kill", |c| c.followed_by_all(1)).await;
    assert_eq!(cluster.nodes[0].plugin.write_gate().check(), Err(Denied::Fenced(FenceReason::Stopped)));
    cluster.restart(0);
    cluster.until("the old one follows", |c| c.followed_by_all(1)).await;
    let node = cluster.nodes[0].plugin.snapshot();
    assert!(node.epoch > first && node.incarnation.0 > 1, "{node:?}");

    let (one, others) = (cluster.ids(&[1]), cluster.ids(&[0, 2]));
    cluster.network.partition(&one, &others);
    let gone = |c: &Cluster<'_>| c.writable().is_some_and(|writable| writable != 1);
    cluster.until("a primary on the side of the majority", gone).await;
    let denied = cluster.nodes[1].plugin.write_gate().check();
    assert_eq!(denied, Err(Denied::Fenced(FenceReason::LeaseExpired)));
    cluster.network.heal_all();
    cluster.until("one primary for all", |c| c.writable().is_some_and(|w| c.followed_by_all(w))).await;

    let old = cluster.writable().unwrap_or_default();
    let leaving = cluster.nodes[old].plugin.clone();
    spawn(Box::pin(async move { leaving.shutdown().await }));
    cluster.until("a successor", |c| c.writable().is_some_and(|writable| writable != old)).await;
}

/// A second of quiet changes nothing: no epoch, no role.
async fn quiet(spawn: Spawn<'_>) {
    let cluster = Cluster::new(5, 3, spawn);
    cluster.until("a first primary", |c| c.followed_by_all(0)).await;
    let epoch = cluster.nodes[0].plugin.snapshot().epoch;
    cluster
        .for_time(Duration::from_secs(10), |c| {
            assert_eq!(c.writable(), Some(0));
            assert!(c.nodes.iter().all(|node| node.plugin.snapshot().epoch == epoch));
        })
        .await;
}

async fn both(spawn: Spawn<'_>) {
    quiet(spawn).await;
    a_life(spawn).await;
}

#[test]
fn on_smol() {
    let executor = smol::LocalExecutor::new();
    smol::block_on(executor.run(both(&|task| executor.spawn(task).detach())));
}

#[test]
fn on_tokio() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, both(&|task| drop(tokio::task::spawn_local(task))));
}

#[test]
fn on_async_global_executor() {
    async_global_executor::block_on(both(&|task| async_global_executor::spawn_local(task).detach()));
}

#[test]
fn on_futures_block_on_without_any_executor() {
    let (send, receive) = async_channel::unbounded::<BoxFuture<'static, ()>>();
    let work = async {
        let mut receive = std::pin::pin!(receive);
        let mut tasks = FuturesUnordered::new();
        loop {
            match select(receive.next(), tasks.next()).await {
                Either::Left((Some(task), _)) => tasks.push(task),
                Either::Left((None, _)) => return,
                // Nothing to do until a task comes.
                Either::Right((None, next)) => match next.await {
                    Some(task) => tasks.push(task),
                    None => return,
                },
                Either::Right((Some(()), _)) => {}
            }
        }
    };
    let spawn = |task| drop(send.try_send(task));
    let scenario = std::pin::pin!(both(&spawn));
    block_on(select(scenario, std::pin::pin!(work)));
}
