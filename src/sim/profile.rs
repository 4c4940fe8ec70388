//! Kinds of runs: which faults they draw, and how the cluster behaves.

/// Which kinds of faults a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    pub(super) kinds: &'static [Kind],
    /// Frames overtake each other and outlive their connection.
    pub(super) unordered: bool,
    /// Clocks run at the bounds of the configured drift.
    pub(super) drift: bool,
    /// Servers have the habits of real ones.
    pub(super) real: bool,
    /// They always go on in the histories of other primaries where they can.
    pub(super) continues: bool,
    /// Hosts answer later, as ones in other processes do.
    pub(super) late: bool,
    /// A member says in its own name what no elector would, and is removed or started anew half way.
    pub(super) lies: bool,
    /// Every start of a node may have other timings.
    pub(super) timings: bool,
    /// Seniority decides who goes first.
    pub(super) senior: bool,
    /// Members have priorities, and the one with the highest gets the office back.
    pub(super) failback: bool,
    /// One of the voters is a witness, or two of them.
    pub(super) witnesses: bool,
    /// Epochs are far apart when it begins.
    pub(super) apart: bool,
    /// The protocol does not promise to survive this; violations are counted, not failures.
    pub beyond: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Crash,
    QuickRestart,
    Power,
    Wipe,
    Pause,
    Suspend,
    Cut,
    OneWay,
    Partition,
    Partial,
    Storm,
    Firewall,
    Resets,
    Disk,
    Host,
    Operator,
    Clock,
    Lying,
    Blackout,
    Memory,
    Hung,
    Twin,
    Members,
}

/// All but those against which nothing is promised.
const EVERY: &[Kind] = REAL.split_at(REAL.len() - 2).0;

/// The same, and behind them what only real servers do.
const REAL: &[Kind] = &[
    Kind::Crash,
    Kind::QuickRestart,
    Kind::Power,
    Kind::Wipe,
    Kind::Pause,
    Kind::Suspend,
    Kind::Cut,
    Kind::OneWay,
    Kind::Partition,
    Kind::Partial,
    Kind::Storm,
    Kind::Firewall,
    Kind::Resets,
    Kind::Disk,
    Kind::Host,
    Kind::Operator,
    Kind::Clock,
    Kind::Blackout,
    Kind::Memory,
];

macro_rules! profile {
    ($name:literal, $about:literal, every $(, $flag:ident)*) => {
        profile!(@ $name, $about, EVERY $(, $flag)*)
    };
    ($name:literal, $about:literal, server $(, $flag:ident)*) => {
        profile!(@ $name, $about, REAL, real $(, $flag)*)
    };
    ($name:literal, $about:literal, [$($kind:ident),*] $(, $flag:ident)*) => {
        profile!(@ $name, $about, &[$(Kind::$kind),*] $(, $flag)*)
    };
    (@ $name:literal, $about:literal, $kinds:expr $(, $flag:ident)*) => {
        Profile { $($flag: true,)* ..Profile { name: $name, about: $about, kinds: $kinds,
            unordered: false, drift: false, real: false, late: false, continues: false, lies: false,
             senior: false, failback: false, witnesses: false, apart: false, timings: false, beyond: false } }
    };
}

/// All profiles.
pub const PROFILES: &[Profile] = &[
    profile!("calm", "no faults at all", []),
    profile!("crash", "processes die and come back", [Crash, QuickRestart]),
    profile!("power", "machines lose power and their newest writes", [Power, Crash]),
    profile!("wipe", "disks, data or vote records are lost", [Wipe, Crash, QuickRestart]),
    profile!("pause", "processes stop and wake up", [Pause]),
    profile!("suspend", "machines sleep, and their clocks with them", [Suspend]),
    profile!("cuts", "single links are cut, both ways or one way", [Cut, OneWay]),
    profile!("partitions", "the cluster falls apart, in halves or worse", [Partition, Partial]),
    profile!("storm", "loss, duplication, long delays", [Storm]),
    profile!("reorder", "the same, with frames that overtake each other", [Storm, Resets], unordered),
    profile!("firewall", "links of live processes are reset and refused", [Firewall, Resets]),
    profile!("disk", "saves are slow, fail or hang", [Disk, Crash]),
    profile!("host", "promotions and retargets are slow, fail or hang", [Host, Crash]),
    profile!("operator", "planned transfers, shutdowns, pauses", [Operator, Crash]),
    profile!(
        "members",
        "voters come and go, one by one, while everything else goes on",
        [Members, Members, Members, Crash, QuickRestart, Partition, Cut, OneWay, Pause, Disk, Storm],
        drift
    ),
    profile!("split", "partitions in storms", [Storm, Storm, Partition, OneWay, Cut, Crash], drift),
    profile!(
        "forget",
        "records are lost while the cluster is apart",
        [Wipe, Wipe, Partition, Firewall, Power]
    ),
    profile!(
        "drift",
        "clocks at the bounds of the configured drift",
        [Clock, Pause, Partition, Crash],
        drift
    ),
    profile!("all", "everything at once", every, drift),
    profile!("chaos", "everything at once, with frames that overtake each other", every, drift, unordered),
    profile!(
        "logs",
        "logs lose their tails, also on all nodes at once",
        [Power, Blackout, Crash, QuickRestart],
        real
    ),
    profile!(
        "streams",
        "streams of single shards are late or stand still",
        [Crash, Cut, Partition, Pause],
        real
    ),
    profile!(
        "memory",
        "replicas have no room for what they are sent",
        [Memory, Memory, Crash, QuickRestart],
        real
    ),
    profile!(
        "reigns",
        "the office changes hands and comes back",
        [Operator, Cut, Partition, Pause, Host],
        real
    ),
    profile!(
        "answers",
        "answers leave later than writes pass",
        [Pause, Pause, Suspend, Cut, Clock],
        real,
        drift
    ),
    profile!("hung", "shards hang beside drivers that run", [Hung], real),
    profile!(
        "continuation",
        "the office changes hands faster than replicas can follow, and nodes return",
        [Operator, Operator, Crash, QuickRestart, Partition, Cut, Host, Power],
        real,
        continues
    ),
    profile!(
        "late",
        "hosts let go, and say so, later, and say it twice",
        [Crash, QuickRestart, Partition, Cut, Operator, Operator],
        late,
        drift
    ),
    profile!(
        "liar",
        "a member forges everything in its own name, and is removed half way",
        [Crash, QuickRestart, Wipe, Pause, Cut, Partition, Storm],
        lies
    ),
    profile!(
        "pretender",
        "the same where who has been up longest goes first, and it lies about that too",
        [Crash, QuickRestart, Wipe, Pause, Cut, Partition, Storm],
        lies,
        senior
    ),
    profile!(
        "apart",
        "epochs are far apart, as a lie of long ago left them",
        [Crash, QuickRestart, Wipe, Pause, Cut, Partition, Storm, Operator],
        apart
    ),
    profile!(
        "timings",
        "nodes are configured differently, and otherwise at every start",
        [Crash, QuickRestart, QuickRestart, Pause, Cut, Partition, Partition, Operator],
        timings,
        drift
    ),
    profile!(
        "seniority",
        "services without data: who has been up longest goes first",
        [Crash, Crash, QuickRestart, Pause, Cut, Partition, Operator, Resets, Host],
        senior,
        drift
    ),
    profile!(
        "failback",
        "members have priorities, and the one with the highest gets the office back",
        [Crash, Crash, QuickRestart, Pause, Cut, Partition, Storm, Operator, Host],
        failback
    ),
    profile!(
        "witness",
        "some voters are witnesses, whom others tell less often what is not new",
        every,
        witnesses,
        drift
    ),
    profile!("twins", "second processes with a node's id", [Twin, Twin, Cut, Crash], real),
    profile!("server", "everything at once, with all the habits of real servers", server, drift),
    profile!(
        "lying",
        "a disk loses saves it had acknowledged: beyond what any vote protocol survives",
        [Lying, Crash],
        beyond
    ),
];

impl Profile {
    /// The profile of this name.
    pub fn named(name: &str) -> Option<Self> {
        PROFILES.iter().copied().find(|profile| profile.name == name)
    }
}
