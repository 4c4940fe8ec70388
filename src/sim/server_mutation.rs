//! Deliberate faults of the server, so that the simulator can show that it would find them. Each is what a real server did.

use crate::words::faults;

faults! {
    /// What the simulated server does wrong.
    pub enum ServerMutation {
        /// After a start it claims the position of the vote record, whatever its log gave back.
        ClaimsTheRecord,
        /// It acknowledges a history, and serves one, that its log does not name yet.
        AcknowledgesUnnamed,
        /// It acknowledges what it has only received, neither applied nor synced.
        AcknowledgesReceived,
        /// A stream that stands still is waited for.
        WaitsForStalled,
        /// It acknowledges and claims what lies behind the last cut that it has on all shards.
        CountsBehindCuts,
        /// What it cannot apply counts as held.
        CountsRefused,
        /// Acknowledgements that were given in an earlier reign count.
        CountsOldReigns,
        /// Who connects anew counts twice: under the name of its old connection, too.
        CountsConnections,
        /// A `WAIT` that is parked outlives the reign in which it was asked.
        WaitOutlivesReign,
        /// A replica ends a key by its own clock.
        EndsKeys,
        /// Nothing ends a process that was stopped between a write's passing and its answer.
        NoWatchdog,
        /// A shard hangs, and its server does not say that it cannot serve.
        HangsInSilence,
        /// A replica goes on from any place with an offset that is on the path, of whichever history (C3).
        OffsetAlone,
        /// A replica goes on although it is ahead of where the next history began (C3).
        ContinuesAhead,
        /// A history is said to begin where this server was when it let go of an earlier primary (C1).
        PointOfAnotherEpoch,
        /// A history is said to begin at the last cut, although its first primary held more of some shards (C1).
        PointIsCut,
        /// The path leaves out a history in the middle (C2).
        PathForgets,
        /// Places before and after a flush are compared by what came since the last one (C3).
        FlushesIgnored,
        /// A ring that lost a frame gives what is before and behind it (C6).
        RingWithGaps,
        /// After a start the frames at the end of a log are given as those of places further on, which the log lost (C6, K3).
        RefillsMiscounted,
        /// Frames are fetched beyond the place at which the next history began (C5).
        FetchesBeyond,
        /// A place is what was received, not what was applied (C7).
        ContinuesUnapplied,
        /// An order to go on is carried out wherever the data is by then (C7).
        OrdersUnchecked,
        /// A node names the new history as soon as one of its shards is there (C8).
        ClaimsByFirstShard,
        /// A node that returns goes on where its vote record says that it was (C11, K1).
        ContinuesByRecord,
        /// A primary goes on with the frames it has, from whichever place it is asked (C10).
        AttachesBlindly,
        /// What is written while a copy is made is not fetched beside it (C14).
        CopiesAlone,
        /// A replica notes only when its copy has come where the stream is (C14).
        NotedTooLate,
        /// What is behind the place at which the next history began is taken for cuts (C15).
        WritesAreCuts,
    }
}

impl ServerMutation {
    /// Whether it takes a place for another one, so that it goes on from where its data is not.
    pub(super) fn mistakes_places(self) -> bool {
        matches!(
            self,
            Self::OffsetAlone
                | Self::ContinuesAhead
                | Self::FlushesIgnored
                | Self::ContinuesUnapplied
                | Self::ContinuesByRecord
        )
    }
}
