//! The invariants by name, and what is said of one that did not hold.

/// The invariants, with the sentences of `docs/protocol.md` that they guard.
pub const INVARIANTS: &[&str] = &[
    "one primary per epoch (E1)",
    "one vote per epoch, durable before spoken (E2, E3)",
    "epochs only grow (E4)",
    "a healthy primary stays (E5)",
    "settles after the heal (E6)",
    "one writer (L1)",
    "lease within promises (L2)",
    "fence first (F2, F9, F10)",
    "confirmed writes survive (S1)",
    "votes go to more data, after letting go (S2, S3)",
    "opens once promoted, host calls in order (F7, F8)",
    "equal contents at equal positions (S9)",
    "continues from a prefix (C4)",
    "a transfer loses nothing (H9)",
    "a fit server is elected (E9)",
    "no single node moves another one far (E10)",
    "admitted knowing the elections that it decided (A4)",
    "one cluster, and nobody's data for another (I2, I4)",
    "a paused cluster elects nobody (H15)",
    "the most senior node wins (R3)",
];

/// Their places in the list.
#[derive(Debug, Clone, Copy)]
pub(in crate::sim) enum Check {
    OnePrimary,
    Votes,
    Epochs,
    Healthy,
    Convergence,
    OneWriter,
    Lease,
    Fence,
    Confirmed,
    Position,
    Orders,
    Contents,
    Continued,
    HandedOver,
    Served,
    Reach,
    Admission,
    Cluster,
    Paused,
    Seniority,
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
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
