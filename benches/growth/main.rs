//! How cost grows with members: `cargo growth`. Prints Markdown; `--help` tells the rest.
//!
//! Ends with 1 where the messages grow faster than the observers, an observer's own time grows with their number, or a
//! driver sets the gauges of its peers more than once per heartbeat interval.
//! The primary's time is no such proof, because it depends on the processor's cache: `cargo instructions` is.

mod driver;
mod gauges;
#[path = "../../examples/support/marks.rs"]
mod marks;
mod model;
// A crate of its own would be one more for three pictures.
#[allow(unreachable_pub, dead_code, reason = "it is the harness' too")]
#[path = "../../tests/harness/src/picture.rs"]
mod picture;
mod report;
mod sockets;
#[path = "../support/mod.rs"]
mod support;

use clap::Parser;
use model::{Cost, Model};
use report::{DriverRow, Row, SocketRow};
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::{Cluster, INTERVAL};

/// How cost grows with members. Prints Markdown.
#[derive(Parser)]
#[command(name = "growth", bin_name = "cargo growth")]
struct Options {
    /// Put the tables between `<!-- growth:begin -->` and `<!-- growth:end -->` of FILE
    #[arg(long, value_name = "FILE")]
    markdown: Option<String>,
    /// Draw the curves
    #[arg(long, value_name = "FILE")]
    svg: Option<String>,
    /// Only on virtual time
    #[arg(long)]
    without_sockets: bool,
    /// Only whole nodes on virtual time: what an election costs beside observers
    #[arg(long, conflicts_with_all = ["markdown", "svg"])]
    drivers: bool,
}

const SHAPES: [(usize, usize); 11] =
    [(3, 0), (5, 0), (7, 0), (9, 0), (31, 0), (101, 0), (3, 10), (3, 30), (3, 100), (3, 300), (3, 1000)];
const SOCKET_SHAPES: [(usize, usize); 9] =
    [(3, 0), (5, 0), (7, 0), (9, 0), (15, 0), (3, 12), (3, 47), (3, 97), (9, 91)];
const DRIVER_SHAPES: [(usize, usize); 5] = [(3, 0), (3, 10), (3, 100), (3, 300), (3, 1000)];
/// Elections per shape.
const SEEDS: u64 = 5;
/// Virtual time that is looked at.
const LOOK: Duration = Duration::from_secs(2);
const SETTLE: Duration = Duration::from_secs(1);
/// Batches of which the fastest counts: a busy machine only ever adds.
const BATCHES: u32 = 60;
const BATCH: u32 = 50;

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match options.drivers {
        true => drivers().map(|rows| {
            println!("{}", report::drivers(&rows));
            report::is_soon(&rows)
        }),
        false => run(options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run(Options { markdown, svg, without_sockets, .. }: Options) -> Result<bool, Box<dyn Error>> {
    let mut rows = Vec::new();
    for (voters, observers) in SHAPES {
        eprintln!("{voters} voters, {observers} observers on virtual time");
        rows.push(simulate(voters, observers)?);
    }
    let driver_rows = drivers()?;
    gauges::count()?;
    let mut socket_rows = Vec::new();
    for (voters, observers) in SOCKET_SHAPES.into_iter().filter(|_| !without_sockets) {
        eprintln!("{voters} voters, {observers} observers over sockets");
        socket_rows.push(SocketRow { voters, observers, measured: sockets::measure(voters, observers)? });
    }
    let section = report::markdown(&rows, &driver_rows, &socket_rows);
    println!("{section}");
    if let Some(path) = markdown {
        marks::publish(path.as_ref(), "growth", &section)?;
    }
    if let Some(path) = svg {
        std::fs::write(path, report::svg(&rows))?;
    }
    Ok(report::is_linear(&rows) && report::is_soon(&driver_rows) && report::gauges_are_rare(&socket_rows))
}

/// Whole nodes, on virtual time.
fn drivers() -> Result<Vec<DriverRow>, Box<dyn Error>> {
    let rows = DRIVER_SHAPES.into_iter().map(|(voters, observers)| {
        eprintln!("{voters} voters, {observers} observers with their drivers");
        drive(voters, observers)
    });
    rows.collect()
}

fn simulate(voters: usize, observers: usize) -> Result<Row, Box<dyn Error>> {
    let mut elections = Vec::new();
    let mut counts = Cost::default();
    let seconds = LOOK.as_secs_f64();
    for seed in 0..SEEDS {
        let mut model = Model::new(voters, observers, seed)?;
        model.elect().ok_or("nobody was elected")?;
        model.run(SETTLE);
        model.costs();
        model.run(LOOK);
        let costs = model.costs();
        model.primary().ok_or("the primary was lost without a fault")?;
        let sum = |value: fn(&Cost) -> u64| costs.iter().map(value).sum();
        counts = Cost { messages: sum(|cost| cost.messages), bytes: sum(|cost| cost.bytes) };
        model.kill_primary();
        elections.push(model.elect().ok_or("nobody took over")?);
    }
    elections.sort();
    let mut primary = Cluster::with_observers(voters, observers);
    primary.elect();
    Ok(Row {
        voters,
        observers,
        messages: counts.messages as f64 / seconds,
        bytes: counts.bytes as f64 / seconds,
        primary_us: per_second(&mut primary, Cluster::primary_interval),
        voter_us: per_second(&mut Cluster::with_observers(voters, observers), Cluster::replica_interval),
        observer_us: (observers > 0)
            .then(|| per_second(&mut Cluster::observer(voters, observers), Cluster::observer_interval)),
        election: elections[elections.len() / 2],
    })
}

/// The medians of some elections with all that a node runs.
fn drive(voters: usize, observers: usize) -> Result<DriverRow, Box<dyn Error>> {
    let all =
        (0..SEEDS).map(|seed| driver::measure(voters, observers, seed)).collect::<Result<Vec<_>, _>>()?;
    let median = |value: fn(&driver::Measured) -> Duration| {
        let mut values: Vec<_> = all.iter().map(value).collect();
        values.sort();
        values[values.len() / 2]
    };
    let measured = driver::Measured {
        primary: median(|one| one.primary),
        voter: median(|one| one.voter),
        observer: (observers > 0).then(|| median(|one| one.observer.unwrap_or_default())),
        election: median(|one| one.election),
        opened: median(|one| one.opened),
        told: median(|one| one.told),
        winner: median(|one| one.winner),
    };
    Ok(DriverRow { voters, observers, measured })
}

/// Microseconds inside one elector per second of its life.
fn per_second(cluster: &mut Cluster, interval: fn(&mut Cluster)) -> f64 {
    let batches = (0..BATCHES).map(|_| {
        let begun = Instant::now();
        (0..BATCH).for_each(|_| interval(cluster));
        begun.elapsed() / BATCH
    });
    let least = batches.min().unwrap_or_default();
    least.as_secs_f64() * 1e6 / INTERVAL.as_secs_f64()
}
