//! What can go wrong.

use std::fmt;

/// Whom a fault hits. The primary is looked up when the fault comes; without one it hits the node named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// A node's number.
    pub node: usize,
    /// Hit the primary instead, if there is one.
    pub primary: bool,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.primary { write!(f, "the primary (or n{})", self.node) } else { write!(f, "n{}", self.node) }
    }
}

/// What a crash takes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// Nothing: the data and the vote record are there after the restart.
    Nothing,
    /// The newest writes: the machine lost power before they were synced.
    Tail,
    /// The vote record: it is damaged, and the operator removed it as the error says.
    Record,
    /// The whole disk.
    Disk,
    /// The data, with the vote record kept.
    Data,
    /// A save that the disk had acknowledged. No protocol survives that; only profile `lying` has it.
    AcknowledgedSave,
}

/// One thing that goes wrong. Times are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// The process dies (`power`: the machine does) and comes back later.
    Crash {
        /// Without closing its sockets.
        power: bool,
        /// What is gone.
        loss: Loss,
    },
    /// The process is stopped; its clock runs on.
    Pause,
    /// The machine sleeps; its clock stands still.
    Suspend,
    /// Nothing gets from the target to the other node.
    CutOneWay {
        /// The other node.
        to: usize,
    },
    /// Nothing gets through between the target and the other node.
    Cut {
        /// The other node.
        to: usize,
    },
    /// The nodes in `side` (bits) and the others do not reach each other.
    Partition {
        /// One side.
        side: u32,
        /// Only one direction is cut: from the side to the others.
        one_way: bool,
    },
    /// Every pair whose bit is set is cut.
    PartialPartition {
        /// One bit for every pair.
        pairs: u64,
    },
    /// Messages are lost, duplicated and delayed everywhere.
    Storm {
        /// Lost, in a thousand.
        loss: u64,
        /// Duplicated, in a thousand.
        duplication: u64,
        /// The longest delay.
        delay_ms: u64,
    },
    /// A firewall resets and refuses connections between the target and the other node.
    Firewall {
        /// The other node.
        to: usize,
    },
    /// A firewall resets and refuses the connections of all others to the target, which sees nothing.
    FirewallAll,
    /// All links of the target break once and come back.
    Resets,
    /// Saves of the vote record take up to so long.
    SlowDisk {
        /// The longest.
        ms: u64,
    },
    /// Saves fail.
    FailingDisk,
    /// Saves do not end.
    HangingDisk,
    /// Promotions and retargets take up to so long.
    SlowHost {
        /// The longest.
        ms: u64,
    },
    /// Promotions and retargets fail.
    FailingHost,
    /// Promotions and retargets do not end.
    HangingHost,
    /// The host says that it cannot serve.
    Unhealthy,
    /// The server has no room for some of what it is sent.
    LowMemory,
    /// A shard does not turn, beside a driver that runs: nothing is promoted, counted, applied or answered.
    HungShard,
    /// A second process with the target's id is started somewhere, and says `HELLO` to all others.
    Twin {
        /// The first one is cut off from all others meanwhile, not from its clients.
        cut: bool,
    },
    /// Beside what its elector says, the target says anything in its own name; observers do likewise.
    Lie {
        /// To whom, as bits.
        to: u32,
        /// It is gone for good afterwards. Otherwise it is started anew, and honest.
        removed: bool,
        /// It also says that it belongs to clusters that are none, and votes and admits in their names. Afterwards an operator takes away the
        /// records of those who believed it. (By the electors alone: `stack::run` leaves it out.)
        ids: bool,
    },
    /// The host says that it serves, but badly.
    Ailing,
    /// An operator asks for a planned transfer, to whoever is best.
    StepDown,
    /// The same, to this node, or the next one where that is the primary.
    Transfer {
        /// The node that is to take over, by its place in the list of members.
        to: usize,
    },
    /// An operator wants this node to vote, or not to vote any more, of whoever is primary.
    Members {
        /// Whom it is about.
        of: usize,
    },
    /// The process is ended in order (SIGTERM): it hands over, then goes, and comes back later.
    Shutdown,
    /// An operator pauses elections on this node.
    OperatorPause,
    /// The clock runs at another rate, within the configured bound.
    ClockRate {
        /// Parts in a million of the bound: -1 000 000 to 1 000 000.
        of_bound: i64,
    },
}

impl FaultKind {
    /// The directions that it cuts, in a cluster of `nodes`, when it hits `node`.
    pub(super) fn cuts(&self, node: usize, nodes: usize) -> Vec<(usize, usize)> {
        let mut cut = Vec::new();
        match *self {
            Self::CutOneWay { to } if to != node => cut.push((node, to)),
            Self::Cut { to } if to != node => cut.extend([(node, to), (to, node)]),
            Self::CutOneWay { .. } | Self::Cut { .. } => cut.push((node, (node + 1) % nodes)),
            Self::Twin { cut: true } => {
                (0..nodes).filter(|other| *other != node).for_each(|other| {
                    cut.extend([(node, other), (other, node)]);
                });
            }
            Self::Partition { side, one_way } => {
                let inside = |node: usize| side >> node & 1 == 1;
                for a in (0..nodes).filter(|a| inside(*a)) {
                    for b in (0..nodes).filter(|b| !inside(*b)) {
                        cut.push((a, b));
                        if !one_way {
                            cut.push((b, a));
                        }
                    }
                }
            }
            Self::PartialPartition { pairs } => {
                let mut bit = 0;
                for a in 0..nodes {
                    for b in a + 1..nodes {
                        if pairs >> (bit % 64) & 1 == 1 {
                            cut.extend([(a, b), (b, a)]);
                        }
                        bit += 1;
                    }
                }
            }
            _ => {}
        }
        cut
    }

    /// The word for it in tables.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Crash { power: true, .. } => "power cut",
            Self::Crash { loss: Loss::Disk, .. } => "crash, disk wiped",
            Self::Crash { loss: Loss::Record, .. } => "crash, record lost",
            Self::Crash { loss: Loss::Data, .. } => "crash, data lost",
            Self::Crash { loss: Loss::AcknowledgedSave, .. } => "crash, save lost",
            Self::Crash { .. } => "crash",
            Self::Pause => "pause",
            Self::Suspend => "suspend",
            Self::CutOneWay { .. } => "cut, one way",
            Self::Cut { .. } => "cut",
            Self::Partition { .. } => "partition",
            Self::PartialPartition { .. } => "partial partition",
            Self::Storm { .. } => "storm",
            Self::Firewall { .. } => "firewall",
            Self::FirewallAll => "firewall, all",
            Self::Resets => "link resets",
            Self::SlowDisk { .. } => "slow disk",
            Self::FailingDisk => "failing disk",
            Self::HangingDisk => "hanging disk",
            Self::SlowHost { .. } => "slow host",
            Self::FailingHost => "failing host",
            Self::HangingHost => "hanging host",
            Self::Unhealthy => "unhealthy host",
            Self::LowMemory => "low memory",
            Self::HungShard => "hung shard",
            Self::Twin { .. } => "second process",
            Self::Lie { .. } => "lying member",
            Self::Ailing => "ailing host",
            Self::StepDown => "step down",
            Self::Transfer { .. } => "transfer",
            Self::Members { .. } => "change of voters",
            Self::Shutdown => "shutdown",
            Self::OperatorPause => "elections paused",
            Self::ClockRate { .. } => "clock rate",
        }
    }
}

/// A fault in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// When it comes, in nanoseconds of real time.
    pub at: u64,
    /// How long it stays. Everything is healed at the end of the plan's window at the latest.
    pub lasts: u64,
    /// Whom it hits.
    pub target: Target,
    /// What it is.
    pub kind: FaultKind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |ns: u64| ns as f64 / 1e6;
        write!(
            f,
            "{:>10.3} ms  {} at {} for {:.3} ms  {:?}",
            ms(self.at),
            self.kind.name(),
            self.target,
            ms(self.lasts),
            self.kind
        )
    }
}
