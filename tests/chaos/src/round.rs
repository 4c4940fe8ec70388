//! One round: load on a whole cluster, a fault, recovery, verdict.

use crate::disk::Disks;
use crate::fault::Fault;
use crate::linear::{self, Check};
use crate::net::Net;
use crate::registers::Clients;
use crate::way::Way;
use crate::ways::{self, Fate, Ways};
use fastrand::Rng;
use kevy_elect_harness::cluster::Restart;
use kevy_elect_harness::contents::{Contents, contents};
use kevy_elect_harness::failure::Failure;
use kevy_elect_harness::observe::Event;
use kevy_elect_harness::outcome::elections;
use kevy_elect_harness::round::Stage;
use kevy_elect_harness::verdict::{self, Ack, Dual, Lost, Node, Resumed};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// How long a silence is drawn as one.
const QUIET: Duration = Duration::from_millis(60);
/// How long the whole cluster works before the verdict.
const COOL_DOWN: Duration = Duration::from_millis(300);
/// How long the register clients may take to come to rest. Longer than a reply and a `WAIT` may take.
const PAUSE_PATIENCE: Duration = Duration::from_secs(10);
/// The same of those that write in every way: some of them ask several times.
const WAYS_PATIENCE: Duration = Duration::from_secs(30);
/// How long the linearizability check of a round may take. It takes milliseconds; the history that it cannot decide is
/// reported, not passed over.
const CHECK_PATIENCE: Duration = Duration::from_secs(60);
/// Decisions of the servers that a timeline shows.
const SHOWN: [&str; 12] = [
    "suspected",
    "elected",
    "promoted",
    "following",
    "fenced",
    "unfenced",
    "resigned",
    "promote_failed",
    "follow_failed",
    "save_failed",
    "admitted",
    "implausible",
];
/// A node without a disk says so many times a second; once a round is enough.
const SHOWN_ONCE: &str = "save_failed";

/// What came of a round. Instants count from the start of the program.
pub(crate) struct Round {
    pub(crate) number: usize,
    pub(crate) nodes: usize,
    pub(crate) fault: Fault,
    /// Who was primary before, and after.
    pub(crate) primaries: [Node; 2],
    pub(crate) begun: Duration,
    pub(crate) struck: Duration,
    pub(crate) healed: Duration,
    pub(crate) ended: Duration,
    /// The longest time without any acknowledgement.
    pub(crate) outage: Duration,
    pub(crate) acked: usize,
    pub(crate) waited: usize,
    pub(crate) lost: Lost,
    pub(crate) dual: Option<Dual>,
    /// Elections won after the fault began.
    pub(crate) elections: usize,
    /// Processes that ended although nobody here asked them to.
    pub(crate) restarts: Vec<Restart>,
    pub(crate) registers: Check,
    /// What became of what was written in every way.
    pub(crate) ways: BTreeMap<Way, Fate>,
    pub(crate) contents: Contents,
    /// Who acknowledged from when to when.
    pub(crate) writable: Vec<(Node, Duration, Duration)>,
    pub(crate) timeline: Vec<(Duration, String)>,
}

impl Round {
    /// Whether everything that must hold did.
    pub(crate) fn innocent(&self) -> bool {
        self.lost.waited == 0
            && !(self.fault.is_planned() && self.lost.unwaited > 0)
            && self.dual.is_none()
            && self.registers.wrong.is_empty()
            && self.ways.values().all(Fate::innocent)
            && self.contents.equal()
            && self.crashes() == 0
            && !self.needless()
    }

    /// Whether anybody was elected although a quorum could reach the primary all the time.
    pub(crate) fn needless(&self) -> bool {
        self.fault.is_harmless() && self.elections > 0
    }

    /// Processes that their own watchdog killed.
    pub(crate) fn watchdog_kills(&self) -> usize {
        self.restarts.iter().filter(|restart| restart.killed).count()
    }

    /// Processes that ended by themselves in another way. Without a disk a server may give up.
    pub(crate) fn crashes(&self) -> usize {
        if self.fault.takes_the_disk() { 0 } else { self.restarts.len() - self.watchdog_kills() }
    }
}

/// Plays rounds.
pub(crate) struct Player<'a> {
    pub(crate) stage: Stage<'a>,
    pub(crate) net: &'a mut Net,
    pub(crate) disks: &'a Disks,
    pub(crate) clients: &'a Clients,
    pub(crate) ways: &'a Ways,
    pub(crate) shards: usize,
    pub(crate) rng: &'a mut Rng,
    pub(crate) trouble: Trouble,
}

/// What is wrong at the moment, and what was done in this round.
#[derive(Default)]
pub(crate) struct Trouble {
    pub(crate) notes: Vec<(Duration, String)>,
    pub(crate) stopped: Vec<(Node, Duration)>,
    pub(crate) resumed: Vec<Resumed>,
    pub(crate) frozen: Vec<(Node, u32)>,
    pub(crate) restarts: Vec<Restart>,
}

impl Player<'_> {
    /// Plays one. Gives the confirmed writes too, for the audit at the end.
    pub(crate) fn play(&mut self, number: usize, fault: Fault) -> Result<(Round, Vec<Ack>), Failure> {
        self.trouble = Trouble::default();
        let begun = self.stage.clock.now();
        self.stage.writers.go();
        self.clients.go();
        self.ways.go();
        let primary = self.stage.warm_up()?;
        self.stage.progress.say(fault.spelled());
        let struck = self.stage.clock.now();
        self.inflict(fault, primary)?;
        self.mend()?;
        let healed = self.stage.clock.now();
        let last = self.stage.whole()?;
        self.stage.interrupt.rest(COOL_DOWN)?;
        self.stage.progress.say("reading every write back");
        // Before the load pauses: that silence is ours.
        let ended = self.stage.clock.now();
        self.clients.pause();
        self.ways.pause();
        let acks = self.stage.collect()?;
        let registers = self.registers()?;
        // The primary may have changed since; then the next one to serve everybody must have the writes.
        let last = if self.acknowledged_last(&acks) == Some(last) { last } else { self.stage.whole()? };
        let lost = verdict::lost(&acks, &self.stage.read_back(last, &acks)?);
        let operations = self.operations()?;
        let address = self.stage.cluster.members[last].address();
        let ways = ways::judge(address, &self.ways.chosen, &operations)
            .map_err(|error| Failure::ReadBack { node: self.stage.name(last), why: error.to_string() })?;
        self.stage.progress.say("comparing the contents of all nodes");
        let addresses: Vec<_> =
            self.stage.cluster.members.iter().map(|member| member.address().to_string()).collect();
        let contents = contents(&addresses, self.stage.interrupt)?;
        self.notice_restarts();
        let events = self.stage.events(begun);
        let elected = elections(&events);
        // In whatever way it was written: who acknowledges, acknowledges.
        let every: Vec<Ack> = acks.iter().chain(operations.iter().map(|done| &done.ack)).copied().collect();
        let dual = std::iter::once(None)
            .chain(self.trouble.resumed.iter().copied().map(Some))
            .filter_map(|resumed| verdict::dual(&every, &elected, resumed))
            .max_by_key(|dual| dual.lasted);
        let mut timeline = std::mem::take(&mut self.trouble.notes);
        let mut said = BTreeSet::new();
        let shown = |(node, event): &&(Node, Event)| {
            SHOWN.contains(&event.kind.as_str()) && (event.kind != SHOWN_ONCE || said.insert(*node))
        };
        timeline.extend(events.iter().filter(shown).map(|(node, event)| {
            let fields: Vec<_> = event.fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
            (event.at, format!("{}  {} {}", self.stage.name(*node), event.kind, fields.join(" ")))
        }));
        let writable = writable(&acks);
        timeline.extend(writable.iter().flat_map(|(node, from, until)| {
            let name = self.stage.name(*node);
            [(*from, format!("**  {name} acknowledges writes")), (*until, format!("**  {name} falls silent"))]
        }));
        timeline.sort();
        let waited: Vec<_> = acks.iter().copied().filter(|ack| ack.waited.is_some()).collect();
        let round = Round {
            number,
            nodes: self.nodes(),
            fault,
            primaries: [primary, last],
            begun,
            struck,
            healed,
            ended,
            outage: verdict::outage(&acks, struck, ended),
            acked: acks.len(),
            waited: waited.len(),
            lost,
            dual,
            elections: elected.iter().filter(|elected| elected.at >= struck).count(),
            restarts: std::mem::take(&mut self.trouble.restarts),
            registers,
            ways,
            contents,
            writable,
            timeline,
        };
        Ok((round, waited))
    }

    /// What the register clients saw in this round, judged.
    fn registers(&mut self) -> Result<Check, Failure> {
        let clients = self.clients;
        let paused = self.stage.interrupt.wait_for(PAUSE_PATIENCE, || Ok(clients.paused().then_some(())))?;
        if paused.is_none() {
            let what = "the register clients did not pause".to_owned();
            return Err(self.stage.cluster.timeout(what, PAUSE_PATIENCE));
        }
        let histories = clients.take();
        let (tell, told) = sync_channel(1);
        // On a thread, because nobody can promise how long a search takes.
        std::thread::Builder::new()
            .name("linear".into())
            .spawn(move || {
                let check = linear::check(&histories.operations, &histories.reads);
                tell.send((check, histories))
            })
            .map_err(Failure::os("start a thread"))?;
        let check = self.stage.interrupt.wait_for(CHECK_PATIENCE, || Ok(told.try_recv().ok()))?;
        let Some((check, histories)) = check else {
            let what = "the linearizability check did not end".to_owned();
            return Err(self.stage.cluster.timeout(what, CHECK_PATIENCE));
        };
        for register in &check.wrong {
            let path = self.stage.cluster.directory.join(format!("register-{register}.txt"));
            std::fs::write(&path, linear::dump(*register, &histories.operations))
                .map_err(Failure::os(format!("write {}", path.display())))?;
        }
        Ok(check)
    }

    /// What was acknowledged in every way, once nothing is under way any more.
    fn operations(&mut self) -> Result<Vec<ways::Operation>, Failure> {
        let ways = self.ways;
        let paused = self.stage.interrupt.wait_for(WAYS_PATIENCE, || Ok(ways.paused().then_some(())))?;
        match paused {
            Some(()) => Ok(ways.take()),
            None => {
                let what = "the clients that write in every way did not pause".to_owned();
                Err(self.stage.cluster.timeout(what, WAYS_PATIENCE))
            }
        }
    }

    pub(crate) fn nodes(&self) -> usize {
        self.stage.cluster.members.len()
    }

    pub(crate) fn note(&mut self, text: String) {
        self.trouble.notes.push((self.stage.clock.now(), format!("--  {text}")));
    }

    /// Writes down what the supervisor did.
    pub(crate) fn notice_restarts(&mut self) {
        for restart in self.stage.cluster.take_restarts() {
            let by = if restart.killed { "killed by its watchdog" } else { "ended by itself" };
            let text =
                format!("--  {} {by} ({}); started again", self.stage.name(restart.node), restart.status);
            self.trouble.notes.push((restart.at, text));
            // The new process is not stopped, and its disk is not read-only.
            self.trouble.stopped.retain(|(node, _)| *node != restart.node);
            self.trouble.restarts.push(restart);
        }
    }

    fn acknowledged_last(&self, acks: &[Ack]) -> Option<Node> {
        acks.iter().max_by_key(|ack| ack.replied).map(|ack| ack.node)
    }
}

/// Who acknowledged from when to when; short silences are not shown.
fn writable(acks: &[Ack]) -> Vec<(Node, Duration, Duration)> {
    let mut sorted: Vec<_> = acks.iter().map(|ack| (ack.node, ack.replied)).collect();
    sorted.sort_unstable();
    let mut spans: Vec<(Node, Duration, Duration)> = Vec::new();
    for (node, at) in sorted {
        match spans.last_mut() {
            Some((last, _, until)) if *last == node && at - *until < QUIET => *until = at,
            _ => spans.push((node, at, at)),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(node: Node, at: u64) -> Ack {
        let at = Duration::from_millis(at);
        Ack { node, writer: node, seq: 1, sent: at, replied: at, waited: None }
    }

    fn round(fault: Fault) -> Round {
        Round {
            number: 1,
            nodes: 3,
            fault,
            primaries: [0, 0],
            begun: Duration::ZERO,
            struck: Duration::ZERO,
            healed: Duration::ZERO,
            ended: Duration::ZERO,
            outage: Duration::ZERO,
            acked: 0,
            waited: 0,
            lost: Lost::default(),
            dual: None,
            elections: 0,
            restarts: Vec::new(),
            registers: Check::default(),
            ways: BTreeMap::new(),
            contents: Contents::default(),
            writable: Vec::new(),
            timeline: Vec::new(),
        }
    }

    fn ended(killed: bool) -> Restart {
        Restart { node: 0, at: Duration::ZERO, status: String::new(), killed }
    }

    #[test]
    fn two_at_once_is_never_excused_not_even_for_a_late_reply() {
        let late = Dual { nodes: [0, 1], acks: [1, 0], in_flight: 1, lasted: Duration::from_micros(1) };
        assert!(round(Fault::Stop).innocent());
        assert!(!Round { dual: Some(late), ..round(Fault::Stop) }.innocent());
    }

    #[test]
    fn an_election_is_needless_only_where_the_primary_kept_its_quorum() {
        let elected = |fault| Round { elections: 1, ..round(fault) };
        assert!(elected(Fault::Kill).innocent());
        assert!(!elected(Fault::Busy).innocent() && !elected(Fault::FlapReplica).innocent());
    }

    #[test]
    fn a_watchdogs_kill_is_counted_and_a_crash_is_guilt() {
        let with = |fault, killed| Round { restarts: vec![ended(killed)], ..round(fault) };
        assert_eq!(with(Fault::Stop, true).watchdog_kills(), 1);
        assert!(with(Fault::Stop, true).innocent());
        assert!(!with(Fault::Stop, false).innocent());
        assert!(with(Fault::DiskFull, false).innocent(), "without a disk a server may give up");
    }

    #[test]
    fn lost_writes_and_wrong_registers_are_guilt() {
        let lost = Lost { waited: 1, unwaited: 0 };
        assert!(!Round { lost, ..round(Fault::Kill) }.innocent());
        let registers = Check { wrong: vec![7], ..Check::default() };
        assert!(!Round { registers, ..round(Fault::Kill) }.innocent());
        let unconfirmed = Lost { waited: 0, unwaited: 9 };
        assert!(Round { lost: unconfirmed, ..round(Fault::Kill) }.innocent());
        assert!(
            !Round { lost: unconfirmed, ..round(Fault::Transfer) }.innocent(),
            "a transfer loses nothing"
        );
    }

    #[test]
    fn contents_that_differ_and_operations_that_are_lost_are_guilt() {
        let contents = Contents { differing: 1, ..Contents::default() };
        assert!(!Round { contents, ..round(Fault::Kill) }.innocent());
        let contents = Contents { undecided: Some("n2 is behind".into()), ..Contents::default() };
        assert!(!Round { contents, ..round(Fault::Kill) }.innocent());
        let ways = |fate| BTreeMap::from([(Way::Eval, fate)]);
        let lost = Fate { acked: 1, confirmed: 1, lost: 1, unconfirmed_lost: 0 };
        assert!(!Round { ways: ways(lost), ..round(Fault::Kill) }.innocent());
        assert!(
            !Round { ways: ways(Fate::default()), ..round(Fault::Kill) }.innocent(),
            "nobody could write"
        );
        let unconfirmed = Fate { acked: 1, confirmed: 0, lost: 0, unconfirmed_lost: 1 };
        assert!(Round { ways: ways(unconfirmed), ..round(Fault::Kill) }.innocent());
    }

    #[test]
    fn spans_end_where_a_node_falls_silent() {
        let ms = Duration::from_millis;
        let acks = [ack(0, 10), ack(1, 30), ack(0, 50), ack(0, 200)];
        assert_eq!(writable(&acks), [(0, ms(10), ms(50)), (0, ms(200), ms(200)), (1, ms(30), ms(30))]);
    }
}
