//! What the person asked for.

use crate::course::{Course, Weight};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use kevy_elect_harness::cli::{count, named, seconds};
use kevy_elect_harness::data::{Size, VALUE_BYTES, VALUE_BYTES_MAX};
use kevy_elect_harness::fault::Fault;
use kevy_elect_harness::server::Server;
use kevy_elect_harness::words;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const EXIT_CODES: &str = "\
Exit codes:
  0    measured
  2    it could not be carried out (the message says why)
  130  Ctrl-C";

const FAULT_ROUNDS: u32 = 5;
const WRITES_ROUNDS: u32 = 21;
const DATA_ROUNDS: u32 = 10;
const KEYS_ROUNDS: u32 = 20;
const BUDGET_S: &str = "25";
const BUDGET_S_MAX: u64 = 3600;
const ROUNDS_MAX: i64 = 1000;
const IDLE_S_MAX: u64 = 3600;

words! {
    /// Who takes part.
    pub(crate) enum Racer {
        Plugin = "plugin" => "kevy-server with the plugin",
        Stock = "stock" => "kevy 7.0.0, built-in elector",
        Redis = "redis" => "Redis with three Sentinels",
    }
}

impl Racer {
    /// How long it lets a primary be silent, as it is configured here.
    pub(crate) const fn suspects_after_ms(self) -> f64 {
        match self {
            Self::Plugin | Self::Redis => 1000.0,
            Self::Stock => 5000.0,
        }
    }
}

/// Breaks three systems in the same way, one after the other on this machine, with the same client: kevy-server
/// with this plugin, the unmodified kevy 7 with its built-in elector, and Redis with three Sentinels that suspect
/// after as long as the plugin (1 s). Installs nothing.
///
/// Isolation, the primary cut off from its peers but not from its clients, needs root: every node then has a network
/// namespace of its own.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "race", args_override_self = true, bin_name = "cargo race", verbatim_doc_comment, after_help = EXIT_CODES)]
pub(crate) struct Options {
    /// Rounds of each fault per system (default 5); with --writes: pairs of runs (default 21); with --data: at most (default 10); with
    /// --keys: kills of each (default 20)
    #[arg(long = "rounds", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=ROUNDS_MAX))]
    asked: Option<u32>,
    #[arg(skip)]
    pub(crate) rounds: u32,
    /// Instead of a race: how many writes per second kevy-server with the plugin takes, against the unmodified
    /// kevy, in alternating runs
    #[arg(long)]
    pub(crate) writes: bool,
    /// Instead of the race over all faults: with so much in every node (0, 200mb, 1gb; several sizes have their turn one after
    /// the other), when the first write is acknowledged and confirmed after a kill, idle and under load, what is copied, and what
    /// planned stops cost
    #[arg(long, value_name = "SIZE,...", value_delimiter = ',', value_parser = str::parse::<Size>, conflicts_with = "writes")]
    pub(crate) data: Vec<Size>,
    /// With --data: how long its values are
    #[arg(long = "value", value_name = "BYTES", default_value_t = VALUE_BYTES, value_parser = count(1, VALUE_BYTES_MAX as u64))]
    pub(crate) value_bytes: usize,
    /// With --data: no new round of a course after so long
    #[arg(long, value_name = "SECONDS", default_value = BUDGET_S, value_parser = seconds(1, BUDGET_S_MAX))]
    pub(crate) budget: Duration,
    /// With --data: the smallest size once more, and with each primary that is killed a process dies that holds as much memory as the largest size and
    /// does nothing: what of a difference is the kernel's work of taking memory back
    #[arg(long, requires = "data")]
    pub(crate) ballast: bool,
    /// With --data: only this course (may be given several times; default: all)
    #[arg(long = "course", value_name = "NAME", requires = "data", value_parser = named(Course::ALL, Course::name, Course::spelled))]
    pub(crate) courses: Vec<Course>,
    /// Only this fault (may be given several times; default: all, isolate only as root)
    #[arg(long = "fault", value_name = "NAME",
          value_parser = named(&[Fault::Kill, Fault::Stop, Fault::Isolate], Fault::name, Fault::spelled))]
    pub(crate) faults: Vec<Fault>,
    /// Only this one (may be given several times)
    #[arg(long = "only", value_name = "NAME", value_parser = named(Racer::ALL, Racer::name, Racer::spelled))]
    pub(crate) racers: Vec<Racer>,
    /// Links and streams of the plugin prove who speaks, by keys that are made for the run
    #[arg(long)]
    pub(crate) secure: bool,
    /// Instead of a race: kevy-server with the plugin without keys and with them, in turns: a kill of the primary, and what they cost idle
    #[arg(long, conflicts_with_all = ["writes", "data", "secure", "faults"])]
    pub(crate) keys: bool,
    /// How long to look at the idle systems
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds(1, IDLE_S_MAX))]
    pub(crate) idle: Duration,
    /// The kevy-server to run (default: the one beside this program)
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// The unmodified kevy (default: kevy from PATH)
    #[arg(long, value_name = "PATH")]
    pub(crate) stock: Option<PathBuf>,
    /// redis-server (default: from PATH)
    #[arg(long, value_name = "PATH")]
    pub(crate) redis: Option<PathBuf>,
    /// redis-sentinel (default: from PATH)
    #[arg(long, value_name = "PATH")]
    pub(crate) sentinel: Option<PathBuf>,
    /// Write the report there, between `<!-- race:begin -->` and `<!-- race:end -->` (with --writes, --data and --keys: `writes`,
    /// `data` and `keys` instead of `race`)
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Draw the failovers
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// In namespaces of its own already. Nobody types it.
    #[arg(long, hide = true)]
    pub(crate) inside: bool,
}

impl Options {
    /// Reads the arguments, which begin with the program's name. Who is not `root` cannot cut links.
    pub(crate) fn read(args: impl IntoIterator<Item = OsString>, root: bool) -> Result<Self, clap::Error> {
        let mut options = Self::try_parse_from(args)?;
        let usual = match () {
            () if options.keys => KEYS_ROUNDS,
            () if options.writes => WRITES_ROUNDS,
            () if !options.data.is_empty() => DATA_ROUNDS,
            () => FAULT_ROUNDS,
        };
        if options.ballast && options.data.iter().min() == options.data.iter().max() {
            let one = "--ballast is for comparing two sizes: use --data 0,1gb, for example";
            return Err(Self::command().error(ErrorKind::ValueValidation, one));
        }
        options.rounds = options.asked.unwrap_or(usual);
        if options.writes {
            options.faults.clear();
            options.racers = vec![Racer::Stock, Racer::Plugin];
        } else if options.keys {
            options.racers = vec![Racer::Plugin];
        } else if !options.data.is_empty() {
            // Everything happens on one machine's loopback.
            options.faults.clear();
            if options.courses.is_empty() {
                options.courses = Course::ALL.to_vec();
            }
        } else if options.faults.is_empty() {
            options.faults = vec![Fault::Kill, Fault::Stop];
            if root {
                options.faults.push(Fault::Isolate);
            }
        }
        if options.racers.is_empty() {
            options.racers = Racer::ALL.to_vec();
        }
        Ok(options)
    }

    /// What the nodes hold, one after the other.
    pub(crate) fn weights(&self) -> Vec<Weight> {
        let mut weights: Vec<_> =
            self.data.iter().map(|size| Weight { size: *size, ballast: Size(0) }).collect();
        if let (true, Some(least), Some(most)) =
            (self.ballast, self.data.iter().min(), self.data.iter().max())
        {
            weights.insert(1, Weight { size: *least, ballast: *most });
        }
        weights
    }

    /// The same for so many rounds, with keys or without.
    pub(crate) fn turn(&self, secure: bool, rounds: u32) -> Self {
        Self { secure, rounds, ..self.clone() }
    }

    /// Which server is run.
    pub(crate) fn server(&self) -> Server {
        self.server.clone().map_or(Server::Beside, Server::At)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str], root: bool) -> Result<Options, String> {
        let args = ["race"].iter().chain(args).map(OsString::from);
        Options::read(args, root).map_err(|error| error.to_string())
    }

    #[test]
    fn everybody_races_over_every_course_unless_told_otherwise() {
        let all = options(&[], true).unwrap();
        assert_eq!((all.racers.len(), all.faults.len(), all.rounds), (3, 3, 5));
        let others = options(&[], false).unwrap();
        assert_eq!(others.faults, [Fault::Kill, Fault::Stop], "only root can cut links");
        assert_eq!(options(&["--writes"], true).unwrap().rounds, 21);
        let keys = options(&["--keys"], true).unwrap();
        assert_eq!((keys.rounds, keys.racers, keys.faults), (20, vec![Racer::Plugin], vec![]));
        let data = options(&["--data", "0,1gb"], true).unwrap();
        assert_eq!(
            (&data.data[..], data.rounds, &data.faults[..]),
            (&[Size(0), Size(1_000_000_000)][..], 10, &[][..])
        );
        assert_eq!((&data.courses[..], data.weights().len()), (Course::ALL, 2));
        let beside = options(&["--data", "0,1gb", "--ballast", "--course", "loaded"], true).unwrap();
        let told: Vec<_> = beside.weights().iter().map(ToString::to_string).collect();
        assert_eq!(
            (beside.courses.len(), told.join("; ")),
            (1, "no data; no data, ballast of 1 GB; 1 GB".to_owned())
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        assert!(options(&["--only", "etcd"], true).unwrap_err().contains("'etcd'"));
        assert!(options(&["--fault", "rain"], true).unwrap_err().contains("'rain'"));
        assert!(options(&["--data", "much"], true).unwrap_err().contains("a size such as"));
        assert!(options(&["--data", "0", "--writes"], true).unwrap_err().contains("cannot be used with"));
        assert!(options(&["--data", "0", "--ballast"], true).unwrap_err().contains("--data 0,1gb"));
        assert!(options(&["--rounds", "0"], true).unwrap_err().contains("1..=1000"));
    }
}
