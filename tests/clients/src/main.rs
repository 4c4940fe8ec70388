//! `cargo clients`: what applications see of a failover.
//!
//! Unmodified client libraries work with a real cluster through what they take for Redis Sentinel, or through HAProxy; the primary is
//! killed, stopped, cut off or asked to leave, and the longest time between two successes is what counts.
//!
//! ```text
//! cli.rs        what to run
//! programs.rs   the libraries, from their registries, and one process that writes through one of them
//! probe.rs      the shortest gap that any client could see: somebody who asks every node all the time
//! proxy.rs      HAProxy before the nodes
//! fault.rs      how the primary is broken
//! round.rs      one fault
//! greetings.rs  what libraries say when they connect
//! plan.rs       one line of the table
//! part.rs       everything, in parts
//! document.rs   the document about it
//! report.rs     the table
//! programs/     an application for each library, in its own language
//! ```

mod cli;
mod document;
mod fault;
mod greetings;
mod part;
mod plan;
mod probe;
mod programs;
mod proxy;
#[path = "../programs/redis_rs.rs"]
mod redis_rs;
mod report;
mod round;

use cli::Options;
use fault::Fault;
use kevy_elect_chaos::net::Net;
use kevy_elect_chaos::space;
use kevy_elect_harness::failure::{Failure, Interrupt};
use kevy_elect_harness::guard;
use programs::{Programs, Way, Work};
use report::Row;
use round::Stage;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = guard::play_part(std::env::args_os().skip(1)) {
        return code;
    }
    if std::env::args().nth(1).as_deref() == Some(programs::REDIS_RS) {
        // Behind its mode, which it has no use for.
        redis_rs::run(std::env::args().skip(3));
        return ExitCode::SUCCESS;
    }
    let options = Options::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Whether every gap was below what was asked for.
fn run(options: &Options) -> Result<bool, Failure> {
    let interrupt = Interrupt::install()?;
    let plans = options.plans();
    let nothing = "no library here can do all of that: see `cargo clients --help`";
    if plans.is_empty() {
        return Err(Failure::os("find something to do")(std::io::Error::other(nothing)));
    }
    let programs = Programs::find(&options.clients, !options.inside)?;
    if plans.iter().any(|plan| plan.fault == Fault::Isolate) && !options.inside {
        // In there is no network to build or install anything.
        round::server(options)?;
        let Err(message) = space::enter("cargo clients --fault isolate");
        return Err(Failure::os("make network namespaces")(std::io::Error::other(message)));
    }
    if options.inside {
        space::settle()?;
    }
    let net = options.inside.then(|| Net::build(round::NODES)).transpose()?;
    if options.greetings {
        return greetings::take_down(&mut Stage {
            options,
            programs: &programs,
            interrupt: &interrupt,
            net: None,
        });
    }
    let mut stage = Stage { options, programs: &programs, interrupt: &interrupt, net };
    let mut rows = Vec::new();
    for plan in plans {
        let mut row = Row { plan, rounds: Vec::new(), redis: Vec::new(), load: 0.0 };
        play(&mut row, &mut stage)?;
        if is_over(options, &row) {
            eprintln!(
                "{}: {} ms over the cluster is above --over-max: once more",
                row.name(),
                row.over().as_millis()
            );
            row.rounds.clear();
            play(&mut row, &mut stage)?;
        }
        // Only where a client asks Sentinels, and only what Redis can be asked for too.
        let comparable =
            plan.way == Way::Sentinel && plan.work == Work::Write && plan.fault != Fault::StopBare;
        for _ in 0..if comparable { options.beside } else { 0 } {
            let round = round::play(&plan, true, &mut stage)?;
            eprintln!("{} with Redis: {}", row.name(), round.line());
            row.redis.push(round);
        }
        row.load = report::load();
        rows.push(row);
        if let Some(path) = options.markdown.as_ref().filter(|_| !options.parts.is_empty()) {
            document::write(path, &rows)?;
        }
    }
    let table = report::table(&rows);
    println!("{table}");
    if let Some(path) = options.markdown.as_ref().filter(|_| options.parts.is_empty()) {
        write(path, &table)?;
    }
    let slow: Vec<_> =
        rows.iter().filter(|row| options.gap_max().is_some_and(|max| row.median() > max)).collect();
    for row in &slow {
        eprintln!("{}: {} ms is above --gap-max", row.name(), row.median().as_millis());
    }
    let over: Vec<_> = rows.iter().filter(|row| is_over(options, row)).collect();
    for row in &over {
        eprintln!(
            "{}: {} ms over the cluster is above --over-max, twice",
            row.name(),
            row.over().as_millis()
        );
    }
    Ok(slow.is_empty() && over.is_empty())
}

/// All rounds of a line.
fn play(row: &mut Row, stage: &mut Stage<'_>) -> Result<(), Failure> {
    for _ in 0..stage.options.rounds(&row.plan) {
        let round = round::play(&row.plan, false, stage)?;
        eprintln!("{}: {}", row.name(), round.line());
        row.rounds.push(round);
    }
    Ok(())
}

/// Whether a client adds more to the cluster's gap than was asked for.
fn is_over(options: &Options, row: &Row) -> bool {
    options.over_max().is_some_and(|max| row.over() > max)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, format!("{text}\n")).map_err(Failure::os(format!("write {}", path.display())))
}
