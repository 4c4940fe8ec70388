//! What the nodes of a cluster believe, what they decided and why, and whether they hold the same: `kevy-electctl --help`.

mod bench;
mod check;
mod cli;
mod client;
mod compare;
mod discover;
mod doctor;
mod history;
mod orders;
mod paint;
mod pause;
mod reload;
mod status;
mod targets;
mod transfer;
mod voters;
mod watch;

use clap::CommandFactory;
use cli::{Bench, Cli, Command};
use kevy_elect_compare::Outcome;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Between two looks of `--watch`.
const WATCH: Duration = Duration::from_secs(1);
/// The same for contents: every look reads everything.
const WATCH_CONTENTS: Duration = Duration::from_secs(60);
/// Keys differ, or files.
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
        Command::Check { config, files, json } => {
            let files: Vec<PathBuf> = config.iter().chain(files).cloned().collect();
            let said = match &files[..] {
                [file] => check::check(file, *json).map(|text| (text, true)),
                files => check::compare(files, *json),
            };
            said.map(|(text, agree)| {
                say(text).map(|code| if agree { code } else { ExitCode::from(DIFFERENT) })
            })
        }
        Command::Status { json, watch: false } => {
            status::status(&discover::pages(&cli.nodes), *json).map(say)
        }
        Command::Status { json, watch: true } => loop {
            let text =
                status::status(&discover::pages(&cli.nodes), *json).unwrap_or_else(|error| error + "\n");
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
            let text = compare::run(what, &cli.nodes).map_or_else(|error| error + "\n", |said| said.text);
            if let Err(error) = say(text + "\n") {
                return Ok(Err(error));
            }
            std::thread::sleep(WATCH_CONTENTS);
        },
        Command::Compare(what) => {
            let said = compare::run(what, &cli.nodes)?;
            let code = match said.outcome {
                Outcome::Equal => ExitCode::SUCCESS,
                Outcome::Different => ExitCode::from(DIFFERENT),
                _ => ExitCode::from(UNDECIDED),
            };
            Ok(say(said.text).map(|_| code))
        }
        Command::Admit(node) => orders::admit(node).map(say),
        Command::GiveUp(node) => orders::give_up(node).map(say),
        Command::Force { node, config, json } => orders::force(node, config, *json).map(say),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "kevy-electctl", &mut script);
            Ok(std::io::stdout().write_all(&script).map(|()| ExitCode::SUCCESS))
        }
        Command::Transfer(what) => transfer::run(what, &cli.nodes).map(say),
        Command::Members { what } => {
            let (text, in_force) = voters::run(what, &cli.nodes)?;
            Ok(say(text).map(|code| if in_force { code } else { ExitCode::from(DIFFERENT) }))
        }
        Command::Pause(what) => pause::run(what, true, &cli.nodes).map(say),
        Command::Resume(what) => pause::run(what, false, &cli.nodes).map(say),
        Command::History { json } => history::history(&discover::pages(&cli.nodes), *json).map(say),
        Command::Explain { epoch, json } => {
            history::explain(&discover::pages(&cli.nodes), *epoch, *json).map(say)
        }
        Command::Doctor { json } => {
            let (text, code) = doctor::run(&cli.nodes, *json)?;
            Ok(say(text).map(|_| code))
        }
        Command::Wait { timeout, json } => {
            doctor::wait(&cli.nodes, Duration::from_secs(*timeout), *json).map(say)
        }
        Command::Watch { once: true, json, .. } => watch::screen(&cli.nodes, *json).map(say),
        Command::Watch { json, interval, .. } => loop {
            let text = watch::look_or_why(&cli.nodes, *json);
            let text = if paint::on_terminal() && !*json { watch::drawn(&text) } else { text };
            if let Err(error) = say(text) {
                return Ok(Err(error));
            }
            std::thread::sleep(Duration::from_millis(*interval));
        },
        Command::Bench { what: Bench::Failover(what) } => {
            let (text, code) = bench::run(what, &cli.nodes)?;
            Ok(say(text).map(|_| code))
        }
        Command::Man { directory } => {
            let count = kevy_elect_ops::man::write(Cli::command(), directory)?;
            Ok(say(format!("{count} pages are in {}\n", directory.display())))
        }
    }
}
