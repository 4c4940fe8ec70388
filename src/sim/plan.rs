//! What a run consists of: the cluster, and what goes wrong when. Drawn from one seed.

use super::clock::MS;
use super::fault::{Fault, FaultKind, Loss, Target};
use super::habits::{Fsync, Habits};
use super::profile::{Kind, Profile};
use super::rng::Rng;
use super::server_mutation::ServerMutation;
use crate::config::{Config, ConfigError, CrashDetection, LossPolicy, Member, MemberKind};
use crate::driver::DriverMutation;
use crate::elector::Mutation;
use crate::identity::Identity;
use crate::ids::{ClusterId, EPOCH_STEP_MAX, Epoch, NodeId};
use crate::rank::Rank;
use crate::time::Duration;

/// How the cluster is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What each member is for. The voters come first, witnesses last among them, then observers.
    pub kinds: Vec<MemberKind>,
    /// Preference of each voter among candidates with equal data; zero is never promoted.
    pub priorities: Vec<u8>,
    /// Heartbeat interval of all nodes.
    pub heartbeat: Duration,
    /// Election timeout of all nodes; the longest, where their timings differ.
    pub timeout: Duration,
    /// The timings that each node starts with, one start after the other; those above where there are none.
    pub timings: Vec<Vec<Timing>>,
    /// Configured bound of the clocks' drift, in percent.
    pub drift_percent: f64,
    /// Rate of each node's clock, in parts of a million of that bound.
    pub of_bound: Vec<i64>,
    /// Shards of each server.
    pub shards: usize,
    /// What voters compare.
    pub loss_policy: LossPolicy,
    /// Whether closed links prove a crash.
    pub crash_detection: CrashDetection,
    /// Who goes first among candidates with equal data.
    pub rank: Rank,
    /// Whether a primary's death that is seen begins an election.
    pub auto_elect: bool,
    /// How long after that.
    pub settling: Duration,
    /// After how long a member of higher priority gets the office back; none: never by itself.
    pub failback: Option<Duration>,
    /// Frames overtake each other and outlive their connection.
    pub unordered: bool,
    /// The longest delay of a frame without a storm, in nanoseconds.
    pub delay: u64,
    /// The longest save of a healthy disk, in nanoseconds; zero: at once.
    pub save: u64,
    /// The longest promotion or retarget of a healthy host, in nanoseconds.
    pub host: u64,
    /// The longest time that a host takes to let go of a primary, in nanoseconds; zero: it does so at once.
    pub late: u64,
    /// Nothing is left to chance but the electors' own: what may take long takes the middle, what may happen
    /// happens if it is likely. For runs that people read.
    pub steady: bool,
    /// A member lies: only what the others promise by themselves is judged.
    pub lies: bool,
    /// The epoch in each node's record when it first starts; none: it has no record.
    pub epochs: Vec<Epoch>,
    /// Whether that record says the cluster's id; none: nobody's does, and the first primary draws one.
    pub belongs: Vec<bool>,
    /// No clients write by themselves.
    pub quiet: bool,
    /// More voters than any protocol survives may lose their records: then only what an operator decides counts.
    pub forgetful: bool,
    /// What real servers do; without it they are ideal.
    pub habits: Option<Habits>,
}

/// What the configuration of one start says of time.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Election timeout.
    pub timeout: Duration,
    /// Bound of the clocks' drift, in percent.
    pub drift_percent: f64,
    /// The lease is so many percent of the longest that is safe.
    pub lease_percent: u32,
}

impl Setup {
    /// The configuration of one node, when it has been started so often before.
    pub(super) fn config(&self, node: usize, starts: usize, ids: &[NodeId]) -> Result<Config, ConfigError> {
        let timings = self.timings.get(node).filter(|timings| !timings.is_empty());
        let timing = timings.map_or_else(|| self.timing(), |timings| timings[starts % timings.len()]);
        self.timed(node, timing, ids)
    }

    /// What a node starts with for which nothing else is said.
    pub fn timing(&self) -> Timing {
        Timing { timeout: self.timeout, drift_percent: self.drift_percent, lease_percent: 100 }
    }

    fn timed(&self, node: usize, timing: Timing, ids: &[NodeId]) -> Result<Config, ConfigError> {
        let members = ids.iter().zip(&self.kinds).zip(&self.priorities);
        let members = members.map(|((id, kind), priority)| match kind {
            MemberKind::Voter => Member { priority: *priority, ..Member::voter(*id) },
            MemberKind::Witness => Member::witness(*id),
            MemberKind::Observer => Member::observer(*id),
        });
        let Timing { timeout, drift_percent, lease_percent } = timing;
        Config::builder(ids[node], members)
            .heartbeat_interval(self.heartbeat)
            .election_timeout(timeout)
            .drift_percent(drift_percent)
            .lease(Config::lease_max(timeout, drift_percent) * lease_percent / 100)
            .loss_policy(self.loss_policy)
            .crash_detection(self.crash_detection)
            .rank(self.rank)
            .auto_elect_on_peer_loss(self.auto_elect)
            .settling_delay(self.settling)
            .failback(self.failback)
            .build()
    }

    /// How long a host takes to let go of a primary, and then to say so.
    pub(super) fn draw_late(&self, rng: &mut Rng) -> [u64; 2] {
        match self.late {
            0 => [0, 0],
            late => [1 + rng.below(late), 1 + rng.below(late / 2)],
        }
    }

    /// The id of the cluster, where a node's record says it from the beginning.
    pub(super) fn identity(&self, node: usize) -> Option<Identity> {
        self.belongs.get(node).filter(|belongs| **belongs).map(|_| Identity::settled(cluster()))
    }

    /// How many members there are.
    pub fn members(&self) -> usize {
        self.kinds.len()
    }

    /// How many of them vote.
    pub fn voters(&self) -> usize {
        self.kinds.iter().filter(|kind| kind.votes()).count()
    }
}

/// A whole run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where it came from, and what all other draws of the run depend on.
    pub seed: u64,
    /// The cluster.
    pub setup: Setup,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// When all is healed, in nanoseconds of real time.
    pub heal_at: u64,
    /// A deliberate fault in the elector.
    pub mutation: Option<Mutation>,
    /// A deliberate fault in the driver; only the whole stack has one.
    pub driver_mutation: Option<DriverMutation>,
    /// A deliberate fault in the servers, where they have habits.
    pub server_mutation: Option<ServerMutation>,
}

impl Plan {
    /// A cluster of `nodes` without any fault.
    pub fn calm(seed: u64, nodes: usize) -> Self {
        let setup = Setup {
            kinds: vec![MemberKind::Voter; nodes],
            priorities: vec![Member::PRIORITY_DEFAULT; nodes],
            heartbeat: Duration::from_millis(100),
            timeout: Duration::from_millis(1000),
            timings: Vec::new(),
            drift_percent: 1.0,
            of_bound: vec![0; nodes],
            shards: 1,
            loss_policy: LossPolicy::Sum,
            crash_detection: CrashDetection::Refused,
            rank: Rank::Position,
            auto_elect: true,
            settling: Duration::ZERO,
            failback: None,
            unordered: false,
            delay: 2 * MS,
            save: 2 * MS,
            host: 5 * MS,
            late: 0,
            steady: false,
            lies: false,
            epochs: Vec::new(),
            belongs: Vec::new(),
            quiet: false,
            forgetful: false,
            habits: None,
        };
        Self {
            seed,
            setup,
            faults: Vec::new(),
            heal_at: 0,
            mutation: None,
            driver_mutation: None,
            server_mutation: None,
        }
    }

    /// The run of `seed`.
    pub fn draw(seed: u64, nodes: usize, profile: Profile) -> Self {
        let mut rng = Rng::new(seed, 1);
        let rng = &mut rng;
        let mut plan = Self::calm(seed, nodes);
        let setup = &mut plan.setup;
        if rng.chance(500) {
            let timeout = rng.between(400, 2000);
            setup.timeout = Duration::from_millis(timeout);
            setup.heartbeat = Duration::from_millis(timeout / rng.between(4, 12));
        }
        setup.drift_percent = rng.pick(&[0.1, 1.0, 1.0, 5.0, 15.0]);
        if profile.drift {
            for of_bound in &mut setup.of_bound {
                *of_bound = rng.pick(&[-1_000_000, -1_000_000, 0, 1_000_000, 1_000_000]);
            }
        } else {
            for of_bound in &mut setup.of_bound {
                *of_bound = rng.between(0, 20_000) as i64 - 10_000;
            }
        }
        if rng.chance(300) {
            setup.shards = super::data::SHARDS;
            setup.loss_policy = LossPolicy::Dominate;
        }
        if rng.chance(150) {
            setup.crash_detection = CrashDetection::Off;
        }
        if nodes > 2 && rng.chance(120) {
            setup.kinds[nodes - 1] = MemberKind::Witness;
        }
        if rng.chance(150) {
            setup.kinds.push(MemberKind::Observer);
            setup.priorities.push(0);
            setup.of_bound.push(0);
        }
        setup.unordered = profile.unordered;
        setup.delay = rng.pick(&[MS / 5, 2 * MS, 2 * MS, 20 * MS]);
        setup.save = rng.pick(&[0, MS, 2 * MS, 15 * MS]);
        setup.host = rng.pick(&[MS, 5 * MS, 50 * MS, 300 * MS]);
        if profile.real {
            if rng.chance(400) {
                setup.shards = super::data::SHARDS;
            }
            if setup.shards > 1 {
                // Cuts through the streams make both safe.
                setup.loss_policy = rng.pick(&[LossPolicy::Sum, LossPolicy::Dominate]);
            }
            let fsync = rng.pick(&[Fsync::Always, Fsync::Everysec, Fsync::No]);
            // Drawn apart: what else goes wrong stays as it was before servers could continue.
            let mut apart = Rng::new(seed, 6);
            let continues = profile.continues || apart.chance(600);
            let continues = continues.then(|| apart.pick(&[6, 24, 24, 150]));
            setup.habits = Some(Habits { fsync, watchdog: rng.chance(800), continues });
        }
        let timeout = crate::time::nanos(setup.timeout);
        if profile.late {
            setup.late = timeout / rng.pick(&[12, 25, 100]);
        }
        // What hangs has to hang for longer than an election may take; and where nobody writes it is not behind.
        let hangs = profile.kinds.contains(&Kind::Hung);
        setup.quiet = hangs && rng.chance(500);
        let (shortest, longest) = if hangs { (10, 30) } else { (3, 14) };
        let window = rng.between(shortest * timeout, longest * timeout);
        plan.heal_at = window;
        if !profile.kinds.is_empty() {
            let count = rng.between(1, 12);
            for _ in 0..count {
                let kind = rng.pick(profile.kinds);
                let mut at = rng.below(window);
                // Often in close succession: what hurts is a second fault before the first one is over.
                if let Some(last) = plan.faults.last()
                    && rng.chance(450)
                {
                    at = (last.at + rng.below(timeout * 3 / 2)).min(window);
                }
                draw_fault(rng, kind, plan.setup.kinds.len(), at, timeout, &mut plan.faults);
            }
            if hangs {
                plan.faults.iter_mut().for_each(|fault| fault.lasts *= 4);
            }
            plan.faults.sort_by_key(|fault| fault.at);
        }
        if profile.senior {
            plan.draw_seniority(&mut Rng::new(seed, 9));
        }
        if profile.failback {
            plan.draw_failback(&mut Rng::new(seed, 9));
        }
        if profile.witnesses {
            plan.draw_witnesses(&mut Rng::new(seed, 9), nodes);
        }
        if profile.lies {
            plan.draw_lies(&mut Rng::new(seed, 7));
        }
        if profile.timings {
            plan.draw_timings(&mut Rng::new(seed, 9));
        }
        if profile.apart {
            plan.draw_epochs(&mut Rng::new(seed, 8));
        }
        plan
    }

    /// Every start of a node may have other timings. One node may be told too little of the clocks, as long as the others are not.
    fn draw_timings(&mut self, rng: &mut Rng) {
        let setup = &mut self.setup;
        let misled = rng.below(setup.members() as u64 * 2) as usize;
        let ids: Vec<_> = (0..setup.members()).filter_map(|n| NodeId::new(&format!("n{n}")).ok()).collect();
        let draw = |rng: &mut Rng, node: usize| {
            let timeout = setup.timeout * rng.pick(&[100, 100, 75, 50, 40, 34]) / 100;
            let drifts = [0.1, 1.0, 5.0, 15.0];
            let low = |drift: &f64| *drift >= setup.drift_percent || node == misled;
            let fit: Vec<f64> = drifts.into_iter().filter(low).collect();
            let drift_percent = if fit.is_empty() { setup.drift_percent } else { rng.pick(&fit) };
            let timing = Timing { timeout, drift_percent, lease_percent: rng.pick(&[100, 100, 90]) as u32 };
            let fits = setup.timed(node, timing, &ids).is_ok();
            if fits { timing } else { setup.timing() }
        };
        let nodes = 0..setup.members();
        let timings = nodes.map(|node| (0..4).map(|_| draw(rng, node)).collect()).collect();
        setup.timings = timings;
    }

    fn draw_epochs(&mut self, rng: &mut Rng) {
        let far = |rng: &mut Rng| rng.pick(&[0, 0, 1, 3, STEPS_APART]) * EPOCH_STEP_MAX + rng.below(400);
        self.setup.epochs = (0..self.setup.members()).map(|_| Epoch(1 + far(rng))).collect();
    }

    fn draw_seniority(&mut self, rng: &mut Rng) {
        let setup = &mut self.setup;
        setup.rank = Rank::Seniority;
        // Where nobody writes, all data is equal.
        setup.quiet = rng.chance(700);
        setup.auto_elect = !rng.chance(150);
        if rng.chance(300) {
            setup.settling = setup.timeout / rng.between(1, 6) as u32;
        }
    }

    fn draw_witnesses(&mut self, rng: &mut Rng, voters: usize) {
        let setup = &mut self.setup;
        let witnesses = match voters {
            0..3 => 0,
            3..5 => 1,
            _ => rng.between(1, 2) as usize,
        };
        setup.kinds[voters - witnesses..voters].fill(MemberKind::Witness);
    }

    fn draw_failback(&mut self, rng: &mut Rng) {
        let setup = &mut self.setup;
        setup.failback = Some(setup.timeout * rng.between(1, 4) as u32);
        for (priority, kind) in setup.priorities.iter_mut().zip(&setup.kinds) {
            if *kind == MemberKind::Voter {
                *priority = rng.pick(&[50, 100, 100, 200]);
            }
        }
    }

    fn draw_lies(&mut self, rng: &mut Rng) {
        let (seed, setup, window) = (self.seed, &mut self.setup, self.heal_at);
        let voters = setup.voters();
        setup.lies = true;
        // It had formed before: a lie while it forms can have some admitted and others not, which only an operator ends.
        setup.epochs = vec![Epoch(1); setup.members()];
        // Histories that only lies led to can be incomparable for good.
        (setup.shards, setup.loss_policy) = (1, LossPolicy::Sum);
        // Drawn apart: where it does not, the run is the one that it was before.
        let mut apart = Rng::new(seed, 10);
        let ids = apart.chance(300);
        let lie = |rng: &mut Rng, node, at, lasts, removed| {
            let to = if rng.chance(600) { u32::MAX } else { rng.next() as u32 };
            let kind = FaultKind::Lie { to, removed, ids };
            Fault { at, lasts, target: Target { node, primary: false }, kind }
        };
        let first = rng.below(voters as u64) as usize;
        let pause = 4 * crate::time::nanos(setup.timeout);
        if voters > 2 && window > 3 * pause && rng.chance(400) {
            // One after the other, and no trace of the first where the second one begins.
            let half = (window - pause) / 2;
            let second = (first + 1 + rng.below(voters as u64 - 1) as usize) % voters;
            self.faults.push(lie(rng, first, 0, half, false));
            self.faults.push(lie(rng, second, half + pause, half, false));
        } else {
            let at = rng.below(window / 2);
            let lasts = rng.between(window / 8, window - at);
            // The others have to be enough; who does not stop to lie is then like a dead one.
            let removed = voters > 2 && rng.chance(600);
            self.faults.push(lie(rng, first, at, lasts, removed));
        }
        if ids {
            self.draw_belonging(&mut apart, first);
        }
        self.faults.sort_by_key(|fault| fault.at);
    }

    /// Who does not know its cluster yet can be told anything: no more of them than may be without a record, a liar that is gone afterwards included.
    fn draw_belonging(&mut self, rng: &mut Rng, liar: usize) {
        let goes = |fault: &&Fault| matches!(fault.kind, FaultKind::Lie { removed: true, .. });
        let gone = self.faults.iter().filter(goes).count();
        let setup = &mut self.setup;
        let voters = setup.voters();
        let room = (voters - (voters / 2 + 1)).saturating_sub(gone);
        setup.belongs = vec![true; setup.members()];
        for _ in 0..room {
            let node = rng.below(voters as u64) as usize;
            setup.belongs[node] = node == liar || rng.chance(200);
        }
    }
}

/// The id of a cluster that has one when a run begins.
pub(super) fn cluster() -> ClusterId {
    ClusterId::from_bits(1)
}

/// By how many steps of [`EPOCH_STEP_MAX`] epochs may be apart when a run begins.
pub(super) const STEPS_APART: u64 = 8;

fn draw_fault(rng: &mut Rng, kind: Kind, nodes: usize, at: u64, timeout: u64, faults: &mut Vec<Fault>) {
    let target = Target { node: rng.below(nodes as u64) as usize, primary: rng.chance(500) };
    let other = |rng: &mut Rng| (target.node + 1 + rng.below(nodes as u64 - 1) as usize) % nodes;
    let timeout_ms = timeout / MS;
    let short = rng.between(MS, timeout);
    let long = rng.between(timeout / 2, 5 * timeout);
    let mut lasts = if rng.chance(500) { short } else { long };
    let kind = match kind {
        Kind::Crash => FaultKind::Crash { power: rng.chance(200), loss: Loss::Nothing },
        Kind::QuickRestart => {
            lasts = rng.between(MS, timeout / 2);
            FaultKind::Crash { power: false, loss: Loss::Nothing }
        }
        Kind::Power => FaultKind::Crash { power: true, loss: Loss::Tail },
        Kind::Wipe => FaultKind::Crash {
            power: rng.chance(300),
            loss: rng.pick(&[Loss::Disk, Loss::Record, Loss::Data]),
        },
        Kind::Lying => FaultKind::Crash { power: true, loss: Loss::AcknowledgedSave },
        Kind::Pause => FaultKind::Pause,
        Kind::Suspend => FaultKind::Suspend,
        Kind::Cut => FaultKind::Cut { to: other(rng) },
        Kind::OneWay => FaultKind::CutOneWay { to: other(rng) },
        Kind::Partition => {
            FaultKind::Partition { side: rng.between(1, (1 << nodes) - 2) as u32, one_way: rng.chance(250) }
        }
        Kind::Partial => FaultKind::PartialPartition { pairs: rng.next() & rng.next() },
        Kind::Storm => FaultKind::Storm {
            loss: rng.pick(&[0, 20, 100, 300, 600]),
            duplication: rng.pick(&[0, 50, 300]),
            delay_ms: rng.pick(&[5, timeout_ms / 10, timeout_ms / 2, 2 * timeout_ms]).max(1),
        },
        Kind::Firewall if rng.chance(300) => FaultKind::FirewallAll,
        Kind::Firewall => FaultKind::Firewall { to: other(rng) },
        Kind::Resets => FaultKind::Resets,
        Kind::Disk => match rng.below(3) {
            0 => FaultKind::SlowDisk {
                ms: rng.pick(&[timeout_ms / 10, timeout_ms / 2, 3 * timeout_ms]).max(1),
            },
            1 => FaultKind::FailingDisk,
            _ => FaultKind::HangingDisk,
        },
        Kind::Host => match rng.below(4) {
            0 => FaultKind::SlowHost { ms: rng.pick(&[timeout_ms / 2, 3 * timeout_ms]) },
            1 => FaultKind::FailingHost,
            2 => FaultKind::HangingHost,
            _ => FaultKind::Unhealthy,
        },
        Kind::Operator => match rng.below(4) {
            0 => FaultKind::StepDown,
            1 => FaultKind::Transfer { to: (target.node + 1) % nodes },
            2 => FaultKind::Shutdown,
            _ => FaultKind::OperatorPause,
        },
        Kind::Members => {
            // What hurts is a split, or an end, in the middle of a change; and another change soon after.
            if rng.chance(700) {
                let side = rng.between(1, (1 << nodes) - 2) as u32;
                let kind = match rng.below(4) {
                    0 => FaultKind::Crash { power: rng.chance(500), loss: Loss::Nothing },
                    _ => FaultKind::Partition { side, one_way: false },
                };
                let (at, target) = (at + rng.below(150 * MS), Target { primary: true, ..target });
                faults.push(Fault { at, lasts: long, target, kind });
            }
            if rng.chance(700) {
                let (at, of) = (at + rng.below(3 * timeout), other(rng));
                faults.push(Fault { at, lasts, target, kind: FaultKind::Members { of } });
            }
            FaultKind::Members { of: target.node }
        }
        Kind::Blackout => {
            // Within a moment of each other; each machine is back when it is.
            for node in 1..nodes {
                let target = Target { node: (target.node + node) % nodes, primary: false };
                let (at, lasts) = (at + rng.below(300 * MS), lasts + rng.below(timeout));
                let kind = FaultKind::Crash { power: true, loss: Loss::Tail };
                faults.push(Fault { at, lasts, target, kind });
            }
            FaultKind::Crash { power: true, loss: Loss::Tail }
        }
        Kind::Memory => FaultKind::LowMemory,
        Kind::Hung => {
            // What hurts is a shard that hangs when its node is needed.
            if rng.chance(500) {
                lasts = rng.between(3 * timeout, 5 * timeout);
                let crash = FaultKind::Crash { power: false, loss: Loss::Nothing };
                let (at, target) = (at + rng.below(200 * MS), Target { primary: true, ..target });
                faults.push(Fault { at, lasts, target, kind: crash });
            }
            FaultKind::HungShard
        }
        Kind::Twin => FaultKind::Twin { cut: rng.chance(700) },
        Kind::Clock => FaultKind::ClockRate { of_bound: rng.between(0, 2_000_000) as i64 - 1_000_000 },
    };
    faults.push(Fault { at, lasts, target, kind });
}
