//! Deliberate faults of the driver, so that the simulator of the whole stack can show that it would find them.
//!
//! A build without feature `sim` has no place to keep one: every question is answered "no" at compile time.

/// What the driver does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "sim"), allow(dead_code, unreachable_pub, reason = "only named, to be denied"))]
#[non_exhaustive]
pub enum DriverMutation {
    /// A save is acknowledged when it begins: votes are spoken before they are durable.
    SpeakBeforeSaved,
    /// A promotion is reported when it begins: the gate opens before the host serves.
    OpenBeforePromoted,
    /// Messages leave before the gate is as shut as the elector wants it.
    SendBeforeShut,
    /// A promotion goes on after the office is lost.
    PromoteAfterFence,
    /// The machine's sleep is not noticed.
    SleepUnseen,
    /// The host is not made to let go: the position that it last told is taken for the exact one.
    DetachSkipped,
    /// The gate stays as it is when the driver ends.
    OpenAfterEnd,
    /// The gate opens for a lease that the host has not been told of yet.
    OpenBeforeTold,
}

#[cfg(feature = "sim")]
impl DriverMutation {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::SpeakBeforeSaved,
        Self::OpenBeforePromoted,
        Self::SendBeforeShut,
        Self::PromoteAfterFence,
        Self::SleepUnseen,
        Self::DetachSkipped,
        Self::OpenAfterEnd,
        Self::OpenBeforeTold,
    ];

    /// The mutation of this name, as `Debug` shows it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mutation| format!("{mutation:?}").eq_ignore_ascii_case(name))
    }
}

impl super::Shared {
    #[cfg(feature = "sim")]
    pub(super) fn mutated(&self, mutation: DriverMutation) -> bool {
        self.mutation.get() == Some(&mutation)
    }

    #[cfg(not(feature = "sim"))]
    #[inline(always)]
    pub(super) const fn mutated(&self, _: DriverMutation) -> bool {
        false
    }
}
