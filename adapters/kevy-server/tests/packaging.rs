//! What is packaged: what a service manager is told, the files for containers, and the packages themselves.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::BIN;
use common::{Cluster, Dir, PATIENCE, free_port, until};
use kevy_config::CliOverrides;
use kevy_elect_ops::config::Settings;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging");
/// The watchdog of the units, shorter.
const WATCHDOG_USEC: u64 = 1_500_000;

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(HERE).join(file)).unwrap()
}

/// A server under a service manager that listens here.
struct Supervised {
    child: Child,
    told: UnixDatagram,
    _dir: Dir,
}

impl Supervised {
    fn start(file: &Path) -> Self {
        let dir = Dir::new();
        let socket = dir.0.join("notify");
        let told = UnixDatagram::bind(&socket).unwrap();
        told.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = Command::new(BIN);
        command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", WATCHDOG_USEC.to_string());
        let child = command.arg("--config").arg(file).spawn().unwrap();
        Self { child, told, _dir: dir }
    }

    #[track_caller]
    fn until_told(&self, word: &str) {
        let mut said = [0; 4096];
        loop {
            let length = self.told.recv(&mut said).unwrap_or_else(|error| panic!("no {word}: {error}"));
            let text = String::from_utf8_lossy(&said[..length]);
            if text.lines().any(|line| line == word) {
                return;
            }
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_service_manager_is_told_that_a_node_is_up_turns_and_stops() {
    let cluster = Cluster::new(3, 1);
    drop(cluster.settings(0, ""));
    // Alone: it is up, though nobody can be elected.
    let mut node = Supervised::start(&cluster.dirs[0].0.join("kevy.toml"));
    node.until_told("READY=1");
    (0..3).for_each(|_| node.until_told("WATCHDOG=1"));
    kill_process(Pid::from_child(&node.child), Signal::TERM).unwrap();
    node.until_told("STOPPING=1");
    assert!(node.child.wait().unwrap().success());
}

#[test]
fn a_server_without_elections_tells_it_too() {
    let dir = Dir::new();
    let file = dir.0.join("kevy.toml");
    let text =
        format!("[server]\nport = {}\nthreads = 1\ndata_dir = \"{}\"\n", free_port(1), dir.0.display());
    fs::write(&file, text).unwrap();
    let node = Supervised::start(&file);
    node.until_told("READY=1");
    (0..2).for_each(|_| node.until_told("WATCHDOG=1"));
}

/// Configurations that stand in other files, without what they are indented by there.
fn embedded(file: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut depth = None;
    for line in read(file).lines() {
        let indent = line.len() - line.trim_start().len();
        match depth {
            Some(depth) if indent >= depth => {
                let text = found.last_mut().unwrap();
                text.push_str(&line[depth..]);
                text.push('\n');
            }
            _ if line.ends_with(": |") => {
                found.push(String::new());
                depth = Some(indent + 2);
            }
            _ => depth = None,
        }
    }
    found
}

#[test]
fn every_configuration_that_is_packaged_is_accepted() {
    let dir = Dir::new();
    let mut texts = [embedded("container/compose.yaml"), embedded("kubernetes/kevy.yaml")].concat();
    assert_eq!(texts.len(), 4);
    let keys: Vec<String> = (1..=3).map(|n| format!("n{n}={}", kevy_key(&dir, n))).collect();
    let mut packaged = read("kevy.toml");
    for (n, key) in keys.iter().enumerate() {
        packaged = packaged.replace(&format!("n{}=<64 hex digits>", n + 1), key);
    }
    texts.push(packaged.replace("/etc/kevy/node.key", dir.0.join("key1").to_str().unwrap()));
    for text in texts {
        let file = dir.0.join("kevy.toml");
        fs::write(&file, text.replace("@NODE@", "kevy-1")).unwrap();
        let settings = Settings::load(Some(&file), [], CliOverrides::default());
        let settings = settings.unwrap_or_else(|error| panic!("{error}\n{text}"));
        let elect = settings.elect.unwrap();
        assert_eq!((elect.config.voters(), elect.http.unwrap().port()), (3, 9121), "{text}");
    }
}

fn kevy_key(dir: &Dir, n: usize) -> String {
    let output = Command::new(BIN).arg("keygen").arg(dir.0.join(format!("key{n}"))).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn what_probes_ask_for_is_there() {
    let cluster = Cluster::new(1, 1);
    let http = cluster.ports[0] + 2;
    drop(cluster.settings(0, &format!("http = \"127.0.0.1:{http}\"\n")));
    let _node = Supervised::start(&cluster.dirs[0].0.join("kevy.toml"));
    let file = read("kubernetes/kevy.yaml");
    let paths: BTreeSet<&str> =
        file.split("httpGet: { path: ").skip(1).map(|rest| rest.split(',').next().unwrap()).collect();
    assert_eq!(paths, ["/health", "/status"].into());
    for path in paths {
        until(&format!("{path} says that all is well"), || {
            let mut stream = TcpStream::connect(("127.0.0.1", http)).ok()?;
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            answer.starts_with("HTTP/1.1 200 ").then_some(())
        });
    }
}

#[test]
#[ignore = "needs Debian's dpkg-deb and systemd-analyze: .ci/run runs it"]
fn the_packages_hold_what_they_should_and_what_they_hold_runs() {
    let beside = Path::new(BIN).parent().unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--ignore-rust-version", "-p", "kevy-electctl", "-p", "kevy-witness"]);
    build.current_dir(HERE).arg("--target-dir").arg(beside.parent().unwrap());
    if beside.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success());
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{command:?}: {out}{err}");
        out.into_owned()
    };
    let dir = Dir::new();
    let made = run(Command::new(Path::new(HERE).join("build")).arg(beside).arg(&dir.0));
    let [tarball, package] = made.lines().collect::<Vec<_>>()[..] else { panic!("{made}") };
    let listed = run(Command::new("dpkg-deb").arg("--contents").arg(package));
    let in_tarball = run(Command::new("tar").arg("-tzf").arg(tarball));
    for file in [
        "/usr/bin/kevy-server",
        "/usr/bin/kevy-witness",
        "/usr/bin/kevy-electctl",
        "/usr/share/man/man1/kevy-server.1.gz",
        "/usr/share/man/man1/kevy-electctl-doctor.1.gz",
        "/usr/share/bash-completion/completions/kevy-electctl",
        "/lib/systemd/system/kevy-server.service",
        "/lib/systemd/system/kevy-witness.service",
        "/etc/kevy/kevy.toml",
        "/usr/share/doc/kevy-elect/operations.md",
    ] {
        assert!(listed.contains(&format!(".{file}\n")), "{file} is not in the package:\n{listed}");
        assert!(in_tarball.contains(&format!("{file}\n")), "{file} is not in the tarball:\n{in_tarball}");
    }
    assert!(
        !listed.contains("root/root rw") && listed.lines().all(|line| line.contains(" root/root ")),
        "{listed}"
    );
    // Into a root of its own, as an installation unpacks it.
    let root = dir.0.join("root");
    run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&root));
    for program in ["kevy-server", "kevy-witness", "kevy-electctl"] {
        run(Command::new(root.join("usr/bin").join(program)).arg("--version"));
    }
    run(&mut Command::new(Path::new(HERE).join("check")));
}
