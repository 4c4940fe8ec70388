//! What the write gate costs a write: `cargo bench --bench gate`.
//!
//! Read `open` against `nothing` (the loop itself), `coarse_clock` (its floor) and `precise_clock` (what a
//! gate that always asked the exact time would cost). `last_half` is the rare precise path of an open gate.

use divan::{Bencher, Divan, black_box};
use kevy_elect_plugin::clock::{Clock, SystemClock};
use kevy_elect_plugin::plugin::WriteGate;
use kevy_elect_plugin::time::Duration;
use std::sync::Arc;

const LEASE: Duration = Duration::from_secs(3600);

fn main() {
    // A fixed size: what is measured takes a few nanoseconds, and one slow first call must not set it.
    Divan::default().sample_size(10_000).config_with_args().main();
}

/// A gate with this much of its lease left.
fn gate(left: Duration) -> WriteGate {
    WriteGate::open_until(Arc::new(SystemClock), LEASE, SystemClock.now() + left)
}

#[divan::bench]
fn nothing() -> u64 {
    black_box(0)
}

#[divan::bench]
fn coarse_clock() -> u64 {
    SystemClock.coarse().as_nanos()
}

#[divan::bench]
fn precise_clock() -> u64 {
    SystemClock.now().as_nanos()
}

#[divan::bench(threads = [1, 2])]
fn open(bencher: Bencher) {
    let gate = gate(LEASE);
    assert!(gate.is_open());
    bencher.bench(|| black_box(&gate).check());
}

#[divan::bench]
fn last_half(bencher: Bencher) {
    let gate = gate(LEASE / 3);
    assert!(gate.is_open());
    bencher.bench(|| black_box(&gate).check());
}

#[divan::bench]
fn shut(bencher: Bencher) {
    let gate = WriteGate::new(Arc::new(SystemClock), LEASE);
    assert!(!gate.is_open());
    bencher.bench(|| black_box(&gate).check());
}
