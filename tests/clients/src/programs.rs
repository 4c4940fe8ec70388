//! The libraries, from their registries, and one process that writes through one of them.

use kevy_elect_harness::failure::Failure;
use kevy_elect_harness::words;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

words! {
    /// A library.
    pub(crate) enum Client {
        RedisPy = "redis-py" => "Python",
        Ioredis = "ioredis" => "JavaScript",
        NodeRedis = "node-redis" => "JavaScript",
        RedisRs = "redis-rs" => "Rust",
        Glide = "valkey-glide" => "Python",
        Hiredis = "hiredis" => "C, as Debian packages it",
        GoRedis = "go-redis" => "Go, as Debian packages it",
    }
}

impl Client {
    /// What has to be there before it can be built, where nothing here installs it: a file, and Debian's packages for it.
    const fn needs(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Hiredis => Some(("/usr/include/hiredis/hiredis.h", "gcc libhiredis-dev")),
            Self::GoRedis => Some((
                "/usr/share/gocode/src/gopkg.in/redis.v5/sentinel.go",
                "golang-go golang-gopkg-redis.v5-dev",
            )),
            Self::RedisPy | Self::Ioredis | Self::NodeRedis | Self::RedisRs | Self::Glide => None,
        }
    }

    /// All that can be built here, and what has to be installed for the others.
    pub(crate) fn available() -> (Vec<Self>, Vec<String>) {
        let (mut here, mut missing) = (Vec::new(), Vec::new());
        for &client in Self::ALL {
            match client.needs().filter(|(file, _)| !Path::new(file).exists()) {
                None => here.push(client),
                Some((_, packages)) => {
                    missing.push(format!("{} is left out: apt-get install {packages}", client.name()));
                }
            }
        }
        (here, missing)
    }

    /// valkey-glide knows no Sentinels; the others know nothing of further nodes without them.
    pub(crate) fn can(self, way: Way, work: Work) -> bool {
        match self {
            Self::Glide => way == Way::Nodes || way == Way::Proxy && work == Work::Write,
            _ => way != Way::Nodes,
        }
    }
}

words! {
    /// How an application finds the primary.
    pub(crate) enum Way {
        Sentinel = "sentinel" => "asks the Sentinel ports of all nodes",
        Proxy = "proxy" => "HAProxy, as docs/http.md sets it up",
        Nodes = "nodes" => "is given the addresses of all nodes (valkey-glide)",
    }
}

words! {
    /// What an application does.
    pub(crate) enum Work {
        Write = "write" => "SET",
        Transaction = "transaction" => "MULTI, SET, INCR, EXEC",
        Script = "script" => "EVAL of a SET",
        Block = "block" => "BLPOP of what somebody else pushes to the primary",
        Subscribe = "subscribe" => "SUBSCRIBE to what somebody else publishes at the primary",
    }
}

/// What makes this program an application that uses redis-rs.
pub(crate) const REDIS_RS: &str = "--redis-rs-application";

/// Where the libraries are installed.
pub(crate) struct Programs {
    directory: PathBuf,
    program: PathBuf,
}

/// The applications' sources.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/programs");

impl Programs {
    /// Installs what `clients` need, where it is not there yet, or takes it as installed.
    pub(crate) fn find(clients: &[Client], install: bool) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(Failure::os("find this program"))?;
        let target = program.parent().and_then(Path::parent).unwrap_or(Path::new("target"));
        let directory = target.join("clients");
        std::fs::create_dir_all(&directory)
            .map_err(Failure::os(format!("create {}", directory.display())))?;
        let programs = Self { directory, program };
        if !install {
            return Ok(programs);
        }
        if clients.iter().any(|client| matches!(client, Client::RedisPy | Client::Glide)) {
            programs.python()?;
        }
        if clients.iter().any(|client| matches!(client, Client::Ioredis | Client::NodeRedis)) {
            programs.node()?;
        }
        for client in clients {
            match client {
                Client::Hiredis => run(Command::new("gcc")
                    .args(["-O1", "-Wall", "-o"])
                    .arg(programs.directory.join("hiredis"))
                    .args([&format!("{SOURCES}/hiredis.c"), "-lhiredis"]))?,
                // Without modules, as Debian's packages are meant to be built against.
                Client::GoRedis => run(Command::new("go")
                    .args(["build", "-o"])
                    .arg(programs.directory.join("go_redis"))
                    .arg(format!("{SOURCES}/go_redis.go"))
                    .envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode")]))?,
                Client::RedisPy | Client::Ioredis | Client::NodeRedis | Client::RedisRs | Client::Glide => {}
            }
        }
        Ok(programs)
    }

    fn python(&self) -> Result<(), Failure> {
        let wanted = format!("{SOURCES}/requirements.txt");
        let environment = self.directory.join("python");
        if !environment.join("bin/python").exists() {
            run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        }
        run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", "--requirement", &wanted]))
    }

    fn node(&self) -> Result<(), Failure> {
        for name in ["package.json", "ioredis.mjs", "node_redis.mjs"] {
            let (from, to) = (Path::new(SOURCES).join(name), self.directory.join(name));
            std::fs::copy(&from, &to).map_err(Failure::os(format!("copy {}", from.display())))?;
        }
        run(Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund"])
            .current_dir(&self.directory))
    }

    /// Starts an application.
    pub(crate) fn start(
        &self,
        (client, way, work): (Client, Way, Work),
        documented: bool,
        name: &str,
        addresses: &[SocketAddr],
    ) -> Result<Application, Failure> {
        let python = self.directory.join("python/bin/python");
        let (program, script): (_, Option<PathBuf>) = match client {
            Client::RedisPy => (python, Some(format!("{SOURCES}/redis_py.py").into())),
            Client::Glide => (python, Some(format!("{SOURCES}/glide.py").into())),
            Client::Ioredis => ("node".into(), Some(self.directory.join("ioredis.mjs"))),
            Client::NodeRedis => ("node".into(), Some(self.directory.join("node_redis.mjs"))),
            Client::RedisRs => (self.program.clone(), Some(REDIS_RS.into())),
            Client::Hiredis => (self.directory.join("hiredis"), None),
            Client::GoRedis => (self.directory.join("go_redis"), None),
        };
        let mut command = Command::new(program);
        command.args(script).arg(if documented { "documented" } else { "defaults" });
        command.args([way.name(), work.name(), name]);
        command.args(addresses.iter().map(ToString::to_string));
        let starting = || Failure::os(format!("start {command:?}", command = client.name()));
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(starting())?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        if let Some(output) = process.stdout.take() {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || read(output, &seen));
        }
        Ok(Application { process, seen })
    }
}

/// Runs a command to its end.
fn run(command: &mut Command) -> Result<(), Failure> {
    let shown = format!("{command:?}");
    let status = command.stdout(Stdio::null()).status().map_err(Failure::os(format!("run {shown}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::os(format!("run {shown}"))(std::io::Error::other(status.to_string()))),
    }
}

/// What an application saw. Times are those of the machine's monotonic clock.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    pub(crate) acks: Vec<Duration>,
    pub(crate) errors: Vec<(Duration, String)>,
}

/// An application that writes. Dropping it ends it.
pub(crate) struct Application {
    process: Child,
    seen: Arc<Mutex<Seen>>,
}

impl Application {
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read(output: ChildStdout, seen: &Mutex<Seen>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let mut words = line.splitn(3, ' ');
        let (what, at) = (words.next(), words.next().and_then(|at| at.parse().ok()));
        let Some(at) = at.map(Duration::from_nanos) else { continue };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match what {
            Some("ack") => seen.acks.push(at),
            // The library says what it meets on its way; no command has failed by that.
            Some("note") => {}
            _ => seen.errors.push((at, words.next().unwrap_or_default().to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_shows_what_is_run() {
        let docs =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/clients.md")).unwrap();
        for name in [
            "redis_py.py",
            "ioredis.mjs",
            "node_redis.mjs",
            "redis_rs.rs",
            "glide.py",
            "hiredis.c",
            "go_redis.go",
        ] {
            let source = std::fs::read_to_string(Path::new(SOURCES).join(name)).unwrap();
            let (_, rest) = source.split_once("docs/clients.md: begin\n").unwrap();
            let (shown, _) = rest.split_once("docs/clients.md: end").unwrap();
            let shown = shown.trim_end_matches(['/', '#', ' ']).trim();
            assert!(docs.contains(shown), "docs/clients.md does not show this part of {name}:\n{shown}");
        }
    }
}
