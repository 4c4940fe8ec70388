//! The lease: how long a primary may write.
//!
//! It runs from the *send* time of the newest heartbeat that a quorum has echoed. The voters' promises
//! run from its *receive* time, which is later: so the promises outlast the lease whatever the network
//! does to the messages (`docs/protocol.md`, "Lease").

use crate::config::Config;
use crate::ids::Round;
use crate::time::{Duration, Instant};

/// The send times of recent rounds, and what each voter has echoed of them.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    length: Duration,
    quorum: usize,
    /// Number of the last heartbeat.
    round: Round,
    /// Send times, at `round % len`. An echo of a round older than the ring is older than a lease.
    sent: Vec<(Round, Instant)>,
    /// Per voter: send time of the newest round it echoed.
    echoed: Vec<Option<Instant>>,
    /// The quorum-th newest of them, and how many are newer: while those are no quorum it stays what it is.
    /// Without this every echo would look at all voters, which is quadratic in them per interval.
    start: Option<Instant>,
    newer: usize,
    /// What the voters before one was added have echoed, as long as the present ones have not (M11).
    carried: Option<Instant>,
    /// Room to sort in, so that renewing allocates nothing.
    scratch: Vec<Instant>,
    until: Option<Instant>,
}

impl Lease {
    pub(super) fn new(config: &Config, voters: usize) -> Self {
        let rounds = config.lease.as_nanos() / config.heartbeat_interval.as_nanos().max(1) + 2;
        // Rounds are also sent out of turn (after a promotion, on a retry): twice the room is plenty,
        // and what falls out of the ring merely renews nothing.
        let rounds = (rounds * 2).min(4096) as usize;
        Self {
            length: config.lease,
            quorum: voters / 2 + 1,
            round: Round(0),
            sent: vec![(Round(0), Instant::ZERO); rounds],
            echoed: vec![None; voters],
            start: None,
            newer: 0,
            carried: None,
            scratch: Vec::with_capacity(voters),
            until: None,
        }
    }

    /// Forgets everything: a new reign, or a clock that cannot be trusted backwards.
    pub(super) fn revoke(&mut self) {
        self.sent.fill((Round(0), Instant::ZERO));
        self.echoed.fill(None);
        (self.start, self.carried) = (None, None);
        self.until = None;
    }

    /// A heartbeat leaves now; gives its number.
    pub(super) fn next_round(&mut self, now: Instant) -> Round {
        self.round = Round(self.round.0 + 1);
        self.sent(self.round, now);
        self.round
    }

    /// Number of the last heartbeat.
    pub(super) fn round(&self) -> Round {
        self.round
    }

    fn sent(&mut self, round: Round, at: Instant) {
        let slot = (round.0 % self.sent.len() as u64) as usize;
        self.sent[slot] = (round, at);
    }

    /// `voter` echoed `round`. Rounds that were never sent (or long ago) renew nothing.
    pub(super) fn echo(&mut self, voter: usize, round: Round) {
        let (sent_round, at) = self.sent[(round.0 % self.sent.len() as u64) as usize];
        if sent_round == round && round != Round(0) {
            self.supported(voter, at);
        }
    }

    /// Whether all voters have echoed the last heartbeat.
    pub(super) fn is_echoed_by_all(&self) -> bool {
        let (round, sent) = self.sent[(self.round.0 % self.sent.len() as u64) as usize];
        round == self.round && round != Round(0) && self.echoed.iter().all(|at| *at >= Some(sent))
    }

    /// `voter` supports this node since `at`, the send time of what it answered.
    pub(super) fn supported(&mut self, voter: usize, at: Instant) {
        let newest = &mut self.echoed[voter];
        let old = newest.replace(newest.map_or(at, |old| old.max(at)));
        if old <= self.start && *newest > self.start {
            self.newer += 1;
        }
    }

    /// What `voter` promised does not count any more.
    pub(super) fn unsupported(&mut self, voter: usize) {
        let echoed = self.echoed[voter].take();
        self.start = None;
        // Who had not echoed by then is none of the quorum that it is of.
        self.carried = self.carried.filter(|carried| echoed < Some(*carried));
    }

    /// Other voters count from here on: `before` says under which number each of them was counted until now.
    pub(super) fn renumber(&mut self, before: &[Option<usize>]) {
        // One voter more: every quorum of the present ones meets the one that this lease is of. Twice in a row that is not so.
        let all_stay = (0..self.echoed.len()).all(|old| before.contains(&Some(old)));
        self.carried = self.start.filter(|_| all_stay && self.carried.is_none());
        let echoed = |old: &Option<usize>| old.and_then(|old| self.echoed[old]);
        self.echoed = before.iter().map(echoed).collect();
        self.quorum = before.len() / 2 + 1;
        self.scratch = Vec::with_capacity(before.len());
        self.start = None;
    }

    /// Whether it still is the lease of those who voted before one was added.
    pub(super) fn is_carried(&self) -> bool {
        self.carried.is_some()
    }

    /// Hashes what decides how the lease goes on.
    #[cfg(feature = "sim")]
    pub(super) fn digest(&self, now: Instant, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        let age = |at: Instant| now.saturating_since(at).min(self.length);
        let rounds = self.sent.len() as u64;
        for back in 0..rounds.min(self.round.0) {
            let number = Round(self.round.0 - back);
            let (found, at) = self.sent[(number.0 % rounds) as usize];
            if found == number {
                (back, age(at)).hash(hasher);
            }
        }
        for at in &self.echoed {
            at.map(age).hash(hasher);
        }
        // Of voters who may not be counted any more: nothing else says it.
        self.carried.map(age).hash(hasher);
    }

    /// Makes the lease as long as the promise, for a test of the simulator.
    #[cfg(feature = "sim")]
    pub(super) fn lengthen(&mut self, length: Duration) {
        self.length = length;
    }

    /// Recomputes the end of the lease; `me` supports itself up to `now`. Without a quorum of supporters
    /// there is no lease, even if the old one had not run out.
    pub(super) fn renew(&mut self, me: usize, now: Instant) -> Option<Instant> {
        self.supported(me, now);
        if self.start.is_none() || self.newer >= self.quorum {
            self.find_start();
        }
        self.until = self.start.map(|start| start + self.length);
        self.until
    }

    /// The quorum-th newest: that many voters support at least as long.
    fn find_start(&mut self) {
        self.scratch.clear();
        self.scratch.extend(self.echoed.iter().flatten());
        self.start = match self.scratch.len() < self.quorum {
            true => None,
            false => {
                let (_, start, _) = self.scratch.select_nth_unstable_by(self.quorum - 1, |a, b| b.cmp(a));
                Some(*start)
            }
        };
        if self.carried.is_some() {
            self.carried = self.carried.filter(|carried| self.start < Some(*carried));
            self.start = self.start.max(self.carried);
        }
        self.newer = self.echoed.iter().filter(|at| **at > self.start).count();
    }

    /// End of the lease, if one was ever held in this reign.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Member;
    use crate::ids::NodeId;

    fn lease(voters: usize) -> Lease {
        let ids: Vec<_> = (0..voters).map(|n| NodeId::new(&format!("n{n}")).unwrap()).collect();
        Lease::new(&Config::builder(ids[0], ids.iter().map(|id| Member::voter(*id))).build().unwrap(), voters)
    }

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn it_runs_from_the_send_time_of_what_the_slowest_of_a_quorum_echoed() {
        let mut lease = lease(5);
        let length = lease.length;
        for (round, ms) in [(1, 1000), (2, 1100), (3, 1200)] {
            lease.sent(Round(round), at(ms));
        }
        assert_eq!(lease.renew(0, at(1200)), None);
        lease.echo(1, Round(3));
        assert_eq!(lease.renew(0, at(1210)), None, "two of five are no quorum");
        lease.echo(4, Round(1));
        assert_eq!(lease.renew(0, at(1220)), Some(at(1000) + length));
        lease.echo(4, Round(2));
        lease.echo(4, Round(1));
        assert_eq!(lease.renew(0, at(1230)), Some(at(1100) + length), "a late echo takes nothing back");
    }

    #[test]
    fn m11_it_goes_on_where_a_voter_is_added_and_once_only() {
        let mut lease = lease(1);
        let (length, stays) = (lease.length, [Some(0), Some(1), Some(2)]);
        assert_eq!(lease.renew(0, at(1000)), Some(at(1000) + length));
        lease.renumber(&[Some(0), None]);
        assert_eq!(lease.renew(0, at(1100)), Some(at(1000) + length), "no longer than it was");
        assert!(lease.is_carried());
        lease.sent(Round(1), at(1200));
        lease.echo(1, Round(1));
        assert_eq!(lease.renew(0, at(1210)), Some(at(1200) + length));
        assert!(!lease.is_carried());
        lease.renumber(&[Some(0), Some(1), None]);
        lease.renumber(&[Some(0), Some(1), Some(2), None]);
        assert_eq!(
            lease.renew(0, at(1220)),
            None,
            "two of four have echoed: those before were not counted by"
        );
        lease.renumber(&stays);
        assert_eq!(lease.renew(0, at(1230)), Some(at(1200) + length), "of three");
        lease.renumber(&[Some(0), Some(1), Some(2), None]);
        lease.unsupported(1);
        assert_eq!(lease.renew(0, at(1240)), None, "a link of it has ended");
        lease.renumber(&stays);
        assert!(!lease.is_carried(), "somebody was removed");
    }

    #[test]
    fn an_echo_of_a_round_never_sent_renews_nothing() {
        let mut lease = lease(3);
        lease.sent(Round(1), at(1000));
        for forged in [Round(0), Round(2), Round(u64::MAX), Round(1 + lease.sent.len() as u64)] {
            lease.echo(1, forged);
        }
        assert_eq!(lease.renew(0, at(1001)), None);
    }

    #[test]
    fn losing_the_supporters_ends_it_before_its_time() {
        let mut lease = lease(3);
        lease.sent(Round(1), at(1000));
        lease.echo(2, Round(1));
        assert!(lease.renew(0, at(1001)).is_some());
        lease.unsupported(2);
        assert_eq!(lease.renew(0, at(1002)), None);
    }

    /// Whatever comes in, the start is the one that sorting all of it would give.
    #[test]
    fn counting_finds_the_same_start_as_sorting() {
        let mut rng = fastrand::Rng::with_seed(7);
        for voters in [1, 2, 3, 4, 5, 9, 101] {
            let mut lease = lease(voters);
            for step in 1..3000 {
                let (voter, round) = (rng.usize(..voters), Round(step / 20 + 1));
                match rng.u8(..40) {
                    0 => lease.revoke(),
                    1 => lease.unsupported(voter),
                    2..8 => lease.sent(round, at(1000 + step)),
                    _ => lease.echo(voter, Round(round.0.saturating_sub(rng.u64(..3)))),
                }
                let until = lease.renew(0, at(1000 + step));
                let mut sorted: Vec<_> = lease.echoed.iter().flatten().copied().collect();
                sorted.sort_unstable_by(|a, b| b.cmp(a));
                assert_eq!(until, sorted.get(lease.quorum - 1).map(|start| *start + lease.length));
            }
        }
    }

    #[test]
    fn a_single_voter_always_holds_it() {
        let mut lease = lease(1);
        let length = lease.length;
        assert_eq!(lease.renew(0, at(5)), Some(at(5) + length));
    }
}
