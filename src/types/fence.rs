//! Whether writes may pass, and why not.

use crate::time::Instant;
use crate::words::words;

/// Why a write is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Denied {
    /// This node is not the primary. Redis clients know this as `-READONLY`.
    Replica,
    /// This node is the primary and must not write now.
    Fenced(FenceReason),
}

words! {
    /// Whether a host can serve as primary, and what is wrong where it cannot (`docs/protocol.md`, "Fitness").
    #[non_exhaustive]
    pub enum Health {
        /// It can.
        Good = "good",
        /// It cannot now, for a reason that has no word here.
        Failing = "failing",
        /// A part of the server does not answer.
        Stuck = "stuck",
        /// What it accepts cannot be written to disk.
        Disk = "disk",
        /// Its votes cannot be saved.
        Store = "store",
        /// It can open no more files and sockets.
        Descriptors = "descriptors",
        /// There is hardly any memory left.
        Memory = "memory",
    }
}

impl Health {
    /// Nothing is wrong.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Good)
    }

    /// Better this one than nobody: it answers clients, if badly.
    pub const fn serves(self) -> bool {
        // Without descriptors nobody who is not there already can come, neither clients nor replicas.
        !matches!(self, Self::Failing | Self::Stuck | Self::Descriptors)
    }
}

words! {
    /// Why writes are refused.
    #[non_exhaustive]
    pub enum FenceReason {
        /// The lease ran out: no quorum answered in time.
        LeaseExpired = "lease-expired",
        /// The links to a quorum ended.
        LinksLost = "links-lost",
        /// A higher epoch was seen, or another primary in this one.
        Deposed = "deposed",
        /// Handing over on request or at shutdown.
        StepDown = "step-down",
        /// The host says it cannot serve.
        HostFailing = "host-failing",
        /// The machine slept, so the clock did not count.
        ClockJump = "clock-jump",
        /// The driver stopped.
        Stopped = "stopped",
    }
}

/// Whether writes may pass: the write gate copies this after every input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GateState {
    /// Writes pass until this instant.
    Open(Instant),
    /// No write passes, for this reason.
    Shut(Denied),
}
