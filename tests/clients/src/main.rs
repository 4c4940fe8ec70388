//! `cargo clients`: what applications see of a failover.
//!
//! Unmodified client libraries write to a real cluster through what they take for Redis Sentinel, the primary is killed,
//! stopped or asked to leave, and the longest time between two acknowledged writes is what counts.
//!
//! ```text
//! cli.rs        what to run
//! programs.rs   the libraries, from their registries, and one process that writes through one of them
//! probe.rs      the shortest gap that any client could see: somebody who asks every node all the time
//! round.rs      one fault
//! report.rs     the table
//! programs/     an application for each library, in its own language
//! ```

mod cli;
mod probe;
mod programs;
#[path = "../programs/redis_rs.rs"]
mod redis_rs;
mod report;
mod round;

use kevy_elect_harness::failure::{Failure, Interrupt};
use kevy_elect_harness::guard;
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
    let request = match cli::parse(std::env::args().skip(1)) {
        Ok(Some(request)) => request,
        Ok(None) => {
            print!("{}", cli::HELP);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("{message}\n`cargo clients --help` shows what there is");
            return ExitCode::from(2);
        }
    };
    match run(&request) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Whether every gap was below what was asked for.
fn run(request: &cli::Request) -> Result<bool, Failure> {
    let interrupt = Interrupt::install()?;
    let programs = programs::Programs::install(&request.clients)?;
    let mut rows = Vec::new();
    for client in &request.clients {
        for fault in &request.faults {
            let mut row = report::Row::new(*client, *fault);
            for _ in 0..request.rounds {
                let plan = round::Plan { client: *client, fault: *fault, request };
                let round = round::play(&plan, &programs, &interrupt)?;
                eprintln!("{} {}: {}", client.name(), fault.name(), round.line());
                row.rounds.push(round);
            }
            rows.push(row);
        }
    }
    let table = report::table(&rows, request);
    println!("{table}");
    if let Some(path) = &request.markdown {
        write(path, &table)?;
    }
    let slow: Vec<_> =
        rows.iter().filter(|row| request.gap_max.is_some_and(|max| row.median() > max)).collect();
    for row in &slow {
        eprintln!(
            "{} {}: {} ms is above --gap-max",
            row.client.name(),
            row.fault.name(),
            row.median().as_millis()
        );
    }
    Ok(slow.is_empty())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, format!("{text}\n")).map_err(Failure::os(format!("write {}", path.display())))
}
