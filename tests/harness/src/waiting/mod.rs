//! For how long what is measured waited for a processor. That is this machine's doing, and no server's: of a stall it is told beside it.

mod away;
mod queued;

use crate::clock::Clock;
use away::Away;
use queued::Queued;
use std::time::Duration;

/// Looks at the processors of this machine until it is dropped.
pub struct Processors {
    away: Away,
    clock: Clock,
}

/// Looks at a server and its client besides, until it is dropped.
pub struct Watched<'a> {
    processors: &'a Processors,
    queued: Queued,
}

/// How much of a time was waiting, told apart by what for. `None`: nobody counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waited {
    /// The server, or the client that measures it, was ready to run and had no processor.
    pub queued: Option<Duration>,
    /// A processor of this machine was away: its host ran nothing of it there.
    pub away: Option<Duration>,
}

impl Processors {
    /// Begins to look.
    pub fn watch(clock: Clock) -> Self {
        Self { away: Away::watch(clock), clock }
    }

    /// For how long between two instants at least one of them was away. `None`: it was not seen.
    pub fn away(&self, from: Duration, to: Duration) -> Option<Duration> {
        self.away.between(from, to)
    }

    /// Looks from here on at the threads that serve clients in the process `pid` as well, and at the thread of this process that is its `client`.
    pub fn with(&self, pid: Option<u32>, client: Option<u32>) -> Watched<'_> {
        Watched { processors: self, queued: Queued::watch(pid, client, self.clock) }
    }
}

impl Watched<'_> {
    /// How much of the time between two instants was waiting.
    pub fn between(&self, from: Duration, to: Duration) -> Waited {
        Waited { queued: self.queued.between(from, to), away: self.processors.away(from, to) }
    }
}
