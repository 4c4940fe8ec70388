//! Server processes: configuration, start, faults, and their certain end.

mod config;
mod ends;
mod member;
mod setup;

use crate::client::Client;
use crate::clock::Clock;
use crate::failure::{Failure, Interrupt};
use crate::guard::Guard;
use crate::ports;
use crate::verdict::Node;
use config::{config, redis_config, sentinel_config};
use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub use config::SENTINEL_NAME;
pub use member::{Member, Restart, Resumption};
pub use setup::{Place, Setup, System};

/// How often other ports are tried because somebody took one between the probe and the start.
const PORT_TRIES: usize = 5;
/// How long a process may take until it takes connections.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How long the last words of a process that has ended may be on their way.
const LOG_PATIENCE: Duration = Duration::from_secs(1);
/// The directory of the vote record, below the data directory.
const VOTES: &str = "elect";
/// How often a directory name may be taken already.
const DIRECTORY_TRIES: u32 = 100;

/// The processes. Dropping it ends them, stopped ones too, and removes the directory.
pub struct Cluster {
    /// The nodes.
    pub members: Vec<Member>,
    /// Where they keep their data and logs.
    pub directory: PathBuf,
    setup: Setup,
    clock: Clock,
    /// What was started again since it was last asked for; `None`: an end that nobody asked for is a failure.
    restarts: Option<Vec<Restart>>,
    // After the processes: the guard clears away what their own end left.
    guard: Guard,
}

impl Cluster {
    /// Starts the servers and waits until they take connections; with other ports if somebody was faster.
    pub fn up(setup: &Setup, clock: Clock, interrupt: &Interrupt) -> Result<Self, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut cluster = Self::start(setup.clone(), clock)?;
            match cluster.answers(interrupt) {
                Ok(()) => return Ok(cluster),
                Err(Failure::Died { evidence, .. }) if clashed(&evidence) && tries < PORT_TRIES => {}
                Err(other) => return Err(other),
            }
        }
    }

    /// Chooses ports, writes the configuration files and starts all nodes.
    pub fn start(setup: Setup, clock: Clock) -> Result<Self, Failure> {
        let directory = temporary_directory()?;
        let guard = Guard::start(&directory)?;
        let nodes = setup.places.len();
        let ports = ports::free(nodes, setup.threads).map_err(Failure::os("find free ports"))?;
        let members: Vec<_> = std::iter::zip(&setup.places, ports)
            .enumerate()
            .map(|(node, (place, ports))| Member::new(node, ports, place.clone()))
            .collect();
        let mut cluster = Self { members, directory, setup, clock, restarts: None, guard };
        cluster.make_keys()?;
        for node in 0..nodes {
            let path = cluster.config_path(node);
            std::fs::create_dir_all(cluster.data_path(node))
                .and_then(|()| cluster.place_votes(node))
                .and_then(|()| std::fs::write(&path, cluster.config(node)))
                .map_err(Failure::os(format!("write {}", path.display())))?;
        }
        for node in 0..nodes {
            cluster.launch(node)?;
        }
        if let System::Redis { sentinel } = cluster.setup.system.clone()
            && cluster.setup.elections
        {
            for node in 0..nodes {
                cluster.accompany(node, &sentinel)?;
            }
        }
        Ok(cluster)
    }

    /// Waits until every node takes connections.
    pub fn answers(&mut self, interrupt: &Interrupt) -> Result<(), Failure> {
        let all = interrupt.wait_for(START_PATIENCE, || {
            self.check_alive()?;
            let up = self.members.iter().all(|member| Client::connect(member.address()).is_ok());
            Ok(up.then_some(()))
        })?;
        all.ok_or_else(|| self.timeout("not every node took connections".into(), START_PATIENCE))
    }

    /// Starts a node that does not run.
    pub fn launch(&mut self, node: Node) -> Result<(), Failure> {
        let log_path = self.directory.join(format!("{}.log", self.members[node].id));
        let copy = File::options()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(Failure::os(format!("write {}", log_path.display())))?;
        let (reader, writer) = std::io::pipe().map_err(Failure::os("create a pipe"))?;
        let stdout = writer.try_clone().map_err(Failure::os("create a pipe"))?;
        let starting = || Failure::os(format!("start {}", self.setup.server.display()));
        let mut command = self.command(node, &self.setup.server).map_err(starting())?;
        if !matches!(self.setup.system, System::Redis { .. }) {
            command.arg("--config");
        }
        command
            .arg(self.config_path(node))
            .current_dir(self.data_path(node))
            .stdout(stdout)
            .stderr(writer)
            // Ctrl-C in the terminal is for us; we end the servers in our own way.
            .process_group(0);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KEVY_")) {
            command.env_remove(name);
        }
        let process = command.spawn().map_err(starting())?;
        // The command still holds the pipe's write end; only when it goes can the log come to its end.
        drop(command);
        let member = &mut self.members[node];
        member.process = Some(process);
        member.stopped = false;
        // Ends with the pipe, that is, with the process.
        let thread = member.log.follow(reader, copy, self.clock).map_err(Failure::os("start a thread"))?;
        member.reader = Some(thread);
        Ok(())
    }

    /// Starts a Sentinel beside a node.
    fn accompany(&mut self, node: Node, sentinel: &Path) -> Result<(), Failure> {
        let id = &self.members[node].id;
        let path = self.directory.join(format!("{id}-sentinel.conf"));
        std::fs::write(&path, sentinel_config(&self.members, node, &self.data_path(node)))
            .map_err(Failure::os(format!("write {}", path.display())))?;
        let starting = || Failure::os(format!("start {}", sentinel.display()));
        let log_path = self.directory.join(format!("{id}-sentinel.log"));
        let log = File::create(&log_path).map_err(Failure::os(format!("write {}", log_path.display())))?;
        let mut command = self.command(node, sentinel).map_err(starting())?;
        command.arg(path).current_dir(self.data_path(node)).stdout(log).stderr(Stdio::null());
        // Called as `redis-server` it needs to be told; as `redis-sentinel` it knows.
        command.arg("--sentinel").process_group(0);
        self.members[node].companion = Some(command.spawn().map_err(starting())?);
        Ok(())
    }

    /// A command that runs `program` where the node lives.
    fn command(&self, node: Node, program: &Path) -> std::io::Result<Command> {
        match &self.members[node].place {
            Place::Loopback => self.guard.command(program),
            Place::Namespace { name, .. } => {
                // `ip netns exec` becomes the program, so the process id stays the one that the guard knows.
                let mut command = self.guard.command(Path::new("ip"))?;
                command.args(["netns", "exec", name]).arg(program);
                Ok(command)
            }
        }
    }

    /// What is run.
    pub const fn system(&self) -> &System {
        &self.setup.system
    }

    /// The node's process id while it runs.
    pub fn pid(&self, node: Node) -> Option<u32> {
        self.members[node].process.as_ref().map(Child::id)
    }

    /// The process that its server has started to say when it is dead, if it has one.
    pub fn companion_pid(&self, node: Node) -> Option<Pid> {
        let parent = format!("PPid:\t{}\n", self.pid(node)?);
        let processes = std::fs::read_dir("/proc").ok()?;
        let mut pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let child = pids.find(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.contains(&parent) && !status.contains("State:\tZ")
        });
        Pid::from_raw(child?)
    }

    /// Kills that process.
    pub fn kill_companion(&self, node: Node) -> Result<(), Failure> {
        let what = format!("kill the companion of {}", self.members[node].id);
        let Some(pid) = self.companion_pid(node) else {
            return Err(Failure::os(what)(std::io::Error::other("it has none")));
        };
        kill_process(pid, Signal::KILL).map_err(|error| Failure::os(what)(error.into()))
    }

    /// All processes of the node that run: the server, and what decides for it.
    pub fn pids(&self, node: Node) -> Vec<u32> {
        let member = &self.members[node];
        member.process.iter().chain(&member.companion).map(Child::id).collect()
    }

    /// A failure that shows what all servers said last.
    pub fn timeout(&self, what: String, waited: Duration) -> Failure {
        Failure::Timeout { what, waited, evidence: self.evidence() }
    }

    /// Keeps directory and logs.
    pub fn leave_directory(&mut self) {
        self.guard.leave_directory();
    }

    fn evidence(&self) -> String {
        (0..self.members.len()).map(|node| self.evidence_of(node)).collect::<Vec<_>>().join("\n")
    }

    fn evidence_of(&self, node: Node) -> String {
        let member = &self.members[node];
        if member.process.is_none() {
            // It has ended; what it said may still be in the pipe.
            let deadline = Instant::now() + LOG_PATIENCE;
            while member.reader.as_ref().is_some_and(|r| !r.is_finished()) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let mut text = format!("what {} said last:\n", member.id);
        let tail = member.log.tail();
        for line in &tail {
            let _ = writeln!(text, "    {line}");
        }
        if tail.is_empty() {
            text.push_str("    (nothing)\n");
        }
        text
    }

    fn signal(&self, node: Node, signal: Signal) -> Result<(), Failure> {
        let member = &self.members[node];
        let pid = self.pid(node).and_then(|pid| Pid::from_raw(pid as i32));
        // Only for a child that was not waited for yet, so the id cannot belong to anybody else.
        let Some(pid) = pid else {
            let error = std::io::Error::other("it does not run");
            return Err(Failure::Os { what: format!("signal {}", member.id), error });
        };
        kill_process(pid, signal).map_err(|e| Failure::os(format!("signal {}", member.id))(e.into()))
    }

    fn reap(&mut self, node: Node) -> Result<Option<ExitStatus>, Failure> {
        let member = &mut self.members[node];
        let Some(mut process) = member.process.take() else { return Ok(None) };
        let status = process.wait().map_err(Failure::os(format!("wait for {}", member.id)))?;
        self.guard.forget(process.id());
        Ok(Some(status))
    }

    fn config_path(&self, node: Node) -> PathBuf {
        self.directory.join(format!("{}.toml", self.members[node].id))
    }

    /// Where the node keeps its data.
    pub fn data_path(&self, node: Node) -> PathBuf {
        self.directory.join(&self.members[node].id)
    }

    /// Lets the vote record lie where its place says, if that is elsewhere.
    fn place_votes(&self, node: Node) -> std::io::Result<()> {
        match &self.members[node].place {
            Place::Namespace { votes: Some(votes), .. } => {
                std::os::unix::fs::symlink(votes, self.data_path(node).join(VOTES))
            }
            _ => Ok(()),
        }
    }

    fn config(&self, node: Node) -> String {
        match self.setup.system {
            System::Redis { .. } => redis_config(&self.members, node, &self.data_path(node)),
            _ => config(&self.members, node, &self.setup, &self.data_path(node), &self.key_path(node)),
        }
    }

    /// Of its private key, if it has one. Beside its data, where no wiped disk takes it.
    fn key_path(&self, node: Node) -> PathBuf {
        self.directory.join(format!("{}.key", self.members[node].id))
    }

    /// As an operator makes them.
    fn make_keys(&mut self) -> Result<(), Failure> {
        let secure = self.setup.secure && self.setup.system == System::Plugin && self.setup.elections;
        for node in (0..self.members.len()).filter(|_| secure) {
            let mut command = Command::new(&self.setup.server);
            let said = command.arg("keygen").arg(self.key_path(node)).stderr(Stdio::null()).output();
            let made = said.and_then(|said| match said.status.success() {
                true => Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned()),
                false => Err(std::io::Error::other(said.status.to_string())),
            });
            self.members[node].key = Some(made.map_err(Failure::os("make a key"))?);
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in 0..self.members.len() {
            // SIGKILL ends a stopped process as well. All first, then wait.
            let _ = self.signal(node, Signal::KILL);
        }
        for node in 0..self.members.len() {
            let _ = self.reap(node);
        }
        for companion in self.members.iter_mut().filter_map(|member| member.companion.as_mut()) {
            let _ = companion.kill();
            let _ = companion.wait();
            self.guard.forget(companion.id());
        }
    }
}

/// Whether a server ended because of a port.
fn clashed(evidence: &str) -> bool {
    let evidence = evidence.to_lowercase();
    evidence.contains("in use") || evidence.contains("addrinuse")
}

fn temporary_directory() -> Result<PathBuf, Failure> {
    let parent = std::env::temp_dir();
    let mut last = None;
    for attempt in 0..DIRECTORY_TRIES {
        let path = parent.join(format!("kevy-elect-demo-{}-{attempt}", std::process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(e) => last = Some(e),
        }
    }
    let error = last.unwrap_or_else(|| std::io::Error::other("no name was free"));
    Err(Failure::Os { what: format!("create a directory in {}", parent.display()), error })
}
