//! What the system knows of a thread of this process: whether it has work or waits, and how long it has run.

use std::time::Duration;

/// One look at a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// It has a processor, or waits for one. Else it waits for something that it asked for.
    pub(crate) runs: bool,
    /// The processor time that it has had.
    pub(crate) used: Duration,
}

/// The calling thread's number.
#[cfg(target_os = "linux")]
pub(crate) fn thread() -> Option<u32> {
    u32::try_from(rustix::thread::gettid().as_raw_nonzero().get()).ok()
}

/// Elsewhere nothing is known of threads.
#[cfg(not(target_os = "linux"))]
pub(crate) fn thread() -> Option<u32> {
    None
}

/// What that thread is at, where that is known.
pub(crate) fn look(thread: u32) -> Option<Look> {
    read(&std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).ok()?)
}

/// The format of `/proc/*/stat`: the state behind the name, eleven fields later the processor time in user and system mode.
fn read(stat: &str) -> Option<Look> {
    // A hundred a second, whatever the kernel's own.
    const TICK_MS: u64 = 10;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let runs = fields.next()? == "R";
    let mut ticks = fields.skip(10).map(str::parse::<u64>);
    let used = ticks.next()?.ok()?.saturating_add(ticks.next()?.ok()?);
    Some(Look { runs, used: Duration::from_millis(used.saturating_mul(TICK_MS)) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_thread_that_has_any_name_is_understood() {
        let stat = "71 (a) R (b) S 1 2 3 4 5 6 7 8 9 10 230 25 0 0 20 0 1";
        assert_eq!(read(stat), Some(Look { runs: false, used: Duration::from_millis(2550) }));
        assert_eq!(read("71 (a) R 1 2"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_that_computes_and_one_that_sleeps_are_told_apart() {
        let own = thread().unwrap();
        assert!(look(own).unwrap().runs, "it looks at itself just now");
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let sleeper = std::thread::spawn(move || {
            tell.send(thread().unwrap()).unwrap();
            ended.recv()
        });
        let other = told.recv().unwrap();
        while look(other).unwrap().runs {
            std::thread::yield_now();
        }
        drop(end);
        assert!(sleeper.join().unwrap().is_err());
        // Who joins it is told before the system takes it off its list.
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Some(seen) = look(other) {
            assert!(Instant::now() < deadline, "it has ended, and is listed: {seen:?}");
            std::thread::yield_now();
        }
    }
}
