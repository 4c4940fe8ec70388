//! Nodes without a vote record: is the cluster new, or was the disk wiped?
//!
//! A node that lost its record may have voted in an epoch it has forgotten. It votes again once it has
//! learned an epoch at least as high, or once an operator says so. Sentences in `docs/protocol.md`, "Admission".

use crate::elector::machine::Elector;
use crate::event::EventKind;
use crate::identity::Identity;
use crate::ids::{ClusterId, EPOCH_MAX, EPOCH_STEP_MAX, Epoch, Round};
use crate::message::{Echo, Standing};

/// How many epochs a node that is admitted by an order passes over, beyond the highest that anybody knows: those in which it, and
/// others without a record, may have voted while nobody who is left heard of it. At ten elections a second it would have
/// taken them more than a day to use them up.
const ADMISSION_STEP: u64 = 1 << 20;

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
        let all_fresh = silent && heard + 1 == self.peers.voters();
        // A quorum of voters without records: too many to be wiped disks, so the same. That a peer is at
        // epoch zero is not enough: it may be a member that was cut off from the first election. Waiting as
        // after every start keeps even a mistake from two writers at once.
        let without = self.peers.other_voters().filter(|index| self.peers[*index].was_fresh()).count() + 1;
        let quorum_fresh = silent && without >= self.peers.quorum() && waited;
        // Nobody at all has one: so the same, and the epochs that are said come of a lie while the cluster formed.
        let new = self.peers.other_voters().filter(|index| self.peers[*index].said_new()).count();
        let nowhere = waited && new + 1 == self.peers.voters();
        // Every quorum that our vote completed had `quorum - 1` others in it: so many answers meet it.
        let enough = self.peers.voters() + 1 - self.peers.quorum();
        let told = self.answers_of_one_cluster(enough);
        let passed_over =
            (waited && told.is_none()).then(|| self.beyond_what_was_forgotten(nowhere)).flatten();
        let ordered = (waited && told.is_none()).then(|| self.ordered(enough)).flatten();
        if all_fresh
            || quorum_fresh
            || nowhere
            || told.is_some()
            || passed_over.is_some()
            || ordered.is_some()
        {
            if all_fresh {
                self.promises.end_boot();
            }
            let mut unsaved = self.record.complete();
            if let Some((cluster, epoch)) = ordered {
                let best = self
                    .peers
                    .other_voters()
                    .filter(|index| self.peers[*index].standing() == Standing::Member);
                if let Some(best) = best.map(|index| self.peers[index].progress()).max() {
                    self.record.raise_floor(best);
                }
                unsaved = self.record.enter(epoch, None);
                self.event(EventKind::AdmittedByOrder { cluster });
            }
            if let Some(epoch) = passed_over.filter(|epoch| *epoch > self.record.epoch()) {
                unsaved = self.enter_without_vote(epoch);
            }
            let identity = ordered.map(|(cluster, _)| Identity::settled(cluster)).or(told.flatten());
            self.event(EventKind::Admitted);
            if !self.belong_with(identity) {
                self.persist_before_speaking(unsaved);
            }
            // Who hears a primary has no reason to campaign: it would give up one that is well.
            if !self.primary.is_known() {
                self.schedule_campaign(self.now());
            }
            self.answer_waiting();
        }
    }

    /// A6: where a quorum kept their data and lost their records, nobody is left who could tell them what they voted. They go on beyond
    /// all epochs in which that can have been. Gives the epoch.
    fn beyond_what_was_forgotten(&self, nowhere: bool) -> Option<Epoch> {
        let of_data = self.data.progress().stream_epoch;
        let forgot = self.peers.other_voters().filter(|index| self.peers[*index].forgot()).count() + 1;
        if of_data == Epoch::ZERO || !(nowhere || forgot >= self.peers.quorum()) {
            return None;
        }
        let held = self.peers.other_voters().map(|index| self.peers[index].progress().stream_epoch);
        let held = held.chain([of_data]).max()?;
        let beyond = |epoch: Epoch| Epoch(epoch.0.saturating_add(ADMISSION_STEP).min(EPOCH_MAX.0));
        // One of them has gone there already, and this node came with it.
        if self.record.epoch() >= beyond(held) {
            return Some(self.record.epoch());
        }
        if !self.passes_over() {
            return Some(self.record.epoch());
        }
        // What one member says must not use up the epochs (E10).
        let reach = Epoch(of_data.max(self.record.epoch()).0.saturating_add(EPOCH_STEP_MAX));
        let said = self.peers.other_voters().map(|index| self.peers[index].epoch());
        said.chain([held, self.record.epoch()]).max().map(|known| beyond(known.min(reach)))
    }

    /// Whether so many members have answered who belong to one cluster, as far as they say; then, what the best of them says.
    fn answers_of_one_cluster(&self, enough: usize) -> Option<Option<Identity>> {
        let settled = |identity: Option<Identity>| identity.filter(Identity::is_settled);
        self.answers().map(settled).find_map(|one| {
            // Who is not settled on another one counts with each.
            let same = |other: &Option<Identity>| {
                one.zip(settled(*other)).is_none_or(|(one, other)| one.cluster == other.cluster)
            };
            let best = |best, told: Identity| if told.outranks(best) { Some(told) } else { best };
            (self.answers().filter(same).count() >= enough)
                .then(|| self.answers().filter(same).flatten().fold(None, best))
        })
    }

    /// What the voters who have answered belong to. Of a process that came since then it is not known before it is heard (I3).
    fn answers(&self) -> impl Iterator<Item = Option<Identity>> + '_ {
        let answered = |index: &usize| {
            let peer = &self.peers[*index];
            peer.heard().is_some() && peer.voter().is_some_and(|voter| self.admission.has_answer_of(voter))
        };
        self.peers.other_voters().filter(answered).map(|index| self.peers[index].identity())
    }

    /// An operator's order, if it makes sense: all voters are heard, too few of them have their records to tell this node what it
    /// may have forgotten, and those who do all belong to the cluster that the order names. Gives the epoch in which nobody can have
    /// forgotten a vote. A primary among them has no lease any more: too few members are left to give it one (L4),
    /// and what others promised it before they
    /// lost their records has run out (P3).
    fn ordered(&self, enough: usize) -> Option<(ClusterId, Epoch)> {
        let cluster = self.admission.wish()?;
        let heard = || self.peers.other_voters().filter(|index| self.peers[*index].heard().is_some());
        let members = || heard().filter(|index| self.peers[*index].standing() == Standing::Member);
        let ours = |index: usize| {
            self.peers[index].identity() == Some(Identity::settled(cluster))
                && self.peers[index].voter().is_some_and(|voter| self.admission.has_answer_of(voter))
        };
        let makes_sense = self.hears_all(heard().count())
            && (1..enough).contains(&members().count())
            && members().all(ours)
            && self.cluster().is_none_or(|own| own == cluster);
        let known = self.peers.others().map(|index| self.peers[index].epoch());
        let newest = known.chain([self.record.epoch()]).max()?;
        makes_sense.then(|| (cluster, Epoch(newest.0.saturating_add(ADMISSION_STEP).min(EPOCH_MAX.0))))
    }

    /// A member told us its epoch in answer to a heartbeat of ours. Enough of them meet every
    /// quorum that ever elected somebody with our vote.
    pub(super) fn note_admission_echo(&mut self, from: usize, echo: &Echo) {
        if !self.record.is_complete()
            && echo.standing == Standing::Member
            // Its heartbeat said to which cluster it belongs.
            && self.peers[from].heard().is_some()
            && let Some(voter) = self.peers[from].voter()
            && self.admission.answer(voter, echo.round, self.lease.round())
        {
            self.admit_if_known();
        }
    }
}
