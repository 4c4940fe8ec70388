//! The server's command line.

use kevy_elect_ops::config::Settings;
use kevy_server::cli::{self, Cli};
use std::process::ExitCode;

/// For a command line that makes no sense, as kevy does it.
const USAGE: u8 = 2;

/// kevy's own allocator, as in kevy's own binary: its shards are made for it, and defragment it. Not in debug builds: its count of
/// live objects can fall below zero when another thread frees them, which ends a process that checks its arithmetic.
#[cfg(not(debug_assertions))]
#[global_allocator]
static GLOBAL: kevy_alloc::KevyAlloc = kevy_alloc::KevyAlloc;

fn main() -> ExitCode {
    #[cfg(not(debug_assertions))]
    kevy::kevy_alloc_is_global();
    let said = match cli::parse(std::env::args().skip(1)) {
        Err(error) => {
            eprintln!("kevy-server: {error} (--help lists the flags)");
            return ExitCode::from(USAGE);
        }
        Ok(Cli::Help) => {
            print!("{}", cli::HELP);
            return ExitCode::SUCCESS;
        }
        Ok(Cli::Version) => {
            println!("kevy-server {} (kevy 7.0.0)", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Ok(Cli::Keygen(file)) => kevy::secure::keygen(&file)
            .map(|public| println!("{}", kevy_config::key_to_hex(&public)))
            .map_err(|error| format!("keygen {}: {error}", file.display())),
        Ok(Cli::Serve { config, flags }) => Settings::load(config.as_deref(), environment(), flags)
            .map_err(|error| error.to_string())
            .and_then(kevy_server::run),
    };
    match said {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kevy-server: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The environment, without what is not text: no setting of kevy is meant by that.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
}
