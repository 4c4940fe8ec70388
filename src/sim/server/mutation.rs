//! Deliberate faults of the server, so that the simulator can show that it would find them. Each is what a real server did.

/// What the simulated server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerMutation {
    /// After a start it claims the position of the vote record, whatever its log gave back.
    ClaimsTheRecord,
    /// It acknowledges a history, and serves one, that its log does not name yet.
    AcknowledgesUnnamed,
    /// It acknowledges what it has only received, neither applied nor synced.
    AcknowledgesReceived,
    /// A stream that stands still is waited for.
    WaitsForStalled,
    /// It acknowledges and claims what lies behind the last cut that it has on all shards.
    CountsBehindCuts,
    /// What it cannot apply counts as held.
    CountsRefused,
    /// Acknowledgements that were given in an earlier reign count.
    CountsOldReigns,
    /// A `WAIT` that is parked outlives the reign in which it was asked.
    WaitOutlivesReign,
    /// A replica ends a key by its own clock.
    EndsKeys,
    /// Nothing ends a process that was stopped between a write's passing and its answer.
    NoWatchdog,
    /// A shard hangs, and its server does not say that it cannot serve.
    HangsInSilence,
}

impl ServerMutation {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::ClaimsTheRecord,
        Self::AcknowledgesUnnamed,
        Self::AcknowledgesReceived,
        Self::WaitsForStalled,
        Self::CountsBehindCuts,
        Self::CountsRefused,
        Self::CountsOldReigns,
        Self::WaitOutlivesReign,
        Self::EndsKeys,
        Self::NoWatchdog,
        Self::HangsInSilence,
    ];

    /// The mutation of this name, as `Debug` shows it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mutation| format!("{mutation:?}").eq_ignore_ascii_case(name))
    }
}
