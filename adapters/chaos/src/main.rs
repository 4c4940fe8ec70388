//! `cargo chaos`: real `kevy-server` processes on real networks, broken in every way, under a load that never
//! stops, and judged by what its clients saw.

mod cli;
mod fault;
mod report;
mod round;

use cli::{Options, Request};
use fault::Fault;
// By their old names, so that the modules here find them where they belong.
use kevy_elect_chaos::{net, space};
use kevy_elect_demo::clock::Clock;
use kevy_elect_demo::cluster::{Cluster, Member, Setup, System};
use kevy_elect_demo::failure::{EXIT_FAILED, EXIT_GUILTY, Failure, Interrupt};
use kevy_elect_demo::progress::Progress;
use kevy_elect_demo::round::Stage;
use kevy_elect_demo::style::Style;
use kevy_elect_demo::writers::Writers;
use kevy_elect_demo::{guard, server, verdict};
use net::Net;
use round::{Player, Round};
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = guard::play_part(std::env::args_os().skip(1)) {
        return code;
    }
    let options = match cli::parse(std::env::args_os().skip(1)) {
        Ok(Request::Help) => {
            print!("{}", cli::HELP);
            for fault in Fault::ALL {
                println!("    {:<17} {}", fault.name(), fault.spelled());
            }
            return ExitCode::SUCCESS;
        }
        Ok(Request::Run(options)) => options,
        Err(message) => {
            eprintln!("{message}\n`cargo chaos --help` shows what there is");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    if !options.inside {
        // Built while cargo's network is still there.
        if let Err(failure) = server::locate(&options.server) {
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
    let mut net = Net::build(options.nodes)?;
    let clock = Clock::start();
    let setup = Setup {
        server: server::locate(&options.server)?,
        system: System::Plugin,
        elections: true,
        threads: options.shards,
        places: net.places(),
    };
    let progress = Progress::new();
    progress.say("starting the servers");
    let mut cluster = Cluster::up(&setup, clock, &interrupt)?;
    let directory = cluster.directory.clone();
    let servers: Vec<_> = cluster.members.iter().map(Member::address).collect();
    // Confirmed means: a quorum holds it, the primary included.
    let writers = Writers::start(&servers, options.nodes / 2, clock)?;
    let stage =
        Stage { cluster: &mut cluster, writers: &writers, interrupt: &interrupt, clock, progress: &progress };
    let mut player = Player::new(stage, &mut net, options.seed);
    let outcome = perform(&mut player, options, clock);
    progress.clear();
    if !matches!(outcome, Ok(true) | Err(Failure::Interrupted)) {
        cluster.leave_directory();
        eprintln!("data and logs are left in {}", directory.display());
    }
    outcome
}

fn perform(player: &mut Player<'_>, options: &Options, clock: Clock) -> Result<bool, Failure> {
    let style = Style::detect();
    println!(
        "{}\n",
        style.strong(&format!(
            "{} nodes, each in its own network namespace, {} shards each, seed {}",
            options.nodes, options.shards, options.seed
        ))
    );
    println!("{}", report::head(style));
    let (mut rounds, mut confirmed) = (Vec::new(), Vec::new());
    let each = options.faults.iter().flat_map(|fault| std::iter::repeat_n(*fault, options.rounds));
    for fault in each {
        play(player, fault, &mut rounds, &mut confirmed, options, style)?;
    }
    let begun = clock.now();
    while clock.now() - begun < options.random {
        let fault = options.faults[player.rng.usize(..options.faults.len())];
        play(player, fault, &mut rounds, &mut confirmed, options, style)?;
    }
    // A write can survive the failover that it was confirmed before and be lost in the next.
    let primary = player.stage.whole()?;
    let audit = verdict::lost(&confirmed, &player.stage.read_back(primary, &confirmed)?);
    let innocent = audit.waited == 0 && rounds.iter().all(|r: &Round| r.innocent() && !r.needless());
    let table = report::table(&rounds);
    let heading = format!(
        "{} nodes, {} shards, seed {}: {} rounds, {} confirmed writes, {} of them missing at the end",
        options.nodes,
        options.shards,
        options.seed,
        rounds.len(),
        confirmed.len(),
        audit.waited
    );
    println!("\n{heading}\n\n{table}");
    if let Some(path) = &options.markdown {
        write(path, &format!("{heading}\n\n{table}"))?;
    }
    if let Some(path) = &options.svg {
        write(path, &report::svg(&rounds, options.nodes))?;
    }
    Ok(innocent)
}

fn play(
    player: &mut Player<'_>,
    fault: Fault,
    rounds: &mut Vec<Round>,
    confirmed: &mut Vec<verdict::Ack>,
    options: &Options,
    style: Style,
) -> Result<(), Failure> {
    let (round, waited) = player.play(rounds.len() + 1, fault)?;
    player.stage.progress.clear();
    println!("{}", report::line(&round, style));
    if options.timelines || !round.innocent() || round.dual.is_some() || round.needless() {
        println!("{}", report::timeline(&round));
    }
    confirmed.extend(waited);
    rounds.push(round);
    Ok(())
}

fn write(path: &std::path::Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(Failure::os(format!("write {}", path.display())))
}
