//! One cluster after the other, each broken in every way and then at random, for as long as was asked for.

use crate::cli::Options;
use crate::disk::Disks;
use crate::fault::Fault;
use crate::net::Net;
use crate::registers::Clients;
use crate::report::{self, Results};
use crate::round::{Player, Trouble};
use crate::ways::Ways;
use crate::{net, picture};
use fastrand::Rng;
use kevy_elect_harness::client::Client;
use kevy_elect_harness::clock::Clock;
use kevy_elect_harness::cluster::{Cluster, Member, Place, Setup, System};
use kevy_elect_harness::failure::{Failure, Interrupt};
use kevy_elect_harness::progress::Progress;
use kevy_elect_harness::round::Stage;
use kevy_elect_harness::style::Style;
use kevy_elect_harness::verdict::{self, Ack, Node};
use kevy_elect_harness::writers::Writers;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// After so many rounds the confirmed writes of all of them are looked for once more, and then everything is
/// deleted: bounds the servers' data and our memory, however long it runs.
const AUDIT_ROUNDS: usize = 10;
/// A cluster that had to be given up is replaced by a fresh one; so often.
const BROKEN_MAX: usize = 5;
/// How long deleting everything may take.
const FLUSH_PATIENCE: Duration = Duration::from_secs(20);

/// A run of the program.
pub(crate) struct Run<'a> {
    options: &'a Options,
    interrupt: &'a Interrupt,
    server: PathBuf,
    style: Style,
    clock: Clock,
    all: Vec<Results>,
}

/// What one cluster has still to go through. Lives on when the cluster is replaced.
struct Plan {
    alone: VecDeque<Fault>,
    rng: Rng,
    random: Duration,
    /// When the random faults end, once they have begun.
    until: Option<Duration>,
}

impl Plan {
    fn next(&mut self, faults: &[Fault], now: Duration) -> Option<Fault> {
        self.alone.pop_front().or_else(|| {
            let until = *self.until.get_or_insert(now + self.random);
            (now < until).then(|| faults[self.rng.usize(..faults.len())])
        })
    }
}

impl<'a> Run<'a> {
    /// Nothing happens yet.
    pub(crate) fn new(options: &'a Options, interrupt: &'a Interrupt, server: PathBuf, style: Style) -> Self {
        Self { options, interrupt, server, style, clock: Clock::start(), all: Vec::new() }
    }

    /// Every combination of what was asked for.
    pub(crate) fn play(&mut self) -> Result<(), Failure> {
        let (nodes, shards) = (&self.options.nodes, &self.options.shards);
        let random = self.options.random / (nodes.len() * shards.len()).max(1) as u32;
        for (nodes, shards) in nodes.iter().flat_map(|n| shards.iter().map(move |s| (*n, *s))) {
            let heading = report::heading(nodes, shards, self.options.seed);
            println!("{}\n\n{}", self.style.strong(&heading), report::head(self.style));
            self.all.push(Results::new(nodes, shards));
            let each = self.options.faults.iter();
            let mut plan = Plan {
                alone: each.flat_map(|fault| std::iter::repeat_n(*fault, self.options.rounds)).collect(),
                // Another one for every cluster, or all of them would go through the same faults in the same order.
                rng: Rng::with_seed(self.options.seed.wrapping_add(self.all.len() as u64 - 1)),
                random,
                until: None,
            };
            while let Err(failure) = self.session(nodes, shards, &mut plan) {
                let given_up =
                    self.all.iter().map(|results| results.broken.len()).sum::<usize>() >= BROKEN_MAX;
                let about_a_server = matches!(
                    failure,
                    Failure::Timeout { .. }
                        | Failure::Died { .. }
                        | Failure::BadExit { .. }
                        | Failure::ReadBack { .. }
                );
                if given_up || !about_a_server {
                    return Err(failure);
                }
                println!("{}\nA fresh cluster takes its place.\n", self.style.bad(&failure.to_string()));
                let said = failure.to_string();
                self.results().broken.push(said.lines().next().unwrap_or_default().to_owned());
            }
            println!();
        }
        Ok(())
    }

    /// Whether everything that must hold did.
    pub(crate) fn innocent(&self) -> bool {
        self.all.iter().all(Results::innocent)
    }

    /// As Markdown.
    pub(crate) fn report(&self) -> String {
        report::markdown(&self.all, self.options, self.clock.now())
    }

    /// Writes the files that were asked for.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        if let Some(path) = &self.options.markdown {
            write(path, &self.report())?;
        }
        if let Some(path) = &self.options.svg {
            write(path, &picture::svg(self.all.iter().flat_map(|results| &results.rounds)))?;
        }
        Ok(())
    }

    /// One cluster, until its plan is carried out or something breaks it.
    fn session(&mut self, nodes: usize, shards: usize, plan: &mut Plan) -> Result<(), Failure> {
        let mut net = Net::build(nodes)?;
        let disks = Disks::mount(nodes)?;
        let setup = Setup {
            server: self.server.clone(),
            system: System::Plugin,
            elections: true,
            sentinel: false,
            watchdog: true,
            secure: self.options.secure,
            threads: shards,
            places: places(&net, &disks),
        };
        let (progress, interrupt, clock) = (Progress::new(), self.interrupt, self.clock);
        progress.say("starting the servers");
        let mut cluster = Cluster::up(&setup, clock, interrupt)?;
        cluster.supervise();
        let directory = cluster.directory.clone();
        let servers: Vec<_> = cluster.members.iter().map(Member::address).collect();
        // Confirmed means: a quorum holds it, the primary included.
        let writers = Writers::start(&servers, nodes / 2, clock)?;
        let believed = if self.options.without_wait { 0 } else { nodes / 2 };
        let (chosen, seed) = (&self.options.ways, self.options.seed);
        let ways = Ways::start(chosen, servers.clone(), nodes / 2, clock, seed)?;
        let clients = Clients::start(servers, net.spaces(), believed, clock, seed)?;
        let stage = Stage {
            cluster: &mut cluster,
            writers: &writers,
            readers: None,
            load: None,
            beside: None,
            interrupt,
            clock,
            progress: &progress,
        };
        let mut rng = plan.rng.fork();
        let mut player = Player {
            stage,
            net: &mut net,
            disks: &disks,
            clients: &clients,
            ways: &ways,
            shards,
            rng: &mut rng,
            trouble: Trouble::default(),
        };
        let played = self.rounds(&mut player, plan);
        progress.clear();
        if !matches!(played, Ok(true) | Err(Failure::Interrupted)) {
            cluster.leave_directory();
            eprintln!("data and logs are left in {}", directory.display());
        }
        played.map(|_| ())
    }

    /// Whether all of them were innocent.
    fn rounds(&mut self, player: &mut Player<'_>, plan: &mut Plan) -> Result<bool, Failure> {
        let (mut confirmed, mut innocent) = (Vec::new(), true);
        let mut unaudited = 0;
        while let Some(fault) = plan.next(&self.options.faults, self.clock.now()) {
            let number = self.all.iter().map(|results| results.rounds.len()).sum::<usize>() + 1;
            let (mut round, waited) = player.play(number, fault)?;
            player.stage.progress.clear();
            println!("{}", report::line(&round, self.style));
            if self.options.timelines || !round.innocent() || !round.restarts.is_empty() {
                println!("{}", report::timeline(&round));
            }
            if round.innocent() {
                // Only the guilty ones' are shown again; hours of them would fill the memory.
                round.timeline.clear();
            }
            innocent &= round.innocent();
            self.results().rounds.push(round);
            confirmed.extend(waited);
            unaudited += 1;
            if unaudited == AUDIT_ROUNDS {
                innocent &= self.audit(player, std::mem::take(&mut confirmed))?;
                unaudited = 0;
                self.save()?;
            }
        }
        Ok(self.audit(player, confirmed)? && innocent)
    }

    /// A write can survive the failover that it was confirmed before and be lost in the next.
    fn audit(&mut self, player: &mut Player<'_>, confirmed: Vec<Ack>) -> Result<bool, Failure> {
        let primary = player.stage.whole()?;
        player.stage.progress.say("reading all confirmed writes back once more");
        let lost = verdict::lost(&confirmed, &player.stage.read_back(primary, &confirmed)?);
        flush(player, primary)?;
        self.results().lost_later += lost.waited;
        Ok(lost.waited == 0)
    }

    /// The one that is being played. There always is one by then.
    fn results(&mut self) -> &mut Results {
        if self.all.is_empty() {
            self.all.push(Results::new(0, 0));
        }
        let last = self.all.len() - 1;
        &mut self.all[last]
    }
}

/// Deletes everything. A refusal is no failure: what stays is deleted the next time.
fn flush(player: &Player<'_>, primary: Node) -> Result<(), Failure> {
    let address = player.stage.cluster.members[primary].address();
    let flushed = Client::connect(address).and_then(|mut c| c.call_within(&[b"FLUSHALL"], FLUSH_PATIENCE));
    match flushed {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(Failure::ReadBack { node: player.stage.name(primary), why: format!("FLUSHALL: {error}") })
        }
    }
}

fn places(net: &net::Net, disks: &Disks) -> Vec<Place> {
    let mut places = net.places();
    for (node, place) in places.iter_mut().enumerate() {
        if let Place::Namespace { votes, .. } = place {
            *votes = Some(disks.path(node).to_owned());
        }
    }
    places
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(Failure::os(format!("write {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_plays_each_fault_alone_and_then_draws_until_its_time_is_up() {
        let second = Duration::from_secs(1);
        let mut plan = Plan {
            alone: VecDeque::from([Fault::Kill, Fault::Wipe]),
            rng: Rng::with_seed(1),
            random: second * 10,
            until: None,
        };
        let faults = [Fault::Stop];
        assert_eq!(plan.next(&faults, second * 100), Some(Fault::Kill));
        assert_eq!(plan.next(&faults, second * 200), Some(Fault::Wipe));
        assert_eq!(plan.next(&faults, second * 300), Some(Fault::Stop), "the clock starts here");
        assert_eq!(plan.next(&faults, second * 309), Some(Fault::Stop));
        assert_eq!(plan.next(&faults, second * 310), None);
    }
}
