//! The sentences of `docs/protocol.md` that must hold in every state.

/// A sentence that does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Broken {
    /// E1.
    TwoPrimaries,
    /// E2.
    TwoVotes,
    /// E3.
    VoteNotDurable,
    /// E4.
    EpochWentBack,
    /// E4.
    SpokenBeforeDurable,
    /// L1.
    TwoWriters,
    /// L2.
    WriterWithoutQuorum,
}

impl Broken {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::TwoPrimaries,
        Self::TwoVotes,
        Self::VoteNotDurable,
        Self::EpochWentBack,
        Self::SpokenBeforeDurable,
        Self::TwoWriters,
        Self::WriterWithoutQuorum,
    ];

    /// The sentence that should hold.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::TwoPrimaries => "at most one primary in an epoch (E1)",
            Self::TwoVotes => "one vote per node and epoch (E2)",
            Self::VoteNotDurable => "a vote is durable before it is spoken (E3)",
            Self::EpochWentBack => "epochs never go back (E4)",
            Self::SpokenBeforeDurable => "an epoch is durable before it is spoken (E4)",
            Self::TwoWriters => "at most one node may write at any instant (L1)",
            Self::WriterWithoutQuorum => "a quorum is bound to whoever may write (L2)",
        }
    }
}
