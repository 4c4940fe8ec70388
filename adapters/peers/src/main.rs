//! `cargo peers`: the same seeded faults for this elector and for kevy-elect's, counted side by side.

mod cli;
mod report;
mod sweep;
mod trace;

use cli::Options;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => match options.trace {
            Some(seed) => trace::show(seed, &options),
            None => compare(&options),
        },
        Ok(None) => {
            print!("{}", cli::HELP);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}; --help tells more");
            ExitCode::from(2)
        }
    }
}

fn compare(options: &Options) -> ExitCode {
    let rows = sweep::run_all(options);
    if options.json {
        println!("{}", report::json(&rows));
    } else {
        print!("{}", report::terminal(&rows, options));
    }
    if let Some(path) = &options.markdown
        && let Err(error) = report::publish(path, &report::markdown(&rows, options))
    {
        eprintln!("{error}");
        return ExitCode::from(2);
    }
    if rows.iter().any(report::fails) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
