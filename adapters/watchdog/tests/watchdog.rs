//! Processes that arm the timer, and what becomes of them. Every test runs itself again as the process under test.
#![cfg(target_os = "linux")]
// Clippy knows only `#[test]` functions as tests, not the helpers beside them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use kevy_elect_watchdog::{Instant, Watchdog};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

const CHILD: &str = "WATCHDOG_TEST_CHILD";
/// For whoever waits for the deadline.
const SOON: Duration = Duration::from_millis(400);
/// Long enough for a loaded machine to be in time.
const LATER: Duration = Duration::from_secs(4);
/// How often a deadline is put off, and the time between.
const PUT_OFF: (u32, Duration) = (30, Duration::from_millis(200));
const SIGKILL: Option<i32> = Some(9);

/// This test as a process of its own, which `body` is then.
fn child(test: &str, body: impl FnOnce()) -> Child {
    if std::env::var_os(CHILD).is_some() {
        body();
        std::process::exit(0);
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    command.stdout(Stdio::piped()).spawn().unwrap()
}

fn armed(left: Duration) -> Watchdog {
    let watchdog = Watchdog::new().unwrap();
    watchdog.put_off(Instant::now().unwrap() + left).unwrap();
    watchdog
}

/// All that the process still wrote, and how it ended.
fn end(mut child: Child, mut output: ChildStdout) -> (Vec<u8>, ExitStatus) {
    let mut written = Vec::new();
    output.read_to_end(&mut written).unwrap();
    (written, child.wait().unwrap())
}

#[test]
fn a_stopped_process_ends_although_nobody_continues_it() {
    let mut child = child("a_stopped_process_ends_although_nobody_continues_it", || {
        let _watchdog = armed(SOON);
        raise(Signal::SIGSTOP).unwrap();
    });
    let output = child.stdout.take().unwrap();
    let (_, status) = end(child, output);
    assert_eq!(status.signal(), SIGKILL, "{status}");
}

/// The point of it all: threads in the middle of answering, stopped until after the deadline, and continued.
#[test]
fn after_the_deadline_no_thread_of_a_stopped_process_says_anything() {
    let mut child = child("after_the_deadline_no_thread_of_a_stopped_process_says_anything", || {
        let _watchdog = armed(LATER);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    loop {
                        std::io::stdout().write_all(b"answer\n").unwrap();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    let mut output = child.stdout.take().unwrap();
    // It is in the middle of it.
    output.read_exact(&mut [0; 1000]).unwrap();
    kill(pid, Signal::SIGSTOP).unwrap();
    assert!(matches!(waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap(), WaitStatus::Stopped(..)));
    // What it said before the stop. The pipe is empty then, so that its threads could go on at once.
    let before = rustix::io::ioctl_fionread(&output).unwrap();
    output.read_exact(&mut vec![0; before.try_into().unwrap()]).unwrap();
    // Ends when the process does.
    let mut after = Vec::new();
    output.read_to_end(&mut after).unwrap();
    assert_eq!(String::from_utf8_lossy(&after), "");
    assert_eq!(child.wait().unwrap().signal(), SIGKILL);
}

#[test]
fn who_is_put_off_or_stands_down_lives() {
    let mut child = child("who_is_put_off_or_stands_down_lives", || {
        let watchdog = armed(LATER);
        let (times, apart) = PUT_OFF;
        assert!(times * apart > LATER, "the first deadline passes meanwhile");
        for _ in 0..times {
            std::thread::sleep(apart);
            watchdog.put_off(Instant::now().unwrap() + LATER).unwrap();
        }
        watchdog.stand_down().unwrap();
        drop(armed(LATER));
        std::thread::sleep(LATER + SOON);
    });
    let output = child.stdout.take().unwrap();
    assert!(end(child, output).1.success());
}

#[test]
fn a_deadline_that_has_passed_is_not_taken_for_standing_down() {
    let mut child = child("a_deadline_that_has_passed_is_not_taken_for_standing_down", || {
        let watchdog = Watchdog::new().unwrap();
        watchdog.put_off(Instant::now().unwrap()).unwrap();
        loop {
            std::thread::park();
        }
    });
    let output = child.stdout.take().unwrap();
    assert_eq!(end(child, output).1.signal(), SIGKILL);
}
