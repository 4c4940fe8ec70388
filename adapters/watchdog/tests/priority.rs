//! What the kernel says of a thread that runs first.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use kevy_elect_watchdog::prefer_this_thread;
use nix::sys::resource::{Resource, getrlimit};
use std::io::ErrorKind;

/// As `sched(7)` numbers them.
const ORDINARY: u32 = 0;
const ROUND_ROBIN: u32 = 2;

/// The policy of this thread.
fn policy() -> u32 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    // Behind the name, which may have spaces in it.
    let fields = stat.rsplit(") ").next().unwrap();
    fields.split(' ').nth(38).unwrap().parse().unwrap()
}

#[test]
fn it_runs_before_ordinary_threads_and_those_that_it_starts_do_not() {
    match prefer_this_thread() {
        Ok(()) => {
            assert_eq!(policy(), ROUND_ROBIN);
            assert_eq!(std::thread::spawn(policy).join().unwrap(), ORDINARY);
        }
        // Who may not is told so, and goes on as before.
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            let (allowed, _) = getrlimit(Resource::RLIMIT_RTPRIO).unwrap();
            assert_eq!((allowed, policy()), (0, ORDINARY));
        }
    }
}
