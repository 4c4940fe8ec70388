//! Runs many simulated clusters. `cargo sim --help` tells how.

#[path = "support/marks.rs"]
mod marks;
#[path = "support/parts.rs"]
mod parts;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use kevy_elect_plugin::sim::{self, DriverMutation, INVARIANTS, Mutation, Outcome, PROFILES, Plan, Profile};
use kevy_elect_plugin::sim::{ServerMutation, Stats, Violation, stack};
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Prints a line. Where nobody reads any more (`cargo sim | head`), there is nothing left to do.
macro_rules! say {
    ($($text:tt)*) => {
        say(&format!($($text)*))
    };
}

fn say(text: &str) {
    if writeln!(std::io::stdout(), "{text}").is_err() {
        std::process::exit(1);
    }
    if let Some(said) = &mut *SAID.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        said.push_str(text);
        said.push('\n');
    }
}

/// All that was said, where it is written to a file too.
static SAID: Mutex<Option<String>> = Mutex::new(None);

/// How much of a trace is shown without `--trace`.
const TRACE_LINES: usize = 60;

/// What is under test.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The elector alone.
    Elector,
    /// Plugin, driver and transport too.
    Stack,
}

impl Mode {
    fn run(self, plan: &Plan, traced: bool) -> Outcome {
        match self {
            Self::Elector => sim::run(plan, traced),
            Self::Stack => stack::run(plan, traced),
        }
    }

    fn shrink(self, plan: &Plan) -> Plan {
        match self {
            Self::Elector => sim::shrink(plan),
            Self::Stack => stack::shrink(plan),
        }
    }

    const fn flag(self) -> &'static str {
        match self {
            Self::Elector => "",
            Self::Stack => " --stack",
        }
    }

    /// What one step is.
    const fn steps(self) -> &'static str {
        match self {
            Self::Elector => "node-steps",
            Self::Stack => "polls of drivers",
        }
    }
}

/// What is made wrong.
#[derive(Clone, Copy)]
enum Wrong {
    Elector(Mutation),
    Driver(DriverMutation),
    Server(ServerMutation),
}

impl Wrong {
    /// All that can show in this mode.
    fn all(mode: Mode) -> Vec<Self> {
        let drivers = DriverMutation::ALL.iter().copied().map(Self::Driver).filter(|_| mode == Mode::Stack);
        let electors = Mutation::ALL.iter().copied().map(Self::Elector);
        drivers.chain(electors).chain(ServerMutation::ALL.iter().copied().map(Self::Server)).collect()
    }

    fn named(name: &str, mode: Mode) -> Option<Self> {
        Self::all(mode).into_iter().find(|wrong| wrong.to_string().eq_ignore_ascii_case(name))
    }
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Elector(mutation) => write!(f, "{mutation:?}"),
            Self::Driver(mutation) => write!(f, "{mutation:?}"),
            Self::Server(mutation) => write!(f, "{mutation:?}"),
        }
    }
}

fn plan(seed: u64, nodes: usize, profile: Profile, wrong: Option<Wrong>) -> Plan {
    let mut plan = Plan::draw(seed, nodes, profile);
    match wrong {
        Some(Wrong::Elector(mutation)) => plan.mutation = Some(mutation),
        Some(Wrong::Driver(mutation)) => plan.driver_mutation = Some(mutation),
        Some(Wrong::Server(mutation)) => plan.server_mutation = Some(mutation),
        None => {}
    }
    plan
}

/// Runs many simulated clusters under seeded faults, and checks every invariant after every step.
#[derive(Clone, Parser)]
#[command(name = "sim", bin_name = "cargo sim", after_help = profiles())]
struct Options {
    /// Run the real plugin, driver and in-memory transport, not the elector alone
    #[arg(long)]
    stack: bool,
    /// Seeds to run, per profile and number of nodes
    #[arg(long, value_name = "A..B", default_value = "0..1000", value_parser = seeds)]
    seeds: Range<u64>,
    /// Numbers of voters
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "3,5,7", value_parser = nodes)]
    nodes: Vec<usize>,
    /// Kinds of faults; `each`: all profiles that must hold
    #[arg(long = "profile", value_name = "NAME,...|each", value_delimiter = ',', default_value = "all",
          value_parser = profile)]
    chosen: Vec<Chosen>,
    /// Threads (default: one per processor)
    #[arg(long, value_name = "N", default_value_t = jobs(), hide_default_value = true)]
    jobs: usize,
    /// Make the elector, the servers, or with --stack the driver, wrong in this way
    #[arg(long, value_name = "NAME")]
    mutation: Option<String>,
    /// Show that every mutation is caught, and after how many seeds
    #[arg(long = "mutations")]
    prove: bool,
    /// Print the whole trace of a violation, or of a single seed
    #[arg(long)]
    trace: bool,
    /// Also write it into FILE, between `<!-- NAME:begin -->` and `<!-- NAME:end -->`
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// NAME of these marks (default: simulation, with --mutations mutations; with --stack stack or stack-mutations)
    #[arg(long, value_name = "NAME", requires = "markdown")]
    marks: Option<String>,
    /// So many seeds at a time, each written into FILE as soon as they have run; the same command goes on where it was interrupted
    #[arg(long, value_name = "SEEDS", requires = "markdown", conflicts_with = "prove", value_parser = clap::value_parser!(u64).range(1..))]
    part: Option<u64>,
    #[arg(skip)]
    wrong: Option<Wrong>,
}

/// What `--profile` names.
#[derive(Clone, Copy)]
enum Chosen {
    Each,
    One(Profile),
}

impl Options {
    fn read() -> Result<Self, clap::Error> {
        let mut options = Self::try_parse()?;
        if let Some(name) = &options.mutation {
            let none = || {
                Self::command().error(ErrorKind::InvalidValue, format!("no mutation {name:?} in this mode"))
            };
            options.wrong = Some(Wrong::named(name, options.mode()).ok_or_else(none)?);
        }
        Ok(options)
    }

    fn mode(&self) -> Mode {
        if self.stack { Mode::Stack } else { Mode::Elector }
    }

    fn marks(&self) -> &str {
        let ours = match (self.mode(), self.prove) {
            (Mode::Elector, false) => "simulation",
            (Mode::Elector, true) => "mutations",
            (Mode::Stack, false) => "stack",
            (Mode::Stack, true) => "stack-mutations",
        };
        self.marks.as_deref().unwrap_or(ours)
    }

    fn profiles(&self) -> Vec<Profile> {
        let each = || PROFILES.iter().copied().filter(|profile| !profile.beyond);
        let chosen = self.chosen.iter().flat_map(|chosen| match chosen {
            Chosen::Each => each().collect(),
            Chosen::One(profile) => vec![*profile],
        });
        chosen.collect()
    }
}

fn seeds(text: &str) -> Result<Range<u64>, &'static str> {
    let range = text.split_once("..").and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
    range.ok_or("write it as 0..1000")
}

fn nodes(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|count| (1..=9).contains(count)).ok_or("numbers from 1 to 9")
}

fn profile(name: &str) -> Result<Chosen, &'static str> {
    if name == "each" {
        return Ok(Chosen::Each);
    }
    Profile::named(name).map(Chosen::One).ok_or("no such profile")
}

fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn profiles() -> String {
    let lines = PROFILES.iter().map(|profile| format!("\n  {:<12} {}", profile.name, profile.about));
    "Profiles:".to_owned() + &lines.collect::<String>()
}

fn main() -> ExitCode {
    let options = Options::read().unwrap_or_else(|error| error.exit());
    let Some(file) = &options.markdown else { return run(&options) };
    let args: Vec<_> = std::env::args().skip(1).collect();
    if let Some(size) = options.part {
        return parts::sweep(&options, size, file, &args.join(" "));
    }
    *SAID.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) =
        Some(format!("Written by `cargo sim {}`.\n\n", args.join(" ")));
    let code = run(&options);
    let said = SAID.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take().unwrap_or_default();
    if let Err(error) = marks::publish(file, options.marks(), &said) {
        eprintln!("cannot write the tables: {error}");
        return ExitCode::from(2);
    }
    code
}

fn run(options: &Options) -> ExitCode {
    if options.prove { prove(options) } else { sweep(options) }
}

/// What a worker found first.
struct Found {
    seed: u64,
    violation: Violation,
}

/// Runs all seeds of all profiles; the first violation of each ends it.
fn sweep(options: &Options) -> ExitCode {
    let (mut all, mut failed, start) = (Stats::default(), false, Instant::now());
    let mut steps_per_core = Vec::new();
    say!(
        "| profile | nodes | seeds | violations | steps | seeds/s | settled p50 / p99 / max (timeouts) | slowest seed |"
    );
    say!("|---|---|---|---|---|---|---|---|");
    for profile in &options.profiles() {
        for &nodes in &options.nodes {
            let start = Instant::now();
            let (stats, mut found, (_, slowest)) = many(options, *profile, nodes);
            let seconds = start.elapsed().as_secs_f64();
            clear_bar();
            say!(
                "| {} | {nodes} | {} | {} | {} | {:.0} | {} / {} / {} | {slowest} |",
                profile.name,
                stats.runs,
                found.len(),
                stats.steps,
                stats.runs as f64 / seconds,
                tenths(stats.settled_percentile(50.0)),
                tenths(stats.settled_percentile(99.0)),
                tenths(stats.settled.keys().next_back().copied().unwrap_or_default()),
            );
            steps_per_core.push(stats.steps as f64 / seconds / options.jobs as f64);
            all.add(&stats);
            found.sort_by_key(|found| found.seed);
            if options.trace && found.is_empty() && stats.runs == 1 {
                let plan = plan(options.seeds.start, nodes, *profile, options.wrong);
                options.mode().run(&plan, true).trace.iter().for_each(|line| say!("  {line}"));
            }
            if let Some(first) = found.first() {
                failed |= !profile.beyond;
                explain(options, *profile, nodes, first);
            }
        }
    }
    totals(
        options.mode(),
        &all,
        start.elapsed(),
        steps_per_core.iter().sum::<f64>() / steps_per_core.len().max(1) as f64,
    );
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn tenths(n: u64) -> String {
    format!("{}.{}", n / 10, n % 10)
}

/// Also gives the seed that took longest to settle, after that time.
fn many(options: &Options, profile: Profile, nodes: usize) -> (Stats, Vec<Found>, (Option<u64>, u64)) {
    let next = AtomicU64::new(options.seeds.start);
    let done = AtomicBool::new(false);
    let total = Mutex::new((Stats::default(), Vec::new(), (None, 0)));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs.max(1))
            .map(|_| {
                scope.spawn(|| {
                    let (mut stats, mut found, mut slowest) = (Stats::default(), Vec::new(), (None, 0));
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= options.seeds.end {
                            break;
                        }
                        let plan = plan(seed, nodes, profile, options.wrong);
                        let outcome = options.mode().run(&plan, false);
                        stats.add(&outcome.stats);
                        let tenths = outcome.settled.map(|ns| ns * 10 / plan.setup.timeout.as_nanos() as u64);
                        slowest = slowest.max((tenths, seed));
                        found.extend(outcome.violation.map(|violation| Found { seed, violation }));
                    }
                    let mut total = total.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    total.0.add(&stats);
                    total.1.extend(found);
                    total.2 = total.2.max(slowest);
                })
            })
            .collect();
        scope.spawn(|| {
            let start = Instant::now();
            while !done.load(Ordering::Relaxed) {
                std::thread::park_timeout(Duration::from_millis(250));
                let ran = next.load(Ordering::Relaxed).min(options.seeds.end) - options.seeds.start;
                bar(profile.name, nodes, ran, options.seeds.end - options.seeds.start, start.elapsed());
            }
        });
        for worker in workers {
            // A panic in a run is a finding: it is passed on.
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    total.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn bar(profile: &str, nodes: usize, ran: u64, of: u64, time: Duration) {
    const WIDTH: u64 = 30;
    let full = (ran * WIDTH).checked_div(of).unwrap_or(WIDTH);
    let bar: String = (0..WIDTH).map(|n| if n < full { '=' } else { ' ' }).collect();
    let rate = ran as f64 / time.as_secs_f64();
    eprint!("\r[{bar}] {ran}/{of} {profile}, {nodes} nodes, {rate:.0} seeds/s ");
    let _ = std::io::stderr().flush();
}

fn clear_bar() {
    eprint!("\r{:90}\r", "");
}

fn explain(options: &Options, profile: Profile, nodes: usize, found: &Found) {
    let (seed, violation) = (found.seed, &found.violation);
    say!("\nseed {seed}: {}: {}", violation.invariant, violation.text);
    let plan = options.mode().shrink(&plan(seed, nodes, profile, options.wrong));
    say!("shrunk to {} faults; {:?}", plan.faults.len(), plan.setup);
    for fault in &plan.faults {
        say!("  {fault}");
    }
    let trace = options.mode().run(&plan, true).trace;
    let skip = if options.trace { 0 } else { trace.len().saturating_sub(TRACE_LINES) };
    say!("the last {} of {} lines:", trace.len() - skip, trace.len());
    for line in &trace[skip..] {
        say!("  {line}");
    }
    let mutation = options.wrong.map_or(String::new(), |wrong| format!(" --mutation {wrong}"));
    say!(
        "replay: cargo sim{} --seeds {seed}..{} --nodes {nodes} --profile {}{mutation} --trace\n",
        options.mode().flag(),
        seed + 1,
        profile.name
    );
}

fn totals(mode: Mode, stats: &Stats, time: Duration, steps_per_core: f64) {
    let seconds = time.as_secs_f64();
    say!(
        "\n{} runs, {:.1} hours of cluster time, in {seconds:.1} s",
        stats.runs,
        stats.virtual_ns as f64 / 3.6e12
    );
    say!("{} {}, {steps_per_core:.0} per second and core", stats.steps, mode.steps());
    say!(
        "{} writes passed, {} promotions, {} campaigns, {} messages delivered, {} lost, {} duplicated",
        stats.writes,
        stats.promoted,
        stats.campaigns,
        stats.messages,
        stats.lost,
        stats.duplicated
    );
    say!(
        "{} healthy primaries deposed by an epoch from before their recovery, {} runs that only an operator can end, \
         {} late answers without a watchdog",
        stats.deposed_by_old_epoch,
        stats.stuck_by_policy,
        stats.answered_late
    );
    say!("{} replicas continued in the history of a primary, {} copied", stats.continued, stats.copied);
    say!("\n| fault | times |\n|---|---|");
    for (fault, times) in &stats.faults {
        say!("| {fault} | {times} |");
    }
    say!("\n| invariant | checked |\n|---|---|");
    for (invariant, times) in INVARIANTS.iter().zip(stats.checks()) {
        // The host's calls are the driver's: nothing to check in the other mode.
        if *times > 0 {
            say!("| {invariant} | {times} |");
        }
    }
}

/// Every mutation must be caught by some profile within the seeds given.
fn prove(options: &Options) -> ExitCode {
    say!("| mutation | caught after (seeds) | profile, nodes, seed | by |\n|---|---|---|---|");
    let mut missed = 0;
    for mutation in Wrong::all(options.mode()) {
        let mut tried = 0;
        let caught = options.seeds.clone().find_map(|seed| {
            PROFILES.iter().filter(|profile| !profile.beyond).find_map(|profile| {
                let nodes = [3, 5][(seed % 2) as usize];
                let plan = plan(seed, nodes, *profile, Some(mutation));
                // An ideal server has nothing that could be wrong.
                if matches!(mutation, Wrong::Server(_)) && plan.setup.habits.is_none() {
                    return None;
                }
                tried += 1;
                options
                    .mode()
                    .run(&plan, false)
                    .violation
                    .map(|violation| (profile.name, nodes, seed, violation.invariant))
            })
        });
        match caught {
            Some((profile, nodes, seed, by)) => {
                say!("| {mutation} | {tried} | {profile}, {nodes}, {seed} | {by} |");
            }
            None => {
                missed += 1;
                say!("| {mutation} | **not in {tried}** | | |");
            }
        }
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
