//! Somebody else's work on the same processors.

use kevy_elect_harness::failure::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Busy threads per processor: each server thread then gets a third of one at most.
const PER_PROCESSOR: usize = 2;

/// Threads that never rest. Dropping it ends them.
pub(crate) struct Busy {
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    /// Starts them.
    pub(crate) fn start() -> Result<Self, Failure> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let mut busy = Self { end: Arc::default(), threads: Vec::new() };
        for _ in 0..processors * PER_PROCESSOR {
            let end = busy.end.clone();
            let thread = std::thread::Builder::new()
                .name("busy".into())
                .spawn(move || {
                    while !end.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                })
                .map_err(Failure::os("start a thread"))?;
            busy.threads.push(thread);
        }
        Ok(busy)
    }

    /// How many there are.
    pub(crate) fn threads(&self) -> usize {
        self.threads.len()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
