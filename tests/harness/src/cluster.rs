//! Server processes: configuration, start, faults, and their certain end.

use crate::client::Client;
use crate::clock::Clock;
use crate::failure::{Failure, Interrupt};
use crate::guard::Guard;
use crate::observe::Log;
use crate::ports::{self, Ports};
use crate::verdict::Node;
use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write as _;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often other ports are tried because somebody took one between the probe and the start.
const PORT_TRIES: usize = 5;
/// How long a process may take until it takes connections.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How long a process may take to end after SIGTERM.
const TERM_PATIENCE: Duration = Duration::from_secs(20);
/// How long the last words of a process that has ended may be on their way.
const LOG_PATIENCE: Duration = Duration::from_secs(1);
/// How often processes are started again between two calls of [`Cluster::take_restarts`]. More is no recovery.
const RESTARTS_MAX: usize = 50;
/// The directory of the vote record, below the data directory.
const VOTES: &str = "elect";
/// How often a directory name may be taken already.
const DIRECTORY_TRIES: u32 = 100;

/// The name under which clients ask for the primary.
pub const SENTINEL_NAME: &str = "cluster";

/// How the servers are run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The binary.
    pub server: PathBuf,
    /// What kind of server that is.
    pub system: System,
    /// Whether anybody decides who is primary; without, the first node is and stays it.
    pub elections: bool,
    /// Whether clients can ask every node of the plugin where the primary is, as they ask Sentinels.
    pub sentinel: bool,
    /// Whether a node of the plugin that overslept its lease is ended, as it is by default.
    pub watchdog: bool,
    /// Shards.
    pub threads: usize,
    /// Where the nodes live; as many as there are places.
    pub places: Vec<Place>,
}

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum System {
    /// kevy with the plugin.
    Plugin,
    /// An unmodified kevy.
    Stock,
    /// Redis, with one Sentinel beside each server.
    Redis {
        /// The Sentinel's binary.
        sentinel: PathBuf,
    },
}

/// Where a node lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On 127.0.0.1, on ports that are free.
    Loopback,
    /// In a network namespace of its own that somebody has made, under an address of its own.
    Namespace {
        /// As `ip netns` knows it.
        name: String,
        /// Its address there.
        address: Ipv4Addr,
        /// A directory for its vote record, perhaps on a disk of its own; `None`: below the data directory.
        votes: Option<PathBuf>,
    },
}

impl Place {
    const fn address(&self) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST,
            Self::Namespace { address, .. } => *address,
        }
    }
}

/// One node.
pub struct Member {
    /// `n1`.
    pub id: String,
    /// Its ports.
    pub ports: Ports,
    /// Where it lives.
    pub place: Place,
    /// What it says.
    pub log: Arc<Log>,
    process: Option<Child>,
    /// Redis' Sentinel: runs on whatever happens to the server.
    companion: Option<Child>,
    reader: Option<JoinHandle<()>>,
    /// By SIGSTOP.
    stopped: bool,
}

impl Member {
    /// Where clients find it.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((self.place.address(), self.ports.client))
    }

    /// Where they ask for the primary of [`SENTINEL_NAME`]: its own port for that, or the Sentinel beside it.
    pub fn sentinel(&self) -> SocketAddr {
        let port = if self.companion.is_some() { self.ports.elect } else { self.ports.sentinel };
        SocketAddr::from((self.place.address(), port))
    }
}

/// A process that ended although nobody here asked it to, and was started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// Whose.
    pub node: Node,
    /// When that was seen.
    pub at: Duration,
    /// "signal 9".
    pub status: String,
    /// Whether SIGKILL ended it: what the server's own watchdog does to a process that overslept its lease.
    pub killed: bool,
}

/// How a stopped process came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumption {
    /// It went on where it was.
    Continued,
    /// Its watchdog had ended it; a new process was started.
    StartedAgain,
}

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
            .map(|(node, (place, ports))| Member {
                id: format!("n{}", node + 1),
                ports,
                place: place.clone(),
                log: Arc::default(),
                process: None,
                companion: None,
                reader: None,
                stopped: false,
            })
            .collect();
        let mut cluster = Self { members, directory, setup, clock, restarts: None, guard };
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

    /// SIGKILL; returns once the process is gone.
    pub fn kill(&mut self, node: Node) -> Result<(), Failure> {
        self.signal(node, Signal::KILL)?;
        self.reap(node).map(|_| ())
    }

    /// SIGSTOP. A primary with a watchdog ends when its lease does; nobody is to blame for that.
    pub fn stop(&mut self, node: Node) -> Result<(), Failure> {
        self.members[node].stopped = true;
        self.signal(node, Signal::STOP)
    }

    /// SIGCONT. Where its watchdog has ended the process, it is started again, as a supervisor would.
    pub fn resume(&mut self, node: Node) -> Result<Resumption, Failure> {
        if self.restarts.is_some() {
            // Starting it clears the mark.
            self.start_again(node)?;
            if !self.members[node].stopped {
                return Ok(Resumption::StartedAgain);
            }
        } else if self.watchdog_ended(node)? {
            self.launch(node)?;
            return Ok(Resumption::StartedAgain);
        }
        self.members[node].stopped = false;
        self.signal(node, Signal::CONT)?;
        Ok(Resumption::Continued)
    }

    /// Whether the process of a stopped node has been ended: by its watchdog, for nobody else did.
    pub fn watchdog_ended(&mut self, node: Node) -> Result<bool, Failure> {
        match self.exited(node)? {
            Some(status) if status.signal() != Some(Signal::KILL.as_raw()) => Err(self.died(node, status)),
            _ => Ok(self.members[node].stopped && self.members[node].process.is_none()),
        }
    }

    /// SIGTERM.
    pub fn terminate(&self, node: Node) -> Result<(), Failure> {
        self.signal(node, Signal::TERM)
    }

    /// Whether a node that was told to end has done so. It must exit with 0.
    pub fn ended_in_order(&mut self, node: Node, interrupt: &Interrupt) -> Result<(), Failure> {
        let status = interrupt.wait_for(TERM_PATIENCE, || self.exited(node))?;
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Failure::BadExit {
                node: self.members[node].id.clone(),
                status: describe(status),
                evidence: self.evidence(),
            }),
            None => {
                Err(self
                    .timeout(format!("{} did not end after SIGTERM", self.members[node].id), TERM_PATIENCE))
            }
        }
    }

    /// How the node's process ended, if it has. Asked once per end: the process is then forgotten.
    pub fn exited(&mut self, node: Node) -> Result<Option<ExitStatus>, Failure> {
        let member = &mut self.members[node];
        let Some(process) = &mut member.process else { return Ok(None) };
        let status = process.try_wait().map_err(Failure::os(format!("wait for {}", member.id)))?;
        if status.is_some() {
            self.guard.forget(process.id());
            member.process = None;
        }
        Ok(status)
    }

    /// From now on [`Cluster::check_alive`] starts again what has ended, as a supervisor would
    /// (systemd's `Restart=always`).
    pub fn supervise(&mut self) {
        self.restarts.get_or_insert_default();
    }

    /// What was started again since the last call.
    pub fn take_restarts(&mut self) -> Vec<Restart> {
        self.restarts.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// An error if a node that should run has ended, or, under [`Cluster::supervise`], if it does so too often.
    pub fn check_alive(&mut self) -> Result<(), Failure> {
        for node in 0..self.members.len() {
            if self.restarts.is_some() {
                self.start_again(node)?;
            } else if self.members[node].stopped {
                self.watchdog_ended(node)?;
            } else if let Some(status) = self.exited(node)? {
                return Err(self.died(node, status));
            }
        }
        Ok(())
    }

    /// What a supervisor does.
    fn start_again(&mut self, node: Node) -> Result<(), Failure> {
        let Some(status) = self.exited(node)? else { return Ok(()) };
        let at = self.clock.now();
        let killed = status.signal() == Some(Signal::KILL.as_raw());
        match self.restarts.as_mut().filter(|restarts| restarts.len() < RESTARTS_MAX) {
            Some(restarts) => restarts.push(Restart { node, at, status: describe(status), killed }),
            None => return Err(self.died(node, status)),
        }
        self.launch(node)
    }

    fn died(&self, node: Node, status: ExitStatus) -> Failure {
        Failure::Died {
            node: self.members[node].id.clone(),
            status: describe(status),
            evidence: self.evidence_of(node),
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
            _ => config(&self.members, node, &self.setup, &self.data_path(node)),
        }
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

/// "exit status: 1" or "signal: 6".
fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// What an operator would write for this node.
fn config(members: &[Member], node: Node, setup: &Setup, data: &Path) -> String {
    let peers: Vec<_> = members
        .iter()
        .map(|m| {
            let Ports { client, elect, replication, .. } = m.ports;
            format!("{}@{}:{elect}:{client}:{replication}", m.id, m.place.address())
        })
        .collect();
    let Member { id, ports, place, .. } = &members[node];
    // With the plugin the election decides whom a node follows, and an upstream would be refused.
    let role = match (node, &setup.system) {
        (0, _) => "role = \"primary\"".to_owned(),
        (_, System::Plugin) if setup.elections => "role = \"replica\"".to_owned(),
        _ => {
            let first = &members[0];
            let (address, port) = (first.place.address(), first.ports.replication);
            format!("role = \"replica\"\nupstream = \"{address}:{port}\"")
        }
    };
    let bind = match place {
        Place::Loopback => String::new(),
        Place::Namespace { address, .. } => format!("bind = \"{address}\"\n"),
    };
    let mut text = format!(
        "[server]\n{bind}port = {}\nthreads = {}\ndata_dir = {}\n\n",
        ports.client,
        setup.threads,
        // TOML's basic strings escape like JSON's.
        serde_json::Value::from(data.to_string_lossy()),
    );
    if setup.elections {
        let (elect, peers) = (ports.elect, peers.join(","));
        let _ =
            write!(text, "[cluster]\nnode_id = \"{id}\"\nelect_port_base = {elect}\npeers = \"{peers}\"\n\n");
    }
    let _ = write!(text, "[replication]\n{role}\n");
    if setup.system == System::Plugin && setup.elections {
        let (at, public) = match place {
            Place::Loopback => (Ipv4Addr::LOCALHOST, ""),
            // Nobody but these servers is in its network.
            Place::Namespace { address, .. } => (*address, "http_public = true\ninsecure = true\n"),
        };
        let _ = write!(text, "\n[elect]\nenabled = true\nhttp = \"{at}:{}\"\n{public}", ports.http);
        if !setup.watchdog {
            text.push_str("watchdog = false\n");
        }
        if setup.threads > 1 {
            // Without it a confirmed write may be lost: whoever is ahead in sum may be behind on its shard.
            text.push_str("loss_policy = \"dominate\"\n");
        }
        if setup.sentinel {
            let others: Vec<_> = members
                .iter()
                .map(|m| format!("{}@{}:{}", m.id, m.place.address(), m.ports.sentinel))
                .collect();
            let (at, others) = (place.address(), others.join(","));
            let _ = writeln!(
                text,
                "sentinel = \"{at}:{}\"\nsentinel_master = \"{SENTINEL_NAME}\"\nsentinel_peers = \"{others}\"",
                ports.sentinel
            );
        }
    }
    text
}

/// What an operator of Redis would write. The log on disk is on, as it is in kevy.
fn redis_config(members: &[Member], node: Node, data: &Path) -> String {
    let Member { ports, place, .. } = &members[node];
    let mut text = format!(
        "bind {}\nport {}\ndir {}\nprotected-mode no\nsave \"\"\nappendonly yes\nappendfsync everysec\n\
         repl-diskless-sync yes\nrepl-diskless-sync-delay 0\n",
        place.address(),
        ports.client,
        data.display(),
    );
    if node != 0 {
        let first = members[0].address();
        let _ = writeln!(text, "replicaof {} {}", first.ip(), first.port());
    }
    text
}

/// A Sentinel that suspects after as long as the plugin does by default.
fn sentinel_config(members: &[Member], node: Node, data: &Path) -> String {
    let Member { ports, place, .. } = &members[node];
    let (first, quorum) = (members[0].address(), members.len() / 2 + 1);
    format!(
        "bind {}\nport {}\ndir {}\nprotected-mode no\nsentinel monitor cluster {} {} {quorum}\n\
         sentinel down-after-milliseconds cluster 1000\nsentinel failover-timeout cluster 5000\n\
         sentinel parallel-syncs cluster {}\n",
        place.address(),
        ports.elect,
        data.display(),
        first.ip(),
        first.port(),
        members.len(),
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_what_an_operator_would_write() {
        let ports = |base| Ports {
            client: base,
            elect: base + 1,
            http: base + 2,
            sentinel: base + 3,
            replication: base + 10_000,
        };
        let members: Vec<_> = (0..3)
            .map(|n| Member {
                id: format!("n{}", n + 1),
                ports: ports(11_000 + 100 * n as u16),
                place: Place::Loopback,
                log: Arc::default(),
                process: None,
                companion: None,
                reader: None,
                stopped: false,
            })
            .collect();
        let mut setup = Setup {
            server: PathBuf::new(),
            system: System::Plugin,
            elections: true,
            sentinel: false,
            watchdog: true,
            threads: 2,
            places: vec![Place::Loopback; 3],
        };
        assert_eq!(
            config(&members, 1, &setup, Path::new("/tmp/x/n2")),
            "[server]\nport = 11100\nthreads = 2\ndata_dir = \"/tmp/x/n2\"\n\n\
             [cluster]\nnode_id = \"n2\"\nelect_port_base = 11101\n\
             peers = \"n1@127.0.0.1:11001:11000:21000,n2@127.0.0.1:11101:11100:21100,\
             n3@127.0.0.1:11201:11200:21200\"\n\n\
             [replication]\nrole = \"replica\"\n\n\
             [elect]\nenabled = true\nhttp = \"127.0.0.1:11102\"\nloss_policy = \"dominate\"\n"
        );
        setup.system = System::Stock;
        let stock = config(&members, 0, &setup, Path::new("/tmp/x/n1"));
        assert!(stock.ends_with("[replication]\nrole = \"primary\"\n"), "{stock}");
        let stock = config(&members, 2, &setup, Path::new("/tmp/x/n3"));
        assert!(stock.ends_with("role = \"replica\"\nupstream = \"127.0.0.1:21000\"\n"), "{stock}");
    }
}
