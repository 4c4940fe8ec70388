//! `cargo race`: three systems, the same faults, the same client, one machine, one run.

mod ballast;
mod binaries;
mod cli;
mod course;
mod links;
mod memory;
mod report;
mod sizes;
mod writes;

use binaries::Entry;
use cli::{Options, Racer};
use kevy_elect_chaos::net::{Cut, Net, around};
use kevy_elect_chaos::space;
use kevy_elect_harness::client::{Client, Reply};
use kevy_elect_harness::clock::Clock;
use kevy_elect_harness::cluster::{Cluster, Member, Place, Setup};
use kevy_elect_harness::cost::{self, Cost};
use kevy_elect_harness::failure::{EXIT_FAILED, Failure, Interrupt};
use kevy_elect_harness::fault::{Fault, Restart};
use kevy_elect_harness::guard;
use kevy_elect_harness::links::{Links, Uncut};
use kevy_elect_harness::marks;
use kevy_elect_harness::outcome::Round;
use kevy_elect_harness::progress::Progress;
use kevy_elect_harness::round::Stage;
use kevy_elect_harness::style::Style;
use kevy_elect_harness::verdict::Node;
use kevy_elect_harness::writers::Writers;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How many nodes each system has.
const NODES: usize = 3;
/// How long an idle system is left alone before it is looked at: what a start leaves to do is done then.
const SETTLE: Duration = Duration::from_secs(4);
/// How long Sentinels may take to find each other.
const SENTINELS_PATIENCE: Duration = Duration::from_secs(60);

/// What one system did.
pub(crate) struct Outcome {
    pub(crate) racer: Racer,
    /// Idle, with nobody who decides who is primary.
    pub(crate) bare: Cost,
    /// Idle, with elections.
    pub(crate) idle: Cost,
    pub(crate) courses: Vec<Course>,
}

/// One fault, several times.
pub(crate) struct Course {
    pub(crate) fault: Fault,
    pub(crate) rounds: Vec<Round>,
    /// Rounds in which nobody took over, or that never became whole again.
    pub(crate) failed: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = || std::env::args_os().skip(1);
    if let Some(code) = guard::play_part(arguments()).or_else(|| ballast::play_part(arguments())) {
        return code;
    }
    let root = rustix::process::geteuid().is_root();
    let options = Options::read(std::env::args_os(), root).unwrap_or_else(|error| error.exit());
    let entries = match binaries::find(&options) {
        Ok(entries) => entries,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    if options.faults.contains(&Fault::Isolate) && !options.inside {
        let Err(message) = space::enter("cargo race --fault isolate");
        eprintln!("{message}");
        return ExitCode::from(EXIT_FAILED);
    }
    match run(&options, &entries) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(options: &Options, entries: &[Entry]) -> Result<(), Failure> {
    let interrupt = Interrupt::install()?;
    let progress = Progress::new();
    if options.writes {
        return compare_writes(options, entries, &interrupt, &progress);
    }
    if options.keys {
        return compare_links(options, entries, &interrupt, &progress);
    }
    if !options.data.is_empty() {
        return compare_sizes(options, entries, &interrupt, &progress);
    }
    if options.inside {
        space::settle()?;
    } else if !rustix::process::geteuid().is_root() {
        eprintln!("without isolation: cutting links needs root and --fault isolate, or no --fault at all");
    }
    let mut net = options.inside.then(|| Net::build(NODES)).transpose()?;
    let mut results = Vec::new();
    for entry in entries {
        eprintln!("{}", Style::detect().strong(entry.racer.spelled()));
        let race = Race { options, entry, interrupt: &interrupt, progress: &progress, clock: Clock::start() };
        let (bare, idle) = (race.idle(false)?, race.idle(true)?);
        let courses =
            options.faults.iter().map(|fault| race.course(*fault, &mut net)).collect::<Result<_, _>>()?;
        results.push(Outcome { racer: entry.racer, bare, idle, courses });
    }
    progress.clear();
    println!("{}", report::table(&report::rows(&results)));
    if let Some(path) = &options.markdown {
        publish(path, "race", &report::markdown(&results, options))?;
    }
    if let Some(path) = &options.svg {
        std::fs::write(path, report::svg(&results))
            .map_err(Failure::os(format!("write {}", path.display())))?;
    }
    Ok(())
}

fn compare_writes(
    options: &Options,
    entries: &[Entry],
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<(), Failure> {
    let rows = writes::compare(options, entries, interrupt, progress)?;
    progress.clear();
    let section = writes::markdown(&rows, options);
    println!("{section}");
    match &options.markdown {
        Some(path) => publish(path, "writes", &section),
        None => Ok(()),
    }
}

fn compare_links(
    options: &Options,
    entries: &[Entry],
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<(), Failure> {
    for entry in entries {
        let section = links::compare(options, entry, interrupt, progress)?;
        progress.clear();
        println!("{section}");
        if let Some(path) = &options.markdown {
            publish(path, "keys", &section)?;
        }
    }
    Ok(())
}

/// All systems, one after the other, with data of each size.
fn compare_sizes(
    options: &Options,
    entries: &[Entry],
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut all = Vec::new();
    for weight in options.weights() {
        for entry in entries {
            eprintln!("{}", Style::detect().strong(&format!("{}, {weight}", entry.racer.spelled())));
            let race = Race { options, entry, interrupt, progress, clock: Clock::start() };
            all.push(race.laps(weight)?);
        }
    }
    progress.clear();
    let rows = sizes::rows(&all);
    println!("{}", report::table(&rows));
    let failures = sizes::failures(&all);
    failures.iter().for_each(|failure| println!("not measured: {failure}"));
    let Some(path) = &options.markdown else { return Ok(()) };
    let introduction = sizes::introduction(options.rounds, options.budget, options.value_bytes);
    let failures: String = failures.iter().map(|failure| format!("\n- Not measured: {failure}.")).collect();
    publish(path, "data", &(introduction + &report::pipes(&rows) + &failures))
}

fn publish(path: &Path, name: &str, section: &str) -> Result<(), Failure> {
    marks::publish(path, name, section).map_err(Failure::os("write the report"))
}

/// Whether a Sentinel knows all replicas and all other Sentinels.
fn knows_everybody(sentinel: SocketAddr) -> bool {
    let Ok(mut client) = Client::connect(sentinel) else { return false };
    [&b"REPLICAS"[..], b"SENTINELS"].iter().all(|what| {
        let known = client.call_within(&[b"SENTINEL", what, b"cluster"], SENTINELS_PATIENCE);
        matches!(known, Ok(Reply::Array(known)) if known.len() == NODES - 1)
    })
}

/// Links between the namespaces.
struct Wires<'a>(&'a mut Net);

impl Links for Wires<'_> {
    fn isolate(&mut self, node: Node) -> Result<(), Failure> {
        self.0.cut(around(node, NODES), Cut::Drop)
    }

    fn heal(&mut self) -> Result<(), Failure> {
        self.0.heal()
    }
}

struct Race<'a> {
    options: &'a Options,
    entry: &'a Entry,
    interrupt: &'a Interrupt,
    progress: &'a Progress,
    clock: Clock,
}

impl Race<'_> {
    fn start(&self, elections: bool, places: Vec<Place>) -> Result<Cluster, Failure> {
        let setup = Setup {
            server: self.entry.server.clone(),
            system: self.entry.system.clone(),
            elections,
            sentinel: false,
            watchdog: true,
            secure: self.options.secure,
            threads: 1,
            places,
        };
        self.progress.say("starting three nodes");
        Cluster::up(&setup, self.clock, self.interrupt)
    }

    /// A Sentinel takes about ten seconds to find the replicas and the others; before that it would be unfair.
    fn wait_for_sentinels(&self, cluster: &Cluster) -> Result<(), Failure> {
        if self.entry.racer != Racer::Redis {
            return Ok(());
        }
        self.progress.say("waiting until the Sentinels know each other");
        let sentinels = cluster.members.iter().map(|m| SocketAddr::new(m.address().ip(), m.ports.elect));
        let sentinels: Vec<_> = sentinels.collect();
        let all = self.interrupt.wait_for(SENTINELS_PATIENCE, || {
            Ok(sentinels.iter().all(|sentinel| knows_everybody(*sentinel)).then_some(()))
        })?;
        all.ok_or_else(|| cluster.timeout("not every Sentinel knew all others".into(), SENTINELS_PATIENCE))
    }

    /// What the system costs while nobody asks it for anything.
    fn idle(&self, elections: bool) -> Result<Cost, Failure> {
        let mut cluster = self.start(elections, vec![Place::Loopback; NODES])?;
        // No load at all, not even threads that wait for one.
        let writers = Writers::start(&[], 1, self.clock)?;
        self.stage(&mut cluster, &writers).whole()?;
        self.interrupt.rest(SETTLE)?;
        self.progress.say("looking at it doing nothing");
        let pids: Vec<_> = (0..NODES).flat_map(|node| cluster.pids(node)).collect();
        let (before, begun) = (cost::read(&pids)?, self.clock.now());
        self.interrupt.rest(self.options.idle)?;
        let (after, ended) = (cost::read(&pids)?, self.clock.now());
        Ok(cost::cost(before, after, ended - begun))
    }

    /// Every round of one fault. A cluster that does not come back is replaced by a new one.
    fn course(&self, fault: Fault, net: &mut Option<Net>) -> Result<Course, Failure> {
        let mut course = Course { fault, rounds: Vec::new(), failed: Vec::new() };
        let mut number = 0;
        while number < self.options.rounds {
            // Only what is cut needs networks of its own; the rest is measured over loopback, with or without root.
            let (places, mut links): (_, Box<dyn Links + '_>) = match (fault, net.as_mut()) {
                (Fault::Isolate, Some(net)) => (net.places(), Box::new(Wires(net))),
                _ => (vec![Place::Loopback; NODES], Box::new(Uncut)),
            };
            links.heal()?;
            let mut cluster = self.start(true, places)?;
            self.wait_for_sentinels(&cluster)?;
            let servers: Vec<_> = cluster.members.iter().map(Member::address).collect();
            let writers = Writers::start(&servers, 1, self.clock)?;
            let mut stage = self.stage(&mut cluster, &writers);
            while number < self.options.rounds {
                number += 1;
                self.progress.round(number, self.options.rounds);
                match stage.play(number, fault, Restart::Later, &mut *links) {
                    Ok((round, _)) => {
                        self.progress.clear();
                        eprintln!("  {}", report::line(&round));
                        course.rounds.push(round);
                    }
                    Err(failure @ (Failure::Interrupted | Failure::Os { .. })) => return Err(failure),
                    Err(failure) => {
                        let text = failure.to_string();
                        let first = text.lines().next().unwrap_or_default().to_owned();
                        self.progress.clear();
                        eprintln!("  round {number}: {first}");
                        course.failed.push(first);
                        break;
                    }
                }
            }
            self.progress.round(0, 0);
        }
        Ok(course)
    }

    fn stage<'a>(&'a self, cluster: &'a mut Cluster, writers: &'a Writers) -> Stage<'a> {
        Stage {
            cluster,
            writers,
            readers: None,
            load: None,
            beside: None,
            interrupt: self.interrupt,
            clock: self.clock,
            progress: self.progress,
        }
    }
}
