//! The judge: was anything lost, did two nodes acknowledge at once? Pure functions over histories.
//!
//! A node's acknowledgements fall into **reigns**: a new one begins whenever the node logged that it was
//! elected. Reigns are ordered by their first acknowledgement. Two nodes acknowledged **at once** if a
//! node acknowledged a write that was *sent* to it after the first acknowledgement of a later reign of
//! another node had *arrived* here. Sent and arrived are instants of one clock in one process, so this
//! needs no assumption about the servers' clocks, and an acknowledgement that was merely slow to arrive
//! accuses nobody.
//!
//! A process that was stopped cannot have answered while it was: whatever it acknowledges after SIGCONT
//! it acknowledges too late, no matter when the write was sent.

use std::collections::BTreeMap;
use std::time::Duration;

/// A node: its place in the cluster.
pub type Node = usize;

/// A write that was answered with `+OK`. Instants count from the start of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Who acknowledged.
    pub node: Node,
    /// Which connection; with `seq` it makes up the key.
    pub writer: usize,
    /// The value, unique per writer.
    pub seq: u64,
    /// Before the request was written to the socket.
    pub sent: Duration,
    /// After the reply was read.
    pub replied: Duration,
    /// When `WAIT` said that enough replicas hold it, if it did.
    pub waited: Option<Duration>,
}

/// A node said that it won an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elected {
    /// The node that said so.
    pub node: Node,
    /// When its log said so.
    pub at: Duration,
}

/// A stopped process was let go on, while another node had already acknowledged writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// The node that was stopped.
    pub node: Node,
    /// The instant before SIGSTOP.
    pub stopped: Duration,
    /// The instant before SIGCONT.
    pub at: Duration,
}

/// Two nodes acknowledged at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dual {
    /// Who acknowledged first, and who beside it.
    pub nodes: [Node; 2],
    /// How many writes each of them acknowledged meanwhile.
    pub acks: [usize; 2],
    /// How many of them had been sent before the process was stopped and were answered after it woke up.
    pub in_flight: usize,
    /// From the second node's first acknowledged write, or from SIGCONT, to the last acknowledgement of
    /// whichever fell silent first.
    pub lasted: Duration,
}

/// What reading everything back showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lost {
    /// Acknowledged, confirmed by `WAIT`, and missing or changed: must be 0.
    pub waited: usize,
    /// Acknowledged only, and missing: what asynchronous replication may lose.
    pub unwaited: usize,
}

/// The worst case of two nodes acknowledging at once, if there is any.
pub fn dual(acks: &[Ack], elections: &[Elected], resumed: Option<Resumed>) -> Option<Dual> {
    let reigns = reigns(acks, elections);
    let mut worst: Option<Dual> = None;
    for (i, later) in reigns.iter().enumerate() {
        for earlier in reigns[..i].iter().filter(|earlier| earlier.node != later.node) {
            // The stricter rule below judges these, and does not count the time in which it was stopped.
            let succeeded = |r: Resumed| {
                earlier.was_stopped(r) && r.stopped < later.first.replied && later.first.replied <= r.at
            };
            if resumed.is_some_and(succeeded) {
                continue;
            }
            if earlier.acks.iter().any(|ack| ack.sent > later.first.replied) {
                worst = worse(worst, overlap(earlier, later, later.first.sent, None));
            }
        }
    }
    if let Some(r) = resumed {
        for own in reigns.iter().filter(|own| own.was_stopped(r) && own.last > r.at) {
            // Whoever reigned before it has no part in this: being stopped does not take away the mandate that
            // it won from them.
            let succeeded = |s: &&Reign<'_>| {
                s.node != r.node && own.first.replied < s.first.replied && s.first.replied <= r.at
            };
            for successor in reigns.iter().filter(succeeded) {
                worst = worse(worst, overlap(own, successor, r.at, Some(r.stopped)));
            }
        }
    }
    worst
}

/// The longest time without any acknowledgement between `from` and `to`.
pub fn outage<'a>(acks: impl IntoIterator<Item = &'a Ack>, from: Duration, to: Duration) -> Duration {
    let (begun, ended) = longest(acks, from, to);
    ended - begun
}

/// When that began, and when it ended.
pub fn longest<'a>(
    acks: impl IntoIterator<Item = &'a Ack>,
    from: Duration,
    to: Duration,
) -> (Duration, Duration) {
    let replied = acks.into_iter().map(|ack| ack.replied);
    let mut instants: Vec<_> = replied.filter(|at| *at > from && *at < to).chain([from, to]).collect();
    instants.sort_unstable();
    let gaps = instants.windows(2).map(|pair| (pair[0], pair[1]));
    gaps.max_by_key(|(begun, ended)| *ended - *begun).unwrap_or((from, from))
}

/// Compares what was acknowledged with what is there: `found` holds the value under each one's key.
pub fn lost(acks: &[Ack], found: &[Option<u64>]) -> Lost {
    let mut lost = Lost::default();
    // A short answer is not a clean bill of health: what was not looked up counts as missing.
    let found = found.iter().copied().chain(std::iter::repeat(None));
    for (ack, _) in acks.iter().zip(found).filter(|(ack, value)| *value != Some(ack.seq)) {
        match ack.waited {
            Some(_) => lost.waited += 1,
            None => lost.unwaited += 1,
        }
    }
    lost
}

/// The acknowledgements of one node under one mandate.
struct Reign<'a> {
    node: Node,
    /// The one that arrived first.
    first: &'a Ack,
    /// When the last one arrived.
    last: Duration,
    acks: Vec<&'a Ack>,
}

impl Reign<'_> {
    /// Whether the process was stopped under this mandate. One that it won after waking up may be used.
    fn was_stopped(&self, resumed: Resumed) -> bool {
        self.node == resumed.node && self.first.replied <= resumed.stopped
    }
}

/// In the order of their first acknowledgements.
fn reigns<'a>(acks: &'a [Ack], elections: &[Elected]) -> Vec<Reign<'a>> {
    let mut by_mandate: BTreeMap<(Node, usize), Vec<&Ack>> = BTreeMap::new();
    for ack in acks {
        let mandate = elections.iter().filter(|e| e.node == ack.node && e.at <= ack.replied).count();
        by_mandate.entry((ack.node, mandate)).or_default().push(ack);
    }
    let mut reigns: Vec<_> = by_mandate
        .into_iter()
        .filter_map(|((node, _), acks)| {
            let first = acks.iter().copied().min_by_key(|ack| ack.replied)?;
            let last = acks.iter().map(|ack| ack.replied).max()?;
            Some(Reign { node, first, last, acks })
        })
        .collect();
    reigns.sort_by_key(|reign| reign.first.replied);
    reigns
}

/// How long both went on from `from`.
fn overlap(a: &Reign<'_>, b: &Reign<'_>, from: Duration, stopped: Option<Duration>) -> Option<Dual> {
    let until = a.last.min(b.last.max(from));
    let during = |ack: &&&Ack| ack.replied > from && ack.sent <= until;
    let count = |reign: &Reign<'_>| reign.acks.iter().filter(during).count();
    // Without a stop there is nothing that could have been under way during it.
    let under_way = |ack: &&&Ack| stopped.is_some_and(|stopped| ack.sent <= stopped);
    Some(Dual {
        nodes: [a.node, b.node],
        acks: [count(a), count(b)],
        in_flight: a.acks.iter().filter(during).filter(under_way).count(),
        lasted: until.saturating_sub(from),
    })
}

fn worse(a: Option<Dual>, b: Option<Dual>) -> Option<Dual> {
    a.into_iter().chain(b).max_by_key(|dual| (dual.lasted, dual.acks))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn ack(node: Node, sent: u64, replied: u64) -> Ack {
        Ack { node, writer: node, seq: sent, sent: ms(sent), replied: ms(replied), waited: None }
    }

    /// `node` acknowledges every 10 ms from `from` to `to`, each within 1 ms.
    fn reign(node: Node, from: u64, to: u64) -> Vec<Ack> {
        (from..to).step_by(10).map(|t| ack(node, t, t + 1)).collect()
    }

    fn elected(node: Node, at: u64) -> Elected {
        Elected { node, at: ms(at) }
    }

    #[test]
    fn one_after_the_other_is_fine() {
        let history = [reign(0, 0, 100), reign(1, 150, 300)].concat();
        assert_eq!(dual(&history, &[elected(1, 140)], None), None);
    }

    #[test]
    fn an_old_primary_that_goes_on_is_seen_with_its_duration() {
        let history = [reign(0, 0, 200), reign(1, 155, 300)].concat();
        let dual = dual(&history, &[elected(1, 140)], None).unwrap();
        // n1 begins with the write of 155; n0's writes of 160, 170, 180 and 190 come after it.
        assert_eq!((dual.nodes, dual.lasted), ([0, 1], ms(191 - 155)));
        assert_eq!((dual.acks, dual.in_flight), ([4, 4], 0));
    }

    #[test]
    fn a_loser_that_acknowledges_beside_the_winner_counts_for_as_long_as_it_did() {
        let history = [reign(0, 0, 100), reign(1, 150, 900), reign(2, 155, 200)].concat();
        let dual = dual(&history, &[elected(1, 140)], None).unwrap();
        assert_eq!((dual.nodes, dual.lasted), ([1, 2], ms(196 - 155)));
    }

    #[test]
    fn a_single_write_too_late_is_enough() {
        let one_by_the_old = [reign(0, 0, 100), reign(1, 150, 300), vec![ack(0, 152, 153)]].concat();
        assert_eq!(dual(&one_by_the_old, &[], None).unwrap().lasted, ms(3));
        let one_by_the_loser = [reign(0, 0, 100), reign(1, 150, 300), vec![ack(2, 222, 224)]].concat();
        assert_eq!(dual(&one_by_the_loser, &[], None).unwrap().lasted, ms(2));
    }

    #[test]
    fn an_acknowledgement_that_was_only_slow_to_arrive_accuses_nobody() {
        // Sent to n0 before n1 took over, answered after: n0 may have decided in time.
        let history = [reign(0, 0, 100), vec![ack(0, 149, 170)], reign(1, 150, 300)].concat();
        assert_eq!(dual(&history, &[], None), None);
    }

    #[test]
    fn a_node_that_is_elected_again_may_acknowledge_again() {
        let history = [reign(0, 0, 100), reign(1, 150, 200), reign(0, 250, 300)].concat();
        assert_eq!(dual(&history, &[elected(1, 140), elected(0, 240)], None), None);
        let without_mandate = dual(&history, &[elected(1, 140)], None).unwrap();
        assert_eq!(without_mandate.nodes, [0, 1]);
    }

    #[test]
    fn a_second_mandate_does_not_excuse_the_node_that_it_ended() {
        let history = [reign(0, 0, 100), reign(1, 150, 290), reign(0, 250, 300)].concat();
        let dual = dual(&history, &[elected(1, 140), elected(0, 240)], None).unwrap();
        assert_eq!((dual.nodes, dual.lasted), ([1, 0], ms(281 - 250)));
    }

    #[test]
    fn after_sigcont_not_even_a_write_that_was_under_way_may_be_acknowledged() {
        let stopped = Resumed { node: 0, stopped: ms(95), at: ms(400) };
        let in_flight = [reign(0, 0, 90), vec![ack(0, 94, 401)], reign(1, 150, 500)].concat();
        assert_eq!(dual(&in_flight, &[], None), None, "the general rule cannot know");
        let seen = dual(&in_flight, &[], Some(stopped)).unwrap();
        assert_eq!((seen.acks[0], seen.in_flight, seen.lasted), (1, 1, ms(1)));

        let awake = [reign(0, 0, 90), reign(1, 150, 500), reign(0, 401, 430)].concat();
        let seen = dual(&awake, &[], Some(stopped)).unwrap();
        assert_eq!((seen.acks[0], seen.in_flight, seen.lasted), (3, 0, ms(22)));

        let quiet = [reign(0, 0, 90), reign(1, 150, 500)].concat();
        assert_eq!(dual(&quiet, &[], Some(stopped)), None);
    }

    #[test]
    fn a_resumed_node_that_is_elected_again_is_not_accused() {
        let history = [reign(0, 0, 90), reign(1, 150, 450), reign(0, 500, 600)].concat();
        let stopped = Resumed { node: 0, stopped: ms(95), at: ms(400) };
        assert_eq!(dual(&history, &[elected(1, 140), elected(0, 490)], Some(stopped)), None);
    }

    #[test]
    fn a_resumed_node_that_nobody_replaced_may_go_on() {
        let history = [reign(1, 0, 90), reign(0, 100, 200), reign(0, 400, 500)].concat();
        let stopped = Resumed { node: 0, stopped: ms(200), at: ms(390) };
        assert_eq!(dual(&history, &[elected(1, 0), elected(0, 95)], Some(stopped)), None);
    }

    #[test]
    fn lost_and_changed_writes_are_counted_apart_by_wait() {
        let mut acks = reign(0, 0, 50);
        acks[0].waited = Some(ms(2));
        acks[1].waited = Some(ms(12));
        acks[2].waited = Some(ms(22));
        let found = [Some(0), None, Some(99), None, Some(40)];
        assert_eq!(lost(&acks, &found), Lost { waited: 2, unwaited: 1 });
        assert_eq!(lost(&acks, &[]), Lost { waited: 3, unwaited: 2 }, "not looked up is not found");
        assert_eq!(lost(&acks, &acks.iter().map(|a| Some(a.seq)).collect::<Vec<_>>()), Lost::default());
    }

    #[test]
    fn an_outage_is_the_longest_silence_also_at_the_ends() {
        let acks = [ack(0, 9, 10), ack(0, 19, 20), ack(1, 89, 90), ack(1, 99, 100)];
        assert_eq!(outage(&acks, ms(15), ms(110)), ms(70));
        assert_eq!(outage(&acks, ms(15), ms(400)), ms(300));
        assert_eq!(outage(&[], ms(15), ms(400)), ms(385));
    }
}
