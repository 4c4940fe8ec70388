//! Whether writes may pass, and why not.

use crate::time::Instant;

/// Why a write is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Denied {
    /// This node is not the primary. Redis clients know this as `-READONLY`.
    Replica,
    /// This node is the primary and must not write now.
    Fenced(FenceReason),
}

/// Whether a host can serve as primary, and what is wrong where it cannot (`docs/protocol.md`, "Fitness").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Health {
    /// It can.
    Good,
    /// It cannot now, for a reason that has no word here.
    Failing,
    /// A part of the server does not answer.
    Stuck,
    /// What it accepts cannot be written to disk.
    Disk,
    /// Its votes cannot be saved.
    Store,
    /// It can open no more files and sockets.
    Descriptors,
}

impl Health {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Good, Self::Failing, Self::Stuck, Self::Disk, Self::Store, Self::Descriptors];

    /// Nothing is wrong.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Good)
    }

    /// Better this one than nobody: it answers clients, if badly.
    pub const fn serves(self) -> bool {
        !matches!(self, Self::Failing | Self::Stuck)
    }

    /// The word for it on the wire, in metrics and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Failing => "failing",
            Self::Stuck => "stuck",
            Self::Disk => "disk",
            Self::Store => "store",
            Self::Descriptors => "descriptors",
        }
    }
}

/// Why writes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FenceReason {
    /// The lease ran out: no quorum answered in time.
    LeaseExpired,
    /// The links to a quorum ended.
    LinksLost,
    /// A higher epoch was seen, or another primary in this one.
    Deposed,
    /// Handing over on request or at shutdown.
    StepDown,
    /// The host says it cannot serve.
    HostFailing,
    /// The machine slept, so the clock did not count.
    ClockJump,
    /// The driver stopped.
    Stopped,
}

impl FenceReason {
    /// All reasons.
    pub const ALL: [Self; 7] = [
        Self::LeaseExpired,
        Self::LinksLost,
        Self::Deposed,
        Self::StepDown,
        Self::HostFailing,
        Self::ClockJump,
        Self::Stopped,
    ];

    /// The word for it in metrics, logs and errors to clients.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LeaseExpired => "lease-expired",
            Self::LinksLost => "links-lost",
            Self::Deposed => "deposed",
            Self::StepDown => "step-down",
            Self::HostFailing => "host-failing",
            Self::ClockJump => "clock-jump",
            Self::Stopped => "stopped",
        }
    }
}

/// Whether writes may pass: the write gate copies this after every input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateState {
    /// Until then.
    Open(Instant),
    /// No.
    Shut(Denied),
}
