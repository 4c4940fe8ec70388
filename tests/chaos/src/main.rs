//! `cargo chaos`: real `kevy-server` processes on real networks, broken in every way, under a load that never
//! stops, and judged by what its clients saw.

mod busy;
mod cli;
mod disk;
mod fault;
mod inflict;
mod linear;
mod picture;
mod registers;
mod report;
mod round;
mod session;
mod way;
mod ways;

use cli::Options;
// By their old names, so that the modules here find them where they belong.
use kevy_elect_chaos::{net, space};
use kevy_elect_harness::failure::{EXIT_FAILED, EXIT_GUILTY, Failure, Interrupt};
use kevy_elect_harness::style::Style;
use kevy_elect_harness::{guard, server};
use session::Run;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = guard::play_part(std::env::args_os().skip(1)) {
        return code;
    }
    let options = Options::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    if !options.inside {
        // Built while cargo's network is still there.
        if let Err(failure) = server::locate(&options.server()) {
            eprintln!("{failure}");
            return ExitCode::from(EXIT_FAILED);
        }
        let Err(message) = space::enter("cargo chaos");
        eprintln!("{message}");
        return ExitCode::from(EXIT_FAILED);
    }
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_GUILTY),
        Err(failure) => {
            eprintln!("{failure}\nseed {}", options.seed);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Everything; `false` when something that must hold did not.
fn run(options: &Options) -> Result<bool, Failure> {
    let interrupt = Interrupt::install()?;
    space::settle()?;
    let style = Style::detect();
    let mut run = Run::new(options, &interrupt, server::locate(&options.server())?, style);
    let played = run.play();
    println!("\n{}", run.report());
    run.save()?;
    // After the report: what was found until Ctrl-C is worth reading too.
    played?;
    Ok(run.innocent())
}
