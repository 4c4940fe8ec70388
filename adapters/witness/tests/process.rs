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

fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The file of one of four, which names the first three or all. Nobody is at the first two.
fn one_of_four(dir: &Dir, node: &str, ports: &[u16; 4], all: bool) -> String {
    let entries = ["n1@127.0.0.1:P:6004", "n2@127.0.0.1:P:6005", "n3@127.0.0.1:P", "n4@127.0.0.1:P"];
    let named = entries.iter().zip(ports).take(if all { 4 } else { 3 });
    let named: Vec<_> =
        named.map(|(entry, port)| format!("\"{}\"", entry.replace('P', &port.to_string()))).collect();
    let witnesses = if all { "n3,n4" } else { "n3" };
    format!(
        "[server]\ndata_dir = \"{}\"\n[cluster]\nnode_id = \"{node}\"\npeers = [{}]\n[elect]\nenabled = true\nwitnesses = \"{witnesses}\"\n",
        dir.0.display(),
        named.join(", ")
    )
}

/// The next line that says all of this.
fn says(lines: &Receiver<String>, words: &[&str]) -> String {
    loop {
        let line = lines.recv_timeout(PATIENCE).unwrap();
        if words.iter().all(|word| line.contains(word)) {
            return line;
        }
    }
}

/// Ends with the test, also with one that fails.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn m12_it_takes_up_a_member_at_sighup_and_nothing_of_a_file_with_a_mistake() {
    let (dir, dir_of_new, ports) = (Dir::new("hangup"), Dir::new("met"), [free(), free(), free(), free()]);
    let [file, file_of_new] = [&dir, &dir_of_new].map(|dir| dir.0.join("kevy.toml"));
    std::fs::write(&file_of_new, one_of_four(&dir_of_new, "n4", &ports, true)).unwrap();
    std::fs::write(&file, one_of_four(&dir, "n3", &ports, false)).unwrap();
    let (child, lines) = start(&file);
    let witness = Ends(child);
    says(&lines, &["n3 votes at"]);
    let (child, lines_of_new) = start(&file_of_new);
    let _new = Ends(child);
    says(&lines_of_new, &["n4 votes at"]);
    // Nobody knows it yet.
    says(&lines, &["event=refused", "claimed=n4", "unknown-node"]);

    let right = one_of_four(&dir, "n3", &ports, true);
    let mistake = right.clone() + "nonsense = [\n";
    let line = mistake.lines().count();
    std::fs::write(&file, &mistake).unwrap();
    let hang_up = || kill_process(Pid::from_child(&witness.0), Signal::HUP).unwrap();
    hang_up();
    let why = says(&lines, &["event=reload_refused"]);
    assert!(why.contains("nothing has changed") && why.contains(&format!("kevy.toml:{line}:")), "{why}");
    says(&lines, &["event=refused", "claimed=n4", "unknown-node"]);

    std::fs::write(&file, right).unwrap();
    hang_up();
    says(&lines, &["event=reloaded", "taken=\"n4\""]);
    // It is linked and heard: the link is admitted, and what comes on it counts as a member's.
    says(&lines, &["event=peer_up", "peer=n4"]);
}

#[test]
fn who_is_no_witness_is_told_what_to_start() {
    let dir = Dir::new("server");
    let (mut child, lines) = start(&file(&dir.0, "n1", ""));
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let said: Vec<String> = lines.iter().collect();
    assert!(said.concat().contains("kevy-witness: "), "{said:?}");
}
