//! What a real server does that an ideal one does not.

/// When the log is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// With every write.
    Always,
    /// Once a second.
    Everysec,
    /// When the kernel likes.
    No,
}

/// How the servers of a run behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Habits {
    /// When logs are synced.
    pub fsync: Fsync,
    /// The kernel ends a process that was stopped between a write's passing and its answer (F10).
    pub watchdog: bool,
    /// Replicas go on in the histories of other primaries; so many frames of each shard are kept for that. `None`: they copy.
    pub continues: Option<u64>,
}
