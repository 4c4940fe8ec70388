//! `cargo demo`: three `kevy-server` processes, a load that never stops, a broken primary, and a
//! timeline of what happened. Also the instrument with which the project measures its own promises.

mod application;
mod cli;
mod json;
mod members;
mod play;
mod summary;
mod timeline;

use application::Application;
use cli::Options;
use kevy_elect_harness::clock::Clock;
use kevy_elect_harness::cluster::{Cluster, Member, Place, Setup, System};
use kevy_elect_harness::data::{Data, Size};
use kevy_elect_harness::failure::{EXIT_GUILTY, Failure, Interrupt};
use kevy_elect_harness::links::Uncut;
use kevy_elect_harness::load::{Load, Pace, Readers};
use kevy_elect_harness::outcome::Round;
use kevy_elect_harness::progress::Progress;
use kevy_elect_harness::round::Stage;
use kevy_elect_harness::server::Server;
use kevy_elect_harness::style::Style;
use kevy_elect_harness::writers::Writers;
use kevy_elect_harness::{guard, server, verdict};
use std::process::ExitCode;

/// How many nodes there are.
const NODES: usize = 3;

fn main() -> ExitCode {
    if let Some(code) = guard::play_part(std::env::args_os().skip(1)) {
        return code;
    }
    let options = Options::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_GUILTY),
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Everything; `false` when something was lost or two nodes acknowledged at once.
fn run(options: &Options) -> Result<bool, Failure> {
    let interrupt = Interrupt::install()?;
    let clock = Clock::start();
    let wanted = options.server();
    let stock = matches!(wanted, Server::Stock(_));
    let setup = Setup {
        server: server::locate(&wanted)?,
        system: if stock { System::Stock } else { System::Plugin },
        elections: true,
        sentinel: options.client.is_some(),
        watchdog: true,
        secure: options.secure,
        threads: options.threads,
        places: vec![Place::Loopback; NODES],
    };
    let progress = Progress::new();
    progress.say("starting three servers");
    let mut cluster = Cluster::up(&setup, clock, &interrupt)?;
    let directory = cluster.directory.clone();
    let servers: Vec<_> = cluster.members.iter().map(Member::address).collect();
    let writers = Writers::start(&servers, 1, clock)?;
    let data = Data::new(options.data, options.value_bytes);
    // Without data they would only take the processor from the servers.
    let readers = (data.keys() > 0).then(|| Readers::start(&servers, clock)).transpose()?;
    let load = options.load.then(|| Load::start(&servers, data.clone())).transpose()?;
    // Where nothing crashes, nodes are to come back beside it.
    let pace = if options.fault.is_planned() { Pace::Steady } else { Pace::Full };
    let mut stage = Stage {
        cluster: &mut cluster,
        writers: &writers,
        readers: readers.as_ref(),
        load: load.as_ref().map(|load| (load, pace)),
        beside: None,
        interrupt: &interrupt,
        clock,
        progress: &progress,
    };
    let outcome = stage.fill(&data).and_then(|()| perform(&mut stage, options, stock));
    progress.clear();
    if !matches!(outcome, Ok(true) | Err(Failure::Interrupted)) {
        cluster.leave_directory();
        eprintln!("data and logs are left in {}", directory.display());
    }
    let innocent = outcome?;
    if options.keep {
        say(options, &play::instructions(&cluster, stock));
        play::run(&mut cluster, &interrupt, clock)?;
    }
    Ok(innocent)
}

fn perform(stage: &mut Stage<'_>, options: &Options, stock: bool) -> Result<bool, Failure> {
    let style = Style::detect();
    let names: Vec<_> = stage.cluster.members.iter().map(|member| member.id.clone()).collect();
    let primary = stage.whole()?;
    let application = options.client.map(|_| Application::start(stage.cluster, stage.clock)).transpose()?;
    stage.progress.clear();
    say(options, &introduction(stage.cluster, primary, options, stock, style));

    let single = options.rounds == 1;
    if !single && options.rounds > 0 {
        say(options, &summary::head(style));
    }
    let mut returned = true;
    let (mut rounds, mut confirmed) = (Vec::<Round>::new(), Vec::new());
    let mut changed = true;
    if options.members {
        let changes = members::change(stage)?;
        stage.progress.clear();
        say(options, &changes.text);
        changed = changes.innocent;
        confirmed.extend(changes.confirmed);
    }
    for number in 1..=options.rounds {
        stage.progress.round(number, options.rounds);
        let (round, waited) = stage.play(number, options.fault, options.restart, &mut Uncut)?;
        confirmed.extend(waited);
        stage.progress.clear();
        if options.json {
            println!("{}", json::line(&round, &names, options));
        } else if single {
            println!("{}\n", timeline::headline(&round, &names, style));
            print!("{}", timeline::render(&round, &names, style));
        } else {
            println!("{}", summary::line(&round, &names, style));
            if !round.innocent() {
                println!("\n{}", timeline::render(&round, &names, style));
            }
        }
        if let Some(application) = &application {
            let (line, back) = application.saw(round.struck, stage.clock);
            say(options, &line);
            returned &= back;
        }
        rounds.push(round);
    }
    stage.progress.round(0, 0);

    // A write can survive the failover that it was confirmed before and be lost in the next.
    let primary = stage.whole()?;
    stage.progress.say("reading the writes of all rounds back");
    let audit = verdict::lost(&confirmed, &stage.read_back(primary, &confirmed)?);
    stage.progress.clear();
    if rounds.len() > 1 {
        say(options, &format!("\n{}", summary::render(&rounds, audit.waited, !stock, style)));
    }
    let innocent = changed && audit.waited == 0 && returned && rounds.iter().all(Round::innocent);
    if audit.waited > 0 {
        eprintln!("{} confirmed writes are missing at the end", audit.waited);
    }
    Ok(innocent)
}

/// Who is where.
fn introduction(cluster: &Cluster, primary: usize, options: &Options, stock: bool, style: Style) -> String {
    let shards = if options.threads == 1 { "1 shard".into() } else { format!("{} shards", options.threads) };
    let what = if stock { "kevy with its built-in elector" } else { "kevy-server" };
    let data = if options.data == Size(0) { String::new() } else { format!(", {} of data", options.data) };
    let load = if options.load { ", written to as fast as it goes" } else { "" };
    let mut lines = vec![style.strong(&format!("three nodes of {what}, {shards}{data} each{load}"))];
    for (node, member) in cluster.members.iter().enumerate() {
        let role = if node == primary { "primary" } else { "replica" };
        let metrics = if stock {
            String::new()
        } else {
            format!("   metrics http://127.0.0.1:{}/metrics", member.ports.http)
        };
        lines.push(format!(
            "  {}  {role}  127.0.0.1:{}{}",
            member.id,
            member.ports.client,
            style.faint(&metrics)
        ));
    }
    lines.join("\n") + "\n"
}

/// For people: standard output, or standard error when standard output is for programs.
fn say(options: &Options, text: &str) {
    if options.json {
        eprintln!("{text}");
    } else {
        println!("{text}");
    }
}
