//! `cargo peers`: the same seeded faults for this elector and for kevy-elect's, counted side by side.

mod cli;
#[path = "../../../examples/support/marks.rs"]
mod marks;
mod report;
mod sweep;
mod trace;

use cli::Options;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = Options::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let Some(seed) = options.trace else { return compare(&options) };
    let (text, failed) = trace::show(seed, &options);
    print(&text);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn compare(options: &Options) -> ExitCode {
    let rows = sweep::run_all(options);
    if options.json {
        print(&report::json(&rows));
    } else {
        print(&report::terminal(&rows, options));
    }
    if let Some(path) = &options.markdown
        && let Err(error) = marks::publish(path, "peers", &report::markdown(&rows, options))
    {
        eprintln!("{error}");
        return ExitCode::from(2);
    }
    if rows.iter().any(report::fails) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Who stops reading, as `head` does, has read enough: no reason to fail.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
