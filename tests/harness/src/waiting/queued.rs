//! For how long a server's threads, and the client that measures it, were ready to run and had no processor, as the kernel counts it. Where
//! several nodes share one machine, that is what most stalls are made of; on machines of their own there are none of these.

use crate::clock::Clock;
use std::fs::read_to_string;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(1);
/// Looks that are kept: some minutes.
const LOOKS_MAX: usize = 300_000;

/// Looks at a process until it is dropped, or that is gone. Where the kernel does not count, it sees nothing.
pub(super) struct Queued {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    over: AtomicBool,
    /// When, and for how long by then, all threads together: server and client wait for each other, so one after the other.
    looks: Mutex<Vec<(Duration, Duration)>>,
}

impl Queued {
    /// Looks at the threads that serve clients in the process `pid`, and at the thread of this process that is its `client`.
    pub(super) fn watch(pid: Option<u32>, client: Option<u32>, clock: Clock) -> Self {
        let shared = Arc::new(Shared { over: AtomicBool::new(false), looks: Mutex::default() });
        let watched = Arc::clone(&shared);
        let look = move |pid| {
            let mut threads: Vec<_> = serving(pid).into_iter().map(|thread| (pid, thread)).collect();
            threads.extend(client.map(|thread| (std::process::id(), thread)));
            while !watched.over.load(Ordering::Acquire) && watched.look(&threads, clock) {
                std::thread::sleep(INTERVAL);
            }
        };
        // Without it nothing is told of this.
        let spawn = |pid| std::thread::Builder::new().name("queued".into()).spawn(move || look(pid)).ok();
        Self { shared, thread: pid.and_then(spawn) }
    }

    /// For how long between two instants. `None`: it was not seen.
    pub(super) fn between(&self, from: Duration, to: Duration) -> Option<Duration> {
        let looks = self.shared.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let before = looks.iter().rev().find(|(at, _)| *at <= from)?.1;
        let after = looks.iter().find(|(at, _)| *at >= to)?.1;
        Some(after.saturating_sub(before).min(to.saturating_sub(from)))
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        self.thread.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn look(&self, threads: &[(u32, u32)], clock: Clock) -> bool {
        let waited: Option<u64> = threads.iter().map(|(pid, thread)| waited_ns(*pid, *thread)).sum();
        let (Some(waited), at) = (waited, clock.now()) else { return false };
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.push((at, Duration::from_nanos(waited)));
        looks.len() < LOOKS_MAX
    }
}

/// The threads of a process that are called like its first one: those that serve.
fn serving(pid: u32) -> Vec<u32> {
    let name = |thread: u32| read_to_string(format!("/proc/{pid}/task/{thread}/comm")).ok();
    let Some(first) = name(pid) else { return Vec::new() };
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let threads = threads.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    threads.filter(|thread| name(*thread).as_ref() == Some(&first)).collect()
}

/// `schedstat`: nanoseconds on a processor, nanoseconds ready without one, turns.
fn waited_ns(pid: u32, thread: u32) -> Option<u64> {
    let text = read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn it_counts_no_more_than_there_was_and_nothing_of_what_it_did_not_see() {
        let clock = Clock::start();
        let queued = Queued::watch(Some(std::process::id()), None, clock);
        let (begun, deadline) = (clock.now(), std::time::Instant::now() + Duration::from_secs(60));
        let seen = loop {
            // The first look may come late, and what was before it is not seen.
            let from = clock.now();
            std::thread::sleep(INTERVAL * 10);
            if let Some(seen) = queued.between(from, from + INTERVAL * 5) {
                break seen;
            }
            assert!(std::time::Instant::now() < deadline, "nothing seen for {:?}", clock.now() - begun);
        };
        assert!(seen <= INTERVAL * 5);
        assert_eq!(queued.between(begun, clock.now() + Duration::from_secs(60)), None);
        assert_eq!(Queued::watch(None, None, clock).between(begun, clock.now()), None);
    }
}
