//! How a primary is broken, and when it comes back.

/// How the primary is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, later SIGCONT.
    Stop,
    /// SIGTERM.
    Term,
    /// Not at all: an operator has it hand its office over (`ELECT TRANSFER`).
    Transfer,
    /// Cut off from its peers, not from its clients, until another node has taken over.
    Isolate,
}

impl Fault {
    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Term => "term",
            Self::Transfer => "transfer",
            Self::Isolate => "isolate",
        }
    }

    /// As a person would say it.
    pub const fn spelled(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::Stop => "SIGSTOP",
            Self::Term => "SIGTERM",
            Self::Transfer => "ELECT TRANSFER",
            Self::Isolate => "isolation",
        }
    }
}

/// When a process that is gone is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// As soon as it is gone.
    Now,
    /// Once another node has taken over.
    Later,
}

impl Restart {
    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Later => "later",
        }
    }
}
