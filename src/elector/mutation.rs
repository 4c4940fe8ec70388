//! Deliberate faults, so that the simulator can show that it would find them.
//!
//! A build without feature `sim` has no place to keep one: every question is answered "no" at compile time.

use crate::words::faults;

faults! {
    /// What to do wrong.
    pub enum Mutation {
        /// Candidates ask for votes at once.
        NoPreVote,
        /// Voters vote while they hear a primary.
        NoStickiness,
        /// The lease is as long as the promise: drift is not allowed for.
        LeaseIsPromise,
        /// Votes are spoken before they are saved.
        VoteNotPersisted,
        /// The same voter's vote counts twice: a quorum is a number of answers, not of voters.
        VotesCountedTwice,
        /// Votes and echoes count whoever they come from: a minority with observers is a quorum.
        VotesFromStrangers,
        /// Offsets are compared without their history.
        OffsetWithoutEpoch,
        /// A restarted node votes at once.
        PromiseForgottenOnRestart,
        /// A primary that hears another primary of its epoch, or of a higher one, goes on.
        PrimaryNotDemoted,
        /// Echoes of another epoch, or for another primary, renew the lease.
        EchoOfAnotherEpoch,
        /// A refused connection alone proves a crash.
        RefusedIsCrash,
        /// A later incarnation alone proves that the earlier process is gone.
        NewIncarnationIsProof,
        /// Voters vote without letting go of the old stream.
        DetachOmitted,
        /// Any answer of the host counts for the question that is open.
        OldAnswerCounts,
        /// A primary that resigns frees the voters and goes on writing until its lease ends.
        ResignWhileWriting,
        /// A primary hands over to a node that lacks some of its writes.
        HandsOverUnfinished,
        /// A lost round frees its voters and goes on counting.
        RoundNeverEnds,
        /// A voter votes again for another candidate of the same epoch.
        TwoVotes,
        /// A node without a record votes at once.
        NoAdmission,
        /// A node without a record supports and follows the first primary it hears.
        NewVoterSupports,
        /// An echo names a primary to which nothing was promised.
        NamesUnpromised,
        /// The lease is not taken back when the machine slept.
        SleepIgnored,
        /// Data is not compared at all.
        PositionIgnored,
        /// A primary counts its cluster's id as settled before anybody has it.
        IdSettledAlone,
        /// A winner does not go on with the id that its voters have.
        IdOfVotersIgnored,
        /// A node that has an id takes another one from whoever says it.
        IdNotKept,
        /// Members of another cluster count as members.
        ForeignersCount,
        /// A node that lost its record follows whoever it hears, whatever its data says.
        DataIsNobodys,
        /// A node whose record is below the epoch of its data goes by the record.
        EpochOfDataIgnored,
        /// A quorum that lost its records goes on in the epoch of its data.
        AdmittedInPlace,
        /// An order admits a node before it has heard all others.
        AdmittedUnheard,
        /// A node that was admitted by an order votes for, and stands as, one that holds less than is there.
        OrderWithoutFloor,
        /// Whoever leaves the office counts what it wrote first, also if its gate was never open.
        SettlesUnserved,
        /// Whatever epoch a single node claims is entered at once.
        EpochsUnbounded,
        /// Every member that claims epochs ahead has a budget of its own.
        BudgetOfEach,
        /// Observers make up a quorum that claims an epoch.
        ClaimsOfObservers,
        /// Claims count on after their link has ended.
        ClaimsOutliveLinks,
        /// A jump to where a quorum is leaves the budget whole.
        JumpsAreFree,
        /// A paused cluster elects by itself.
        PauseIgnored,
        /// Where seniority decides, the id does before the time up.
        IdBeforeTimeUp,
        /// The office goes back to who has a higher priority at once.
        FailsBackAtOnce,
        /// A voter that hears of a more senior candidate votes for that one, too.
        VoteGoesToSenior,
        /// A change of who votes is of two voters.
        TwoVotersAtOnce,
        /// A primary changes who votes before a quorum has the present list.
        ListUnsettled,
        /// Voters vote for a candidate that counts by an older list.
        OlderListsElect,
        /// A list counts before it is saved.
        ListNotPersisted,
        /// Who votes is changed whatever the voters, and the new one, hold.
        ListIgnoresData,
        /// A primary changes who votes while it still writes by the lease of those before.
        CarriedLeaseForgotten,
        /// A node that starts waits for its own election timeout, also where an earlier process promised more.
        LongerPromiseForgotten,
        /// A voter promises for its own election timeout, however long the primary's lease is.
        PromiseIsOwnTimeout,
        /// Answers of an epoch that is out of reach admit a node without a record.
        AdmittedOutOfReach,
        /// A primary that others hear speaks to witnesses no more.
        WitnessesForgotten,
    }
}
