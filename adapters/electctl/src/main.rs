//! What the nodes of a cluster believe, what they decided and why, and whether they hold the same: `kevy-electctl --help`.

mod check;
mod cli;
mod client;
mod compare;
mod history;
mod members;
mod orders;
mod paint;
mod pause;
mod status;
mod transfer;

use clap::CommandFactory;
use cli::{Cli, Command};
use kevy_elect_compare::Outcome;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// Between two looks of `--watch`.
const WATCH: Duration = Duration::from_secs(1);
/// The same for contents: every look reads everything.
const WATCH_CONTENTS: Duration = Duration::from_secs(60);
/// Keys differ.
const DIFFERENT: u8 = 3;
/// Not everything could be decided.
const UNDECIDED: u8 = 4;

fn main() -> ExitCode {
    let cli = Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    match run(&cli) {
        // A reader that has seen enough, as in `| head`, is no failure.
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Ok(Ok(code)) => code,
        Ok(Err(error)) => fail(&error.to_string()),
        Err(error) => fail(&error),
    }
}

fn fail(error: &str) -> ExitCode {
    // What a node said may be in it.
    let lines: Vec<String> = error.lines().map(paint::plain).collect();
    eprintln!("kevy-electctl: {}", lines.join("\n"));
    ExitCode::FAILURE
}

fn run(cli: &Cli) -> Result<std::io::Result<ExitCode>, String> {
    let say = |text: String| std::io::stdout().write_all(text.as_bytes()).map(|()| ExitCode::SUCCESS);
    match &cli.command {
        Command::Check { config } => check::check(config).map(say),
        Command::Status { json, watch: false } => status::status(&cli.nodes, *json).map(say),
        Command::Status { json, watch: true } => loop {
            let text = status::status(&cli.nodes, *json).unwrap_or_else(|error| error + "\n");
            // Each look in place of the one before, where somebody looks.
            let (before, after) = match (paint::on_terminal(), *json) {
                (true, false) => ("\x1b[H\x1b[2J", ""),
                (false, false) => ("", "\n"),
                (_, true) => ("", ""),
            };
            if let Err(error) = say(format!("{before}{text}{after}")) {
                return Ok(Err(error));
            }
            std::thread::sleep(WATCH);
        },
        Command::Compare(what) if what.watch => loop {
            // A node that does not answer now may answer the next time.
            let text = compare::run(what).map_or_else(|error| error + "\n", |said| said.text);
            if let Err(error) = say(text + "\n") {
                return Ok(Err(error));
            }
            std::thread::sleep(WATCH_CONTENTS);
        },
        Command::Compare(what) => {
            let said = compare::run(what)?;
            let code = match said.outcome {
                Outcome::Equal => ExitCode::SUCCESS,
                Outcome::Different => ExitCode::from(DIFFERENT),
                Outcome::Moving => ExitCode::from(UNDECIDED),
            };
            Ok(say(said.text).map(|_| code))
        }
        Command::Admit(node) => orders::admit(node).map(say),
        Command::GiveUp(node) => orders::give_up(node).map(say),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "kevy-electctl", &mut script);
            Ok(std::io::stdout().write_all(&script).map(|()| ExitCode::SUCCESS))
        }
        Command::Transfer(what) => transfer::run(what).map(say),
        Command::Pause(what) => pause::run(what, true).map(say),
        Command::Resume(what) => pause::run(what, false).map(say),
        Command::History { json } => history::history(&cli.nodes, *json).map(say),
        Command::Explain { epoch } => history::explain(&cli.nodes, *epoch).map(say),
    }
}
