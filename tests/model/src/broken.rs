//! The sentences of `docs/protocol.md` that must hold in every state.

use kevy_elect_plugin::words;

words! {
    /// A sentence that does not.
    pub enum Broken {
        /// E1.
        TwoPrimaries = "at most one primary in an epoch (E1)",
        /// E2.
        TwoVotes = "one vote per node and epoch (E2)",
        /// E3.
        VoteNotDurable = "a vote is durable before it is spoken (E3)",
        /// E4.
        EpochWentBack = "epochs never go back (E4)",
        /// E4.
        SpokenBeforeDurable = "an epoch is durable before it is spoken (E4)",
        /// L1.
        TwoWriters = "at most one node may write at any instant (L1)",
        /// L2.
        WriterWithoutQuorum = "a quorum is bound to whoever may write (L2)",
    }
}
