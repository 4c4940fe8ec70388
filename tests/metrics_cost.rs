//! Metrics cost a node no more than once per heartbeat interval and peer, however many messages come in.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use metrics::{Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::Cluster;

/// Counts gauges, those of peers and the others: how many there are, and how often they are set.
#[derive(Default, Clone)]
struct Sets {
    gauges: Arc<[AtomicU64; 2]>,
    sets: Arc<[AtomicU64; 2]>,
}

struct Counted(Sets, usize);

impl GaugeFn for Counted {
    fn increment(&self, _: f64) {
        self.0.sets[self.1].fetch_add(1, Ordering::Relaxed);
    }
    fn decrement(&self, _: f64) {
        self.increment(0.0);
    }
    fn set(&self, _: f64) {
        self.increment(0.0);
    }
}

impl Recorder for Sets {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let of_node = usize::from(!key.labels().any(|label| label.key() == "peer"));
        self.gauges[of_node].fetch_add(1, Ordering::Relaxed);
        Gauge::from_arc(Arc::new(Counted(self.clone(), of_node)))
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn gauges_are_set_once_per_heartbeat_interval_not_at_every_wake() {
    const SECONDS: u64 = 5;
    for nodes in [3, 9] {
        let sets = Sets::default();
        let executor = smol::LocalExecutor::new();
        metrics::with_local_recorder(&sets, || {
            smol::block_on(executor.run(async {
                let spawn = |task| executor.spawn(task).detach();
                let cluster = Cluster::new(nodes, 7, &spawn);
                cluster.until("a first primary", |c| c.followed_by_all(0)).await;
                sets.sets.iter().for_each(|count| count.store(0, Ordering::Relaxed));
                cluster.for_time(Duration::from_secs(SECONDS), |_| {}).await;
            }));
        });
        // One more interval at either end, and one time more when something is told.
        let intervals = SECONDS * 10 + 3;
        for (kind, whose) in [(0, "peers"), (1, "nodes")] {
            let [most, set] = [&sets.gauges, &sets.sets].map(|count| count[kind].load(Ordering::Relaxed));
            let most = most * intervals;
            assert!((most / 3..=most).contains(&set), "{nodes} nodes: {set} of {whose}, at most {most}");
        }
    }
}
