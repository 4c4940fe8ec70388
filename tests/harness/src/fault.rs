//! How a primary is broken, and when it comes back.

use kevy_elect_plugin::words;

words! {
    /// How the primary is broken.
    pub enum Fault {
        /// SIGKILL.
        Kill = "kill" => "kill -9",
        /// SIGSTOP, later SIGCONT.
        Stop = "stop" => "SIGSTOP",
        /// SIGTERM.
        Term = "term" => "SIGTERM",
        /// Not at all: an operator has it hand its office over (`ELECT TRANSFER`).
        Transfer = "transfer" => "ELECT TRANSFER",
        /// Cut off from its peers, not from its clients, until another node has taken over.
        Isolate = "isolate" => "isolation",
    }
}

impl Fault {
    /// Whether writes go on until shortly before the other node takes over.
    pub const fn is_planned(self) -> bool {
        matches!(self, Self::Term | Self::Transfer)
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
