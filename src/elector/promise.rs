//! Promises: for whom alone this node votes, and until when.

use crate::config::{Config, DRIFT_PERCENT_DEFAULT, PROMISE_TIMEOUTS_MAX};
use crate::ids::{Epoch, Incarnation};
use crate::message::Heartbeat;
use crate::time::{Duration, Instant};

/// How long a promise has to be.
#[derive(Debug, Clone)]
pub(super) struct Length {
    /// The election timeout: no promise is shorter.
    usual: Duration,
    drift_percent: f64,
    /// The longest lease that it outlasts by our own drift, and where the primary counts on the usual one.
    outlasted: Duration,
    outlasted_usually: Duration,
    /// What this node's heartbeats say as a primary.
    pub(super) said: Said,
}

/// For how long a primary relies on a promise, as its heartbeats say it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    pub(super) lease: Duration,
    pub(super) promise: Duration,
}

impl Length {
    pub(super) fn new(config: &Config) -> Self {
        let (usual, drift_percent) = (config.election_timeout, config.drift_percent);
        let outlasted = Config::lease_max(usual, drift_percent);
        let counts_on_usual_drift = drift_percent == DRIFT_PERCENT_DEFAULT;
        Self {
            usual,
            drift_percent,
            outlasted,
            outlasted_usually: Config::lease_max(usual, drift_percent.max(DRIFT_PERCENT_DEFAULT)),
            // The longest lease there may be: a host may count on it (F10), however long the lease itself is.
            said: Said {
                lease: outlasted,
                promise: if counts_on_usual_drift { Duration::ZERO } else { usual },
            },
        }
    }

    /// How long this node has to promise, to a primary whose heartbeats say so (L7); `None`: longer than it would (L8).
    #[inline]
    pub(super) fn for_heartbeat(&self, heartbeat: &Heartbeat) -> Option<Duration> {
        let (lease, promise) = (heartbeat.lease, heartbeat.promise);
        let outlasted = if promise.is_zero() { self.outlasted_usually } else { self.outlasted };
        match lease <= outlasted && promise <= self.usual {
            true => Some(self.usual),
            false => self.longer(lease, promise),
        }
    }

    #[cold]
    #[inline(never)]
    fn longer(&self, lease: Duration, promise: Duration) -> Option<Duration> {
        let drift = match promise.is_zero() {
            true => self.drift_percent.max(DRIFT_PERCENT_DEFAULT),
            false => self.drift_percent,
        };
        let max = self.usual * PROMISE_TIMEOUTS_MAX;
        // Compared first: what comes from outside may be too long to calculate with.
        (lease <= max && promise <= max)
            .then(|| Config::promise_min(lease, drift).max(promise).max(self.usual))
            .filter(|needed| *needed <= max)
    }

    /// The election timeout: no promise is shorter.
    pub(super) fn usual(&self) -> Duration {
        self.usual
    }

    /// The longest lease that any promise of this node outlasts.
    pub(super) fn lease_max(&self) -> Duration {
        Config::lease_max(self.usual * PROMISE_TIMEOUTS_MAX, self.drift_percent)
    }
}

/// What was promised, by this process and perhaps by an earlier one.
#[derive(Debug, Clone)]
pub(super) struct Promises {
    pub(super) length: Length,
    /// Until when a promise may run that is longer than the usual ones, of this process or of an earlier one.
    longer_until: Option<Instant>,
    /// No votes before this: an earlier process may have promised something.
    booting_until: Option<Instant>,
    given: Option<Promise>,
}

/// "I vote and pre-vote for nobody else until then."
#[derive(Debug, Clone, Copy)]
pub(super) struct Promise {
    to: usize,
    /// The epoch in which it was given.
    epoch: Epoch,
    /// The process it was given to; it is void once that one is dead.
    incarnation: Option<Incarnation>,
    until: Instant,
}

impl Promise {
    pub(super) fn new(to: usize, incarnation: Option<Incarnation>, epoch: Epoch, until: Instant) -> Self {
        Self { to, epoch, incarnation, until }
    }

    pub(super) fn to(&self) -> usize {
        self.to
    }

    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Whether it was given to this process, not to an earlier one of its node: that one may live and write.
    pub(super) fn is_to(&self, peer: usize, incarnation: Option<Incarnation>) -> bool {
        self.to == peer && self.incarnation == incarnation
    }
}

impl Promises {
    /// Of a process that starts. A cluster of one made no promise that matters: nobody else can be elected.
    pub(super) fn new(config: &Config, booting_until: Option<Instant>) -> Self {
        Self { length: Length::new(config), longer_until: booting_until, booting_until, given: None }
    }

    /// Whether no promise runs, of this process or of an earlier one, that is longer than usual.
    pub(super) fn are_usual(&self, now: Instant) -> bool {
        self.longer_until.is_none_or(|until| until <= now)
    }

    /// The promise that holds now.
    pub(super) fn live(&self, now: Instant) -> Option<&Promise> {
        self.given.as_ref().filter(|promise| promise.until > now)
    }

    pub(super) fn give(&mut self, promise: Promise) {
        self.given = Some(promise);
    }

    /// A promise runs until then that is longer than usual.
    #[cold]
    pub(super) fn longer_until(&mut self, until: Instant) {
        self.longer_until = self.longer_until.max(Some(until));
    }

    pub(super) fn drop_own(&mut self) {
        self.given = None;
    }

    /// Drops the promise to this process; says whether there was one.
    pub(super) fn void(&mut self, peer: usize, incarnation: Option<Incarnation>) -> bool {
        self.given.take_if(|promise| promise.is_to(peer, incarnation)).is_some()
    }

    /// Drops the promise to this process if it is of this epoch or of an older one; says whether there was one.
    pub(super) fn release(&mut self, peer: usize, incarnation: Option<Incarnation>, epoch: Epoch) -> bool {
        let freed = |promise: &mut Promise| promise.is_to(peer, incarnation) && promise.epoch <= epoch;
        self.given.take_if(freed).is_some()
    }

    /// Whether this node waits for what an earlier process of its own may have promised.
    pub(super) fn booting(&self, now: Instant) -> bool {
        self.booting_until.is_some_and(|until| until > now)
    }

    pub(super) fn booting_until(&self) -> Option<Instant> {
        self.booting_until
    }

    /// An earlier process promised nothing that binds.
    pub(super) fn end_boot(&mut self) {
        self.booting_until = None;
    }

    #[cfg(feature = "sim")]
    pub(super) fn boot_until(&mut self, at: Instant) {
        self.booting_until = Some(at);
    }

    #[cfg(feature = "sim")]
    pub(super) fn digest(&self, now: Instant, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        self.booting_until.map(|until| until.saturating_since(now)).hash(hasher);
        let given = self.given.as_ref();
        given.map(|p| (p.to, p.epoch, p.incarnation, p.until.saturating_since(now))).hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Member;
    use crate::ids::{NodeId, Round};
    use crate::message::{Role, Standing};
    use crate::position::Progress;

    fn length(timeout_ms: u64, drift_percent: f64) -> Length {
        let ids = ["a", "b", "c"].map(|id| NodeId::new(id).unwrap());
        let config = Config::builder(ids[0], ids.map(Member::voter))
            .heartbeat_interval(Duration::from_millis(1))
            .election_timeout(Duration::from_millis(timeout_ms))
            .drift_percent(drift_percent);
        Length::new(&config.build().unwrap())
    }

    fn heartbeat(said: Said) -> Heartbeat {
        Heartbeat {
            epoch: Epoch(1),
            round: Round(1),
            role: Role::Primary,
            standing: Standing::Member,
            progress: Progress::NONE,
            primary: None,
            promise: said.promise,
            lease: said.lease,
            health: crate::fence::Health::Good,
            identity: None,
            pause: None,
        }
    }

    const DRIFTS: [f64; 5] = [0.0, 0.1, 1.0, 5.0, 20.0];

    #[test]
    fn l7_every_pair_of_configurations_promises_longer_than_either_drift_lets_the_lease_be() {
        for (theirs, ours) in [(1000, 400), (400, 1000), (1000, 1000), (3000, 301)] {
            for (their_drift, our_drift) in DRIFTS.iter().flat_map(|a| DRIFTS.map(|b| (*a, b))) {
                let (primary, voter) = (length(theirs, their_drift), length(ours, our_drift));
                let promise = voter.for_heartbeat(&heartbeat(primary.said)).unwrap();
                assert!(promise >= voter.usual());
                for drift in [their_drift, our_drift] {
                    let most = Config::lease_max(promise, drift);
                    assert!(
                        primary.said.lease <= most,
                        "{theirs} {their_drift}, {ours} {our_drift}: {promise:?}"
                    );
                }
                if theirs == ours && their_drift == our_drift {
                    assert_eq!(promise, voter.usual(), "alike: nothing changes");
                }
            }
        }
    }

    #[test]
    fn l8_nobody_promises_for_more_than_a_multiple_of_its_own_timeout() {
        let voter = length(100, 1.0);
        assert!(voter.for_heartbeat(&heartbeat(length(1600, 1.0).said)).is_some());
        assert_eq!(voter.for_heartbeat(&heartbeat(length(1601, 1.0).said)), None);
        for wrong in [Duration::from_secs(3600), Duration::MAX] {
            let lease = Said { lease: wrong, promise: Duration::ZERO };
            let promise = Said { lease: Duration::ZERO, promise: wrong };
            assert_eq!(voter.for_heartbeat(&heartbeat(lease)), None);
            assert_eq!(voter.for_heartbeat(&heartbeat(promise)), None);
        }
    }
}
