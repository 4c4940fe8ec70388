//! `docs/operations.md`, played: every block of commands on the page is run here as it stands, on real servers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use common::process::{BIN, Process};
use common::{Dir, free_port, until};
use kevy_config::CliOverrides;
use kevy_elect_ops::config::Settings;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

const PAGE: &str = include_str!("../../../docs/operations.md");
/// The server of the last release.
const PREVIOUS: &str = "KEVY_PREVIOUS_SERVER";
/// Sections that have blocks; each has its test below.
const PLAYED: [&str; 12] = [
    "Add or remove a voter",
    "First start",
    "Rolling restart",
    "Rolling upgrade",
    "Maintenance of a machine",
    "Replace a node",
    "Lost disk",
    "Lost quorum",
    "Backup",
    "Restore",
    "Moving to other machines",
    "Measuring one's own cluster",
];

/// Commands, and on which machines.
struct Block {
    section: String,
    on: Vec<String>,
    lines: Vec<String>,
}

fn blocks(language: &str) -> Vec<Block> {
    let (mut all, mut section, mut open) = (Vec::<Block>::new(), String::new(), false);
    for line in PAGE.lines() {
        if open && line == "```" {
            open = false;
        } else if open {
            all.last_mut().unwrap().lines.push(line.to_owned());
        } else if let Some(title) = line.strip_prefix("## ") {
            section = title.to_owned();
        } else if let Some(on) = line.strip_prefix("```").and_then(|line| line.strip_prefix(language)) {
            let on = on.split_whitespace().map(str::to_owned).collect();
            all.push(Block { section: section.clone(), on, lines: Vec::new() });
            open = true;
        }
    }
    all
}

/// Where the programs are that the page calls by name; the one of another package is built first.
fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let beside = Path::new(BIN).parent().unwrap().to_owned();
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../electctl/Cargo.toml");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--ignore-rust-version", "--manifest-path", manifest]);
        build.arg("--target-dir").arg(beside.parent().unwrap());
        if beside.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "kevy-electctl cannot be built");
        beside
    })
}

struct Machine {
    id: String,
    dir: Dir,
    port: u16,
    process: Option<Process>,
}

impl Machine {
    fn config(&self) -> PathBuf {
        self.dir.0.join("kevy.toml")
    }

    fn data(&self) -> PathBuf {
        self.dir.0.join("data")
    }

    fn start(&mut self, server: &Path) {
        let log = OpenOptions::new().create(true).append(true).open(self.dir.0.join("log")).unwrap();
        let mut command = Command::new(server);
        command.env_remove("KEVY_IO_URING").env_remove("KEVY_AOF_OFFLOAD");
        let child = command.arg("--config").arg(self.config()).stderr(log).spawn().unwrap();
        self.process = Some(Process { child, port: self.port });
    }

    fn stop(&mut self) {
        // As systemd: what is not there is stopped.
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::TERM);
            process.wait();
        }
    }
}

/// The machines of the page.
struct Site {
    machines: Vec<Machine>,
    backup: Dir,
    server: PathBuf,
}

impl Site {
    fn new() -> Self {
        let machine =
            |n: usize| Machine { id: format!("n{n}"), dir: Dir::new(), port: free_port(1), process: None };
        let site = Self { machines: (1..=3).map(machine).collect(), backup: Dir::new(), server: BIN.into() };
        for machine in &site.machines {
            fs::create_dir(machine.data()).unwrap();
            fs::write(machine.config(), site.file(machine)).unwrap();
        }
        site
    }

    /// A cluster that holds something.
    fn started() -> Self {
        let mut site = Self::new();
        site.play("First start", |_, _| {});
        site.write("kept", "1");
        site
    }

    fn file(&self, machine: &Machine) -> String {
        let list =
            |of: &dyn Fn(&Machine) -> String| self.machines.iter().map(of).collect::<Vec<_>>().join(",");
        let peers = list(&|peer| format!("{}@127.0.0.1:{}:{}", peer.id, peer.port + 200, peer.port));
        let pages = list(&|peer| format!("{}@127.0.0.1:{}", peer.id, peer.port + 2));
        format!(
            "[server]\nport = {}\nthreads = 1\ndata_dir = \"{}\"\n[cluster]\nnode_id = \"{}\"\npeers = \"{peers}\"\n[elect]\nenabled = true\n\
             http = \"127.0.0.1:{}\"\nhttp_peers = \"{pages}\"\nelection_timeout_ms = 3000\n",
            machine.port,
            machine.data().display(),
            machine.id,
            machine.port + 2
        )
    }

    /// Runs all blocks of a section. `before` is called with the number of each.
    fn play(&mut self, section: &str, mut before: impl FnMut(&mut Self, usize)) {
        let all: Vec<Block> = blocks("sh").into_iter().filter(|block| block.section == section).collect();
        assert!(!all.is_empty() && PLAYED.contains(&section), "{section}: the page has no commands");
        for (number, block) in all.iter().enumerate() {
            before(self, number);
            for on in &block.on {
                self.run(on, &block.lines);
            }
        }
    }

    fn run(&mut self, on: &str, lines: &[String]) {
        let mut script = String::new();
        for line in lines {
            let Some(order) = line.strip_prefix("systemctl ") else {
                script += &format!("{line}\n");
                continue;
            };
            self.shell(on, &std::mem::take(&mut script));
            let server = self.server.clone();
            let machine = self.machines.iter_mut().find(|machine| machine.id == on).unwrap();
            match order {
                "start kevy-server" => machine.start(&server),
                "stop kevy-server" => machine.stop(),
                "restart kevy-server" => {
                    machine.stop();
                    machine.start(&server);
                }
                other => panic!("this test knows no systemctl {other}"),
            }
        }
        self.shell(on, &script);
    }

    #[track_caller]
    fn shell(&self, on: &str, script: &str) {
        if script.trim().is_empty() {
            return;
        }
        let Output { status, stdout, stderr } = self.command(on, script);
        let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(status.success(), "on {on}: {script}{status}\n{out}{err}");
    }

    fn command(&self, on: &str, script: &str) -> Output {
        let mut command = Command::new("timeout");
        command.args(["180", "sh", "-eu", "-c", script]);
        let list =
            |of: &dyn Fn(&Machine) -> String| self.machines.iter().map(of).collect::<Vec<_>>().join(",");
        command
            .env("PATH", format!("{}:{}", programs().display(), std::env::var("PATH").unwrap()))
            .env("KEVY_ELECT_AT", list(&|machine| format!("127.0.0.1:{}", machine.port + 2)))
            .env("CLIENTS", list(&|machine| format!("127.0.0.1:{}", machine.port)))
            .env("BACKUP", self.backup.0.join("backup"));
        if let Some(machine) = self.machines.iter().find(|machine| machine.id == on) {
            command.env("CONFIG", machine.config()).env("DATA", machine.data()).env("NODE", &machine.id);
        }
        if script.contains("$CLUSTER") {
            command.env("CLUSTER", self.cluster());
        }
        command.output().unwrap()
    }

    /// As somebody reads it out of `status`: of the node that kept its data.
    fn cluster(&self) -> String {
        until("a node says the cluster's id", || {
            let said = self.command("console", "kevy-electctl status --json").stdout;
            let said: serde_json::Value = serde_json::from_slice(&said).ok()?;
            said.as_object()?.values().find_map(|node| Some(node["cluster_id"].as_str()?.to_owned()))
        })
    }

    fn ask(&self, line: &str) -> impl Iterator<Item = String> + use<'_> {
        let line = line.to_owned();
        self.machines.iter().filter_map(move |machine| machine.process.as_ref()?.ask(&line))
    }

    #[track_caller]
    fn write(&self, key: &str, value: &str) {
        until("a node takes writes", || self.ask(&format!("SET {key} {value}")).find(|said| said == "OK"));
    }

    /// All three hold it.
    #[track_caller]
    fn holds(&self, key: &str, value: &str) {
        until(&format!("all hold {key} = {value}"), || {
            (self.ask(&format!("GET {key}")).filter(|held| held == value).count() == 3).then_some(())
        });
    }

    fn wipe(&mut self, node: usize) {
        let mut process = self.machines[node].process.take().unwrap();
        process.signal(Signal::KILL);
        process.wait();
        fs::remove_dir_all(self.machines[node].data()).unwrap();
        fs::create_dir(self.machines[node].data()).unwrap();
    }
}

#[test]
fn every_block_of_the_page_is_played() {
    let sections: BTreeSet<String> = blocks("sh").into_iter().map(|block| block.section).collect();
    assert_eq!(sections, PLAYED.map(str::to_owned).into());
    for block in blocks("sh") {
        assert!(
            block.on.iter().all(|on| ["n1", "n2", "n3", "console"].contains(&on.as_str())),
            "{:?}",
            block.on
        );
        assert!(!block.on.is_empty() && !block.lines.is_empty(), "{}", block.section);
    }
}

#[test]
fn first_start_rolling_restart_and_maintenance() {
    let mut site = Site::started();
    site.play("Rolling restart", |_, _| {});
    site.holds("kept", "1");
    site.play("Maintenance of a machine", |site, number| {
        if number == 1 {
            let said = site.command("console", "kevy-electctl doctor");
            assert!(String::from_utf8_lossy(&said.stdout).contains("elections are paused"), "{said:?}");
            assert!(matches!(said.status.code(), Some(5 | 6)), "{said:?}");
        }
    });
    site.holds("kept", "1");
}

#[test]
fn a_vote_is_taken_and_given_back() {
    let mut site = Site::started();
    until("n1 is primary", || {
        let moved = site.command("console", "kevy-electctl transfer --to n1");
        (moved.status.success() || String::from_utf8_lossy(&moved.stderr).contains("it is the primary"))
            .then_some(())
    });
    site.play("Add or remove a voter", |_, _| {});
    site.holds("kept", "1");
    let said = site.command("console", "kevy-electctl members list --json");
    assert!(String::from_utf8_lossy(&said.stdout).contains("\"quorum\": 2"), "{said:?}");
}

#[test]
fn rolling_upgrade_from_the_previous_release() {
    let mut site = Site::new();
    match std::env::var_os(PREVIOUS) {
        Some(previous) => site.server = previous.into(),
        None => println!(
            "{PREVIOUS} names no server: there is no release yet, so this upgrades to the same version"
        ),
    }
    for machine in &mut site.machines {
        machine.start(&site.server);
    }
    site.write("kept", "1");
    until("replicas are there", || site.ask("WAIT 2 1000").find(|said| said == "2"));
    site.server = BIN.into();
    site.play("Rolling upgrade", |_, _| {});
    site.holds("kept", "1");
}

#[test]
fn replace_a_node_and_lost_disk() {
    let mut site = Site::started();
    site.play("Replace a node", |_, _| {});
    site.holds("kept", "1");
    site.write("more", "2");
    site.play("Lost disk", |_, _| {});
    site.holds("more", "2");
}

#[test]
fn lost_quorum() {
    let mut site = Site::started();
    site.holds("kept", "1");
    site.play("Lost quorum", |site, number| {
        if number == 0 {
            [0, 1].into_iter().for_each(|node| site.wipe(node));
            let server = site.server.clone();
            [0, 1].into_iter().for_each(|node| site.machines[node].start(&server));
        }
        if number == 1 {
            let there = |site: &Site| site.machines[0].data().join("elect").is_dir();
            until("n1 has started", || there(site).then_some(()));
        }
        if number == 3 {
            site.holds("kept", "1");
            let force = r#"kevy-electctl force n3 --config "$CONFIG""#;
            let refused = |site: &Site, why: &str| {
                let said = site.command("n3", force);
                assert!(!said.status.success(), "{said:?}");
                assert!(String::from_utf8_lossy(&said.stderr).contains(why), "{said:?}");
            };
            refused(site, "stop the server first");
            site.machines[2].stop();
            refused(site, "they are a quorum");
            let server = site.server.clone();
            site.machines[2].start(&server);
            site.write("kept", "2");
            site.holds("kept", "2");
            [0, 1].into_iter().for_each(|node| site.wipe(node));
            let of_another = site.command("n3", r#"kevy-electctl force n1 --config "$CONFIG""#);
            assert!(String::from_utf8_lossy(&of_another.stderr).contains("the file of n3"), "{of_another:?}");
        }
        if number == 4 {
            site.write("alone", "1");
        }
    });
    site.holds("kept", "2");
    site.holds("alone", "1");
    let listed = site.command("console", "kevy-electctl members list --json");
    assert!(String::from_utf8_lossy(&listed.stdout).contains("\"quorum\": 2"), "{listed:?}");
    let history = site.command("console", "kevy-electctl history");
    assert!(String::from_utf8_lossy(&history.stdout).contains("only voter"), "{history:?}");
    let metrics = common::metrics::scraped(site.machines[2].port + 2).unwrap();
    let forced = common::metrics::labelled(&metrics, "kevy_server_forced_timestamp_seconds", &[]);
    assert!(forced.is_some_and(|since| since > 0.0), "{forced:?}");
}

#[test]
fn backup_and_restore() {
    let mut site = Site::started();
    site.holds("kept", "1");
    site.play("Backup", |_, _| {});
    site.write("kept", "2");
    site.write("after", "1");
    site.holds("kept", "2");
    site.play("Restore", |_, _| {});
    site.holds("kept", "1");
    assert!(site.ask("GET after").next().is_none());
}

fn doctor(site: &Site) -> String {
    String::from_utf8(site.command("console", "kevy-electctl doctor").stdout).unwrap()
}

#[test]
fn moving_to_other_machines() {
    let mut site = Site::started();
    let (old, new) = (site.machines[2].port, free_port(1));
    let mut others = Vec::new();
    site.play("Moving to other machines", |site, number| {
        let starts = |site: &Site| {
            site.machines[..2].iter().map(|one| one.process.as_ref().unwrap().child.id()).collect::<Vec<_>>()
        };
        if number == 0 {
            others = starts(site);
            site.machines[2].port = new;
            for machine in &site.machines {
                fs::write(machine.config().with_extension("toml.new"), site.file(machine)).unwrap();
            }
            site.machines[2].port = old;
        }
        if number == 2 {
            let named = format!("n1, n2 (127.0.0.1:{}); n3 (127.0.0.1:{})", new + 200, old + 200);
            let told = doctor(site);
            // In the order of the addresses.
            let other = format!("n3 (127.0.0.1:{}); n1, n2 (127.0.0.1:{})", old + 200, new + 200);
            assert!(told.contains(&named) || told.contains(&other), "{told}");
        }
        if number == 3 {
            site.machines[2].port = new;
        }
        assert_eq!(starts(site), others, "nobody else is restarted");
    });
    assert!(!doctor(&site).contains("different places"));
    site.holds("kept", "1");
    site.write("after", "1");
    site.holds("after", "1");
}

#[test]
fn measuring_ones_own_cluster_loses_nothing() {
    let mut site = Site::started();
    site.play("Measuring one's own cluster", |_, _| {});
    // One address is enough, and something harsher is done only where that is said.
    let at = format!("127.0.0.1:{}", site.machines[2].port + 2);
    let said = site.command("console", &format!("kevy-electctl --at {at} bench failover --rounds 1 --json"));
    let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
    assert_eq!((&said["kind"], &said["lost"]), (&"transfer".into(), &0.into()), "{said}");
    let kill = "kevy-electctl bench failover --rounds 1 --json --harsh 'kill -9 $(cat \"$PIDS/$NODE\")'";
    for machine in &site.machines {
        let pid = machine.process.as_ref().unwrap().child.id();
        fs::write(site.backup.0.join(&machine.id), pid.to_string()).unwrap();
    }
    let said = site.command("console", &format!("export PIDS={}; {kill}", site.backup.0.display()));
    let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
    assert_eq!(said["kind"], "harsh", "{said}");
    assert!(site.command("console", "kevy-electctl watch --once").status.success());
    assert!(
        site.command("console", "kevy-electctl wait --timeout 1").status.code() == Some(1),
        "one is down"
    );
}

#[test]
fn settings_for_sites_far_from_each_other_are_accepted() {
    let site = Site::new();
    let block = blocks("toml wan").remove(0);
    for machine in &site.machines {
        let text = site.file(machine).replace("election_timeout_ms = 3000\n", "") + &block.lines.join("\n");
        fs::write(machine.config(), text).unwrap();
        Settings::load(Some(&machine.config()), [], CliOverrides::default()).unwrap();
    }
}
