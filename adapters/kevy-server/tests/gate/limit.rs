//! A test that takes too long ends with the name of what it was at. Every answer has a time limit of its own (`wire.rs`), but thousands are
//! waited for, and on a busy machine a test that is slow looks like one that hangs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Minutes on an idle machine take a quarter of an hour on one with twenty threads for each processor.
const LONGEST: Duration = Duration::from_secs(30 * 60);
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What the test is at.
pub struct Limit {
    at: Arc<Mutex<(Instant, String)>>,
    over: Arc<AtomicBool>,
}

impl Limit {
    pub fn start(test: &'static str) -> Self {
        let at = Arc::new(Mutex::new((Instant::now(), "its beginning".to_owned())));
        let (begun, over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let (seen, ended) = (Arc::clone(&at), Arc::clone(&over));
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK_INTERVAL);
                if begun.elapsed() > LONGEST && !ended.load(Ordering::Relaxed) {
                    let (since, what) = &*seen.lock().unwrap_or_else(PoisonError::into_inner);
                    eprintln!(
                        "{test} has taken {:?}, and has been at {what} for {:?}",
                        begun.elapsed(),
                        since.elapsed()
                    );
                    std::process::exit(101);
                }
            }
        });
        Self { at, over }
    }

    pub fn at(&self, what: impl Into<String>) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), what.into());
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
