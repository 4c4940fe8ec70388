//! What is done to a cluster, and whether a new primary is needed after it.

use kevy_elect_harness::words;

words! {
    /// A kind of trouble.
    pub(crate) enum Fault {
        Kill = "kill" => "kill -9 of the primary",
        KillRestart = "kill-restart" => "kill -9 of the primary, started again at once",
        /// Its death must not look like the server's.
        Companion = "companion" => "kill -9 of the primary's companion process, twice",
        /// The kernel alone must do then.
        CompanionKill = "companion-kill" => "kill -9 of the primary and its companion together",
        Stop = "stop" => "SIGSTOP of the primary, later SIGCONT",
        Term = "term" => "SIGTERM of the primary",
        Isolate = "isolate" => "the primary is cut off from all peers, not from clients",
        Reset = "reset" => "the same by a firewall that answers with resets",
        Mute = "mute" => "the peers hear nothing from the primary, it hears them",
        Deaf = "deaf" => "the primary hears nothing from its peers, they hear it",
        CutLink = "cut-link" => "the link between the primary and one replica is cut",
        CutReplicas = "cut-replicas" => "the link between two replicas is cut",
        OneWayOut = "one-way-out" => "one replica hears nothing from the primary",
        OneWayIn = "one-way-in" => "the primary hears nothing from one replica",
        Flap = "flap" => "the link between the primary and one replica comes and goes",
        FlapReplica = "flap-replica" => "one replica is killed, started, stopped and let go on, again and again",
        Silent = "silent" => "the primary's replication port accepts one replica and never answers it",
        SilentKill = "silent-kill" => "the same, then kill -9 of the primary",
        DiskFull = "disk-full" => "full disk under a vote record, then kill -9 of the primary",
        DiskReadOnly = "disk-ro" => "read-only disk under a vote record, then kill -9 of the primary",
        Wipe = "wipe" => "kill -9 of one node, its data directory wiped, started again",
        Slow = "slow" => "a node runs 5 ms of every 25 ms (SIGSTOP, SIGCONT)",
        Busy = "busy" => "two busy threads per processor",
        Roll = "roll" => "every node in turn is cut off from its peers",
        /// An operator has one node after the other hand over.
        Transfer = "transfer" => "planned transfers, one after the other (ELECT TRANSFER)",
        /// An operator has every node end in order and starts it again, as for an upgrade.
        Restarts = "restarts" => "a rolling restart: SIGTERM of every node in turn, each started again",
        /// An operator makes the list of voters as small as half of them and one, while the cluster falls in two, and then as large as before.
        Members = "members" => "votes are taken one by one (five to three) with a split half way, and given back",
        /// Pauses and cuts everywhere in quick succession. No process loses its memory.
        Storm = "storm" => "pauses, cuts and planned transfers everywhere in quick succession",
        /// Everything at once, kills too, but all of it to one node.
        Victim = "victim" => "kills, pauses and cuts in quick succession, all of one node",
    }
}

impl Fault {
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
