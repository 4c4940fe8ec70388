//! How long an election takes at worst: numbers that follow from a configuration. The elector keeps to them, the simulator
//! checks that it does, and `electctl check` tells them. Nobody else computes them.

use crate::config::Config;
use crate::time::Duration;

/// How long answers to a pre-vote may take, in heartbeat intervals.
pub(crate) const PRE_VOTE_HEARTBEATS: u32 = 3;
/// A campaign for votes ends after this part of an election timeout.
pub(crate) const VOTE_PARTS_OF_TIMEOUT: u32 = 2;
/// A failed campaign is repeated after one to this many heartbeat intervals.
pub(crate) const RETRY_HEARTBEATS: u32 = 3;
/// How many candidates may go one after the other within a heartbeat interval.
pub(crate) const RANK_STEPS_PER_HEARTBEAT: u32 = 4;
/// Candidates of lower rank all go at the time of this one.
pub(crate) const RANK_STEPS_MAX: u32 = 8;
/// Attempts that are granted after all faults have healed (E6).
const ATTEMPTS: u32 = 4;

/// The worst of what follows from a configuration, without what the host, the disk and the network take.
///
/// ```
/// use kevy_elect_plugin::config::{Config, Member};
/// use kevy_elect_plugin::ids::NodeId;
/// use kevy_elect_plugin::time::Duration;
///
/// let id = NodeId::new("a")?;
/// let bounds = Config::builder(id, [Member::voter(id)]).build()?.bounds();
/// assert_eq!(bounds.attempt, Duration::from_millis(1100));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// How long a silent primary stays unsuspected by the best candidate, on the slowest clock.
    pub silence: Duration,
    /// How much later the candidate goes that is the last in rank.
    pub ranks: Duration,
    /// How long answers to a pre-vote may take.
    pub pre_vote: Duration,
    /// How long answers to a request for votes may take (E7).
    pub vote: Duration,
    /// How long a candidate that failed waits before it asks again.
    pub retry: Duration,
    /// What a failed attempt costs: pre-vote, vote and the pause until the next one.
    pub attempt: Duration,
    /// From the first silence of a primary to its successor, if the first attempt decides.
    pub failover: Duration,
    /// From the healing of all faults to one writable primary whom everybody has joined (E6).
    pub settled: Duration,
}

impl Bounds {
    pub(crate) fn new(heartbeat: Duration, timeout: Duration, drift_percent: f64, candidates: usize) -> Self {
        let slow = |time: Duration| time.mul_f64(1.0 + drift_percent / 100.0);
        let (pre_vote, retry) = (heartbeat * PRE_VOTE_HEARTBEATS, heartbeat * RETRY_HEARTBEATS);
        let vote = timeout / VOTE_PARTS_OF_TIMEOUT;
        // The old primary is no candidate; of the others, the best does not wait.
        let steps = u32::try_from(candidates.saturating_sub(2)).unwrap_or(u32::MAX).min(RANK_STEPS_MAX);
        let ranks = heartbeat / RANK_STEPS_PER_HEARTBEAT * steps;
        let attempt = pre_vote + vote + retry;
        let silence = slow(timeout);
        Self {
            silence,
            ranks,
            pre_vote,
            vote,
            retry,
            attempt,
            failover: silence + ranks + pre_vote + vote,
            // One timeout for the wait after a start or a promise, one for a voter that changed its mind at the last moment.
            settled: slow(2 * timeout + ATTEMPTS * attempt),
        }
    }
}

impl Config {
    /// The worst of what follows from this configuration.
    pub fn bounds(&self) -> Bounds {
        let candidates = self.members.iter().filter(|member| member.eligible()).count();
        Bounds::new(self.heartbeat_interval, self.election_timeout, self.drift_percent, candidates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_of_the_defaults_are_those_of_the_protocol() {
        let ms = Duration::from_millis;
        let bounds = Bounds::new(ms(100), ms(1000), 1.0, 3);
        assert_eq!((bounds.pre_vote, bounds.vote, bounds.retry), (ms(300), ms(500), ms(300)));
        assert_eq!((bounds.silence, bounds.ranks), (ms(1010), ms(25)));
        assert_eq!((bounds.attempt, bounds.failover), (ms(1100), ms(1835)));
        // (2 T + 4 (6 heartbeats + T / 2)) (1 + d)
        assert_eq!(bounds.settled, ms(6400).mul_f64(1.01));
    }
}
