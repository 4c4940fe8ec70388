//! The rules that the simulator breaks one at a time, to show that it would notice (`cargo sim --mutations`).
//!
//! Each is one small question, asked where the protocol needs its answer. Feature `sim` can break it; other builds have
//! no place to keep a [`Mutation`], so [`Elector::mutated`] is "no" at compile time and the rule is all that is left.

use crate::config::{CrashDetection, LossPolicy, VOTERS_MAX};
use crate::elector::approach::Approach;
use crate::elector::io::{DetachSeq, Receivers};
use crate::elector::machine::Elector;
use crate::elector::mutation::Mutation;
use crate::elector::peer::Peer;
use crate::identity::Identity;
use crate::ids::{Epoch, NodeId};
use crate::membership::{Generation, Voter};
use crate::message::{Echo, Heartbeat, Message, Standing};
use crate::position::{Position, Progress};
use crate::time::Duration;

/// Elections.
impl Elector {
    /// E1: the number under which a member's vote counts. Only configured voters have one.
    pub(super) fn ballot(&self, member: usize) -> Option<usize> {
        let stranger = self.mutated(Mutation::VotesFromStrangers).then_some(VOTERS_MAX - 1);
        self.peers[member].voter().or(stranger)
    }

    /// E1: all others whose votes count.
    pub(super) fn electorate(&self) -> Receivers {
        match self.mutated(Mutation::VotesFromStrangers) {
            true => self.peers.to_partners(),
            false => self.peers.to_voters(),
        }
    }

    /// E1: how many votes `yes` answers are, the last of them that of `voter`. Asked `again`, it still counts once.
    pub(super) fn votes(&self, yes: usize, voter: usize, again: bool) -> usize {
        let twice = again && Some(voter) != self.peers.my_vote() && self.mutated(Mutation::VotesCountedTwice);
        yes + usize::from(twice)
    }

    /// E2: whether nobody can get this node's vote in `epoch` any more: it was given, or the epoch is decided or over.
    pub(super) fn is_used(&self, epoch: Epoch) -> bool {
        epoch < self.record.epoch()
            || epoch == self.record.epoch()
                && (self.record.voted_for().is_some() || self.primary.is_known())
                && !self.mutated(Mutation::TwoVotes)
    }

    /// E2, R5: whether a vote that was given in `epoch` goes to `candidate` as well: never.
    pub(super) fn changes_its_vote_to(&self, candidate: usize, epoch: Epoch) -> bool {
        let voted = self.record.voted_for().and_then(|id| self.peers.index(id));
        self.mutated(Mutation::VoteGoesToSenior)
            && epoch == self.record.epoch()
            && !self.primary.is_known()
            && voted.is_some_and(|voted| self.is_before(candidate, voted))
    }

    /// R1: whether time up and work decide before the id does.
    pub(super) fn heeds_seniority(&self) -> bool {
        !self.mutated(Mutation::IdBeforeTimeUp)
    }

    /// H18: for how long a member of higher priority has to be ready before it gets the office.
    pub(super) fn failback_after(&self, delay: Duration) -> Duration {
        if self.mutated(Mutation::FailsBackAtOnce) { Duration::ZERO } else { delay }
    }

    /// E3, E4: whether a message has to wait for a save: it may speak of what is not durable yet.
    pub(super) fn waits_for_save(&self, message: &Message) -> bool {
        let too_early = self.mutated(Mutation::VoteNotPersisted) && matches!(message, Message::Accept(_));
        self.record.pending() && !too_early
    }

    /// E5: whether a candidate finds out if it would win before it raises the epoch.
    pub(super) fn asks_for_pre_votes(&self) -> bool {
        !self.mutated(Mutation::NoPreVote)
    }

    /// E7: whether a campaign is over once its time is.
    pub(super) fn ends_in_time(&self) -> bool {
        !(self.mutated(Mutation::RoundNeverEnds)
            && self.state.campaign().is_some_and(|campaign| campaign.asked()))
    }

    /// M2: whether this node keeps out of elections. One that somebody planned goes on.
    #[inline]
    pub(super) fn is_paused(&self) -> bool {
        self.record.pause().is_some_and(|pause| pause.paused)
            && !self.planned
            && !self.mutated(Mutation::PauseIgnored)
    }

    /// P2: whether this node promised somebody else than `candidate` not to help anybody else.
    pub(super) fn promised_another_than(&self, candidate: usize) -> bool {
        self.live_promise()
            .is_some_and(|promise| !promise.is_to(candidate, self.peers[candidate].incarnation()))
            && !self.mutated(Mutation::NoStickiness)
    }

    /// L7: how long this node has to promise, to a primary that says so.
    #[inline]
    pub(super) fn promised_length(&self, heartbeat: &Heartbeat) -> Option<Duration> {
        let length = self.promises.length.for_heartbeat(heartbeat);
        match self.mutated(Mutation::PromiseIsOwnTimeout) {
            true => Some(self.promises.length.usual()),
            false => length,
        }
    }

    /// P4: whether the process of `peer` is dead if a connection to it is refused now. A firewall refuses too, but it does
    /// not end links in order.
    pub(super) fn is_dead_if_refused(&self, peer: usize) -> bool {
        let peer = &self.peers[peer];
        self.config.crash_detection == CrashDetection::Refused
            && !peer.is_dead()
            && (peer.is_closed() || self.mutated(Mutation::RefusedIsCrash))
    }

    /// P4: whether the process of `peer` is dead if a later one says `HELLO` now. Without the orderly end of its link it may
    /// live, out of our reach.
    pub(super) fn is_dead_if_succeeded(&self, peer: usize) -> bool {
        self.peers[peer].is_closed() && self.config.crash_detection == CrashDetection::Refused
            || self.mutated(Mutation::NewIncarnationIsProof)
    }

    /// A1: whether this node knows every vote that it ever gave.
    pub(super) fn knows_its_votes(&self) -> bool {
        self.record.is_complete()
            || self.mutated(Mutation::NoAdmission)
            || self.mutated(Mutation::VotesFromStrangers)
    }
}

/// Membership.
impl Elector {
    /// M4: whether a candidate counts by an older list than this node has: what a quorum knows by now could elect nobody with it.
    pub(super) fn counts_by_older(&self, candidate: usize) -> bool {
        let ours = self.record.generation();
        ours > Generation::FILE
            && self.peers[candidate].has() < Some(ours)
            && !self.mutated(Mutation::OlderListsElect)
    }

    /// M6: whether a list counts before it is durable.
    pub(super) fn counts_early(&self) -> bool {
        self.mutated(Mutation::ListNotPersisted)
    }

    /// L10: whether witnesses have echoed what this node, as primary, last said.
    pub(super) fn is_echoed_by_witnesses(&self) -> bool {
        self.lease.is_echoed_by_all() || self.mutated(Mutation::WitnessesForgotten)
    }

    /// L10, L11: whether witnesses were told this in the round before.
    pub(super) fn was_told_before(&self, heartbeat: &Heartbeat) -> bool {
        self.last_round.said_to_all(heartbeat)
            || self.state.reign().is_some() && self.mutated(Mutation::WitnessesForgotten)
    }

    /// M3, M11: whether the present list is of this reign, and a quorum of its voters has it and has echoed since.
    pub(super) fn is_settled_list(&self, present: Generation) -> bool {
        let echoed = !self.carries_lease() || self.mutated(Mutation::CarriedLeaseForgotten);
        present.epoch == self.record.epoch() && self.holders(present) >= self.peers.quorum() && echoed
            || self.mutated(Mutation::ListUnsettled)
    }

    /// M5: whether a node holds what the old voters may have confirmed.
    pub(super) fn has_come_to(&self, peer: usize, floor: Progress) -> bool {
        self.peers[peer].progress() >= floor || self.mutated(Mutation::ListIgnoresData)
    }

    /// M2: a change is of one voter; here, of another one, too.
    pub(super) fn changes_more(&self, voters: &mut Vec<Voter>) {
        if self.mutated(Mutation::TwoVotersAtOnce) && voters.len() > 2 {
            let other = voters.iter().rposition(|voter| voter.id != self.config.node);
            other.map(|other| voters.remove(other));
        }
    }
}

/// Epochs far ahead.
impl Elector {
    /// E10: whether there is a bound to what one node alone moves this one by.
    pub(super) fn is_bounded(&self) -> bool {
        !self.mutated(Mutation::EpochsUnbounded)
    }

    /// E10: what this node may be moved by. All members together have one budget.
    pub(super) fn budget(&mut self, _from: usize) -> &mut Approach {
        #[cfg(feature = "sim")]
        if self.mutated(Mutation::BudgetOfEach) {
            return self.peers.get_mut(_from).budget();
        }
        &mut self.approach
    }

    /// E11: whether a member's claim is one of those that a quorum is made of.
    pub(super) fn claim_counts(&self, peer: &Peer) -> bool {
        peer.voter().is_some() || self.mutated(Mutation::ClaimsOfObservers)
    }

    /// E11: whether a jump takes the budget of the time that follows. Otherwise nodes would lead each other on by turns.
    pub(super) fn jump_spends(&self) -> bool {
        !self.mutated(Mutation::JumpsAreFree)
    }

    /// E11: whether a claim is over with the link on which it was made.
    pub(super) fn claims_end(&self) -> bool {
        !self.mutated(Mutation::ClaimsOutliveLinks)
    }

    /// E12: whether an answer counts for admission only once this node has come as far as it.
    pub(super) fn admitted_within_reach(&self) -> bool {
        !self.mutated(Mutation::AdmittedOutOfReach)
    }
}

/// Records that were lost beside data that was kept.
impl Elector {
    /// E14: whether data of an epoch is knowledge of an election.
    pub(super) fn heeds_epoch_of_data(&self) -> bool {
        !self.mutated(Mutation::EpochOfDataIgnored)
    }

    /// A6: whether nodes that lost their records are admitted above every epoch in which they may have voted.
    pub(super) fn passes_over(&self) -> bool {
        !self.mutated(Mutation::AdmittedInPlace)
    }
}

/// The office.
impl Elector {
    /// L4: the voter that an echo makes a supporter of this primary. One that lost its record may have forgotten that it
    /// helped to elect another primary, which writes on its promise.
    pub(super) fn supporter(&self, from: usize, echo: &Echo) -> Option<usize> {
        let member = echo.standing == Standing::Member || self.mutated(Mutation::NewVoterSupports);
        let ours = member && echo.epoch == self.record.epoch() && echo.primary == Some(self.config.node);
        let counts = self.state.reign().is_some() && (ours || self.mutated(Mutation::EchoOfAnotherEpoch));
        self.peers[from].voter().filter(|_| counts)
    }

    /// L4: whom an echo names that goes with no promise. It is an answer, and no support.
    pub(super) fn named_without_promise(&self) -> Option<NodeId> {
        self.primary().filter(|_| self.mutated(Mutation::NamesUnpromised))
    }

    /// L6: whether what was echoed before a sleep of the machine is worth nothing after it.
    pub(super) fn sleep_ends_support(&self) -> bool {
        !self.mutated(Mutation::SleepIgnored)
    }

    /// F2: whether a primary that gives up shuts its gate before it frees anybody.
    pub(super) fn stops_before_it_resigns(&self) -> bool {
        !self.mutated(Mutation::ResignWhileWriting)
    }

    /// H9: whether a replica that has come so far holds all that was written here.
    pub(super) fn has_all(&self, theirs: Progress) -> bool {
        theirs >= self.data.progress() || self.mutated(Mutation::HandsOverUnfinished)
    }

    /// F6: whether a host that leaves the office has writes to count. One whose gate was never open has none, and a server
    /// that hangs would refuse its vote for as long as its promotion hangs.
    pub(super) fn settles(&self, promoted: bool) -> bool {
        promoted || self.mutated(Mutation::SettlesUnserved)
    }

    /// F3: whether this node stays in office although a higher epoch, or another primary of its own, is there.
    pub(super) fn defies(&self) -> bool {
        self.mutated(Mutation::PrimaryNotDemoted) && self.state.reign().is_some()
    }
}

/// Data.
impl Elector {
    /// S15: whether an answer of the host is the one to the newest question.
    pub(super) fn is_answer(&self, seq: DetachSeq) -> bool {
        seq == self.judging.asked() || self.mutated(Mutation::OldAnswerCounts)
    }

    /// S2: whether electing somebody at `theirs` could lose what there is at `ours`.
    pub(super) fn would_lose(&self, ours: &Position, theirs: &Position) -> bool {
        if self.mutated(Mutation::PositionIgnored) {
            return false;
        }
        if self.mutated(Mutation::OffsetWithoutEpoch) {
            return theirs.progress().offset < ours.progress().offset;
        }
        theirs.progress() < ours.progress().max(self.floor())
            || self.config.loss_policy == LossPolicy::Dominate && !theirs.dominates(ours)
    }

    /// S5: whether this node may take a primary's data. A voter without its record may hear an old primary first, and what
    /// it acknowledged there would be confirmed, and missing from the history that it voted for and forgot. Once
    /// it is admitted it knows every epoch that was won.
    pub(super) fn may_follow(&self) -> bool {
        self.peers.my_vote().is_none()
            || self.record.is_complete()
            || self.mutated(Mutation::NewVoterSupports)
    }
}

/// Identity.
impl Elector {
    /// I2: whether a quorum has the id that this primary proposed.
    pub(super) fn is_held_by(&self, holders: usize) -> bool {
        holders >= self.peers.quorum() || self.mutated(Mutation::IdSettledAlone)
    }

    /// I2: the id that a winner goes on with, of what its voters told.
    pub(super) fn inherited(&self, told: Option<Identity>) -> Option<Identity> {
        told.filter(|_| !self.mutated(Mutation::IdOfVotersIgnored))
    }

    /// I3: whether an id that is settled stays.
    pub(super) fn keeps_id(&self) -> bool {
        !self.mutated(Mutation::IdNotKept)
    }

    /// I4: whether nothing that this peer says counts.
    pub(super) fn ignores(&self, peer: usize) -> bool {
        self.peers[peer].is_foreign() && !self.mutated(Mutation::ForeignersCount)
    }

    /// I6: whether data says to which cluster a node belongs that has lost its record.
    pub(super) fn heeds_data(&self) -> bool {
        !self.mutated(Mutation::DataIsNobodys)
    }

    /// A5: the least that whoever is elected with this node's vote has to hold.
    pub(super) fn floor(&self) -> Progress {
        match self.mutated(Mutation::OrderWithoutFloor) {
            true => Progress::NONE,
            false => self.record.floor(),
        }
    }

    /// A5: whether this node hears enough to be admitted by an order.
    pub(super) fn hears_all(&self, heard: usize) -> bool {
        heard + 1 == self.peers.voters() || self.mutated(Mutation::AdmittedUnheard)
    }
}

/// Deliberate faults.
impl Elector {
    /// Makes this elector wrong, for the tests of the simulator.
    #[cfg(feature = "sim")]
    pub fn set_mutation(&mut self, mutation: Option<Mutation>) {
        self.mutation = mutation;
        if mutation == Some(Mutation::PromiseForgottenOnRestart) {
            self.promises.boot_until(self.now());
        }
        if mutation == Some(Mutation::LongerPromiseForgotten) && self.config.voters() != 1 {
            self.promises.boot_until(self.now() + self.config.election_timeout);
        }
        if mutation == Some(Mutation::LeaseIsPromise) {
            self.lease.lengthen(self.config.election_timeout);
        }
    }

    #[cfg(feature = "sim")]
    fn mutated(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    #[cfg(not(feature = "sim"))]
    #[inline(always)]
    const fn mutated(&self, _: Mutation) -> bool {
        false
    }
}
