//! What is done to a cluster that holds something, and how much it holds.

use kevy_elect_harness::data::Size;
use kevy_elect_harness::load::Pace;
use kevy_elect_harness::words;

words! {
    /// What is done to a cluster.
    pub(crate) enum Course {
        /// `kill -9` of the primary while hardly anybody writes.
        Idle = "idle" => "kill -9, idle",
        /// The same under a steady load, with which replicas keep up.
        Steady = "steady" => "kill -9 under a steady load",
        /// The same while clients write as fast as it answers.
        Loaded = "loaded" => "kill -9 under load",
        /// SIGTERM of the primary under a steady load.
        Handover = "handover" => "planned handover under load",
        /// All three, one after the other, stopped in order and started again, under a steady load.
        Roll = "roll" => "rolling restart under load",
    }
}

impl Course {
    /// Whether the primary is killed.
    pub(crate) const fn kills(self) -> bool {
        matches!(self, Self::Idle | Self::Steady | Self::Loaded)
    }

    /// How fast clients write meanwhile, beside those that measure.
    pub(crate) const fn pace(self) -> Option<Pace> {
        match self {
            Self::Idle => None,
            Self::Loaded => Some(Pace::Full),
            Self::Steady | Self::Handover | Self::Roll => Some(Pace::Steady),
        }
    }
}

/// What the nodes hold, and what is held by a process that dies with each primary that is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) size: Size,
    pub(crate) ballast: Size,
}

impl std::fmt::Display for Weight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.size.fmt(f)?;
        if self.ballast > Size(0) { write!(f, ", ballast of {}", self.ballast) } else { Ok(()) }
    }
}
