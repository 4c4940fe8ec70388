//! No process and no directory is left behind, however the demo ends.
//!
//! The servers here are shell scripts that never answer: what counts is that they are gone afterwards.

#![expect(clippy::unwrap_used, reason = "clippy knows test functions, but not their helpers")]

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Far more than any of it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn ctrl_c_ends_every_server_and_says_so_in_the_exit_code() {
    let stage = Stage::new("ctrl-c", "exec sleep 1000");
    let mut demo = stage.demo();
    let servers = stage.servers();
    signal(demo.id(), Signal::INT);
    let status = demo.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    stage.assert_nothing_left(&servers);
}

#[test]
fn even_stopped_servers_end() {
    let stage = Stage::new("stopped", "exec sleep 1000");
    let mut demo = stage.demo();
    let servers = stage.servers();
    signal(servers[1].as_raw_nonzero().get() as u32, Signal::STOP);
    signal(demo.id(), Signal::TERM);
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    stage.assert_nothing_left(&servers);
}

#[test]
fn when_the_demo_itself_is_killed_its_guard_ends_the_servers() {
    let stage = Stage::new("killed", "exec sleep 1000");
    let mut demo = stage.demo();
    let servers = stage.servers();
    signal(demo.id(), Signal::KILL);
    assert_eq!(demo.wait().unwrap().code(), None);
    stage.assert_nothing_left(&servers);
}

#[test]
fn a_server_that_ends_by_itself_is_reported_with_what_it_said() {
    let stage = Stage::new("dies", "echo the disk is made of cheese >&2; exit 7");
    let output = stage.command().stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("ended by itself (exit code 7)"), "{said}");
    assert!(said.contains("the disk is made of cheese"), "{said}");
    // Some may have been ended before they could note their process ids.
    stage.assert_nothing_left(&[]);
}

#[test]
fn a_server_that_does_not_exist_is_named() {
    let stage = Stage::new("missing", "");
    let output = stage.command().args(["--server", "/nonexistent/kevy-server"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no kevy-server at /nonexistent/kevy-server"), "{said}");
}

/// A directory with a fake server, where the demo also puts its own.
struct Stage {
    directory: PathBuf,
    script: PathBuf,
}

impl Stage {
    fn new(name: &str, body: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(directory.join("tmp")).unwrap();
        let script = directory.join("server");
        let pids = directory.join("pids");
        std::fs::write(&script, format!("#!/bin/sh\necho $$ >> {}\n{body}\n", pids.display())).unwrap();
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        Self { directory, script }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kevy-elect-demo"));
        command.arg("--server").arg(&self.script).env("TMPDIR", self.directory.join("tmp"));
        command.stdout(Stdio::null());
        command
    }

    fn demo(&self) -> Child {
        self.command().stderr(Stdio::null()).spawn().unwrap()
    }

    /// The servers, once all three have started.
    fn servers(&self) -> Vec<Pid> {
        let mut pids = Vec::new();
        until("three servers have started", || {
            let text = std::fs::read_to_string(self.directory.join("pids")).unwrap_or_default();
            pids = text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect();
            pids.len() == 3
        });
        pids
    }

    fn assert_nothing_left(&self, servers: &[Pid]) {
        for pid in servers {
            until(&format!("server {pid:?} has gone"), || !alive(*pid));
        }
        let tmp = self.directory.join("tmp");
        until("the directory has gone", || std::fs::read_dir(&tmp).unwrap().next().is_none());
    }
}

/// A zombie whose parent has not looked yet does not run any more.
fn alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    test_kill_process(pid).is_ok() && state != Some("Z")
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(5));
    }
}
