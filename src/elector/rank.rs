//! Seniority: how long each member has been up and what it has done, as it last said (`docs/protocol.md`, "Ranks").

use crate::bounds::PRE_VOTE_HEARTBEATS;
use crate::config::Config;
use crate::ids::Epoch;
use crate::rank::{Rank, Seniority};
use crate::time::{Duration, Instant};

/// What this node knows of its own seniority and that of the others. Where rank is by position nothing of it is used.
#[derive(Debug, Clone)]
pub(super) struct Ranks {
    rank: Rank,
    started: Instant,
    /// The unit in which the time that nodes have been up is compared: two of one unit count as equally old.
    unit: Duration,
    work: u64,
    /// What each member said last, and when that came in.
    said: Vec<Option<(Seniority, Instant)>>,
    /// When somebody asked for a pre-vote first, this node included, since there was a primary last.
    asked: Option<Instant>,
    /// For how long from then on juniors wait.
    patience: Duration,
    /// Who gave the last office up, and whom it wants next, until there is a primary.
    given_up: (Option<usize>, Option<usize>),
    /// The second primary that was told of last, and when.
    second: Option<(usize, Epoch, Instant)>,
}

impl Ranks {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        let members = if config.rank == Rank::Seniority { config.members.len() } else { 0 };
        Self {
            rank: config.rank,
            started: now,
            unit: config.election_timeout,
            work: 0,
            said: vec![None; members],
            asked: None,
            patience: config.heartbeat_interval * PRE_VOTE_HEARTBEATS,
            given_up: (None, None),
            second: None,
        }
    }

    /// One member more.
    pub(super) fn meet(&mut self) {
        if self.are_seniority() {
            self.said.push(None);
        }
    }

    #[inline]
    pub(super) fn are_seniority(&self) -> bool {
        self.rank == Rank::Seniority
    }

    /// The host says how much work it has recorded.
    pub(super) fn worked(&mut self, work: u64) {
        self.work = work;
    }

    /// This node's own.
    pub(super) fn own(&self, now: Instant) -> Seniority {
        Seniority { up: now.saturating_since(self.started), work: self.work }
    }

    /// A member says its own.
    pub(super) fn said(&mut self, member: usize, seniority: Seniority, now: Instant) {
        if let Some(said) = self.said.get_mut(member) {
            *said = Some((seniority, now));
        }
    }

    /// Another process speaks for that member from here on.
    pub(super) fn forget(&mut self, member: usize) {
        if let Some(said) = self.said.get_mut(member) {
            *said = None;
        }
    }

    /// A member's now: who has said nothing has been up for no time.
    pub(super) fn of(&self, member: usize, now: Instant) -> Seniority {
        self.said.get(member).copied().flatten().map_or(Seniority::default(), |(said, at)| Seniority {
            up: said.up.saturating_add(now.saturating_since(at)),
            ..said
        })
    }

    /// How a member is compared that is so senior: whole units of time up, then work.
    pub(super) fn counted(&self, member: usize, seniority: Seniority) -> (u128, u64) {
        match self.given_up {
            (_, Some(successor)) if successor == member => (u128::MAX, u64::MAX),
            (Some(given_up), _) if given_up == member => (0, 0),
            _ => (seniority.up.as_nanos() / self.unit.as_nanos().max(1), seniority.work),
        }
    }

    /// Somebody asks for a pre-vote.
    pub(super) fn asked(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
    }

    /// Whether juniors wait still: a senior one who cannot win does not stand in the way of those who can.
    pub(super) fn juniors_wait(&self, now: Instant) -> bool {
        self.asked.is_none_or(|at| now < at + self.patience)
    }

    pub(super) fn primary_is_known(&mut self) {
        self.asked = None;
        self.given_up = (None, None);
    }

    /// A member gave its office up: until there is another primary it goes last, and the one that it names goes first.
    pub(super) fn gave_up(&mut self, member: usize, successor: Option<usize>) {
        self.given_up = (Some(member), successor);
    }

    /// Whether a second primary is to be told of: once for each of its reigns, and not more often than once in a unit.
    pub(super) fn tells_of_second(&mut self, member: usize, epoch: Epoch, now: Instant) -> bool {
        let due = self.second.is_none_or(|(of, told, at)| {
            (of, told) != (member, epoch) && now.saturating_since(at) >= self.unit
        });
        if due {
            self.second = Some((member, epoch, now));
        }
        due
    }

    #[cfg(feature = "sim")]
    pub(super) fn digest(&self, now: Instant, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        if self.are_seniority() {
            (self.own(now).up, self.juniors_wait(now), self.given_up).hash(hasher);
            for member in 0..self.said.len() {
                self.counted(member, self.of(member, now)).hash(hasher);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::config::Member;
    use crate::ids::NodeId;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn ranks(rank: Rank) -> Ranks {
        let ids = ["n1", "n2"].map(|id| NodeId::new(id).unwrap());
        let config = Config::builder(ids[0], ids.map(Member::voter)).rank(rank).build().unwrap();
        Ranks::new(&config, at(500))
    }

    #[test]
    fn r1_seniority_grows_with_time_on_each_nodes_own_clock() {
        let mut ranks = ranks(Rank::Seniority);
        ranks.worked(7);
        assert_eq!(ranks.own(at(2600)), Seniority { up: Duration::from_millis(2100), work: 7 });
        let said = Seniority { up: Duration::from_secs(60), work: 3 };
        ranks.said(1, said, at(1000));
        assert_eq!(ranks.of(1, at(3500)), Seniority { up: Duration::from_millis(62_500), work: 3 });
        assert_eq!(ranks.counted(1, ranks.of(1, at(3500))), (62, 3));
        ranks.said(1, Seniority { up: Duration::MAX, work: u64::MAX }, at(1000));
        assert_eq!(ranks.of(1, at(9000)).up, Duration::MAX, "whatever is said, nothing overflows");
        ranks.forget(1);
        assert_eq!(ranks.of(1, at(9000)), Seniority::default());
    }

    #[test]
    fn r1_within_an_election_timeout_work_decides() {
        let ranks = ranks(Rank::Seniority);
        let of = |ms, work| ranks.counted(1, Seniority { up: Duration::from_millis(ms), work });
        assert!(of(5100, 9) > of(5900, 1) && of(6000, 0) > of(5999, 9));
    }

    #[test]
    fn r9_who_gave_up_goes_last_and_who_was_named_goes_first_until_there_is_a_primary() {
        let mut ranks = ranks(Rank::Seniority);
        let senior = Seniority { up: Duration::from_secs(60), work: 3 };
        ranks.gave_up(1, Some(0));
        assert_eq!(ranks.counted(1, senior), (0, 0));
        assert_eq!(ranks.counted(0, Seniority::default()), (u128::MAX, u64::MAX));
        ranks.primary_is_known();
        assert_eq!(ranks.counted(1, senior), (60, 3));
    }

    #[test]
    fn by_position_nothing_is_kept() {
        let mut ranks = ranks(Rank::Position);
        ranks.said(1, Seniority { up: Duration::from_secs(60), work: 3 }, at(1000));
        assert_eq!(ranks.of(1, at(2000)), Seniority::default());
    }

    #[test]
    fn r7_a_second_primary_is_told_of_once_and_not_too_often() {
        let mut ranks = ranks(Rank::Position);
        assert!(ranks.tells_of_second(1, Epoch(3), at(1000)));
        assert!(!ranks.tells_of_second(1, Epoch(3), at(9000)), "the same");
        assert!(ranks.tells_of_second(1, Epoch(4), at(9000)));
        assert!(!ranks.tells_of_second(1, Epoch(5), at(9999)), "too soon");
    }
}
