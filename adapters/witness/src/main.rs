//! The witness's command line.

mod cli;

use clap::{CommandFactory, Parser};
use cli::{Cli, Task};
use kevy_config::CliOverrides;
use kevy_elect_ops::config::Settings;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let said = match cli.task {
        Some(Task::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kevy-witness", &mut script);
            std::io::stdout().write_all(&script).map_err(|error| error.to_string())
        }
        Some(Task::Man { directory }) => kevy_elect_ops::man::write(Cli::command(), &directory).map(drop),
        None => {
            let environment = std::env::vars_os()
                .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
            let mut flags = CliOverrides::default();
            flags.data_dir = cli.dir;
            Settings::load(cli.config.as_deref(), environment, flags)
                .map_err(|error| error.to_string())
                .and_then(kevy_witness::run)
        }
    };
    match said {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kevy-witness: {error}");
            ExitCode::FAILURE
        }
    }
}
