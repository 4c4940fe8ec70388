//! What the elector costs: `cargo bench --bench elector`. Times and allocations, 3 to 101 voters.
//!
//! `primary_interval` is everything a primary does in one heartbeat interval: its round sent to all, all echoes
//! and all heartbeats taken. `replica_interval` is the same of a replica. `election` runs from the expired timer to
//! the announced victory, all answers included. `observers` is the primary's interval beside that many of them.

mod support;

use divan::{AllocProfiler, Bencher, Divan};
use kevy_elect_plugin::time::Duration;
use support::Cluster;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const NODES: [usize; 7] = [3, 5, 7, 9, 15, 31, 101];
const OBSERVERS: [usize; 4] = [1, 10, 100, 1000];

fn main() {
    Divan::default().config_with_args().main();
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
    assert_eq!(cluster.elector.primary(), Some(cluster.other()), "it follows");
}

#[divan::bench(args = NODES)]
fn election(bencher: Bencher<'_, '_>, nodes: usize) {
    bencher.with_inputs(|| Cluster::new(nodes)).bench_local_values(|mut cluster| {
        cluster.elect();
        cluster
    });
}

/// Of a primary of three voters.
#[divan::bench(args = OBSERVERS)]
fn primary_interval_with_observers(bencher: Bencher<'_, '_>, observers: usize) {
    let mut cluster = Cluster::with_observers(3, observers);
    cluster.elect();
    cluster.primary_interval();
    bencher.bench_local(|| cluster.primary_interval());
}

#[divan::bench(args = OBSERVERS)]
fn observer_interval(bencher: Bencher<'_, '_>, observers: usize) {
    let mut cluster = Cluster::observer(3, observers);
    bencher.bench_local(|| cluster.observer_interval());
    assert_eq!(cluster.elector.primary(), Some(cluster.other()), "it follows");
}
