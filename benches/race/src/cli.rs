//! What the person asked for.

use kevy_elect_harness::fault::Fault;
use kevy_elect_harness::server::Server;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// What `--help` says.
pub(crate) const HELP: &str = "\
Breaks three systems in the same way, one after the other on this machine, with the same client: kevy-server
with this plugin, the unmodified kevy 7 with its built-in elector, and Redis with three Sentinels that suspect
after as long as the plugin (1 s). Installs nothing.

Isolation, the primary cut off from its peers but not from its clients, needs root: every node then has a network
namespace of its own.

USAGE
    cargo race [OPTIONS]

OPTIONS
    --rounds N         rounds of each fault per system (default 5); with --writes: pairs of runs (default 21)
    --writes           instead of a race: how many writes per second kevy-server with the plugin takes,
                       against the unmodified kevy, in alternating runs
    --fault NAME       only kill, stop or isolate (may be given several times; default: all,
                       isolate only as root)
    --only NAME        only plugin, stock or redis (may be given several times)
    --idle SECONDS     how long to look at the idle systems (default 10)
    --server PATH      the kevy-server to run (default: the one beside this program)
    --stock PATH       the unmodified kevy (default: kevy from PATH)
    --redis PATH       redis-server (default: from PATH)
    --sentinel PATH    redis-sentinel (default: from PATH)
    --markdown FILE    write the report there, between `<!-- race:begin -->` and `<!-- race:end -->`
                       (with --writes: `writes` instead of `race`)
    --svg FILE         draw the failovers
    -h, --help         this text

EXIT CODE
    0    measured
    2    it could not be carried out (the message says why)
    130  Ctrl-C
";

/// Tells a process that it runs in namespaces of its own. Nobody types it.
const INSIDE: &str = "inside";
const FAULT_ROUNDS: u32 = 5;
const WRITES_ROUNDS: u32 = 21;
const ROUNDS_MAX: u64 = 1000;
const IDLE_S_MAX: u64 = 3600;

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Racer {
    Plugin,
    Stock,
    Redis,
}

impl Racer {
    pub(crate) const ALL: [Self; 3] = [Self::Plugin, Self::Stock, Self::Redis];

    /// As on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::Stock => "stock",
            Self::Redis => "redis",
        }
    }

    /// How long it lets a primary be silent, as it is configured here.
    pub(crate) const fn suspects_after_ms(self) -> f64 {
        match self {
            Self::Plugin | Self::Redis => 1000.0,
            Self::Stock => 5000.0,
        }
    }

    /// As a person would say it.
    pub(crate) const fn spelled(self) -> &'static str {
        match self {
            Self::Plugin => "kevy-server with the plugin",
            Self::Stock => "kevy 7.0.0, built-in elector",
            Self::Redis => "Redis with three Sentinels",
        }
    }
}

/// The command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) rounds: u32,
    pub(crate) faults: Vec<Fault>,
    pub(crate) racers: Vec<Racer>,
    pub(crate) idle: Duration,
    pub(crate) server: Server,
    pub(crate) stock: Option<PathBuf>,
    pub(crate) redis: Option<PathBuf>,
    pub(crate) sentinel: Option<PathBuf>,
    pub(crate) markdown: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
    /// Compare writes instead of failovers.
    pub(crate) writes: bool,
    /// In namespaces of its own already.
    pub(crate) inside: bool,
}

/// What the command line amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// Print [`HELP`].
    Help,
    /// Run.
    Run(Box<Options>),
}

/// Reads the arguments (without the program's name). Who is not `root` cannot cut links.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>, root: bool) -> Result<Request, String> {
    use lexopt::prelude::{Long, Short};

    let mut options = Options {
        rounds: 0,
        faults: Vec::new(),
        racers: Vec::new(),
        idle: Duration::from_secs(10),
        server: Server::Beside,
        stock: None,
        redis: None,
        sentinel: None,
        markdown: None,
        svg: None,
        writes: false,
        inside: false,
    };
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        match arg {
            Short('h') | Long("help") => return Ok(Request::Help),
            Long("rounds") => options.rounds = number(&mut parser, "--rounds", 1, ROUNDS_MAX)? as u32,
            Long("idle") => options.idle = Duration::from_secs(number(&mut parser, "--idle", 1, IDLE_S_MAX)?),
            Long("fault") => options.faults.push(match text(&mut parser)?.as_str() {
                "kill" => Fault::Kill,
                "stop" => Fault::Stop,
                "isolate" => Fault::Isolate,
                other => return Err(format!("--fault takes kill, stop or isolate, not '{other}'")),
            }),
            Long("only") => {
                let name = text(&mut parser)?;
                let racer = Racer::ALL.into_iter().find(|racer| racer.name() == name);
                options
                    .racers
                    .push(racer.ok_or_else(|| format!("--only takes plugin, stock or redis, not '{name}'"))?);
            }
            Long("server") => options.server = Server::At(path(&mut parser)?),
            Long("stock") => options.stock = Some(path(&mut parser)?),
            Long("redis") => options.redis = Some(path(&mut parser)?),
            Long("sentinel") => options.sentinel = Some(path(&mut parser)?),
            Long("markdown") => options.markdown = Some(path(&mut parser)?),
            Long("writes") => options.writes = true,
            Long(INSIDE) => options.inside = true,
            Long("svg") => options.svg = Some(path(&mut parser)?),
            other => return Err(other.unexpected().to_string()),
        }
    }
    if options.rounds == 0 {
        options.rounds = if options.writes { WRITES_ROUNDS } else { FAULT_ROUNDS };
    }
    if options.writes {
        options.faults.clear();
        options.racers = vec![Racer::Stock, Racer::Plugin];
    } else if options.faults.is_empty() {
        options.faults = vec![Fault::Kill, Fault::Stop];
        if root {
            options.faults.push(Fault::Isolate);
        }
    }
    if options.racers.is_empty() {
        options.racers = Racer::ALL.to_vec();
    }
    Ok(Request::Run(Box::new(options)))
}

fn path(parser: &mut lexopt::Parser) -> Result<PathBuf, String> {
    parser.value().map(PathBuf::from).map_err(|e| e.to_string())
}

fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    let value = parser.value().map_err(|e| e.to_string())?;
    value.into_string().map_err(|value| format!("{} is not text", value.to_string_lossy()))
}

fn number(parser: &mut lexopt::Parser, option: &str, min: u64, max: u64) -> Result<u64, String> {
    let text = text(parser)?;
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("{option} takes a number from {min} to {max}, not '{text}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Result<Options, String> {
        match parse(args.iter().map(OsString::from), true)? {
            Request::Run(options) => Ok(*options),
            Request::Help => Err("help".into()),
        }
    }

    #[test]
    fn everybody_races_over_every_course_unless_told_otherwise() {
        let options = options(&[]).unwrap();
        assert_eq!((options.racers.len(), options.faults.len()), (3, 3));
        let Ok(Request::Run(others)) = parse([], false) else { panic!("it runs") };
        assert_eq!(others.faults, [Fault::Kill, Fault::Stop], "only root can cut links");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        assert!(options(&["--only", "etcd"]).unwrap_err().contains("'etcd'"));
        assert!(options(&["--fault", "rain"]).unwrap_err().contains("'rain'"));
        assert!(options(&["--rounds", "0"]).unwrap_err().contains("from 1"));
    }
}
