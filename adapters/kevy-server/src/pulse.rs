//! A thread that wakes the shards while something waits for them.
//!
//! An idle shard of kevy sleeps for up to 50 ms and ticks ten times a second. A promotion, a replica that
//! connects, and a `WAIT` would all wait for that.

use crate::shards::Shards;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two wakes while someone waits. Ticks are one millisecond apart then.
const PULSE: Duration = Duration::from_millis(1);

/// Wakes the shards until dropped.
pub(crate) struct Pulse {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pulse {
    /// Starts the thread.
    pub(crate) fn start(shards: &Arc<Shards>) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (weak, stopped) = (Arc::downgrade(shards), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("pulse".to_owned());
        let thread = thread.spawn(move || run(&weak, &stopped))?;
        shards.set_pulse(thread.thread().clone());
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there has been printed; there is nothing to add.
            drop(thread.join());
        }
    }
}

fn run(shards: &Weak<Shards>, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        let Some(shards) = shards.upgrade() else { return };
        if shards.is_urgent() {
            shards.wake();
            drop(shards);
            std::thread::sleep(PULSE);
        } else {
            drop(shards);
            // `Shards::hurry` unparks; one that came in between makes this return at once.
            std::thread::park();
        }
    }
}
