//! For how long the host of this machine ran none of its programs on one of its processors, whatever their priority. A virtual processor
//! is away while its host does something else, as when it has to find memory for a page that is touched for the first time. What runs in the
//! machine sees only that time has passed: who was running is taken for somebody that was slow, and who was woken there has not even
//! begun to wait for a processor.

use crate::clock::Clock;
use kevy_elect_watchdog::prefer_this_thread;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often each processor is asked for.
const INTERVAL: Duration = Duration::from_millis(1);
/// What comes later than this was kept waiting by the host: nothing ordinary stands before a real-time thread.
const LATE: Duration = Duration::from_millis(2);
/// Spans that are kept.
const SPANS_MAX: usize = 100_000;

/// Asks for each processor until it is dropped. Where real-time priorities are not allowed, it sees nothing.
pub(super) struct Away {
    over: Arc<AtomicBool>,
    spans: Arc<Mutex<Vec<(Duration, Duration)>>>,
    threads: Vec<JoinHandle<()>>,
    sees: bool,
}

impl Away {
    /// Begins to ask for the processors on which this process may run.
    pub(super) fn watch(clock: Clock) -> Self {
        let (over, spans) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::default()));
        let allowed = sched_getaffinity(None);
        let mut away = Self { over, spans, threads: Vec::new(), sees: allowed.is_ok() };
        let allowed = allowed.unwrap_or_else(|_| CpuSet::new());
        let (tell, sees) = std::sync::mpsc::channel();
        for processor in (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)) {
            let (over, spans, tell) = (Arc::clone(&away.over), Arc::clone(&away.spans), tell.clone());
            let watch = move || {
                let ready = only_on(processor) && prefer_this_thread().is_ok();
                if tell.send(ready).is_ok() && ready {
                    look(&over, &spans, clock);
                }
            };
            match std::thread::Builder::new().name("away".into()).spawn(watch) {
                Ok(thread) => away.threads.push(thread),
                Err(_) => away.sees = false,
            }
        }
        away.sees &= sees.into_iter().take(away.threads.len()).all(|ready| ready);
        away
    }

    /// For how long between two instants at least one of them was away. `None`: it was not seen.
    pub(super) fn between(&self, from: Duration, to: Duration) -> Option<Duration> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        self.sees.then(|| covered(&spans, from, to))
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn only_on(processor: usize) -> bool {
    let mut only = CpuSet::new();
    only.set(processor);
    sched_setaffinity(None, &only).is_ok()
}

fn look(over: &AtomicBool, spans: &Mutex<Vec<(Duration, Duration)>>, clock: Clock) {
    while !over.load(Ordering::Acquire) {
        let due = clock.now() + INTERVAL;
        std::thread::sleep(INTERVAL);
        let now = clock.now();
        if now.saturating_sub(due) >= LATE {
            let mut spans = spans.lock().unwrap_or_else(PoisonError::into_inner);
            if spans.len() < SPANS_MAX {
                spans.push((due, now));
            }
        }
    }
}

/// What is covered of the time between two instants by one span or several.
fn covered(spans: &[(Duration, Duration)], from: Duration, to: Duration) -> Duration {
    let mut spans: Vec<_> = spans.iter().map(|(begin, end)| (*begin.max(&from), *end.min(&to))).collect();
    spans.sort();
    let mut reached = from;
    let mut sum = Duration::ZERO;
    for (begin, end) in spans {
        sum += end.saturating_sub(begin.max(reached));
        reached = reached.max(end);
    }
    sum
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn what_two_processors_missed_at_once_counts_once_and_only_between_the_instants() {
        let spans = [(ms(30), ms(40)), (ms(10), ms(20)), (ms(15), ms(25)), (ms(90), ms(99))];
        assert_eq!(covered(&spans, ms(0), ms(50)), ms(25));
        assert_eq!(covered(&spans, ms(12), ms(35)), ms(18));
        assert_eq!(covered(&spans, ms(41), ms(50)), ms(0));
        assert_eq!(covered(&[], ms(0), ms(50)), ms(0));
    }

    #[test]
    fn no_more_is_seen_than_there_was() {
        let clock = Clock::start();
        let away = Away::watch(clock);
        let (begun, ended) = (clock.now(), clock.now() + ms(1));
        assert!(away.between(begun, ended).is_none_or(|away| away <= ended - begun));
    }
}
