//! What processes cost while nobody asks them for anything, as the kernel counts it.

use crate::failure::Failure;
use std::fs::read_to_string;
use std::time::Duration;

/// The sum over some processes, all their threads included.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Context switches per second, voluntary and not.
    pub switches: f64,
    /// Milliseconds of processor time per second.
    pub cpu_ms: f64,
    /// Resident memory in KiB.
    pub rss_kib: f64,
    /// Threads.
    pub threads: f64,
}

impl Cost {
    /// What this costs more than `other`.
    pub fn beyond(self, other: Self) -> Self {
        Self {
            switches: self.switches - other.switches,
            cpu_ms: self.cpu_ms - other.cpu_ms,
            rss_kib: self.rss_kib - other.rss_kib,
            threads: self.threads - other.threads,
        }
    }
}

/// Counters since the processes began.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    switches: u64,
    cpu_ns: u64,
    rss_kib: u64,
    threads: u64,
}

/// Reads the counters of `pids` now.
pub fn read(pids: &[u32]) -> Result<Reading, Failure> {
    let mut sum = Reading::default();
    for pid in pids {
        let status = format!("/proc/{pid}/status");
        let text = read_to_string(&status).map_err(Failure::os(format!("read {status}")))?;
        sum.rss_kib += field(&text, "VmRSS:");
        let tasks = format!("/proc/{pid}/task");
        let entries = std::fs::read_dir(&tasks).map_err(Failure::os(format!("read {tasks}")))?;
        for task in entries.flatten() {
            // A thread may end between the two looks; then it counts no more.
            let Ok(text) = read_to_string(task.path().join("status")) else { continue };
            sum.switches +=
                field(&text, "voluntary_ctxt_switches:") + field(&text, "nonvoluntary_ctxt_switches:");
            sum.threads += 1;
            // In nanoseconds; `stat` counts in hundredths of a second, too coarse for an idle process.
            let times = read_to_string(task.path().join("schedstat")).unwrap_or_default();
            sum.cpu_ns += times.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Ok(sum)
}

/// What the time between two readings cost.
pub fn cost(before: Reading, after: Reading, time: Duration) -> Cost {
    let seconds = time.as_secs_f64();
    Cost {
        switches: after.switches.saturating_sub(before.switches) as f64 / seconds,
        cpu_ms: after.cpu_ns.saturating_sub(before.cpu_ns) as f64 / 1e6 / seconds,
        rss_kib: after.rss_kib as f64,
        threads: after.threads as f64,
    }
}

/// The number after `name` at the beginning of a line.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "VmRSS:\t    1234 kB\nnonvoluntary_ctxt_switches:\t5\nvoluntary_ctxt_switches:\t7\n";
        assert_eq!(field(text, "VmRSS:"), 1234);
        assert_eq!(field(text, "voluntary_ctxt_switches:"), 7);
        assert_eq!(field(text, "nothing:"), 0);
    }

    #[test]
    fn this_process_has_a_thread_and_memory() {
        let before = read(&[std::process::id()]).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        let after = read(&[std::process::id()]).unwrap();
        let cost = cost(before, after, Duration::from_millis(5));
        assert!(cost.threads >= 1.0 && cost.rss_kib > 0.0, "{cost:?}");
    }
}
