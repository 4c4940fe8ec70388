//! Nodes without a vote record: is the cluster new, or was the disk wiped?
//!
//! A node that lost its record may have voted in an epoch it has forgotten. It votes again once it has
//! learned an epoch at least as high. Sentences in `docs/protocol.md`, "Admission".

use crate::elector::machine::Elector;
use crate::event::EventKind;
use crate::ids::{Epoch, Round};
use crate::message::{Echo, Standing};

impl Elector {
    /// Admits this node when it can have forgotten nothing.
    pub(super) fn admit_if_known(&mut self) {
        if self.record.is_complete() || self.peers.my_vote().is_none() {
            return;
        }
        let waited = !self.promises.booting(self.now());
        if waited && self.promises.booting_until().is_some() {
            self.admission.begin(Round(self.lease.round().0 + 1));
        }
        // Nobody has seen an election, and we have heard all voters: the cluster is new, and nobody has
        // promised anything. (A winner whose disk was wiped has voters; they know.)
        let silent = self.record.epoch() == Epoch::ZERO
            && !self.peers.other_voters().any(|index| self.peers[index].epoch() > Epoch::ZERO);
        let heard = self.peers.other_voters().filter(|index| self.peers[*index].heard().is_some()).count();
        let all_fresh = silent && heard + 1 == self.config.voters();
        // A quorum of voters without records: too many to be wiped disks, so the same. That a peer is at
        // epoch zero is not enough: it may be a member that was cut off from the first election. Waiting as
        // after every start keeps even a mistake from two writers at once.
        let without = self.peers.other_voters().filter(|index| self.peers[*index].was_fresh()).count() + 1;
        let quorum_fresh = silent && without >= self.config.quorum() && waited;
        // Nobody at all has one: so the same, and the epochs that are said come of a lie while the cluster formed.
        let nowhere = waited && self.peers.other_voters().all(|index| self.peers[index].said_new());
        // Every quorum that our vote completed had `quorum - 1` others in it: so many answers meet it.
        let enough = self.config.voters() + 1 - self.config.quorum();
        let told = self.admission.answers() >= enough;
        if all_fresh || quorum_fresh || nowhere || told {
            if all_fresh {
                self.promises.end_boot();
            }
            let unsaved = self.record.complete();
            self.event(EventKind::Admitted);
            self.persist_before_speaking(unsaved);
            // Who hears a primary has no reason to campaign: it would give up one that is well.
            if !self.primary.is_known() {
                self.schedule_campaign(self.now());
            }
            self.answer_waiting();
        }
    }

    /// A member told us its epoch in answer to a heartbeat of ours. Enough of them meet every
    /// quorum that ever elected somebody with our vote.
    pub(super) fn note_admission_echo(&mut self, from: usize, echo: &Echo) {
        if !self.record.is_complete()
            && echo.standing == Standing::Member
            && let Some(voter) = self.peers[from].voter()
            && self.admission.answer(voter, echo.round, self.lease.round())
        {
            self.admit_if_known();
        }
    }
}
