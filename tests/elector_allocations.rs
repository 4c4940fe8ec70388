//! The heartbeat path of the elector allocates nothing: not on a primary, not on a replica.

#[path = "../benches/support/mod.rs"]
mod support;

use kevy_elect_plugin::message::Message;
use kevy_elect_plugin::time::Duration;
use support::Cluster;

const INTERVALS: usize = 100;

#[test]
fn a_primary_beats_without_allocating() {
    for voters in [3, 7, 101] {
        let mut cluster = Cluster::new(voters);
        cluster.elect();
        // What is done once is done.
        cluster.primary_interval();
        let counted = allocation_counter::measure(|| (0..INTERVALS).for_each(|_| cluster.primary_interval()));
        // Ten seconds are far more than a lease.
        let left = cluster.elector.lease_left(cluster.now);
        assert!(left > Duration::ZERO, "it did beat, and held its lease");
        assert_eq!(counted.count_total, 0, "{voters} voters");
    }
}

#[test]
fn a_replica_beats_and_echoes_without_allocating() {
    let mut cluster = Cluster::new(3);
    cluster.replica_interval();
    let mut echoes = 0;
    let counted = allocation_counter::measure(|| {
        for _ in 0..INTERVALS {
            cluster.replica_interval_with(|_, message| {
                echoes += usize::from(matches!(message, Message::Echo(_)))
            });
        }
    });
    assert_eq!(echoes, INTERVALS, "it did answer");
    assert_eq!(counted.count_total, 0);
}
