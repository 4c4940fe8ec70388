//! Three server processes: configuration, start, faults, and their certain end.

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
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How many nodes there are.
pub(crate) const NODES: usize = 3;
/// How long a process may take until it takes connections.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How long a process may take to end after SIGTERM.
const TERM_PATIENCE: Duration = Duration::from_secs(20);
/// How long the last words of a process that has ended may be on their way.
const LOG_PATIENCE: Duration = Duration::from_secs(1);
/// How often a directory name may be taken already.
const DIRECTORY_TRIES: u32 = 100;

/// How the servers are run.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// The binary.
    pub(crate) server: PathBuf,
    /// Without the plugin.
    pub(crate) stock: bool,
    /// Shards.
    pub(crate) threads: usize,
}

/// One node.
pub(crate) struct Member {
    /// `n1`.
    pub(crate) id: String,
    /// Its ports.
    pub(crate) ports: Ports,
    /// What it says.
    pub(crate) log: Arc<Log>,
    process: Option<Child>,
    reader: Option<JoinHandle<()>>,
}

/// The processes. Dropping it ends them, stopped ones too, and removes the directory.
pub(crate) struct Cluster {
    /// The nodes.
    pub(crate) members: Vec<Member>,
    /// Where they keep their data and logs.
    pub(crate) directory: PathBuf,
    setup: Setup,
    clock: Clock,
    // After the processes: the guard clears away what their own end left.
    guard: Guard,
}

impl Cluster {
    /// Chooses ports, writes the configuration files and starts all nodes.
    pub(crate) fn start(setup: Setup, clock: Clock) -> Result<Self, Failure> {
        let directory = temporary_directory()?;
        let guard = Guard::start(&directory)?;
        let ports = ports::free(NODES, setup.threads).map_err(Failure::os("find free ports"))?;
        let members: Vec<_> = ports
            .into_iter()
            .enumerate()
            .map(|(node, ports)| Member {
                id: format!("n{}", node + 1),
                ports,
                log: Arc::default(),
                process: None,
                reader: None,
            })
            .collect();
        let mut cluster = Self { members, directory, setup, clock, guard };
        for node in 0..NODES {
            let path = cluster.config_path(node);
            std::fs::create_dir_all(cluster.data_path(node))
                .and_then(|()| std::fs::write(&path, cluster.config(node)))
                .map_err(Failure::os(format!("write {}", path.display())))?;
        }
        for node in 0..NODES {
            cluster.launch(node)?;
        }
        Ok(cluster)
    }

    /// Waits until every node takes connections.
    pub(crate) fn answers(&mut self, interrupt: &Interrupt) -> Result<(), Failure> {
        let all = interrupt.wait_for(START_PATIENCE, || {
            self.check_alive()?;
            let up = self.members.iter().all(|member| Client::connect(member.ports.client).is_ok());
            Ok(up.then_some(()))
        })?;
        all.ok_or_else(|| self.timeout("not every node took connections".into(), START_PATIENCE))
    }

    /// Starts a node that does not run.
    pub(crate) fn launch(&mut self, node: Node) -> Result<(), Failure> {
        let log_path = self.directory.join(format!("{}.log", self.members[node].id));
        let copy = File::options()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(Failure::os(format!("write {}", log_path.display())))?;
        let (reader, writer) = std::io::pipe().map_err(Failure::os("create a pipe"))?;
        let stdout = writer.try_clone().map_err(Failure::os("create a pipe"))?;
        let starting = || Failure::os(format!("start {}", self.setup.server.display()));
        let mut command = self.guard.command(&self.setup.server).map_err(starting())?;
        command
            .arg("--config")
            .arg(self.config_path(node))
            .current_dir(self.data_path(node))
            .stdout(stdout)
            .stderr(writer)
            // Ctrl-C in the terminal is for the demo; it ends the servers in its own way.
            .process_group(0);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KEVY_")) {
            command.env_remove(name);
        }
        let process = command.spawn().map_err(starting())?;
        // The command still holds the pipe's write end; only when it goes can the log come to its end.
        drop(command);
        let member = &mut self.members[node];
        member.process = Some(process);
        // Ends with the pipe, that is, with the process.
        let thread = member.log.follow(reader, copy, self.clock).map_err(Failure::os("start a thread"))?;
        member.reader = Some(thread);
        Ok(())
    }

    /// SIGKILL; returns once the process is gone.
    pub(crate) fn kill(&mut self, node: Node) -> Result<(), Failure> {
        self.signal(node, Signal::KILL)?;
        self.reap(node).map(|_| ())
    }

    /// SIGSTOP.
    pub(crate) fn stop(&self, node: Node) -> Result<(), Failure> {
        self.signal(node, Signal::STOP)
    }

    /// SIGCONT.
    pub(crate) fn resume(&self, node: Node) -> Result<(), Failure> {
        self.signal(node, Signal::CONT)
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self, node: Node) -> Result<(), Failure> {
        self.signal(node, Signal::TERM)
    }

    /// Whether a node that was told to end has done so. It must exit with 0.
    pub(crate) fn ended_in_order(&mut self, node: Node, interrupt: &Interrupt) -> Result<(), Failure> {
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
    pub(crate) fn exited(&mut self, node: Node) -> Result<Option<ExitStatus>, Failure> {
        let member = &mut self.members[node];
        let Some(process) = &mut member.process else { return Ok(None) };
        let status = process.try_wait().map_err(Failure::os(format!("wait for {}", member.id)))?;
        if status.is_some() {
            self.guard.forget(process.id());
            member.process = None;
        }
        Ok(status)
    }

    /// An error if a node that should run has ended.
    pub(crate) fn check_alive(&mut self) -> Result<(), Failure> {
        for node in 0..NODES {
            if let Some(status) = self.exited(node)? {
                return Err(Failure::Died {
                    node: self.members[node].id.clone(),
                    status: describe(status),
                    evidence: self.evidence_of(node),
                });
            }
        }
        Ok(())
    }

    /// The node's process id while it runs.
    pub(crate) fn pid(&self, node: Node) -> Option<u32> {
        self.members[node].process.as_ref().map(Child::id)
    }

    /// A failure that shows what all servers said last.
    pub(crate) fn timeout(&self, what: String, waited: Duration) -> Failure {
        Failure::Timeout { what, waited, evidence: self.evidence() }
    }

    /// Keeps directory and logs.
    pub(crate) fn leave_directory(&mut self) {
        self.guard.leave_directory();
    }

    fn evidence(&self) -> String {
        (0..NODES).map(|node| self.evidence_of(node)).collect::<Vec<_>>().join("\n")
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

    fn data_path(&self, node: Node) -> PathBuf {
        self.directory.join(&self.members[node].id)
    }

    fn config(&self, node: Node) -> String {
        config(&self.members, node, &self.setup, &self.data_path(node))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in 0..NODES {
            // SIGKILL ends a stopped process as well. All first, then wait.
            let _ = self.signal(node, Signal::KILL);
        }
        for node in 0..NODES {
            let _ = self.reap(node);
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
            format!("{}@127.0.0.1:{elect}:{client}:{replication}", m.id)
        })
        .collect();
    let Member { id, ports, .. } = &members[node];
    // With the plugin the election decides whom a node follows, and an upstream would be refused.
    let role = match (node, setup.stock) {
        (0, _) => "role = \"primary\"".to_owned(),
        (_, false) => "role = \"replica\"".to_owned(),
        (_, true) => {
            format!("role = \"replica\"\nupstream = \"127.0.0.1:{}\"", members[0].ports.replication)
        }
    };
    let mut text = format!(
        "[server]\nport = {}\nthreads = {}\ndata_dir = {}\n\n\
         [cluster]\nnode_id = \"{id}\"\nelect_port_base = {}\npeers = \"{}\"\n\n\
         [replication]\n{role}\n",
        ports.client,
        setup.threads,
        // TOML's basic strings escape like JSON's.
        serde_json::Value::from(data.to_string_lossy()),
        ports.elect,
        peers.join(","),
    );
    if !setup.stock {
        let _ = write!(text, "\n[elect]\nenabled = true\nhttp = \"127.0.0.1:{}\"\n", ports.http);
    }
    text
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
        let ports =
            |base| Ports { client: base, elect: base + 1, http: base + 2, replication: base + 10_000 };
        let members: Vec<_> = (0..3)
            .map(|n| Member {
                id: format!("n{}", n + 1),
                ports: ports(11_000 + 100 * n as u16),
                log: Arc::default(),
                process: None,
                reader: None,
            })
            .collect();
        let mut setup = Setup { server: PathBuf::new(), stock: false, threads: 2 };
        assert_eq!(
            config(&members, 1, &setup, Path::new("/tmp/x/n2")),
            "[server]\nport = 11100\nthreads = 2\ndata_dir = \"/tmp/x/n2\"\n\n\
             [cluster]\nnode_id = \"n2\"\nelect_port_base = 11101\n\
             peers = \"n1@127.0.0.1:11001:11000:21000,n2@127.0.0.1:11101:11100:21100,\
             n3@127.0.0.1:11201:11200:21200\"\n\n\
             [replication]\nrole = \"replica\"\n\n\
             [elect]\nenabled = true\nhttp = \"127.0.0.1:11102\"\n"
        );
        setup.stock = true;
        let stock = config(&members, 0, &setup, Path::new("/tmp/x/n1"));
        assert!(stock.ends_with("[replication]\nrole = \"primary\"\n"), "{stock}");
        let stock = config(&members, 2, &setup, Path::new("/tmp/x/n3"));
        assert!(stock.ends_with("role = \"replica\"\nupstream = \"127.0.0.1:21000\"\n"), "{stock}");
    }
}
