//! The server's command line.

use clap::{CommandFactory, Parser};
use kevy_elect_ops::config::Settings;
use kevy_elect_watchdog::companion;
use kevy_server::cli::{Cli, Task};
use std::io::Write;
use std::process::ExitCode;

/// kevy's own allocator, as in kevy's own binary: its shards are made for it, and defragment it. Not in debug builds: its count of
/// live objects can fall below zero when another thread frees them, which ends a process that checks its arithmetic.
#[cfg(not(debug_assertions))]
#[global_allocator]
static GLOBAL: kevy_alloc::KevyAlloc = kevy_alloc::KevyAlloc;

fn main() -> ExitCode {
    let program = companion::enter();
    #[cfg(not(debug_assertions))]
    kevy::kevy_alloc_is_global();
    let cli = Cli::parse();
    let said = match cli.task {
        Some(Task::Keygen { file }) => kevy::secure::keygen(&file)
            .map(|public| println!("{}", kevy_config::key_to_hex(&public)))
            .map_err(|error| format!("keygen {}: {error}", file.display())),
        Some(Task::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kevy-server", &mut script);
            std::io::stdout().write_all(&script).map_err(|error| error.to_string())
        }
        Some(Task::Man { directory }) => kevy_elect_ops::man::write(Cli::command(), &directory).map(drop),
        None => {
            let file = cli.serve.config.clone();
            Settings::load(file.as_deref(), environment(), cli.serve.overrides())
                .map_err(|error| error.to_string())
                .and_then(|settings| kevy_server::run(settings, &program))
        }
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
