//! How the primary is broken, as an application may meet it.

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    Kill,
    KillReturn,
    Term,
    Transfer,
    Stop,
    StopBare,
    Isolate,
}

impl Blow {
    pub(crate) const ALL: [Self; 7] =
        [Self::Kill, Self::KillReturn, Self::Term, Self::Transfer, Self::Stop, Self::StopBare, Self::Isolate];

    /// As on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillReturn => "kill-return",
            Self::Term => "term",
            Self::Transfer => "transfer",
            Self::Stop => "stop",
            Self::StopBare => "stop-bare",
            Self::Isolate => "isolate",
        }
    }

    /// As a person would say it.
    pub(crate) const fn spelled(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::KillReturn => "kill -9, started again at once",
            Self::Term => "SIGTERM",
            Self::Transfer => "SENTINEL FAILOVER",
            Self::Stop => "SIGSTOP",
            Self::StopBare => "SIGSTOP without watchdog",
            Self::Isolate => "isolation from its peers",
        }
    }
}
