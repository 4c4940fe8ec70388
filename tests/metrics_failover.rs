//! Failovers of every kind are timed by phase and labelled with their reason.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use kevy_elect_plugin::plugin::ElectPlugin;
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use support::Cluster;

type Values = Arc<Mutex<BTreeMap<(String, String), Vec<f64>>>>;

/// Keeps the phases of failovers of all nodes of a test.
#[derive(Default, Clone)]
struct Phases(Values);

struct One((String, String), Values);

impl HistogramFn for One {
    fn record(&self, value: f64) {
        self.1.lock().unwrap().entry(self.0.clone()).or_default().push(value);
    }
}

impl Recorder for Phases {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        if key.name() != "kevy_elect_failover_phase_duration_seconds" {
            return Histogram::noop();
        }
        let label = |name| key.labels().find(|l| l.key() == name).unwrap().value().to_owned();
        Histogram::from_arc(Arc::new(One((label("phase"), label("reason")), self.0.clone())))
    }
}

impl Phases {
    /// How often each phase was timed for `reason`: detect, elect, promote, retarget.
    fn counts(&self, reason: &str) -> [usize; 4] {
        let seen = self.0.lock().unwrap();
        ["detect", "elect", "promote", "retarget"]
            .map(|phase| seen.get(&(phase.to_owned(), reason.to_owned())).map_or(0, Vec::len))
    }
}

/// Three nodes, the first of them primary; `fault` ends its office.
fn failover(fault: impl AsyncFnOnce(&mut Cluster<'_>)) -> Phases {
    let phases = Phases::default();
    let executor = smol::LocalExecutor::new();
    metrics::with_local_recorder(&phases, || {
        smol::block_on(executor.run(async {
            let spawn = |task| executor.spawn(task).detach();
            let mut cluster = Cluster::new(3, 7, &spawn);
            cluster.until("a first primary", |c| c.followed_by_all(0)).await;
            phases.0.lock().unwrap().clear();
            fault(&mut cluster).await;
            cluster.until("a successor", |c| c.writable().is_some_and(|w| w != 0)).await;
            cluster.for_time(std::time::Duration::from_secs(1), |_| {}).await;
        }));
    });
    phases
}

#[test]
fn a_crash() {
    let phases = failover(async |cluster| cluster.kill(0));
    assert_eq!(phases.counts("crash"), [2, 1, 1, 1], "{:?}", phases.0);
    assert_eq!(phases.counts("partition"), [0; 4]);
}

#[test]
fn a_partition() {
    let phases = failover(async |cluster| {
        let (one, others) = (cluster.ids(&[0]), cluster.ids(&[1, 2]));
        cluster.network.partition(&one, &others);
    });
    let [detect, elect, promote, _] = phases.counts("partition");
    assert!(detect >= 1 && (elect, promote) == (1, 1), "{:?}", phases.0);
    let silence = phases.0.lock().unwrap()[&("detect".to_owned(), "partition".to_owned())][0];
    assert!((0.9..2.0).contains(&silence), "an election timeout: {silence}");
}

#[test]
fn a_planned_handover() {
    let phases = failover(async |cluster| cluster.nodes[0].plugin.step_down());
    let [detect, elect, promote, retarget] = phases.counts("planned");
    assert!(detect >= 1 && (elect, promote) == (1, 1) && retarget >= 1, "{:?}", phases.0);
}

#[test]
fn a_restart() {
    let phases = failover(async |cluster| {
        // Its links end in order, and it is back before anybody was refused.
        cluster.kill(0);
        cluster.restart(0);
    });
    let seen = phases.0.lock().unwrap().clone();
    let restarts: usize = phases.counts("restart").iter().sum();
    assert!(restarts >= 3, "{seen:?}");
}
