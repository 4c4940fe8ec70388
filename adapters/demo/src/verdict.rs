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
pub(crate) type Node = usize;

/// A write that was answered with `+OK`. Instants count from the start of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ack {
    /// Who acknowledged.
    pub(crate) node: Node,
    /// Which connection; with `seq` it makes up the key.
    pub(crate) writer: usize,
    /// The value, unique per writer.
    pub(crate) seq: u64,
    /// Before the request was written to the socket.
    pub(crate) sent: Duration,
    /// After the reply was read.
    pub(crate) replied: Duration,
    /// When `WAIT 1` said that a replica holds it, if it did.
    pub(crate) waited: Option<Duration>,
}

/// A node said that it won an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elected {
    pub(crate) node: Node,
    pub(crate) at: Duration,
}

/// A stopped process was let go on, while another node had already acknowledged writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resumed {
    pub(crate) node: Node,
    /// The instant before SIGSTOP.
    pub(crate) stopped: Duration,
    /// The instant before SIGCONT.
    pub(crate) at: Duration,
}

/// Two nodes acknowledged at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dual {
    /// Who should have stopped.
    pub(crate) old: Node,
    /// Who had taken over.
    pub(crate) new: Node,
    /// How many writes `old` acknowledged too late.
    pub(crate) acks: usize,
    /// How many of them had been sent before it was stopped.
    pub(crate) in_flight: usize,
    /// From the first acknowledgement of `new`, or from SIGCONT, to the last one of `old`.
    pub(crate) lasted: Duration,
}

/// What reading everything back showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lost {
    /// Acknowledged, confirmed by `WAIT`, and missing or changed: must be 0.
    pub(crate) waited: usize,
    /// Acknowledged only, and missing: what asynchronous replication may lose.
    pub(crate) unwaited: usize,
}

/// The worst case of two nodes acknowledging at once, if there is any.
pub(crate) fn dual(acks: &[Ack], elections: &[Elected], resumed: Option<Resumed>) -> Option<Dual> {
    let reigns = reigns(acks, elections);
    let mut worst: Option<Dual> = None;
    for (i, later) in reigns.iter().enumerate() {
        for earlier in reigns[..i].iter().filter(|earlier| earlier.node != later.node) {
            let late = earlier.acks.iter().filter(|ack| ack.sent > later.first);
            worst = worse(worst, evidence(earlier.node, later.node, later.first, None, late));
        }
    }
    if let Some(Resumed { node, stopped, at }) = resumed {
        let other = reigns.iter().find(|reign| reign.node != node && reign.first <= at);
        if let Some(new) = other {
            let own = reigns.iter().filter(|reign| reign.node == node && reign.first <= stopped);
            let late = own.flat_map(|reign| &reign.acks).filter(|ack| ack.replied > at);
            worst = worse(worst, evidence(node, new.node, at, Some(stopped), late));
        }
    }
    worst
}

/// Compares what was acknowledged with what is there: `found` holds the value under each one's key.
pub(crate) fn lost(acks: &[Ack], found: &[Option<u64>]) -> Lost {
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
    /// When its first acknowledgement arrived.
    first: Duration,
    acks: Vec<&'a Ack>,
}

fn reigns<'a>(acks: &'a [Ack], elections: &[Elected]) -> Vec<Reign<'a>> {
    let mut by_mandate: BTreeMap<(Node, usize), Vec<&Ack>> = BTreeMap::new();
    for ack in acks {
        let mandate = elections.iter().filter(|e| e.node == ack.node && e.at <= ack.replied).count();
        by_mandate.entry((ack.node, mandate)).or_default().push(ack);
    }
    let mut reigns: Vec<_> = by_mandate
        .into_iter()
        .filter_map(|((node, _), acks)| {
            let first = acks.iter().map(|ack| ack.replied).min()?;
            Some(Reign { node, first, acks })
        })
        .collect();
    reigns.sort_by_key(|reign| reign.first);
    reigns
}

fn evidence<'a>(
    old: Node,
    new: Node,
    from: Duration,
    stopped: Option<Duration>,
    late: impl Iterator<Item = &'a &'a Ack>,
) -> Option<Dual> {
    late.fold(None, |dual, ack| {
        let sum = dual.unwrap_or(Dual { old, new, acks: 0, in_flight: 0, lasted: Duration::ZERO });
        Some(Dual {
            acks: sum.acks + 1,
            in_flight: sum.in_flight + usize::from(stopped.is_some_and(|stopped| ack.sent <= stopped)),
            lasted: sum.lasted.max(ack.replied - from),
            ..sum
        })
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
        // n1's first acknowledgement arrives at 156; n0's writes of 160, 170, 180 and 190 come after it.
        assert_eq!((dual.old, dual.new, dual.acks), (0, 1, 4));
        assert_eq!(dual.lasted, ms(191 - 156));
    }

    #[test]
    fn a_loser_that_acknowledges_beside_the_winner_is_seen() {
        let history = [reign(0, 0, 100), reign(1, 150, 300), reign(2, 155, 200)].concat();
        let dual = dual(&history, &[elected(1, 140)], None).unwrap();
        assert_eq!((dual.old, dual.new), (1, 2));
    }

    #[test]
    fn a_single_late_write_is_enough() {
        let history = [reign(0, 0, 100), reign(1, 150, 300), vec![ack(0, 152, 152)]].concat();
        assert_eq!(dual(&history, &[], None).unwrap().acks, 1);
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
        assert_eq!((without_mandate.old, without_mandate.new), (0, 1));
    }

    #[test]
    fn a_second_mandate_does_not_excuse_the_node_that_it_ended() {
        let history = [reign(0, 0, 100), reign(1, 150, 290), reign(0, 250, 300)].concat();
        let dual = dual(&history, &[elected(1, 140), elected(0, 240)], None).unwrap();
        assert_eq!((dual.old, dual.new), (1, 0));
    }

    #[test]
    fn after_sigcont_not_even_a_write_that_was_under_way_may_be_acknowledged() {
        let stopped = Resumed { node: 0, stopped: ms(95), at: ms(400) };
        let in_flight = [reign(0, 0, 90), vec![ack(0, 94, 401)], reign(1, 150, 500)].concat();
        assert_eq!(dual(&in_flight, &[], None), None, "the general rule cannot know");
        let seen = dual(&in_flight, &[], Some(stopped)).unwrap();
        assert_eq!((seen.acks, seen.in_flight, seen.lasted), (1, 1, ms(1)));

        let awake = [reign(0, 0, 90), reign(1, 150, 500), reign(0, 401, 430)].concat();
        let seen = dual(&awake, &[], Some(stopped)).unwrap();
        assert_eq!((seen.acks, seen.in_flight), (3, 0));

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
}
