//! Whether the shards turn, and what else is wrong with this server (`docs/protocol.md`, "Fitness").
//!
//! A shard tells its offset with every tick, idle ones at least ten times a second. So a shard that has told nothing
//! for a while is busy with one command, or hangs; nobody can know which. But what it waited for a processor is not its own
//! doing (H6). Looked at from the election's own timer, at every heartbeat, which costs a few loads and wakes nobody.

use crate::fitness::threads::{self, Look};
use crate::shards::Shards;
use kevy_elect_plugin::config::Config;
use kevy_elect_plugin::host::Health;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A shard that computes and is at no command has work of the server's own in hand, a copy of its data for example, and may take so many
/// times longer: a handover would only bring the same work to the next node. A minute, by default, is enough for two hundred million keys.
const OWN_WORK: u32 = 60;
/// A shard may stand still for so many times longer if it waits for a processor, and not for anything else.
const STARVED: u32 = 10;
/// The part of the bound from which on it is looked what a shard that stands still is at.
const LOOK_PART: u32 = 4;
/// While a node is being promoted its shards are woken every millisecond: one that says nothing for so long will not
/// be promoted soon. In heartbeats, and at least.
const PROMOTION_HEARTBEATS: u32 = 2;
const PROMOTION_MIN: Duration = Duration::from_millis(250);
/// Whose shard has told nothing for so many heartbeats asks for no votes (E16). And at least for so long: an idle shard of a replica sleeps
/// for 50 ms.
const ANSWER_HEARTBEATS: u32 = 2;
const ANSWER_MIN: Duration = Duration::from_millis(150);
/// An ailment counts as over when it has been for so long: the office shall not go to and fro.
const RECOVERY: Duration = Duration::from_secs(1);
/// Between two looks lies at most this, in heartbeats. What is more is time in which this process did not run, or its
/// election did not; then the shards cannot be blamed for it.
const LOOK_HEARTBEATS_MAX: u32 = 2;

/// What this node is at the moment, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// It serves clients, as primary or replica.
    Serves,
    /// It is to become primary.
    Promotes,
}

/// Watches the shards.
pub(crate) struct Watch {
    heartbeat: Duration,
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    shards: Vec<Seen>,
    looked: Option<Instant>,
    /// Since when no shard was found stuck, while one was before.
    well_for: Option<Duration>,
    /// The shard that is stuck, or was last.
    stuck: Option<(usize, Duration)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    views: u64,
    /// For how long it has told nothing, how much of that was its own doing, and for how much of that it was seen to wait for something.
    still: Duration,
    own: Duration,
    waited: Duration,
    /// The processor time that it had had when it was looked at last.
    used: Option<Duration>,
}

impl Seen {
    /// It has told nothing for a further `passed`.
    fn stand(&mut self, passed: Duration, look: Option<Look>) {
        let had = look.zip(self.used).map(|(look, used)| look.used.saturating_sub(used));
        self.still += passed;
        if look.is_some_and(|look| !look.runs) {
            self.waited += passed;
        }
        self.own += match had {
            Some(had) if look.is_some_and(|look| look.runs) => had.min(passed),
            _ => passed,
        };
        self.used = look.map(|look| look.used);
    }
}

impl Watch {
    pub(crate) fn new(config: &Config, timeout: Duration) -> Self {
        Self { heartbeat: config.heartbeat_interval(), timeout, state: Mutex::default() }
    }

    /// Looks whether all shards turn.
    pub(crate) fn look(&self, now: Instant, shards: &Shards, work: Work) -> Health {
        self.judge(
            now,
            work,
            (0..shards.count()).map(|shard| (shards.views_of(shard), shards.is_at_own_work(shard))),
            |shard| threads::look(shards.thread_of(shard)?),
        )
    }

    /// Whether all shards have told something just now. Of one that has not nobody knows whether it would soon be promoted.
    pub(crate) fn answers(&self, shards: &Shards) -> bool {
        let bound = ANSWER_MIN.max(self.heartbeat * ANSWER_HEARTBEATS);
        (0..shards.count()).all(|shard| shards.silence_of(shard) < bound)
    }

    fn judge(
        &self,
        now: Instant,
        work: Work,
        views: impl Iterator<Item = (u64, bool)>,
        look: impl Fn(usize) -> Option<Look>,
    ) -> Health {
        let mut state = self.state();
        let passed = state.looked.map_or(Duration::ZERO, |looked| now.saturating_duration_since(looked));
        let passed = passed.min(self.heartbeat * LOOK_HEARTBEATS_MAX);
        state.looked = Some(now);
        let mut stuck = None;
        for (shard, (views, own_work)) in views.enumerate() {
            if shard == state.shards.len() {
                state.shards.push(Seen { views, ..Seen::default() });
            }
            let seen = &mut state.shards[shard];
            if seen.views == views {
                let asks = work == Work::Serves && seen.still >= self.timeout / LOOK_PART;
                seen.stand(passed, if asks { look(shard) } else { None });
            } else {
                *seen = Seen { views, ..Seen::default() };
            }
            if self.is_stuck(seen, work, own_work) && stuck.is_none_or(|(_, longest)| seen.still > longest) {
                stuck = Some((shard, seen.still));
            }
        }
        match stuck {
            Some(stuck) => (state.stuck, state.well_for) = (Some(stuck), Some(Duration::ZERO)),
            None => {
                state.well_for = state.well_for.map(|well| well + passed).filter(|well| *well < RECOVERY);
                if state.well_for.is_none() {
                    state.stuck = None;
                }
            }
        }
        if state.stuck.is_some() { Health::Stuck } else { Health::Good }
    }

    fn is_stuck(&self, seen: &Seen, work: Work, own_work: bool) -> bool {
        match work {
            Work::Promotes => {
                let soon = PROMOTION_MIN.max(self.heartbeat * PROMOTION_HEARTBEATS).min(self.timeout);
                seen.own >= soon || seen.still >= soon
            }
            // Nobody looks at the first part of it.
            Work::Serves if own_work => {
                seen.waited >= self.timeout - self.timeout / LOOK_PART
                    || seen.still >= self.timeout * OWN_WORK
            }
            Work::Serves => seen.own >= self.timeout || seen.still >= self.timeout * STARVED,
        }
    }

    /// What was found, for people.
    pub(crate) fn ailment(&self) -> Option<String> {
        let state = self.state();
        let (shard, still) = state.stuck?;
        Some(match state.well_for {
            Some(well) if well > Duration::ZERO => {
                format!("shard {shard} did not answer for {} ms, a moment ago", still.as_millis())
            }
            _ => format!(
                "shard {shard} has not answered for {} ms: it is in one long command, or hangs",
                still.as_millis()
            ),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use kevy_elect_plugin::config::Member;
    use kevy_elect_plugin::ids::NodeId;

    /// A watch with heartbeats of 100 ms and a bound of one second, and its clock.
    struct Scene {
        watch: Watch,
        now: Instant,
        views: [u64; 2],
        /// Whether shards have a processor or wait for one, and how much of one they have, in percent.
        runs: bool,
        percent: u32,
        used: Duration,
    }

    impl Scene {
        fn new() -> Self {
            let id = NodeId::new("a").unwrap();
            let config = Config::builder(id, [Member::voter(id)]).build().unwrap();
            let watch = Watch::new(&config, Duration::from_secs(1));
            let used = Duration::ZERO;
            Self { watch, now: Instant::now(), views: [0; 2], runs: true, percent: 100, used }
        }

        /// Looks every 100 ms for as long, while the shards in `turn` turn.
        fn pass(&mut self, ms: u64, turn: [bool; 2], work: Work, own_work: bool) -> Health {
            let mut health = Health::Good;
            for _ in 0..ms / 100 {
                self.now += Duration::from_millis(100);
                self.used += Duration::from_millis(100) * self.percent / 100;
                let look = Look { runs: self.runs, used: self.used };
                for (views, turns) in self.views.iter_mut().zip(turn) {
                    *views += u64::from(turns);
                }
                let views = self.views.into_iter().map(|views| (views, own_work));
                health = self.watch.judge(self.now, work, views, |_| Some(look));
            }
            health
        }
    }

    #[test]
    fn a_shard_that_turns_no_more_is_stuck_after_the_bound_and_well_again_after_a_while() {
        let mut scene = Scene::new();
        assert_eq!(scene.pass(2_000, [true, true], Work::Serves, false), Health::Good);
        assert_eq!(scene.pass(900, [true, false], Work::Serves, false), Health::Good, "a long command");
        assert_eq!(scene.pass(200, [true, false], Work::Serves, false), Health::Stuck);
        assert!(scene.watch.ailment().unwrap().starts_with("shard 1 has not answered for 1"));
        assert_eq!(scene.pass(900, [true, true], Work::Serves, false), Health::Stuck, "a moment ago");
        assert_eq!(scene.pass(300, [true, true], Work::Serves, false), Health::Good);
        assert_eq!(scene.watch.ailment(), None);
    }

    #[test]
    fn who_is_to_be_promoted_has_less_time_and_work_of_the_servers_own_more() {
        let mut scene = Scene::new();
        scene.pass(200, [true, true], Work::Serves, false);
        assert_eq!(scene.pass(400, [true, false], Work::Promotes, false), Health::Stuck);
        let mut scene = Scene::new();
        scene.pass(200, [true, true], Work::Serves, false);
        assert_eq!(scene.pass(59_000, [false, true], Work::Serves, true), Health::Good);
        assert_eq!(scene.pass(2_000, [false, true], Work::Serves, true), Health::Stuck);
    }

    #[test]
    fn who_waits_for_something_else_at_its_own_work_has_no_more_time_and_who_is_at_a_command_neither() {
        let mut scene = Scene::new();
        scene.pass(200, [true, true], Work::Serves, false);
        (scene.percent, scene.runs) = (0, false);
        assert_eq!(scene.pass(1_100, [false, true], Work::Serves, true), Health::Stuck, "a disk, perhaps");
        let mut scene = Scene::new();
        scene.pass(200, [true, true], Work::Serves, false);
        assert_eq!(scene.pass(5_000, [false, true], Work::Serves, true), Health::Good);
        assert_eq!(scene.pass(100, [false, true], Work::Serves, false), Health::Stuck, "a command after all");
    }

    #[test]
    fn a_shard_that_gets_a_part_of_a_processor_has_as_much_longer_and_one_that_waits_for_another_thing_has_not()
     {
        let mut scene = Scene::new();
        scene.pass(200, [true, true], Work::Serves, false);
        scene.percent = 20;
        assert_eq!(scene.pass(3_000, [true, false], Work::Serves, false), Health::Good);
        assert_eq!(
            scene.pass(2_000, [true, false], Work::Serves, false),
            Health::Stuck,
            "a second of its own"
        );
        let mut scene = Scene::new();
        scene.pass(200, [true, true], Work::Serves, false);
        (scene.percent, scene.runs) = (0, false);
        assert_eq!(scene.pass(1_100, [true, false], Work::Serves, false), Health::Stuck, "it sleeps");
        let mut scene = Scene::new();
        scene.pass(200, [true, true], Work::Serves, false);
        scene.percent = 0;
        assert_eq!(scene.pass(9_000, [true, false], Work::Serves, false), Health::Good);
        assert_eq!(
            scene.pass(1_100, [true, false], Work::Serves, false),
            Health::Stuck,
            "whoever is to blame"
        );
    }

    #[test]
    fn a_process_that_was_stopped_does_not_blame_its_shards() {
        let mut scene = Scene::new();
        scene.pass(200, [true, true], Work::Serves, false);
        scene.now += Duration::from_secs(60);
        assert_eq!(scene.pass(100, [false, false], Work::Serves, false), Health::Good);
    }
}
