//! Hands what happens to the invariants: the part that is the same in both worlds.

use super::invariants::{Check, INVARIANTS};
use super::run::Run;
use super::server::Act;
use crate::config::{LossPolicy, MemberKind};
use crate::event::{Event, EventKind, Outcome};
use crate::fence::FenceReason;
use crate::ids::{Epoch, NodeId};
use crate::message::{Message, OfferKind};
use crate::position::Position;
use crate::sim::clock::MS;
use crate::sim::data::Offsets;
use crate::state::HardState;
use crate::time::nanos;

/// How often it is looked whether the cluster has settled.
pub(super) const PROBE: u64 = 20 * MS;

impl Run {
    /// A node is about to send. `record`: what its disk has; `open`: its gate lets writes pass; `modelled`: its server is ours.
    pub(super) fn judge_send(
        &mut self,
        (from, to): (usize, usize),
        message: &Message,
        record: Option<&HardState>,
        open: bool,
        modelled: bool,
    ) {
        self.stats.checks[Check::Epochs as usize] += 1;
        let mut found = self.invariants.epochs.on_send(from, message, record);
        match message {
            Message::Offer(offer) => {
                self.stats.checks[Check::Votes as usize] += 1;
                found = found.or(self.invariants.votes.on_vote(from, offer.epoch, from, record));
                self.invariants.position.on_offer(from, offer);
            }
            Message::Accept(grant) => {
                self.stats.checks[Check::Votes as usize] += 1;
                let first = self.invariants.votes.is_first(from, grant.epoch);
                found = found.or(self.invariants.votes.on_vote(from, grant.epoch, to, record));
                if modelled {
                    self.stats.checks[Check::Position as usize] += 1;
                    let server = &self.servers[from];
                    let target = server.joined.then_some(server.target).flatten();
                    let acknowledges = target.filter(|(epoch, _)| *epoch < grant.epoch);
                    // A vote may wait for the disk while the server already joins the winner.
                    let (mine, policy) = (&server.detached, self.plan.setup.loss_policy);
                    let votes = &self.invariants.position;
                    found = found.or(votes.on_accept(from, to, grant, first, mine, acknowledges, policy));
                }
            }
            Message::Resign(_) => {
                self.stats.checks[Check::Fence as usize] += 1;
                found = found.or(self.invariants.fence.on_resign(from, open));
            }
            Message::Heartbeat(_)
            | Message::Echo(_)
            | Message::PreOffer(_)
            | Message::PreAccept(_)
            | Message::Reject(_)
            | Message::Announce(_)
            | Message::Members(_)
            | Message::Held(_)
            | Message::Rank(_) => {}
        }
        self.take(found);
    }

    /// A gate is open: nobody else's may be.
    pub(super) fn judge_one_writer(&mut self, node: usize, other: Option<usize>) {
        self.stats.checks[Check::OneWriter as usize] += 1;
        let found = other.and_then(|other| self.invariants.one_writer.both_open(node, other));
        self.take(found);
    }

    /// A write passes a gate of a node that counts by `present`; `carried`: by the lease of those who voted before one was added (M11).
    pub(super) fn judge_lease(
        &mut self,
        node: usize,
        epoch: Epoch,
        present: &[usize],
        carried: bool,
        bound: impl Fn(usize) -> bool,
    ) {
        self.stats.checks[Check::Lease as usize] += 1;
        let [last, before] = &self.lists[node];
        let voters = match carried {
            false => present,
            true if last == present => before,
            true => last,
        };
        let (bound, quorum) = (voters.iter().filter(|voter| bound(**voter)).count(), voters.len() / 2 + 1);
        let found = self.invariants.lease.on_write(node, epoch, bound, quorum);
        self.take(found);
    }

    /// What a node's server wants done, as far as that is for the judge or the trace alone; gives the rest back.
    pub(super) fn hear(&mut self, node: usize, act: Act) -> Option<Act> {
        match act {
            Act::Joined { continued } => {
                self.stats.joined(continued);
                self.log(|| format!("n{node} host: joined{}", if continued { ", continues" } else { "" }));
                return Some(act);
            }
            Act::Continues(epoch, shard) => {
                self.stats.checks[Check::Continued as usize] += 1;
                let lane = &self.servers[node].data.lanes[shard];
                let found = self.invariants.continued.on_continued(node, epoch, shard, lane);
                self.take(found);
            }
            Act::Confirmed(epoch, offsets) => self.judge_confirmed(epoch, offsets),
            Act::CopyLost => self.invariants.confirmed.copies_lost = true,
            Act::Note(text) => self.log(|| format!("n{node} host: {text}")),
            Act::Send(..) | Act::Load { .. } | Act::Moved => return Some(act),
        }
        None
    }

    /// A server was promoted.
    pub(super) fn judge_promotion(&mut self, node: usize, epoch: Epoch) {
        self.invariants.continued.on_begun(epoch, &self.servers[node].data);
        self.stats.checks[Check::Confirmed as usize] += 1;
        let servers: Vec<_> = self.servers[self.voters()].iter().collect();
        let quorum = self.quorum();
        let found =
            self.invariants.confirmed.on_promoted(node, epoch, &self.servers[node].data, &servers, quorum);
        self.take(found);
    }

    /// A server is promoted that is not wanted any more.
    pub(super) fn promote_late(&mut self, node: usize, epoch: Epoch) {
        self.servers[node].promote(epoch);
        self.invariants.continued.on_begun(epoch, &self.servers[node].data);
    }

    fn judge_confirmed(&mut self, epoch: Epoch, confirmed: Offsets) {
        self.stats.checks[Check::Confirmed as usize] += 1;
        let servers: Vec<_> = self.servers[self.voters()].iter().collect();
        let quorum = self.quorum();
        let found = self.invariants.confirmed.on_confirmed(epoch, confirmed, &servers, quorum);
        self.take(found);
    }

    /// A node counts by another list from here on.
    pub(super) fn judge_list(&mut self, node: usize, epoch: Epoch, made_in: Epoch, voters: Vec<usize>) {
        if made_in > epoch {
            let text = format!("n{node} counts in epoch {epoch} by a list of epoch {made_in} (M7)");
            self.take(Some((INVARIANTS[Check::Confirmed as usize], text)));
        }
        self.note_list(node, &voters);
        self.servers[node].count_by(made_in, voters);
    }

    /// A node counts by these, or begins to reign while it does.
    pub(super) fn note_list(&mut self, node: usize, voters: &[usize]) {
        let [last, before] = &mut self.lists[node];
        if last != voters {
            *before = std::mem::replace(last, voters.to_vec());
        }
    }

    /// Two that hold the same history to the same place hold the same.
    pub(super) fn judge_contents(&mut self, node: usize) {
        let server = &self.servers[node];
        let Some((epoch, primary)) = server.target.filter(|_| server.joined) else { return };
        let theirs = &self.servers[primary];
        if theirs.serving != Some(epoch) {
            return;
        }
        self.stats.checks[Check::Contents as usize] += 1;
        let found = self.invariants.contents.look(node, &server.data, primary, &theirs.data);
        self.take(found);
    }

    /// A node resigns at the end of a transfer; whoever it names was well.
    pub(super) fn judge_handed_over(&mut self, node: usize, epoch: Epoch, successor: usize) {
        self.stats.checks[Check::HandedOver as usize] += 1;
        let [mine, theirs] = [node, successor].map(|node| &self.servers[node].data);
        let cuts = self.plan.setup.habits.is_some();
        let found = self.invariants.handed_over.look(epoch, mine, successor, theirs, cuts);
        self.take(found);
    }

    /// A node decided something; gives the reason where it lost its office without having handed it over.
    pub(super) fn count_event(&mut self, kind: &EventKind) -> Option<FenceReason> {
        match kind {
            EventKind::Fenced { reason } => {
                let lost = [FenceReason::LeaseExpired, FenceReason::LinksLost, FenceReason::Deposed];
                return Some(*reason).filter(|reason| lost.contains(reason));
            }
            EventKind::Admitted => self.stats.admitted += 1,
            EventKind::Foreign { peer, theirs, ours } if !self.plan.setup.forgetful => {
                let text = format!("{peer} belongs to cluster {theirs}, another node to {ours}");
                self.take(Some((INVARIANTS[Check::Cluster as usize], text)));
            }
            EventKind::Belongs { .. } => self.stats.checks[Check::Cluster as usize] += 1,
            EventKind::CampaignEnded { .. } => self.stats.campaigns += 1,
            EventKind::Promoted { .. } => self.stats.promoted += 1,
            _ => {}
        }
        None
    }

    /// Since when a primary, its voters and the links between them must have been in order for it to count as healthy.
    pub(super) fn healthy_since(&mut self) -> u64 {
        self.stats.checks[Check::Healthy as usize] += 1;
        self.now.saturating_sub(self.invariants.healthy.window)
    }

    /// A primary that was healthy, and that so many voters heard, lost its office.
    pub(super) fn judge_lost_office(
        &mut self,
        node: usize,
        epoch: Epoch,
        why: FenceReason,
        hearing: usize,
        quorum: usize,
    ) {
        if hearing < quorum {
            return;
        }
        let since = self.now.saturating_sub(self.invariants.healthy.window);
        let young = self.invariants.epochs.born_after(epoch, since);
        match self.invariants.healthy.lost(node, why.as_str(), hearing, young) {
            None => self.stats.deposed_by_old_epoch += 1,
            found => self.take(found),
        }
    }

    /// Somebody asks for votes, or resigns in favour of somebody, while elections are `paused` or not.
    pub(super) fn judge_pause(&mut self, node: usize, event: &Event, paused: impl FnOnce() -> bool) {
        match event.kind {
            EventKind::Campaign { kind: OfferKind::Vote, epoch, .. } => {
                self.invariants.paused.on_ask(node, epoch, paused());
            }
            EventKind::Resigned { node: of, successor: Some(_) } if self.number(of) == Some(node) => {
                self.invariants.paused.on_plan();
            }
            EventKind::CampaignEnded { kind: OfferKind::Vote, epoch, outcome: Outcome::Won, .. } => {
                self.stats.checks[Check::Paused as usize] += 1;
                let found = self.invariants.paused.on_reign(node, epoch, paused());
                self.take(found);
            }
            _ => {}
        }
    }

    /// A node was elected where seniority decides; `others` could have been, and nothing was wrong with anybody lately.
    pub(super) fn judge_seniority(
        &mut self,
        node: usize,
        epoch: Epoch,
        up: u128,
        others: impl Iterator<Item = (usize, u128)>,
    ) {
        self.stats.checks[Check::Seniority as usize] += 1;
        let found = self.invariants.seniors.on_won(node, epoch, up, others);
        self.take(found);
    }

    /// A primary that has written since then begins to give its office back.
    pub(super) fn judge_failback(&mut self, node: usize, to: NodeId, reigning_since: Option<u64>) {
        let (Some(to), Some(delay)) = (self.number(to), self.plan.setup.failback) else { return };
        self.stats.checks[Check::Failback as usize] += 1;
        let reigned = reigning_since.map_or(0, |since| self.now - since);
        let priorities = &self.plan.setup.priorities;
        let found = self.invariants.failbacks.on_begin((node, to), priorities, reigned, delay);
        self.take(found);
    }

    /// Looks whether the cluster has settled: one writer, and everybody has joined it.
    pub(super) fn probe(&mut self, settled: bool, state: impl FnOnce() -> String) {
        if self.settled.is_some() {
            return;
        }
        let waited = self.now - self.plan.heal_at;
        if settled {
            self.settled = Some(self.now);
            self.stats.checks[Check::Convergence as usize] += 1;
            let timeout = nanos(self.plan.setup.timeout);
            self.stats.settled(waited, timeout);
            self.end = self.now + timeout;
            self.log(|| "SETTLED".to_owned());
        } else if waited > self.invariants.convergence.bound {
            if self.beyond_help() {
                self.stats.stuck_by_policy += 1;
                self.end = self.now;
            } else {
                let found = self.invariants.convergence.waited(waited, state);
                self.take(found);
            }
        }
    }

    /// Whether all have what the writer had when all had joined it first: a stream that stands still is noticed.
    pub(super) fn caught_up(&mut self, writer: usize) -> bool {
        let last = self.servers[writer].data.last();
        match self.settling {
            Some((of, epoch, offsets)) if of == writer && epoch == last.epoch => {
                let kinds = &self.plan.setup.kinds;
                let mut all = self.servers.iter().zip(kinds);
                all.all(|(server, kind)| *kind == MemberKind::Witness || server.has(epoch, &offsets))
            }
            _ => {
                self.settling = Some((writer, last.epoch, last.offsets));
                false
            }
        }
    }

    /// Under `dominate`, after data was wiped, nobody may be left who is behind no voter of a quorum: then
    /// electing anybody could lose a confirmed write, and only an operator may choose.
    fn beyond_help(&self) -> bool {
        if self.plan.setup.loss_policy != LossPolicy::Dominate || !self.invariants.confirmed.copies_lost {
            return false;
        }
        let positions: Vec<_> = self.servers[self.voters()].iter().map(|server| server.position()).collect();
        !positions.iter().any(|candidate| {
            let agree =
                |voter: &&Position| candidate.progress() >= voter.progress() && candidate.dominates(voter);
            positions.iter().filter(agree).count() >= self.quorum()
        })
    }
}
