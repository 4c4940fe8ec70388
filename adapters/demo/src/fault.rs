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
}

impl Fault {
    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Term => "term",
        }
    }

    /// As a person would say it.
    pub const fn spelled(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::Stop => "SIGSTOP",
            Self::Term => "SIGTERM",
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
