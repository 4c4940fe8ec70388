//! One round: load, fault, take-over, recovery, verdict.

use crate::client::{Client, Reply};
use crate::clock::Clock;
use crate::cluster::{Cluster, Resumption};
use crate::copying::Counts;
use crate::data::Data;
use crate::failure::{Failure, Interrupt};
use crate::fault::{Fault, Restart};
use crate::links::Links;
use crate::load::{Load, Pace, Readers};
use crate::observe::Event;
use crate::outcome::{Round, elections, sighting};
use crate::progress::Progress;
use crate::verdict::{self, Ack, Node, Resumed};
use crate::waiting::Processors;
use crate::writers::{self, Writers};
use std::net::SocketAddr;
use std::time::Duration;

/// How long the cluster may take to be whole: a primary, and two replicas that confirm its writes.
const WHOLE_PATIENCE: Duration = Duration::from_secs(60);
/// How long the others may take to replace a broken primary.
const TAKE_OVER_PATIENCE: Duration = Duration::from_secs(60);
/// How long the load runs before the fault, plus up to [`JITTER_MS_MAX`].
const WARM_UP: Duration = Duration::from_millis(400);
/// How often the load is warmed up again because the primary changed meanwhile.
const WARM_UP_TRIES: usize = 10;
/// How often filling is taken up again where it stopped.
const FILL_TRIES: usize = 10;
/// How long filled servers are left alone.
const REST: Duration = Duration::from_secs(2);
/// Spreads the faults over the servers' heartbeat intervals.
const JITTER_MS_MAX: u64 = 250;
/// How long it may take until a replica confirms a write of the new primary.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(60);
/// How long the new primary works alone before the old one returns.
const ALONE: Duration = Duration::from_millis(300);
/// The same where the old one runs on, cut off: as long as it takes to see whether it goes on acknowledging.
const APART: Duration = Duration::from_secs(2);
/// How long a resumed node is watched: it must not acknowledge anything.
const AWAKE: Duration = Duration::from_secs(2);
/// How long the whole cluster works before the verdict.
const COOL_DOWN: Duration = Duration::from_millis(200);
/// How long a pause of the load may take to come about.
const PAUSE_PATIENCE: Duration = Duration::from_secs(10);
/// How long one request of ours may take.
const REQUEST_PATIENCE: Duration = Duration::from_secs(2);
/// Keys per `MGET`.
const READ_BATCH: usize = 200;

/// What rounds are played with.
pub struct Stage<'a> {
    /// The servers.
    pub cluster: &'a mut Cluster,
    /// Those who measure.
    pub writers: &'a Writers,
    /// Those who read, if anybody does.
    pub readers: Option<&'a Readers>,
    /// What keeps the servers busy, if anything does, and how fast it writes.
    pub load: Option<(&'a Load, Pace)>,
    /// What is done right before a primary is killed.
    pub beside: Option<&'a dyn Fn() -> Result<(), Failure>>,
    /// Ctrl-C.
    pub interrupt: &'a Interrupt,
    /// What every instant is read from.
    pub clock: Clock,
    /// What is going on.
    pub progress: &'a Progress,
}

impl Stage<'_> {
    /// The same stage.
    pub fn again(&mut self) -> Stage<'_> {
        Stage { cluster: &mut *self.cluster, ..*self }
    }

    /// Plays a round. Gives its report, and the waited writes for the audit at the end.
    pub fn play(
        &mut self,
        number: u32,
        fault: Fault,
        restart: Restart,
        links: &mut dyn Links,
    ) -> Result<(Round, Vec<Ack>), Failure> {
        let (begun, processors) = (self.clock.now(), Processors::watch(self.clock));
        let planned = fault.is_planned();
        self.writers.go();
        self.load.iter().for_each(|(load, pace)| load.write(*pace));
        let old = self.warm_up()?;
        let old_pid = self.cluster.pid(old).unwrap_or_default();
        let before = Counts::read(self.cluster);

        self.progress.say(&format!("{} {}", fault.spelled(), self.name(old)));
        let struck = self.clock.now();
        let gone = self.strike(old, fault, links)?;
        let mut returned = None;
        if restart == Restart::Now && matches!(fault, Fault::Kill | Fault::Term) {
            returned = Some(self.clock.now());
            self.cluster.launch(old)?;
        }

        self.progress.say("waiting for another node to take over");
        let first = self.take_over(old, struck, gone)?;
        let new = first.node;
        if returned.is_none() {
            self.confirm(new, struck)?;
        }
        self.interrupt.rest(if fault == Fault::Isolate { APART } else { ALONE })?;

        if !planned {
            // Most servers never catch up with one that is written to as fast as it can.
            self.load.iter().for_each(|(load, _)| load.pause());
        }
        let at_return = Counts::read(self.cluster);
        let watched = processors.with(self.cluster.pid(new), self.writers.prober(new));
        let (mut resumed, mut ended_by_watchdog) = (None, false);
        let returned = match returned {
            Some(at) => at,
            None => {
                self.progress.say(&format!("bringing {} back", self.name(old)));
                let at = self.clock.now();
                if fault == Fault::Isolate {
                    links.heal()?;
                    self.interrupt.rest(AWAKE)?;
                } else if fault == Fault::Transfer {
                    // It has been there all the time.
                } else if fault != Fault::Stop {
                    self.cluster.launch(old)?;
                } else if self.cluster.resume(old)? == Resumption::Continued {
                    resumed = Some(Resumed { node: old, stopped: struck, at });
                    self.interrupt.rest(AWAKE)?;
                } else {
                    ended_by_watchdog = true;
                }
                at
            }
        };
        let last = self.whole()?;
        let whole = self.clock.now();
        let after = Counts::read(self.cluster);
        self.load.iter().for_each(|(load, _)| load.pause());
        self.interrupt.rest(COOL_DOWN)?;

        self.progress.say("reading every write back");
        let (first_waited, acks) = (self.writers.first_waited(new, struck), self.collect()?);
        let lost = verdict::lost(&acks, &self.read_back(last, &acks)?);
        let events = self.events(struck);
        let dual = verdict::dual(&acks, &elections(&self.events(begun)), resumed);
        let by = |kind: &str, node: Node| sighting(&events, kind, |who| who == node);
        // A node that reports a suspicion for the second time in a round adds nothing to the first.
        let detected = sighting(&events, "suspected", |who| who != old || new == old);
        let following = sighting(&events, "following", |who| who != old && who != new);
        let waited: Vec<_> = acks.iter().copied().filter(|ack| ack.waited.is_some()).collect();
        let survivors = (0..self.cluster.members.len()).filter(|node| *node != old);
        let refused = |node| self.readers.map_or(0, |readers| readers.loading(node, struck, whole));
        let restarted = ended_by_watchdog || matches!(fault, Fault::Kill | Fault::Term);
        let (stalled, went_on) = verdict::longest(acks.iter().filter(|ack| ack.node == new), returned, whole);
        let stall = watched.between(stalled, went_on);
        let round = Round {
            number,
            fault,
            restart,
            old,
            old_pid,
            new,
            struck,
            detected,
            elected: by("elected", new),
            promoted: by("promoted", new),
            first_ack: first.replied,
            following,
            first_waited: first_waited.and_then(|ack| ack.waited),
            ended_by_watchdog,
            returned,
            whole,
            acked: acks.len(),
            waited: waited.len(),
            lost,
            dual,
            copied: before.copied(&at_return, &after, old, restarted),
            loading: survivors.map(refused).sum(),
            gap: verdict::outage(&acks, struck, first.replied + Duration::from_nanos(1)),
            away: processors.away(struck, first_waited.and_then(|ack| ack.waited).unwrap_or(first.replied)),
            stall: went_on - stalled,
            stall_queued: stall.queued,
            stall_away: stall.away,
        };
        Ok((round, waited))
    }

    /// Fills the cluster, once it is whole.
    pub fn fill(&mut self, data: &Data) -> Result<(), Failure> {
        if data.keys() == 0 {
            return Ok(());
        }
        let (begun, all, replicas) = (self.clock.now(), data.size(), self.cluster.members.len() - 1);
        let (mut done, mut tries) = (0, 0);
        loop {
            let primary = self.whole()?;
            let server = self.cluster.members[primary].address();
            let filled = data.fill(server, replicas, self.interrupt, &mut done, |done| {
                let seconds = (self.clock.now() - begun).as_secs();
                self.progress.say(&format!("filling all nodes: {done} of {all}, {seconds} s"));
            });
            tries += 1;
            match filled {
                // On a busy machine another one may have become primary.
                Err(failure @ Failure::Fill { .. }) if tries < FILL_TRIES => {
                    self.progress.note(&format!("{failure}; looking for the primary again"));
                }
                Err(failure) => return Err(failure),
                Ok(()) => break,
            }
        }
        // What the servers do with a log that has grown, they do now.
        self.progress.say("letting the servers come to rest");
        self.interrupt.rest(REST)
    }

    /// Waits for a primary whose writes both replicas confirm; gives the primary.
    pub fn whole(&mut self) -> Result<Node, Failure> {
        self.progress.say("waiting for a primary with two replicas");
        let mut connections: Vec<Option<Client>> = self.cluster.members.iter().map(|_| None).collect();
        let (cluster, interrupt) = (&mut *self.cluster, self.interrupt);
        let primary = interrupt.wait_for(WHOLE_PATIENCE, || {
            cluster.check_alive()?;
            for (node, connection) in connections.iter_mut().enumerate() {
                if confirmed_by_all(connection, cluster.members[node].address(), cluster.members.len() - 1) {
                    return Ok(Some(node));
                }
            }
            Ok(None)
        })?;
        primary.ok_or_else(|| {
            self.cluster.timeout("no primary had both replicas confirm a write".into(), WHOLE_PATIENCE)
        })
    }

    /// Reads `acks` back from `node`: the value under each key, in their order.
    pub fn read_back(&self, node: Node, acks: &[Ack]) -> Result<Vec<Option<u64>>, Failure> {
        let failed = |why: String| Failure::ReadBack { node: self.name(node), why };
        let mut client =
            Client::connect(self.cluster.members[node].address()).map_err(|e| failed(e.to_string()))?;
        let mut found = Vec::with_capacity(acks.len());
        for batch in acks.chunks(READ_BATCH) {
            self.interrupt.check()?;
            let keys: Vec<_> = batch.iter().map(writers::key).collect();
            let parts: Vec<&[u8]> =
                std::iter::once(&b"MGET"[..]).chain(keys.iter().map(|key| key.as_bytes())).collect();
            match client.call_within(&parts, REQUEST_PATIENCE).map_err(|e| failed(e.to_string()))? {
                Reply::Array(values) if values.len() == batch.len() => {
                    found.extend(values.iter().map(number))
                }
                other => return Err(failed(format!("MGET of {} keys said {other:?}", batch.len()))),
            }
        }
        Ok(found)
    }

    /// Lets the load run on a whole cluster; gives the primary, which is still the same at the end.
    pub fn warm_up(&mut self) -> Result<Node, Failure> {
        for _ in 0..WARM_UP_TRIES {
            let primary = self.whole()?;
            self.progress.say("writing");
            let since = self.clock.now();
            let jitter = u64::from(since.subsec_nanos()) / 1000 % (JITTER_MS_MAX + 1);
            self.interrupt.rest(WARM_UP + Duration::from_millis(jitter))?;
            let (cluster, writers) = (&mut *self.cluster, self.writers);
            let waited = self.interrupt.wait_for(REQUEST_PATIENCE, || {
                cluster.check_alive()?;
                Ok(writers.first_waited(primary, since))
            })?;
            let usurper = (0..self.cluster.members.len())
                .find(|n| *n != primary && writers.first_ack(*n, since).is_some());
            match (waited, usurper) {
                (Some(_), None) => return Ok(primary),
                // Breaking a node that is primary no longer would look like a failover in no time.
                (_, Some(node)) => self.progress.note(&format!(
                    "{} took over from {} although nothing was broken",
                    self.name(node),
                    self.name(primary)
                )),
                (None, None) => {}
            }
        }
        let what = format!("no primary served confirmed writes steadily in {WARM_UP_TRIES} tries");
        Err(self.cluster.timeout(what, WARM_UP))
    }

    /// Breaks `node`. Gives the instant from which on an acknowledgement of it would be a new process'.
    fn strike(
        &mut self,
        node: Node,
        fault: Fault,
        links: &mut dyn Links,
    ) -> Result<Option<Duration>, Failure> {
        match fault {
            Fault::Kill => {
                self.beside.iter().try_for_each(|beside| beside())?;
                self.cluster.kill(node)?;
            }
            Fault::Stop => {
                self.cluster.stop(node)?;
                return Ok(None);
            }
            Fault::Isolate => {
                links.isolate(node)?;
                return Ok(None);
            }
            Fault::Transfer => {
                self.transfer(node)?;
                return Ok(None);
            }
            Fault::Term => {
                self.cluster.terminate(node)?;
                self.cluster.ended_in_order(node, self.interrupt)?;
            }
        }
        Ok(Some(self.clock.now()))
    }

    /// Has `node` hand over to whoever is best.
    fn transfer(&self, node: Node) -> Result<(), Failure> {
        let refused = |why: String| Failure::Transfer { node: self.name(node), why };
        let mut client =
            Client::connect(self.cluster.members[node].address()).map_err(|e| refused(e.to_string()))?;
        match client.call_within(&[b"ELECT", b"TRANSFER"], REQUEST_PATIENCE) {
            Ok(Reply::Bulk(_)) => Ok(()),
            Ok(Reply::Error(why)) => Err(refused(why)),
            other => Err(refused(format!("it says {other:?}"))),
        }
    }

    /// The first acknowledgement after the fault.
    fn take_over(&mut self, old: Node, struck: Duration, gone: Option<Duration>) -> Result<Ack, Failure> {
        let (cluster, writers, interrupt) = (&mut *self.cluster, self.writers, self.interrupt);
        let first = interrupt.wait_for(TAKE_OVER_PATIENCE, || {
            cluster.check_alive()?;
            let since = |node| if node == old { gone } else { Some(struck) };
            let acks = (0..cluster.members.len()).filter_map(|node| writers.first_ack(node, since(node)?));
            Ok(acks.min_by_key(|ack| ack.replied))
        })?;
        first.ok_or_else(|| {
            self.cluster
                .timeout("no other node acknowledged a write after the fault".into(), TAKE_OVER_PATIENCE)
        })
    }

    /// Waits a while for a write that a replica confirms. That nobody does is told, not a failure.
    fn confirm(&mut self, new: Node, since: Duration) -> Result<(), Failure> {
        self.progress.say("waiting for a confirmed write");
        let (cluster, writers) = (&mut *self.cluster, self.writers);
        let confirmed = self.interrupt.wait_for(CONFIRM_PATIENCE, || {
            cluster.check_alive()?;
            Ok(writers.first_waited(new, since))
        });
        confirmed.map(drop)
    }

    /// Stops the load and takes its history.
    pub fn collect(&mut self) -> Result<Vec<Ack>, Failure> {
        self.writers.pause();
        let paused = self.interrupt.wait_for(PAUSE_PATIENCE, || Ok(self.writers.paused().then_some(())))?;
        match paused {
            Some(()) => Ok(self.writers.take_history()),
            None => Err(self.cluster.timeout("the load did not pause".into(), PAUSE_PATIENCE)),
        }
    }

    /// What the servers logged since `since`, in order.
    pub fn events(&self, since: Duration) -> Vec<(Node, Event)> {
        let members = self.cluster.members.iter().enumerate();
        let mut events: Vec<_> = members
            .flat_map(|(node, member)| member.log.events_since(since).into_iter().map(move |e| (node, e)))
            .collect();
        events.sort_by_key(|(_, event)| event.at);
        events
    }

    /// What the node is called.
    pub fn name(&self, node: Node) -> String {
        self.cluster.members[node].id.clone()
    }
}

/// Whether a write to this port is acknowledged and confirmed by all other nodes.
fn confirmed_by_all(connection: &mut Option<Client>, server: SocketAddr, others: usize) -> bool {
    let Some(mut client) = connection.take().or_else(|| Client::connect(server).ok()) else { return false };
    let wanted = others.to_string();
    let written = client.call_within(&[b"SET", b"demo:whole", b"1"], REQUEST_PATIENCE);
    let confirmed = match written {
        Ok(reply) if reply.is_ok() => {
            client.call_within(&[b"WAIT", wanted.as_bytes(), b"100"], REQUEST_PATIENCE)
        }
        refused => refused,
    };
    let Ok(reply) = confirmed else { return false };
    *connection = Some(client);
    matches!(reply, Reply::Integer(n) if n >= others as i64)
}

fn number(reply: &Reply) -> Option<u64> {
    match reply {
        Reply::Bulk(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}
