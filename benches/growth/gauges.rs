//! Counts what the driver does for metrics: without a recorder, setting a gauge costs nothing and would not show.

use metrics::{Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

static SETS: AtomicU64 = AtomicU64::new(0);

/// How often gauges were set so far.
pub(crate) fn sets() -> u64 {
    SETS.load(Ordering::Relaxed)
}

/// Counts from here on, in this process.
pub(crate) fn count() -> Result<(), Box<dyn std::error::Error>> {
    metrics::set_global_recorder(Counting).map_err(|error| error.to_string().into())
}

struct Counting;

/// A real handle beside the count: what a recorder does is paid for.
struct Counted(AtomicU64);

impl GaugeFn for Counted {
    fn increment(&self, value: f64) {
        self.set(value);
    }
    fn decrement(&self, value: f64) {
        self.set(value);
    }
    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
        SETS.fetch_add(1, Ordering::Relaxed);
    }
}

impl Recorder for Counting {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(AtomicU64::new(0)))
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(Counted(AtomicU64::new(0))))
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
