//! How each fault is done, step by step, and undone.

use crate::busy::Busy;
use crate::disk;
use crate::fault::Fault;
use crate::net::{Cut, Stream, around, both};
use crate::round::Player;
use kevy_elect_harness::client::{Client, Reply};
use kevy_elect_harness::cluster::Resumption;
use kevy_elect_harness::failure::Failure;
use kevy_elect_harness::verdict::{Node, Resumed};
use std::collections::BTreeSet;
use std::time::Duration;

/// Pauses of something that flaps: shorter and longer than the time after which a primary is suspected.
const FLAP_MS: std::ops::Range<u64> = 50..1300;
/// Between two steps of a storm.
const STORM_STEP_MS: std::ops::Range<u64> = 10..900;
/// How many steps a storm has.
const STORM_STEPS: std::ops::Range<usize> = 4..14;
/// How long a fault lasts: sometimes too short for an election, mostly long enough.
const HOLD_MS: std::ops::Range<u64> = 700..3500;
/// Between two parts of one fault.
const MOMENT_MS: std::ops::Range<u64> = 100..500;
/// Between the order that takes a vote and the split: before it is made, in the middle, or after it.
const CHANGE_MS: std::ops::Range<u64> = 0..60;
/// How many companions of one server are killed, one after the other.
const COMPANIONS: usize = 2;
/// How long a server may take to start the next one.
const COMPANION_PATIENCE: Duration = Duration::from_secs(20);
/// How long a slow node runs before it is stopped again.
const RUNS_MS: u64 = 5;
/// For how long it is stopped then.
const STOPPED_MS: u64 = 20;
/// How long a replica may take to say how it is.
const ASK_PATIENCE: Duration = Duration::from_secs(1);

impl Player<'_> {
    /// Does it. Some faults last until [`Player::mend`].
    pub(crate) fn inflict(&mut self, fault: Fault, primary: Node) -> Result<(), Failure> {
        let nodes = self.nodes();
        let replica = self.other_than(&[primary]);
        match fault {
            Fault::Kill => {
                self.kill(primary)?;
                self.hold()
            }
            Fault::KillRestart => {
                self.kill(primary)?;
                self.launch(primary)
            }
            Fault::Companion => {
                for _ in 0..COMPANIONS {
                    self.kill_companion(primary)?;
                    self.rest(MOMENT_MS)?;
                }
                self.hold()
            }
            Fault::CompanionKill => {
                self.kill_companion(primary)?;
                self.kill(primary)?;
                self.hold()
            }
            Fault::Stop => {
                self.stop(primary)?;
                self.hold()?;
                self.resume(primary)
            }
            Fault::Term => {
                self.note(format!("SIGTERM {}", self.stage.name(primary)));
                self.stage.cluster.terminate(primary)?;
                self.stage.cluster.ended_in_order(primary, self.stage.interrupt)?;
                self.hold()
            }
            Fault::Isolate => self.cut_for_a_while(around(primary, nodes), Cut::Drop),
            Fault::Reset => self.cut_for_a_while(around(primary, nodes), Cut::Reset),
            Fault::Mute => self.cut_for_a_while(
                around(primary, nodes).into_iter().filter(|(from, _)| *from == primary).collect(),
                Cut::Drop,
            ),
            Fault::Deaf => self.cut_for_a_while(
                around(primary, nodes).into_iter().filter(|(_, to)| *to == primary).collect(),
                Cut::Drop,
            ),
            Fault::CutLink => self.cut_for_a_while(both(primary, replica).into(), Cut::Drop),
            Fault::CutReplicas => {
                let another = self.other_than(&[primary, replica]);
                self.cut_for_a_while(both(replica, another).into(), Cut::Drop)
            }
            Fault::OneWayOut => self.cut_for_a_while(vec![(primary, replica)], Cut::Drop),
            Fault::OneWayIn => self.cut_for_a_while(vec![(replica, primary)], Cut::Drop),
            Fault::Flap => {
                for _ in 0..self.rng.usize(STORM_STEPS) {
                    let how = self.how();
                    self.cut(both(primary, replica).into(), how)?;
                    self.rest(FLAP_MS)?;
                    self.heal()?;
                    self.rest(FLAP_MS)?;
                }
                Ok(())
            }
            Fault::FlapReplica => {
                for _ in 0..self.rng.usize(STORM_STEPS) {
                    let runs = self.stage.cluster.pid(replica).is_some();
                    match runs {
                        false => self.launch(replica)?,
                        true if self.rng.bool() => self.pause_or_resume(replica)?,
                        true => {
                            self.trouble.stopped.retain(|(node, _)| *node != replica);
                            self.kill(replica)?;
                        }
                    }
                    self.rest(FLAP_MS)?;
                }
                Ok(())
            }
            Fault::Silent => self.silence(replica, primary),
            Fault::SilentKill => {
                self.silence(replica, primary)?;
                self.kill(primary)?;
                self.hold()
            }
            Fault::DiskFull | Fault::DiskReadOnly => {
                // Mostly a voter's: whoever is primary already needs no vote.
                let victim = if self.rng.u8(..4) == 0 { primary } else { replica };
                self.take_disk(fault, victim)?;
                self.rest(MOMENT_MS)?;
                self.kill(primary)?;
                self.hold()
            }
            Fault::Wipe => {
                let victim = if self.rng.bool() { primary } else { replica };
                self.kill(victim)?;
                self.note(format!("{} has lost its data and its vote record", self.stage.name(victim)));
                disk::wipe(&self.stage.cluster.data_path(victim))?;
                self.disks.wipe(victim)?;
                self.launch(victim)?;
                self.hold()
            }
            Fault::Slow => {
                let victim = if self.rng.bool() { primary } else { replica };
                self.slow_down(victim)
            }
            Fault::Busy => {
                let busy = Busy::start()?;
                self.note(format!("{} busy threads", busy.threads()));
                self.hold()?;
                self.note("the processors are free again".into());
                drop(busy);
                Ok(())
            }
            Fault::Roll => {
                for node in 0..nodes {
                    let how = self.how();
                    self.cut_for_a_while(around(node, nodes), how)?;
                    self.heal()?;
                }
                Ok(())
            }
            Fault::Transfer => {
                for _ in 0..nodes {
                    let primary = self.stage.whole()?;
                    self.ask_for_transfer(primary);
                    self.hold()?;
                }
                Ok(())
            }
            Fault::Restarts => {
                for node in 0..nodes {
                    self.note(format!("SIGTERM {}", self.stage.name(node)));
                    self.stage.cluster.terminate(node)?;
                    self.stage.cluster.ended_in_order(node, self.stage.interrupt)?;
                    self.launch(node)?;
                    // As whoever upgrades a cluster does: not the next one before this one has everything.
                    self.stage.whole()?;
                }
                Ok(())
            }
            Fault::Members => self.change_votes(primary),
            Fault::Storm => {
                for _ in 0..self.rng.usize(STORM_STEPS) {
                    let node = self.rng.usize(..nodes);
                    match self.rng.u8(..5) {
                        4 => self.ask_for_transfer(node),
                        // A watchdog has taken one memory already: a second stop could take the other one that a
                        // confirmed write is in.
                        0 if self.trouble.restarts.is_empty() => self.pause_or_resume(node)?,
                        0 | 1 => self.heal()?,
                        _ => self.cut_something(node)?,
                    }
                    self.rest(STORM_STEP_MS)?;
                }
                Ok(())
            }
            Fault::Victim => {
                let victim = if self.rng.bool() { primary } else { replica };
                for _ in 0..self.rng.usize(STORM_STEPS) {
                    let runs = self.stage.cluster.pid(victim).is_some();
                    match self.rng.u8(..6) {
                        0 | 1 if runs => {
                            self.trouble.stopped.retain(|(node, _)| *node != victim);
                            self.kill(victim)?;
                        }
                        0..=2 if !runs => self.launch(victim)?,
                        2 if runs => self.pause_or_resume(victim)?,
                        3 => self.heal()?,
                        _ => self.cut_something(victim)?,
                    }
                    self.rest(STORM_STEP_MS)?;
                }
                Ok(())
            }
        }
    }

    /// Takes votes until half of the voters and one are left, splits the cluster while the last change is under way, and gives the votes back.
    fn change_votes(&mut self, primary: Node) -> Result<(), Failure> {
        let mut gone: Vec<Node> = (0..self.nodes()).filter(|node| *node != primary).collect();
        self.rng.shuffle(&mut gone);
        gone.truncate((self.nodes() - 1) / 2);
        let Some((last, before)) = gone.split_last() else { return Ok(()) };
        for node in before {
            self.stage.set_vote(*node, false)?;
            self.note(format!("{} has no vote", self.stage.name(*node)));
        }
        let answer = self.stage.ask_for_vote(primary, *last, false);
        self.note(format!("{} is to have no vote: {answer}", self.stage.name(*last)));
        self.rest(CHANGE_MS)?;
        // Mostly such that by the old list the primary's side would be the majority, and by the new one the other.
        let with_primary = |node: &Node| *node == primary || gone.contains(node);
        let mut sides: Vec<bool> = (0..self.nodes()).map(|node| with_primary(&node)).collect();
        if self.rng.u8(..3) == 0 {
            sides.iter_mut().for_each(|side| *side = self.rng.bool());
        }
        let pairs = (0..self.nodes()).flat_map(|from| (0..self.nodes()).map(move |to| (from, to)));
        let between = pairs.filter(|(from, to)| sides[*from] != sides[*to]).collect();
        self.cut_for_a_while(between, Cut::Drop)?;
        self.heal()?;
        for node in &gone {
            self.stage.set_vote(*node, true)?;
            self.note(format!("{} votes", self.stage.name(*node)));
        }
        Ok(())
    }

    /// Ends whatever is still wrong.
    pub(crate) fn mend(&mut self) -> Result<(), Failure> {
        self.heal()?;
        for node in 0..self.nodes() {
            self.disks.empty(node)?;
        }
        while let Some((node, pid)) = self.trouble.frozen.pop() {
            // A process started since never was forbidden to write.
            if self.stage.cluster.pid(node) == Some(pid) {
                self.note(format!("the disk of {} can be written to again", self.stage.name(node)));
                self.disks.thaw(node, pid)?;
            }
        }
        while let Some((node, _)) = self.trouble.stopped.last().copied() {
            self.resume(node)?;
        }
        for node in 0..self.nodes() {
            if self.stage.cluster.pid(node).is_none() {
                self.launch(node)?;
            }
        }
        Ok(())
    }

    /// Asks a node to hand over, whatever it is; what it says is noted.
    fn ask_for_transfer(&mut self, node: Node) {
        let address = self.stage.cluster.members[node].address();
        let answer = Client::connect(address).map_err(|error| error.to_string()).and_then(|mut client| {
            client.call_within(&[b"ELECT", b"TRANSFER"], ASK_PATIENCE).map_err(|error| error.to_string())
        });
        let said = match answer {
            Ok(Reply::Bulk(to)) => format!("hands over to {}", String::from_utf8_lossy(&to)),
            Ok(Reply::Error(why)) | Err(why) => format!("hands nothing over: {why}"),
            Ok(other) => format!("says {other:?}"),
        };
        self.note(format!("{} {said}", self.stage.name(node)));
    }

    /// Waits until a companion stands by, and kills it.
    fn kill_companion(&mut self, node: Node) -> Result<(), Failure> {
        let (cluster, interrupt) = (&mut *self.stage.cluster, self.stage.interrupt);
        let stands_by = interrupt.wait_for(COMPANION_PATIENCE, || {
            cluster.check_alive()?;
            Ok(cluster.companion_pid(node))
        })?;
        let name = self.stage.name(node);
        if stands_by.is_none() {
            return Err(self.stage.cluster.timeout(format!("{name} had no companion"), COMPANION_PATIENCE));
        }
        self.note(format!("kill -9 the companion of {name}"));
        self.stage.cluster.kill_companion(node)
    }

    /// The replica's stream breaks, and its upstream is silent from the next connection on.
    fn silence(&mut self, replica: Node, upstream: Node) -> Result<(), Failure> {
        let [one, other] = [replica, upstream].map(|node| self.stage.name(node));
        self.note(format!("the replication ports of {other} accept {one} and say nothing"));
        let first = self.stage.cluster.members[upstream].ports.replication;
        let ports = first..=first + (self.shards as u16 - 1);
        self.net.disturb(replica, upstream, ports.clone(), Stream::Reset)?;
        self.rest(MOMENT_MS)?;
        self.net.disturb(replica, upstream, ports, Stream::Silent)?;
        self.hold()?;
        let link = self.link_of(replica).unwrap_or_else(|| "nothing".into());
        self.note(format!("{one} says of its upstream: {link}"));
        Ok(())
    }

    /// What a replica says about its stream: the proof that the fault bites.
    fn link_of(&self, replica: Node) -> Option<String> {
        let mut client = Client::connect(self.stage.cluster.members[replica].address()).ok()?;
        let Reply::Bulk(info) = client.call_within(&[b"INFO", b"replication"], ASK_PATIENCE).ok()? else {
            return None;
        };
        let info = String::from_utf8_lossy(&info).into_owned();
        info.lines().find(|line| line.starts_with("master_link_status")).map(|line| line.trim().to_owned())
    }

    fn take_disk(&mut self, fault: Fault, victim: Node) -> Result<(), Failure> {
        let (name, pid) = (self.stage.name(victim), self.stage.cluster.pid(victim));
        match (fault, pid) {
            (Fault::DiskReadOnly, Some(pid)) => {
                self.note(format!("the disk of {name} is read-only"));
                self.disks.freeze(victim, pid)?;
                self.trouble.frozen.push((victim, pid));
                Ok(())
            }
            _ => {
                self.note(format!("the disk of {name} is full"));
                self.disks.fill(victim)
            }
        }
    }

    /// Lets a node run a fifth of the time.
    fn slow_down(&mut self, victim: Node) -> Result<(), Failure> {
        let name = self.stage.name(victim);
        self.note(format!(
            "{name} runs {} ms, then is stopped for {} ms, again and again",
            RUNS_MS, STOPPED_MS
        ));
        let end = self.stage.clock.now() + Duration::from_millis(self.rng.u64(HOLD_MS));
        while self.stage.clock.now() < end {
            self.stage.cluster.stop(victim)?;
            std::thread::sleep(Duration::from_millis(STOPPED_MS));
            self.stage.cluster.resume(victim)?;
            self.rest(RUNS_MS..RUNS_MS + 1)?;
        }
        self.note(format!("{name} runs all the time again"));
        Ok(())
    }

    fn other_than(&mut self, not: &[Node]) -> Node {
        let others: Vec<_> = (0..self.nodes()).filter(|node| !not.contains(node)).collect();
        others[self.rng.usize(..others.len())]
    }

    fn how(&mut self) -> Cut {
        if self.rng.u8(..4) == 0 { Cut::Reset } else { Cut::Drop }
    }

    fn cut_something(&mut self, node: Node) -> Result<(), Failure> {
        let (other, how) = (self.other_than(&[node]), self.how());
        let links = match self.rng.u8(..4) {
            0 => around(node, self.nodes()),
            1 => vec![(node, other)],
            2 => vec![(other, node)],
            _ => both(node, other).into(),
        };
        self.cut(links, how)
    }

    fn cut_for_a_while(&mut self, links: Vec<(Node, Node)>, how: Cut) -> Result<(), Failure> {
        self.cut(links, how)?;
        self.hold()
    }

    fn cut(&mut self, links: Vec<(Node, Node)>, how: Cut) -> Result<(), Failure> {
        let links: BTreeSet<_> = links.into_iter().collect();
        let names: Vec<_> = links
            .iter()
            .map(|(from, to)| format!("{}→{}", self.stage.name(*from), self.stage.name(*to)))
            .collect();
        self.note(format!("cut {} ({how:?})", names.join(" ")));
        self.net.cut(links, how)
    }

    fn heal(&mut self) -> Result<(), Failure> {
        self.note("all links whole".into());
        self.net.heal()
    }

    fn kill(&mut self, node: Node) -> Result<(), Failure> {
        self.note(format!("kill -9 {}", self.stage.name(node)));
        self.stage.cluster.kill(node)
    }

    fn launch(&mut self, node: Node) -> Result<(), Failure> {
        self.note(format!("start {}", self.stage.name(node)));
        self.stage.cluster.launch(node)
    }

    fn pause_or_resume(&mut self, node: Node) -> Result<(), Failure> {
        match self.trouble.stopped.iter().any(|(stopped, _)| *stopped == node) {
            true => self.resume(node),
            false => self.stop(node),
        }
    }

    fn stop(&mut self, node: Node) -> Result<(), Failure> {
        self.note(format!("SIGSTOP {}", self.stage.name(node)));
        self.trouble.stopped.push((node, self.stage.clock.now()));
        self.stage.cluster.stop(node)
    }

    fn resume(&mut self, node: Node) -> Result<(), Failure> {
        // Not in the list any more: its watchdog ended it, and the process that runs now was never stopped.
        let Some(place) = self.trouble.stopped.iter().position(|(stopped, _)| *stopped == node) else {
            return Ok(());
        };
        let (node, stopped) = self.trouble.stopped.swap_remove(place);
        let at = self.stage.clock.now();
        self.note(format!("SIGCONT {}", self.stage.name(node)));
        if self.stage.cluster.resume(node)? == Resumption::Continued {
            self.trouble.resumed.push(Resumed { node, stopped, at });
        }
        Ok(())
    }

    fn hold(&mut self) -> Result<(), Failure> {
        self.rest(HOLD_MS)
    }

    fn rest(&mut self, ms: std::ops::Range<u64>) -> Result<(), Failure> {
        let (cluster, interrupt) = (&mut *self.stage.cluster, self.stage.interrupt);
        let alive = || cluster.check_alive().map(|()| None::<()>);
        interrupt.wait_for(Duration::from_millis(self.rng.u64(ms)), alive)?;
        self.notice_restarts();
        Ok(())
    }
}
