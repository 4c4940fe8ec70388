//! One round: load on a whole cluster, a fault, recovery, verdict.

use crate::fault::Fault;
use crate::net::{Cut, Net, around, both};
use fastrand::Rng;
use kevy_elect_demo::failure::Failure;
use kevy_elect_demo::round::{Stage, elections};
use kevy_elect_demo::verdict::{self, Ack, Dual, Lost, Node, Resumed};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a silence is drawn as one.
const QUIET: Duration = Duration::from_millis(60);
/// How long the whole cluster works before the verdict.
const COOL_DOWN: Duration = Duration::from_millis(300);
/// Pauses of a flapping link: shorter and longer than the time after which a primary is suspected.
const FLAP_MS: std::ops::Range<u64> = 50..1300;
/// Between two steps of a storm.
const STORM_STEP_MS: std::ops::Range<u64> = 10..900;
/// How many steps a storm has.
const STORM_STEPS: std::ops::Range<usize> = 4..14;
/// How long a fault lasts: sometimes too short for an election, mostly long enough.
const HOLD_MS: std::ops::Range<u64> = 700..3500;
/// Decisions of the servers that a timeline shows.
const SHOWN: [&str; 8] =
    ["suspected", "elected", "promoted", "following", "fenced", "unfenced", "resigned", "promote_failed"];

/// What came of a round. Instants count from the start of the program.
pub(crate) struct Round {
    pub(crate) number: usize,
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
    /// Who acknowledged from when to when.
    pub(crate) writable: Vec<(Node, Duration, Duration)>,
    pub(crate) timeline: Vec<(Duration, String)>,
}

impl Round {
    /// Whether everything that must hold did.
    pub(crate) fn innocent(&self) -> bool {
        self.lost.waited == 0 && self.dual.is_none_or(|_| self.only_replies_were_late())
    }

    /// Whether the old primary, resumed, only answered writes that had been under way when it was stopped, and all
    /// of them are in the new history: they had been done and replicated before, so the answers are true. The
    /// report shows them nevertheless.
    pub(crate) fn only_replies_were_late(&self) -> bool {
        let late = self.dual.is_some_and(|dual| dual.acks[0] > 0 && dual.in_flight == dual.acks[0]);
        late && self.lost == Lost::default()
    }

    /// Whether the primary changed although a quorum could reach it all the time.
    pub(crate) fn needless(&self) -> bool {
        self.fault.is_harmless() && self.primaries[0] != self.primaries[1]
    }
}

/// Plays rounds.
pub(crate) struct Player<'a> {
    pub(crate) stage: Stage<'a>,
    pub(crate) net: &'a mut Net,
    pub(crate) rng: Rng,
    notes: Vec<(Duration, String)>,
    stopped: Vec<(Node, Duration)>,
    resumed: Vec<Resumed>,
}

impl<'a> Player<'a> {
    pub(crate) fn new(stage: Stage<'a>, net: &'a mut Net, seed: u64) -> Self {
        let rng = Rng::with_seed(seed);
        Self { stage, net, rng, notes: Vec::new(), stopped: Vec::new(), resumed: Vec::new() }
    }

    /// Plays one. Gives the confirmed writes too, for the audit at the end.
    pub(crate) fn play(&mut self, number: usize, fault: Fault) -> Result<(Round, Vec<Ack>), Failure> {
        (self.notes, self.stopped, self.resumed) = (Vec::new(), Vec::new(), Vec::new());
        let begun = self.stage.clock.now();
        self.stage.writers.go();
        let primary = self.stage.warm_up()?;
        self.stage.progress.say(fault.spelled());
        let struck = self.stage.clock.now();
        self.inflict(fault, primary)?;
        self.mend()?;
        let healed = self.stage.clock.now();
        let last = self.stage.whole()?;
        self.stage.interrupt.rest(COOL_DOWN)?;
        self.stage.progress.say("reading every write back");
        let acks = self.stage.collect()?;
        let ended = self.stage.clock.now();
        // The primary may have changed since; then the next one to serve everybody must have the writes.
        let last = if self.acknowledged_last(&acks) == Some(last) { last } else { self.stage.whole()? };
        let lost = verdict::lost(&acks, &self.stage.read_back(last, &acks)?);
        let events = self.stage.events(begun);
        let elected = elections(&events);
        let dual = std::iter::once(None)
            .chain(self.resumed.iter().copied().map(Some))
            .filter_map(|resumed| verdict::dual(&acks, &elected, resumed))
            .max_by_key(|dual| dual.lasted);
        let mut timeline = std::mem::take(&mut self.notes);
        timeline.extend(events.iter().filter(|(_, event)| SHOWN.contains(&event.kind.as_str())).map(
            |(node, event)| {
                let fields: Vec<_> = event.fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
                (event.at, format!("{}  {} {}", self.stage.name(*node), event.kind, fields.join(" ")))
            },
        ));
        timeline.sort();
        let waited: Vec<_> = acks.iter().copied().filter(|ack| ack.waited.is_some()).collect();
        let round = Round {
            number,
            fault,
            primaries: [primary, last],
            begun,
            struck,
            healed,
            ended,
            outage: outage(&acks, struck, ended),
            acked: acks.len(),
            waited: waited.len(),
            lost,
            dual,
            writable: writable(&acks),
            timeline,
        };
        Ok((round, waited))
    }

    fn inflict(&mut self, fault: Fault, primary: Node) -> Result<(), Failure> {
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
            Fault::Roll => {
                for node in 0..nodes {
                    let how = self.how();
                    self.cut_for_a_while(around(node, nodes), how)?;
                    self.heal()?;
                }
                Ok(())
            }
            Fault::Storm => {
                for _ in 0..self.rng.usize(STORM_STEPS) {
                    let node = self.rng.usize(..nodes);
                    match self.rng.u8(..4) {
                        0 => self.pause_or_resume(node)?,
                        1 => self.heal()?,
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
                            self.stopped.retain(|(node, _)| *node != victim);
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

    /// Ends whatever is still wrong.
    fn mend(&mut self) -> Result<(), Failure> {
        self.heal()?;
        while let Some((node, _)) = self.stopped.last().copied() {
            self.resume(node)?;
        }
        for node in 0..self.nodes() {
            if self.stage.cluster.pid(node).is_none() {
                self.launch(node)?;
            }
        }
        Ok(())
    }

    fn nodes(&self) -> usize {
        self.stage.cluster.members.len()
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
        match self.stopped.iter().any(|(stopped, _)| *stopped == node) {
            true => self.resume(node),
            false => self.stop(node),
        }
    }

    fn stop(&mut self, node: Node) -> Result<(), Failure> {
        self.note(format!("SIGSTOP {}", self.stage.name(node)));
        self.stopped.push((node, self.stage.clock.now()));
        self.stage.cluster.stop(node)
    }

    fn resume(&mut self, node: Node) -> Result<(), Failure> {
        self.note(format!("SIGCONT {}", self.stage.name(node)));
        if let Some(place) = self.stopped.iter().position(|(stopped, _)| *stopped == node) {
            let (node, stopped) = self.stopped.swap_remove(place);
            self.resumed.push(Resumed { node, stopped, at: self.stage.clock.now() });
        }
        self.stage.cluster.resume(node).map(drop)
    }

    fn note(&mut self, text: String) {
        self.notes.push((self.stage.clock.now(), format!("--  {text}")));
    }

    fn hold(&mut self) -> Result<(), Failure> {
        self.rest(HOLD_MS)
    }

    fn rest(&mut self, ms: std::ops::Range<u64>) -> Result<(), Failure> {
        self.stage.interrupt.rest(Duration::from_millis(self.rng.u64(ms)))
    }

    fn acknowledged_last(&self, acks: &[Ack]) -> Option<Node> {
        acks.iter().max_by_key(|ack| ack.replied).map(|ack| ack.node)
    }
}

/// The longest time without any acknowledgement between `from` and `to`.
fn outage(acks: &[Ack], from: Duration, to: Duration) -> Duration {
    let mut instants: Vec<_> =
        acks.iter().map(|ack| ack.replied).filter(|at| *at > from && *at < to).collect();
    instants.extend([from, to]);
    instants.sort_unstable();
    instants.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
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

    #[test]
    fn an_outage_is_the_longest_silence_also_at_the_ends() {
        let ms = Duration::from_millis;
        let acks = [ack(0, 10), ack(0, 20), ack(1, 90), ack(1, 100)];
        assert_eq!(outage(&acks, ms(15), ms(110)), ms(70));
        assert_eq!(outage(&acks, ms(15), ms(400)), ms(300));
        assert_eq!(outage(&[], ms(15), ms(400)), ms(385));
    }

    #[test]
    fn spans_end_where_a_node_falls_silent() {
        let ms = Duration::from_millis;
        let acks = [ack(0, 10), ack(1, 30), ack(0, 50), ack(0, 200)];
        assert_eq!(writable(&acks), [(0, ms(10), ms(50)), (0, ms(200), ms(200)), (1, ms(30), ms(30))]);
    }
}
