//! The invariants by name, and what is said of one that did not hold.

use crate::words;

words! {
    /// The invariants, with the sentences of `docs/protocol.md` that they guard.
    pub(in crate::sim) enum Check {
        OnePrimary = "one primary per epoch (E1)",
        Votes = "one vote per epoch, durable before spoken (E2, E3)",
        Epochs = "epochs only grow (E4)",
        Healthy = "a healthy primary stays (E5)",
        Convergence = "settles after the heal (E6)",
        OneWriter = "one writer (L1)",
        Lease = "lease within promises (L2)",
        Fence = "fence first (F2, F9, F10)",
        Confirmed = "confirmed writes survive (S1)",
        Position = "votes go to more data, after letting go (S2, S3)",
        Orders = "opens once promoted, host calls in order (F7, F8)",
        Contents = "equal contents at equal positions (S9)",
        Continued = "continues from a prefix (C4)",
        HandedOver = "a transfer loses nothing (H9)",
        Served = "a fit server is elected (E9)",
        Reach = "no single node moves another one far (E10)",
        Admission = "admitted knowing the elections that it decided (A4)",
        Cluster = "one cluster, and nobody's data for another (I2, I4)",
        Identities = "an id that is settled stays (I3)",
        Paused = "a paused cluster elects nobody (H15)",
        Seniority = "the most senior node wins (R3)",
        Failback = "the office goes back after the delay (H18)",
    }
}

/// The invariants, with the sentences of `docs/protocol.md` that they guard.
pub const INVARIANTS: &[&str] = &{
    let mut names = [""; Check::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = Check::ALL[at].as_str();
        at += 1;
    }
    names
};

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// Its name, one of [`INVARIANTS`].
    pub invariant: &'static str,
    /// When, in nanoseconds of real time.
    pub at: u64,
    /// What was seen.
    pub text: String,
}

/// What an invariant found: its name, and what was seen.
pub(in crate::sim) type Found = Option<(&'static str, String)>;
