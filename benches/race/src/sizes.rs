//! Failovers of clusters that hold something: `cargo race --data 0,1gb`.
//!
//! Each system is filled once for each size, and then broken in each way for as long as `--budget` lasts. A
//! cluster that does not become whole again is counted, and its other courses are run on a new one.

use crate::ballast::Ballast;
use crate::cli::Racer;
use crate::course::{Course, Weight};
use crate::memory::{self, Memory};
use crate::{NODES, Race};
use kevy_elect_harness::cluster::{Member, Place};
use kevy_elect_harness::contents::contents;
use kevy_elect_harness::data::{Data, Size};
use kevy_elect_harness::failure::Failure;
use kevy_elect_harness::fault::{Fault, Restart};
use kevy_elect_harness::links::Uncut;
use kevy_elect_harness::load::{Load, Readers};
use kevy_elect_harness::median::median;
use kevy_elect_harness::outcome::Round;
use kevy_elect_harness::roll::{Roll, Step};
use kevy_elect_harness::round::Stage;
use kevy_elect_harness::writers::Writers;
use std::time::Duration;

/// What a frame has beside the value: its words and what surrounds them.
const FRAME_BYTES: usize = 50;

/// One system with so much data.
pub(crate) struct Laps {
    pub(crate) racer: Racer,
    pub(crate) weight: Weight,
    /// How long a frame of the load is, about.
    frame_bytes: usize,
    /// How long it took to fill all nodes.
    fill: Duration,
    rounds: Vec<(Course, Round)>,
    rolls: Vec<Roll>,
    /// Rounds in which nobody took over, or that never became whole again.
    failed: Vec<(Course, String)>,
    /// Keys that differ between the nodes in the end; `None`: they could not be compared.
    differing: Option<usize>,
    /// Right after they were filled, and the most of it in the end.
    memory: Memory,
}

impl Race<'_> {
    /// Everything that one system goes through with data of one size.
    pub(crate) fn laps(&self, weight: Weight) -> Result<Laps, Failure> {
        let (fill, rounds) = (Duration::ZERO, Vec::new());
        let mut laps = Laps {
            racer: self.entry.racer,
            weight,
            frame_bytes: FRAME_BYTES + self.options.value_bytes,
            fill,
            rounds,
            rolls: Vec::new(),
            failed: Vec::new(),
            differing: None,
            memory: Memory::default(),
        };
        let mut courses: &[Course] = &self.options.courses;
        let kills: Vec<Course> = courses.iter().copied().filter(|course| course.kills()).collect();
        if weight.ballast > Size(0) {
            courses = &kills;
        }
        while !courses.is_empty() {
            courses = match self.cluster(courses, &mut laps) {
                Ok(left) => left,
                Err(failure @ (Failure::Interrupted | Failure::Os { .. } | Failure::NoServer { .. })) => {
                    return Err(failure);
                }
                // It cannot even be filled: then the other systems have their turn all the same.
                Err(failure) => {
                    courses.iter().for_each(|course| self.fails(*course, &failure, &mut laps));
                    &[]
                }
            };
        }
        Ok(laps)
    }

    /// As many of the courses as one cluster stands. Gives those that are left.
    fn cluster<'a>(&self, courses: &'a [Course], laps: &mut Laps) -> Result<&'a [Course], Failure> {
        let data = Data::new(laps.weight.size, self.options.value_bytes);
        let mut cluster = self.start(true, vec![Place::Loopback; NODES])?;
        self.wait_for_sentinels(&cluster)?;
        let servers: Vec<_> = cluster.members.iter().map(Member::address).collect();
        let writers = Writers::start(&servers, 1, self.clock)?;
        let readers = Readers::start(&servers, self.clock)?;
        let load = Load::start(&servers, data.clone())?;
        let mut stage = self.stage(&mut cluster, &writers);
        stage.readers = Some(&readers);
        let begun = self.clock.now();
        stage.fill(&data)?;
        laps.fill = self.clock.now() - begun;
        let primary = stage.whole()?;
        laps.memory = memory::read(stage.cluster, primary);
        for (place, course) in courses.iter().enumerate() {
            let until = self.clock.now() + self.options.budget;
            for number in 1..=self.options.rounds {
                self.progress.round(number, self.options.rounds);
                stage.load = course.pace().map(|pace| (&load, pace));
                match self.lap(&mut stage, *course, number, laps) {
                    Ok(()) => {}
                    Err(failure @ (Failure::Interrupted | Failure::Os { .. })) => return Err(failure),
                    Err(failure) => {
                        self.fails(*course, &failure, laps);
                        return Ok(&courses[place + 1..]);
                    }
                }
                if self.clock.now() >= until {
                    break;
                }
            }
            self.progress.round(0, 0);
        }
        laps.memory.peak = memory::read(stage.cluster, primary).peak;
        if laps.racer == Racer::Plugin {
            self.progress.say("comparing the contents of all nodes");
            let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
            let seen = contents(&servers, self.interrupt)?;
            laps.differing = seen.undecided.is_none().then_some(seen.differing);
        }
        Ok(&[])
    }

    /// Notes why a course ends here.
    fn fails(&self, course: Course, failure: &Failure, laps: &mut Laps) {
        let text = failure.to_string();
        let first = text.lines().next().unwrap_or_default().to_owned();
        self.progress.round(0, 0);
        self.progress.note(&format!("{}: {first}", course.spelled()));
        laps.failed.push((course, first));
    }

    fn lap(
        &self,
        stage: &mut Stage<'_>,
        course: Course,
        number: u32,
        laps: &mut Laps,
    ) -> Result<(), Failure> {
        let fault = match course {
            Course::Idle | Course::Steady | Course::Loaded => Fault::Kill,
            Course::Handover => Fault::Term,
            Course::Roll => {
                let (roll, _) = stage.roll()?;
                let stall = roll.steps.iter().map(|step| step.stall).max().unwrap_or_default();
                self.told(&format!("{:<28} longest stall {:>9.1} ms", course.spelled(), ms(stall)));
                laps.rolls.push(roll);
                return Ok(());
            }
        };
        let ballast = match laps.weight.ballast {
            Size(0) => None,
            size => Some(Ballast::load(size, self.options.value_bytes)?),
        };
        let kill = || ballast.iter().try_for_each(Ballast::kill);
        let (round, _) =
            Stage { beside: Some(&kill), ..stage.again() }.play(number, fault, Restart::Later, &mut Uncut)?;
        self.told(&format!(
            "{:<28} first write {:>9.1} ms   confirmed {:>9.1} ms   whole again {:>7.1} s   longest stall {:>9.1} ms",
            course.spelled(),
            ms(round.failover()),
            round.confirmed().map_or(f64::NAN, ms),
            round.rejoined().as_secs_f64(),
            ms(round.stall),
        ));
        laps.rounds.push((course, round));
        Ok(())
    }

    fn told(&self, text: &str) {
        self.progress.clear();
        eprintln!("  {text}");
    }
}

/// A row of the table.
struct Measure {
    what: &'static str,
    digits: usize,
    /// Whether others are told as multiples of the plugin.
    ratio: bool,
    /// What is promised of the plugin.
    bar: &'static str,
    value: fn(&Laps, Course) -> Option<f64>,
}

const fn measure(
    what: &'static str,
    digits: usize,
    bar: &'static str,
    value: fn(&Laps, Course) -> Option<f64>,
) -> Measure {
    Measure { what, digits, ratio: digits > 0, bar, value }
}

/// What is told of each course in which the primary goes.
const FAILOVER: [Measure; 15] = [
    measure("rounds", 0, "", |l, c| Some(l.of(c).count() as f64)),
    measure("rounds that failed", 0, "0", Laps::failures),
    measure("first write, median (ms)", 1, "", |l, c| median(l.of(c).map(|r| ms(r.failover())))),
    measure("first confirmed write, median (ms)", 1, "60", |l, c| median(l.of(c).filter_map(confirmed))),
    measure("first confirmed write, slowest (ms)", 1, "", |l, c| most(l.of(c).filter_map(confirmed))),
    measure("of that, a processor was away (ms)", 1, "", |l, c| {
        of_longest(l.of(c).filter_map(|r| Some((r.confirmed()?, r.away))))
    }),
    measure("copied anew by survivors", 0, "0", |l, c| {
        total(l.of(c).map(|r| Some(r.copied?.survivors.snapshots)))
    }),
    measure("frames fetched by survivors", 0, "", |l, c| {
        // Redis sends bytes, and does not say of whom.
        total(
            l.of(c)
                .map(|r| r.copied.filter(|_| l.racer == Racer::Plugin).map(|copied| copied.survivors.frames)),
        )
    }),
    measure("about so many MB of them in the worst round", 1, "64", |l, c| {
        let frames = most(l.of(c).filter_map(|r| Some(r.copied?.survivors.frames as f64)));
        frames.filter(|_| l.racer == Racer::Plugin).map(|frames| frames * l.frame_bytes as f64 / 1e6)
    }),
    measure("-LOADING answers of survivors", 0, "0", |l, c| total(l.of(c).map(|r| Some(r.loading as u64)))),
    measure("the old primary whole again, median (s)", 2, "", |l, c| {
        median(l.of(c).map(|r| ms(r.rejoined()) / 1e3))
    }),
    measure("copied anew by it", 0, "", |l, c| total(l.of(c).map(|r| Some(r.copied?.returned.snapshots)))),
    measure("longest write stall while it comes back (ms)", 1, "", |l, c| most(l.of(c).map(|r| ms(r.stall)))),
    measure("of that, ready and without a processor (ms)", 1, "", |l, c| {
        of_longest(l.of(c).map(|r| (r.stall, r.stall_queued)))
    }),
    measure("of that, a processor was away (ms)", 1, "", |l, c| {
        of_longest(l.of(c).map(|r| (r.stall, r.stall_away)))
    }),
];

const ROLL: [Measure; 9] = [
    measure("rounds", 0, "", |l, _| Some(l.rolls.len() as f64)),
    measure("rounds that failed", 0, "0", Laps::failures),
    measure("copied anew by anybody", 0, "0", |l, _| {
        total(l.steps().map(|s| Some(s.copied?.survivors.snapshots + s.copied?.returned.snapshots)))
    }),
    measure("-LOADING answers of the others", 0, "0", |l, _| {
        total(l.steps().map(|s| Some(s.loading as u64)))
    }),
    measure("longest write stall as a replica is restarted (ms)", 1, "20", |l, _| {
        most(l.steps().filter(|step| !step.was_primary).map(|step| ms(step.stall)))
    }),
    measure("of that, ready and without a processor (ms)", 1, "", |l, _| {
        of_longest(l.steps().filter(|step| !step.was_primary).map(|step| (step.stall, step.stall_queued)))
    }),
    measure("of that, a processor was away (ms)", 1, "", |l, _| {
        of_longest(l.steps().filter(|step| !step.was_primary).map(|step| (step.stall, step.stall_away)))
    }),
    measure("longest write stall as the primary is (ms)", 1, "", |l, _| {
        most(l.steps().filter(|step| step.was_primary).map(|step| ms(step.stall)))
    }),
    measure("a node whole again, slowest (s)", 2, "", |l, _| {
        most(l.steps().map(|step| ms(step.rejoined) / 1e3))
    }),
];

/// What is told of all courses together.
const ALL: [Measure; 9] = [
    measure("filled within (s)", 0, "60", |l, _| {
        Some(l.fill.as_secs_f64()).filter(|_| l.weight.size > Size(0))
    }),
    measure("memory of the primary when filled (MiB)", 1, "", |l, _| l.memory.primary),
    measure("memory of a replica when filled (MiB)", 1, "", |l, _| l.memory.replica),
    measure("of that, frames that it keeps for others (MiB)", 1, "", |l, _| l.memory.kept),
    measure("memory of the primary's companion (MiB)", 1, "", |l, _| l.memory.companion),
    measure("most memory of any node in the end (MiB)", 1, "", |l, _| l.memory.peak),
    measure("confirmed writes lost", 0, "0", |l, _| {
        let lost = l.rounds.iter().map(|(_, r)| r.lost).chain(l.rolls.iter().map(|r| r.lost));
        Some(lost.map(|lost| lost.waited).sum::<usize>() as f64)
    }),
    measure("rounds with two primaries at once", 0, "0", |l, _| {
        let dual = l.rounds.iter().map(|(_, r)| r.dual).chain(l.rolls.iter().map(|r| r.dual));
        Some(dual.flatten().count() as f64)
    }),
    measure("keys that differ in the end", 0, "0", |l, _| l.differing.map(|keys| keys as f64)),
];

type OfRound = fn(&Round) -> Option<f64>;

/// What is told of the largest size as a multiple of the smallest.
const FLAT: [(&str, Course, OfRound); 6] = [
    ("first write", Course::Idle, |r| Some(ms(r.failover()))),
    ("first confirmed write", Course::Idle, confirmed),
    ("first write", Course::Steady, |r| Some(ms(r.failover()))),
    ("first confirmed write", Course::Steady, confirmed),
    ("first write", Course::Loaded, |r| Some(ms(r.failover()))),
    ("first confirmed write", Course::Loaded, confirmed),
];

/// What was measured, as rows of cells; the first row is the head.
pub(crate) fn rows(all: &[Laps]) -> Vec<Vec<String>> {
    let (mut racers, mut weights) = (Vec::new(), Vec::new());
    for laps in all {
        racers.extend((!racers.contains(&laps.racer)).then_some(laps.racer));
        weights.extend((!weights.contains(&laps.weight)).then_some(laps.weight));
    }
    let others: Vec<_> = racers.iter().copied().filter(|racer| *racer != Racer::Plugin).collect();
    let find = |racer, weight| all.iter().find(|laps| (laps.racer, laps.weight) == (racer, weight));
    let row = |name: String, digits: usize, ratio: bool, bar: &str, of: &dyn Fn(Racer) -> Option<f64>| {
        let show =
            |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"));
        let times = |theirs: Racer| match (of(theirs), of(Racer::Plugin)) {
            (Some(theirs), Some(ours)) if ratio && ours > 0.0 => format!("{:.1}x", theirs / ours),
            _ => "–".to_owned(),
        };
        let own = racers.iter().map(|racer| show(of(*racer)));
        let cells = std::iter::once(name).chain(own).chain(others.iter().map(|racer| times(*racer)));
        cells.chain([bar.to_owned()]).collect::<Vec<_>>()
    };
    let head = racers.iter().map(|racer| racer.spelled().to_owned());
    let head = std::iter::once(String::new()).chain(head);
    let head = head.chain(others.iter().map(|racer| format!("{} / plugin", racer.name())));
    let mut table = vec![head.chain(["bar".to_owned()]).collect()];
    for weight in &weights {
        let failovers = [Course::Idle, Course::Steady, Course::Loaded, Course::Handover];
        let failovers =
            failovers.into_iter().flat_map(|course| FAILOVER.iter().map(move |m| (Some(course), m)));
        let roll = ROLL.iter().map(|m| (Some(Course::Roll), m));
        let run = |course: Option<Course>| {
            course.is_none_or(|course| all.iter().any(|laps| laps.weight == *weight && laps.ran(course)))
        };
        let measures = failovers.chain(roll).chain(ALL.iter().map(|m| (None, m)));
        for (course, m) in measures.filter(|(course, _)| run(*course)) {
            let of = |racer| (m.value)(find(racer, *weight)?, course.unwrap_or(Course::Idle));
            let name = course
                .map_or_else(|| m.what.to_owned(), |course| format!("{}: {}", course.spelled(), m.what));
            table.push(row(format!("{weight}: {name}"), m.digits, m.ratio, m.bar, &of));
        }
    }
    if let [lighter @ .., most] = &weights[..] {
        for least in lighter.iter().filter(|weight| weight.size == lighter[0].size) {
            for (what, course, value) in FLAT {
                let of = |racer| {
                    let at = |weight| median(find(racer, weight)?.of(course).filter_map(value));
                    Some(at(*most)? / at(*least)?)
                };
                table.push(row(
                    format!("{most} / {least}: {}: {what}", course.spelled()),
                    2,
                    false,
                    "2",
                    &of,
                ));
            }
        }
    }
    // Rows in which nobody has anything.
    let width = 1 + racers.len();
    table.retain(|row| row[0].is_empty() || row[1..width].iter().any(|cell| cell != "–"));
    table
}

/// What could not be measured, and why.
pub(crate) fn failures(all: &[Laps]) -> Vec<String> {
    let of = |laps: &Laps| {
        let told = |(course, why): &(Course, String)| {
            format!("{}, {}: {}: {why}", laps.racer.spelled(), laps.weight, course.spelled())
        };
        laps.failed.iter().map(told).collect::<Vec<_>>()
    };
    all.iter().flat_map(of).collect()
}

/// What stands above the table in the documentation.
pub(crate) fn introduction(rounds: u32, budget: Duration, value_bytes: usize) -> String {
    format!(
        "Written by `cargo race --data`: three nodes of each system on one machine of {} processors, one after the other, over \
         loopback, one shard, the log on disk on, the same clients, values of {value_bytes} bytes; sizes are those of all keys and \
         values, on each node. Of each course up to {rounds} rounds, and no new one after {} s. First write: from the instant \
         before the signal to the arrival of the first acknowledgement of another node. First confirmed write: to the arrival of the \
         first `WAIT 1` that another node answered with 1. Under load: two clients write batches of 64 as fast as the primary \
         answers until the first confirmed write; a steady load is 20 000 writes per second, also while nodes come back. The old \
         primary is started again after the first confirmed write, and is whole again when `WAIT 2` says 2. Copies as \
         the servers count them, which kevy's own elector does not. A stall is the longest time without any acknowledged write; the clients \
         write every millisecond. Ballast: with the primary a process dies that holds so much memory and does nothing. Where all nodes share a machine, most of it is time in which the primary was ready to run and the processors \
         were at others' work (`schedstat`); that is told apart.\n\n",
        std::thread::available_parallelism().map_or(0, usize::from),
        budget.as_secs(),
    )
}

impl Laps {
    fn of(&self, course: Course) -> impl Iterator<Item = &Round> {
        self.rounds.iter().filter(move |(of, _)| *of == course).map(|(_, round)| round)
    }

    /// Whether it was tried.
    fn ran(&self, course: Course) -> bool {
        self.of(course).next().is_some()
            || self.failed.iter().any(|(of, _)| *of == course)
            || (course == Course::Roll && !self.rolls.is_empty())
    }

    fn failures(&self, course: Course) -> Option<f64> {
        Some(self.failed.iter().filter(|(of, _)| *of == course).count() as f64)
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        self.rolls.iter().flat_map(|roll| &roll.steps)
    }
}

fn confirmed(round: &Round) -> Option<f64> {
    round.confirmed().map(ms)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn most(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.reduce(f64::max)
}

/// A part of the longest one.
fn of_longest(times: impl Iterator<Item = (Duration, Option<Duration>)>) -> Option<f64> {
    times.max_by_key(|(time, _)| *time).and_then(|(_, part)| part).map(ms)
}

/// `None` where one of them is not known, or there is none.
fn total(counts: impl Iterator<Item = Option<u64>>) -> Option<f64> {
    let counts: Option<Vec<u64>> = counts.collect();
    counts.filter(|counts| !counts.is_empty()).map(|counts| counts.iter().sum::<u64>() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laps(racer: Racer, size: u64, differing: Option<usize>) -> Laps {
        let step = |was_primary, stall| Step {
            node: 0,
            was_primary,
            stall: Duration::from_millis(stall),
            stall_queued: Some(Duration::from_millis(stall / 3)),
            stall_away: Some(Duration::from_millis(stall / 4)),
            rejoined: Duration::from_secs(1),
            copied: None,
            loading: 2,
        };
        let steps = vec![step(false, 3), step(true, 90)];
        let roll = Roll { steps, acked: 1, lost: Default::default(), dual: None };
        let fill = Duration::from_secs(40);
        let memory = Memory { primary: Some(300.0), ..Memory::default() };
        let failed = vec![(Course::Roll, "nobody came back within 60 s".to_owned())];
        let (rounds, rolls, frame_bytes) = (vec![], vec![roll], 250);
        let weight = Weight { size: Size(size), ballast: Size(0) };
        Laps { racer, weight, frame_bytes, fill, rounds, rolls, failed, differing, memory }
    }

    #[test]
    fn what_failed_is_told_with_its_reason() {
        let told = failures(&[laps(Racer::Stock, 0, None)]);
        let [told] = &told[..] else { panic!("{told:?}") };
        assert!(
            told.contains("built-in") && told.ends_with("under load: nobody came back within 60 s"),
            "{told}"
        );
    }

    #[test]
    fn the_table_has_a_row_for_all_that_somebody_measured() {
        let all = [laps(Racer::Plugin, 1_000_000_000, Some(0)), laps(Racer::Redis, 1_000_000_000, None)];
        let rows = rows(&all);
        assert!(rows.iter().all(|row| row.len() == 5), "{rows:?}");
        let row = |name: &str| rows.iter().find(|row| row[0].ends_with(name)).unwrap()[1..].join(" ");
        assert_eq!(row("as a replica is restarted (ms)"), "3.0 3.0 1.0x 20");
        assert_eq!(row("of that, ready and without a processor (ms)"), "1.0 1.0 1.0x ", "of the replica's");
        assert_eq!(row("as the primary is (ms)"), "90.0 90.0 1.0x ");
        assert_eq!(row("-LOADING answers of the others"), "4 4 – 0");
        assert_eq!(row("keys that differ in the end"), "0 – – 0");
        assert_eq!(row("memory of the primary when filled (MiB)"), "300.0 300.0 1.0x ");
        assert!(!rows.iter().any(|row| row[0].contains("copied anew by anybody")), "nobody counted");
        assert!(!rows.iter().any(|row| row[0].contains("kill -9")), "nobody tried");
    }

    #[test]
    fn numbers_of_many_rounds_are_their_median_their_most_and_their_sum() {
        assert_eq!(median([5.0, 1.0, 4.0].into_iter()), Some(4.0));
        assert_eq!((most([5.0, 9.0].into_iter()), most(std::iter::empty())), (Some(9.0), None));
        assert_eq!(
            (total([Some(1), Some(2)].into_iter()), total([Some(1), None].into_iter())),
            (Some(3.0), None)
        );
    }
}
