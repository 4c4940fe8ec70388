//! The program as people run it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Far above what is ever needed, so that only a hang hits it.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a witness may cost.
const RESIDENT_KIB_MAX: u64 = 8 * 1024;

/// A directory that goes away with its owner.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kevy-witness-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn file(dir: &Path, node: &str, more: &str) -> PathBuf {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port = free();
    let text = format!(
        "[server]\ndata_dir = \"{}\"\n[cluster]\nnode_id = \"{node}\"\n\
         peers = [\"n1@127.0.0.1:{}:6004\", \"n2@127.0.0.1:{}:6005\", \"n3@127.0.0.1:{port}\"]\n\
         [elect]\nenabled = true\nwitnesses = \"n3\"\n{more}",
        dir.display(),
        free(),
        free(),
    );
    let file = dir.join("kevy.toml");
    std::fs::write(&file, text).unwrap();
    file
}

fn start(file: &Path) -> (Child, Receiver<String>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kevy-witness"));
    let mut child = command.arg("--config").arg(file).stderr(Stdio::piped()).spawn().unwrap();
    let (sender, lines) = channel();
    let errors = child.stderr.take().unwrap();
    std::thread::spawn(move || {
        BufReader::new(errors).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    (child, lines)
}

#[test]
fn it_votes_until_it_is_told_to_stop_and_stays_small() {
    let dir = Dir::new("small");
    let (mut child, lines) = start(&file(&dir.0, "n3", "http = \"127.0.0.1:0\"\n"));
    while !lines.recv_timeout(PATIENCE).unwrap().contains("n3 votes at 127.0.0.1:") {}
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    // Without optimisation the program itself is four times as large.
    let allowed = if cfg!(debug_assertions) { 4 * RESIDENT_KIB_MAX } else { RESIDENT_KIB_MAX };
    assert!(resident <= allowed, "{resident} KiB");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(dir.0.join("elect").is_dir(), "its vote record lives there");
}

#[test]
fn who_is_no_witness_is_told_what_to_start() {
    let dir = Dir::new("server");
    let (mut child, lines) = start(&file(&dir.0, "n1", ""));
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let said: Vec<String> = lines.iter().collect();
    assert!(said.concat().contains("kevy-witness: "), "{said:?}");
}
