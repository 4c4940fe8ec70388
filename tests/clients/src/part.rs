//! The parts of everything that can be run.

use crate::fault::Fault;
use crate::programs::{Way, Work};
use kevy_elect_harness::words;

words! {
    /// A section of the file.
    pub(crate) enum Part {
        Writes = "writes" => "writes, the broken node the last in the client's list",
        First = "first" => "writes, the broken node the first in the client's list",
        Works = "works" => "transactions, scripts, blocked readers, listeners; 3 rounds at most",
        Proxy = "proxy" => "writes through HAProxy, as docs/http.md sets it up; 3 rounds at most",
    }
}

/// One set of lines: every way with every work, fault and order.
pub(crate) type Lines = (&'static [Way], &'static [Work], &'static [Fault], bool);

/// Rounds of those parts that no bar is set for.
const ROUNDS_FEW: u32 = 3;

impl Part {
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Writes => "Writes",
            Self::First => "The broken node first in the list",
            Self::Works => "Other work",
            Self::Proxy => "Through HAProxy",
        }
    }

    pub(crate) fn rounds(self, wanted: u32) -> u32 {
        match self {
            Self::Writes | Self::First => wanted,
            Self::Works | Self::Proxy => wanted.min(ROUNDS_FEW),
        }
    }

    pub(crate) const fn lines(self) -> &'static [Lines] {
        const WRITE: &[Work] = &[Work::Write];
        const SENTINEL: &[Way] = &[Way::Sentinel];
        match self {
            // Who is given nodes is given all of them, and looks for the primary itself.
            Self::Writes => &[(SENTINEL, WRITE, Fault::ALL, false), (&[Way::Nodes], WRITE, Fault::ALL, true)],
            Self::First => &[(SENTINEL, WRITE, &[Fault::Kill, Fault::StopBare, Fault::Isolate], true)],
            Self::Works => &[(
                &[Way::Sentinel, Way::Nodes],
                &[Work::Transaction, Work::Script, Work::Block, Work::Subscribe],
                &[Fault::Kill, Fault::Transfer, Fault::Isolate],
                false,
            )],
            Self::Proxy => {
                &[(&[Way::Proxy], WRITE, &[Fault::Kill, Fault::Term, Fault::Isolate, Fault::StopBare], false)]
            }
        }
    }
}
