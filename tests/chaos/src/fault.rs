//! What is done to a cluster, and whether a new primary is needed after it.

/// A kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Kill,
    KillRestart,
    /// Its death must not look like the server's.
    Companion,
    /// The kernel alone must do then.
    CompanionKill,
    Stop,
    Term,
    Isolate,
    Reset,
    Mute,
    Deaf,
    CutLink,
    CutReplicas,
    OneWayOut,
    OneWayIn,
    Flap,
    FlapReplica,
    Silent,
    SilentKill,
    DiskFull,
    DiskReadOnly,
    Wipe,
    Slow,
    Busy,
    Roll,
    /// An operator has one node after the other hand over.
    Transfer,
    /// An operator has every node end in order and starts it again, as for an upgrade.
    Restarts,
    /// Pauses and cuts everywhere in quick succession. No process loses its memory.
    Storm,
    /// Everything at once, kills too, but all of it to one node.
    Victim,
}

impl Fault {
    /// All of them, in the order of the report.
    pub(crate) const ALL: [Self; 28] = [
        Self::Kill,
        Self::KillRestart,
        Self::Companion,
        Self::CompanionKill,
        Self::Stop,
        Self::Term,
        Self::Isolate,
        Self::Reset,
        Self::Mute,
        Self::Deaf,
        Self::CutLink,
        Self::CutReplicas,
        Self::OneWayOut,
        Self::OneWayIn,
        Self::Flap,
        Self::FlapReplica,
        Self::Silent,
        Self::SilentKill,
        Self::DiskFull,
        Self::DiskReadOnly,
        Self::Wipe,
        Self::Slow,
        Self::Busy,
        Self::Roll,
        Self::Transfer,
        Self::Restarts,
        Self::Storm,
        Self::Victim,
    ];

    /// As on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillRestart => "kill-restart",
            Self::Companion => "companion",
            Self::CompanionKill => "companion-kill",
            Self::Stop => "stop",
            Self::Term => "term",
            Self::Isolate => "isolate",
            Self::Reset => "reset",
            Self::Mute => "mute",
            Self::Deaf => "deaf",
            Self::CutLink => "cut-link",
            Self::CutReplicas => "cut-replicas",
            Self::OneWayOut => "one-way-out",
            Self::OneWayIn => "one-way-in",
            Self::Flap => "flap",
            Self::FlapReplica => "flap-replica",
            Self::Silent => "silent",
            Self::SilentKill => "silent-kill",
            Self::DiskFull => "disk-full",
            Self::DiskReadOnly => "disk-ro",
            Self::Wipe => "wipe",
            Self::Slow => "slow",
            Self::Busy => "busy",
            Self::Roll => "roll",
            Self::Transfer => "transfer",
            Self::Restarts => "restarts",
            Self::Storm => "storm",
            Self::Victim => "victim",
        }
    }

    /// As a person would say it.
    pub(crate) const fn spelled(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of the primary",
            Self::KillRestart => "kill -9 of the primary, started again at once",
            Self::Companion => "kill -9 of the primary's companion process, twice",
            Self::CompanionKill => "kill -9 of the primary and its companion together",
            Self::Stop => "SIGSTOP of the primary, later SIGCONT",
            Self::Term => "SIGTERM of the primary",
            Self::Isolate => "the primary is cut off from all peers, not from clients",
            Self::Reset => "the same by a firewall that answers with resets",
            Self::Mute => "the peers hear nothing from the primary, it hears them",
            Self::Deaf => "the primary hears nothing from its peers, they hear it",
            Self::CutLink => "the link between the primary and one replica is cut",
            Self::CutReplicas => "the link between two replicas is cut",
            Self::OneWayOut => "one replica hears nothing from the primary",
            Self::OneWayIn => "the primary hears nothing from one replica",
            Self::Flap => "the link between the primary and one replica comes and goes",
            Self::FlapReplica => "one replica is killed, started, stopped and let go on, again and again",
            Self::Silent => "the primary's replication port accepts one replica and never answers it",
            Self::SilentKill => "the same, then kill -9 of the primary",
            Self::DiskFull => "full disk under a vote record, then kill -9 of the primary",
            Self::DiskReadOnly => "read-only disk under a vote record, then kill -9 of the primary",
            Self::Wipe => "kill -9 of one node, its data directory wiped, started again",
            Self::Slow => "a node runs 5 ms of every 25 ms (SIGSTOP, SIGCONT)",
            Self::Busy => "two busy threads per processor",
            Self::Roll => "every node in turn is cut off from its peers",
            Self::Transfer => "planned transfers, one after the other (ELECT TRANSFER)",
            Self::Restarts => "a rolling restart: SIGTERM of every node in turn, each started again",
            Self::Storm => "pauses, cuts and planned transfers everywhere in quick succession",
            Self::Victim => "kills, pauses and cuts in quick succession, all of one node",
        }
    }

    /// Whether a healthy cluster keeps its primary through it.
    pub(crate) const fn is_harmless(self) -> bool {
        matches!(
            self,
            Self::CutLink
                | Self::CutReplicas
                | Self::OneWayOut
                | Self::OneWayIn
                | Self::Flap
                | Self::FlapReplica
                | Self::Silent
                | Self::Busy
                | Self::Companion
        )
    }

    /// Whether nothing that was acknowledged may be lost, confirmed or not (H9).
    pub(crate) const fn is_planned(self) -> bool {
        matches!(self, Self::Transfer | Self::Restarts)
    }

    /// Whether a server loses the disk that it notes its votes on.
    pub(crate) const fn takes_the_disk(self) -> bool {
        matches!(self, Self::DiskFull | Self::DiskReadOnly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        let mut names: Vec<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Fault::ALL.len());
    }
}
