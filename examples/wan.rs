//! How long nobody may write when a primary is lost, by the round trip between three sites. The real plugin and its driver on virtual time, over
//! the in-memory transport with a delay. Prints Markdown.
//!
//! ```text
//! cargo run --release --example wan [FILE]       # puts the table between the marks of FILE
//! ```
//!
//! Ends with 1 if a crash takes longer than it should with links that end and connections that are refused, or if two hundred observers make an
//! election take more than 1.2 times as long, the processor's time included.

#[path = "support/marks.rs"]
mod marks;

use futures::executor::LocalPool;
use futures::task::LocalSpawnExt;
use kevy_elect_plugin::clock::ManualClock;
use kevy_elect_plugin::config::{Config, Member};
use kevy_elect_plugin::host::NoData;
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::plugin::{ElectPlugin, QuorumParts, QuorumPlugin};
use kevy_elect_plugin::store::MemoryVoteStore;
use kevy_elect_plugin::transport::MemoryNetwork;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUND_TRIPS_MS: [u64; 5] = [0, 5, 30, 80, 150];
/// Heartbeat and election timeout: the defaults, and for sites far from each other.
const SETTINGS_MS: [(u64, u64); 2] = [(100, 1000), (200, 2000)];
/// Elections for each line. The median and the longest are told.
const SEEDS: u64 = 15;
/// Within this much virtual time every election must have ended.
const PATIENCE: Duration = Duration::from_secs(60);
const SETTLE: Duration = Duration::from_secs(3);
/// A crash: the end of the links, a dial that is refused, two rounds of votes. In round trips, and what timers add.
const CRASH_ROUND_TRIPS_MAX: u32 = 5;
const CRASH_MORE_MAX: Duration = Duration::from_millis(60);
/// Every node keeps something for every other, in this one process: `cargo growth` has a thousand, without the driver.
const OBSERVERS: usize = 200;
const OBSERVERS_TIMES_MAX: f64 = 1.2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// The process dies: its kernel ends the links, and refuses new ones.
    Crash,
    /// The machine, or the whole site, is gone: nobody answers.
    Site,
    /// It is told to stop, and hands over.
    Planned,
}

struct Sites {
    pool: LocalPool,
    clock: ManualClock,
    network: MemoryNetwork,
    nodes: Vec<(NodeId, Arc<QuorumPlugin>)>,
}

impl Sites {
    fn new(
        observers: usize,
        round_trip: Duration,
        settings: (u64, u64),
        seed: u64,
    ) -> Result<Self, Box<dyn Error>> {
        let ids =
            (0..3 + observers).map(|n| NodeId::new(&format!("n{n:04}"))).collect::<Result<Vec<_>, _>>()?;
        let member =
            |(n, id): (usize, &NodeId)| if n < 3 { Member::voter(*id) } else { Member::observer(*id) };
        let members: Vec<_> = ids.iter().enumerate().map(member).collect();
        let (clock, pool) = (ManualClock::new(), LocalPool::new());
        let delay = (round_trip / 2).max(Duration::from_micros(100));
        let network =
            MemoryNetwork::builder(clock.clone(), seed, ids.iter().copied()).delay(delay, delay).build();
        let mut nodes = Vec::new();
        for (n, id) in ids.iter().enumerate() {
            let parts = QuorumParts {
                config: Config::builder(*id, members.iter().copied())
                    .heartbeat_interval(Duration::from_millis(settings.0))
                    .election_timeout(Duration::from_millis(settings.1))
                    .build()?,
                clock: Arc::new(clock.clone()),
                store: Arc::new(MemoryVoteStore::new()),
                transport: Arc::new(network.transport(*id)),
                seed: seed * 10_000 + n as u64,
            };
            let (plugin, election) = QuorumPlugin::start(parts, |_| Arc::new(NoData::new()));
            pool.spawner().spawn_local(async move { drop(election.await) })?;
            nodes.push((*id, plugin));
        }
        Ok(Self { pool, clock, network, nodes })
    }

    /// Lets time pass, until that condition holds.
    fn run(&mut self, most: Duration, mut over: impl FnMut(&Self) -> bool) -> Option<Duration> {
        let mut passed = Duration::ZERO;
        loop {
            self.pool.run_until_stalled();
            if over(self) {
                return Some(passed);
            }
            let now = kevy_elect_plugin::clock::Clock::now(&self.clock);
            let next = self.clock.next_deadline()?;
            let step = next.saturating_since(now).max(Duration::from_nanos(1));
            if passed + step > most {
                return None;
            }
            passed += step;
            self.clock.advance(step);
        }
    }

    fn writes(&self, not: Option<NodeId>) -> Option<NodeId> {
        let open =
            |(id, plugin): &&(NodeId, Arc<QuorumPlugin>)| Some(*id) != not && plugin.write_gate().is_open();
        self.nodes.iter().find(open).map(|(id, _)| *id)
    }

    /// From the loss to the next open gate: virtual time, and what this processor took for it.
    fn lose(mut self, how: Loss) -> Result<(Duration, Duration), Box<dyn Error>> {
        self.run(PATIENCE, |sites| sites.writes(None).is_some()).ok_or("nobody was elected")?;
        self.run(SETTLE, |_| false);
        let first = self.writes(None).ok_or("the primary was lost without a fault")?;
        let begun = Instant::now();
        match how {
            Loss::Crash => self.network.kill(first),
            Loss::Site => self.network.power_off(first),
            Loss::Planned => {
                let plugin =
                    self.nodes.iter().find(|(id, _)| *id == first).map(|(_, plugin)| Arc::clone(plugin));
                let leaves = async move {
                    if let Some(plugin) = plugin {
                        plugin.shutdown().await;
                    }
                };
                self.pool.spawner().spawn_local(leaves)?;
            }
        }
        let took =
            self.run(PATIENCE, |sites| sites.writes(Some(first)).is_some()).ok_or("nobody took over")?;
        Ok((took, begun.elapsed()))
    }
}

/// The median and the longest.
fn of(how: Loss, round_trip: Duration, settings: (u64, u64)) -> Result<(Duration, Duration), Box<dyn Error>> {
    let mut all = Vec::new();
    for seed in 1..=SEEDS {
        all.push(Sites::new(0, round_trip, settings, seed)?.lose(how)?.0);
    }
    all.sort();
    Ok((all[all.len() / 2], all[all.len() - 1]))
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, Box<dyn Error>> {
    let mut text = String::from(
        "| round trip (ms) | heartbeat, timeout (ms) | crash of the process | loss of the site | told to stop |\n|--:|--:|--:|--:|--:|\n",
    );
    let shown = |(median, longest): (Duration, Duration)| {
        format!("{:.0} ({:.0})", median.as_secs_f64() * 1e3, longest.as_secs_f64() * 1e3)
    };
    let mut well = true;
    for round_trip in ROUND_TRIPS_MS.map(Duration::from_millis) {
        for settings in SETTINGS_MS {
            let crash = of(Loss::Crash, round_trip, settings)?;
            well &= crash.1 <= round_trip * CRASH_ROUND_TRIPS_MAX + CRASH_MORE_MAX;
            text += &format!(
                "| {} | {}, {} | {} | {} | {} |\n",
                round_trip.as_millis(),
                settings.0,
                settings.1,
                shown(crash),
                shown(of(Loss::Site, round_trip, settings)?),
                shown(of(Loss::Planned, round_trip, settings)?),
            );
        }
    }
    text += "\nMilliseconds without a writer: the median of 15 elections, and the longest. Saves of votes take no time here.\n";
    let mut times = Vec::new();
    for observers in [0, OBSERVERS] {
        let (virtual_time, processor) =
            Sites::new(observers, Duration::from_millis(1), SETTINGS_MS[0], 1)?.lose(Loss::Crash)?;
        text += &format!(
            "\nThree voters and {observers} observers, 1 ms: {:.2} ms until the next writer.",
            virtual_time.as_secs_f64() * 1e3
        );
        eprintln!("{observers} observers: all nodes together took {processor:?} of one processor for it");
        times.push(virtual_time.as_secs_f64());
    }
    text += "\n";
    println!("{text}");
    well &= times[1] <= times[0] * OBSERVERS_TIMES_MAX;
    if let Some(file) = std::env::args().nth(1) {
        marks::publish(file.as_ref(), "wan", &text)?;
    }
    Ok(well)
}
