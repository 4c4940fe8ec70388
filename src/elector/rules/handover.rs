//! Handing the office over: because an operator wants it, because the process ends, or because this node is unfit
//! (`docs/protocol.md`, "Handover").

use super::rank::Place;
use crate::config::MemberKind;
use crate::elector::machine::Elector;
use crate::elector::reign::{Handover, Reign, Transfer};
use crate::elector::timers::Timer;
use crate::event::{EventKind, Reason};
use crate::fence::FenceReason;
use crate::ids::NodeId;
use crate::position::Progress;
use crate::time::{Duration, Instant};
use crate::transfer::{TransferOutcome, TransferRefused, Unready};

/// While an office is handed over, replicas are asked how far they are this many times per heartbeat
/// interval: writes are refused meanwhile.
const HANDOVER_POLLS: u32 = 20;

/// Writes are stopped for a transfer once the other node is at most this part of an election timeout behind. (A server with several
/// shards tells of a place that lies back by the time between two cuts.) For as long it waits for clients that have begun something.
const NEAR_PARTS: u32 = 4;

impl Elector {
    /// Whether a transfer to `to`, or to the best node, could begin at `now`, and whom it would be meant for.
    pub fn can_transfer(&self, to: Option<NodeId>, now: Instant) -> Result<NodeId, TransferRefused> {
        let Some(reign) = self.state.reign() else {
            return Err(TransferRefused::NotPrimary { primary: self.primary() });
        };
        if !reign.promoted() {
            return Err(TransferRefused::Promoting);
        }
        if reign.transfer().is_some() || reign.handover().is_some() {
            return Err(TransferRefused::Underway);
        }
        if let Some(reason) = reign.fenced() {
            return Err(TransferRefused::Fenced(reason));
        }
        if let Some(node) = to {
            let ready =
                self.peers.index(node).ok_or(Unready::Unknown).and_then(|peer| self.is_ready(peer, now));
            return ready.map(|()| node).map_err(|why| TransferRefused::Unready { node, why });
        }
        let ready = |index: &usize| self.is_ready(*index, now).is_ok();
        let best =
            self.peers.others().filter(ready).max_by(|a, b| self.preference(*a).cmp(&self.preference(*b)));
        best.map(|index| self.id(index)).ok_or_else(|| {
            let why = |index| Some((self.id(index), self.is_ready(index, now).err()?));
            TransferRefused::Nobody(self.peers.others().filter_map(why).collect())
        })
    }

    /// An operator wants another node to have this office: writes go on until that one has nearly everything.
    pub(super) fn transfer(&mut self, to: Option<NodeId>, patience: Duration) {
        let now = self.now();
        if let Err(why) = self.can_transfer(to, now) {
            self.event(EventKind::TransferRefused { why });
            return;
        }
        self.begin_transfer(to, patience);
    }

    /// This process ends. Writes go on while somebody comes near who can take over, as for an operator (H11).
    pub(super) fn leave(&mut self) {
        self.leaving = true;
        self.abandon_campaign();
        let (now, timeout) = (self.now(), self.config.election_timeout);
        let busy = self.state.reign().is_some_and(Reign::is_busy);
        match self.can_transfer(None, now) {
            Ok(_) => self.begin_transfer(None, timeout),
            Err(TransferRefused::Nobody(_)) if busy => self.begin_transfer(None, timeout),
            // Begun by an operator: it is this process's own now, and has no longer.
            Err(TransferRefused::Underway) if self.wants_to_know_if_busy() => {
                if let Some(reign) = self.state.reign_mut()
                    && let Some(transfer) = reign.transfer()
                {
                    let until = transfer.until.min(now + timeout);
                    reign.set_transfer(Some(Transfer { until, ..transfer }));
                }
                self.on_handover_due();
            }
            Err(_) => self.hand_over(FenceReason::StepDown),
        }
    }

    fn begin_transfer(&mut self, to: Option<NodeId>, patience: Duration) {
        let now = self.now();
        let mark = (self.data.progress(), now);
        let to_index = to.and_then(|to| self.peers.index(to));
        let Some(reign) = self.state.reign_mut() else { return };
        let transfer = Transfer { to: to_index, begun: now, until: now + patience, mark, near_since: None };
        reign.set_transfer(Some(transfer));
        self.event(EventKind::Transfer { to });
        self.on_handover_due();
    }

    /// The host says whether clients are in the middle of something that ends better before writes are refused.
    pub(super) fn on_busy(&mut self, busy: bool) {
        if let Some(reign) = self.state.reign_mut() {
            reign.set_busy(busy);
        }
    }

    /// Whether the host is to say that now.
    #[inline]
    pub(crate) fn wants_to_know_if_busy(&self) -> bool {
        self.state.reign().is_some_and(|reign| reign.transfer().is_some() && reign.handover().is_none())
    }

    /// A transfer is over, if one was under way; `to` somebody else than was asked for, perhaps.
    pub(super) fn end_transfer(&mut self, outcome: TransferOutcome, to: Option<usize>) {
        let now = self.now();
        let Some(reign) = self.state.reign_mut() else { return };
        let Some(transfer) = reign.transfer() else { return };
        reign.set_transfer(None);
        let to = to.or(transfer.to).map(|index| self.id(index));
        self.event(EventKind::TransferEnded { to, outcome, took: now.saturating_since(transfer.begun) });
    }

    /// Stops writes, and waits for a replica that has everything.
    pub(super) fn hand_over(&mut self, reason: FenceReason) {
        let anyway = self.leaving || reason == FenceReason::HostFailing;
        if reason == FenceReason::HostFailing || self.state.reign().is_some_and(|r| r.handover().is_some()) {
            // Whoever cannot serve, or goes in the middle of it, takes whom there is.
            self.end_transfer(TransferOutcome::Overtaken, None);
        }
        let deadline = self.now() + self.config.election_timeout;
        let Some(reign) = self.state.reign_mut() else { return };
        let promoted = reign.promoted();
        if !reign.hand_over(Handover { reason, anyway, deadline }) {
            return;
        }
        if self.stops_before_it_resigns() {
            self.fence(reason);
        }
        self.primary.gives_up_for(Reason::Planned);
        if promoted {
            self.on_handover_due();
        } else {
            self.resign(reason, self.successor().map(|(index, _)| index));
        }
    }

    /// Goes on with a transfer or a handover as soon as the other node is far enough.
    pub(super) fn hand_over_if_caught_up(&mut self) {
        if self.successor_is_near() {
            self.hand_over(FenceReason::StepDown);
            return;
        }
        let Some(handover) = self.state.reign().and_then(Reign::handover) else { return };
        if self.data.settling().is_none()
            && let Some((successor, progress)) = self.successor()
            && self.has_all(progress)
        {
            self.resign(handover.reason, Some(successor));
        }
    }

    /// Asks the replicas how far they are, or ends the wait for them.
    pub(super) fn on_handover_due(&mut self) {
        self.hand_over_if_caught_up();
        let Some(reign) = self.state.reign() else { return };
        match (reign.handover(), reign.transfer()) {
            (Some(handover), _) if self.now() < handover.deadline => self.ask_how_far(handover.deadline),
            (Some(handover), _) if self.resigns_anyway(handover.reason) => {
                self.end_transfer(TransferOutcome::Late, None);
                self.resign(handover.reason, self.successor().map(|(index, _)| index));
            }
            // Nobody caught up in time: better this primary than lost writes.
            (Some(_), _) => {
                self.end_transfer(TransferOutcome::Late, None);
                if let Some(reign) = self.state.reign_mut() {
                    reign.keep();
                }
                self.put_handover_off();
                self.renew_lease();
            }
            (None, Some(transfer)) if self.awaits(&transfer) => self.ask_how_far(transfer.until),
            (None, Some(_)) => {
                self.end_transfer(TransferOutcome::Late, None);
                if self.leaving {
                    self.hand_over(FenceReason::StepDown);
                }
            }
            (None, None) => {}
        }
    }

    /// Whether a transfer has more time. A process that ends gives it none where there is nobody and nothing to wait for.
    fn awaits(&self, transfer: &Transfer) -> bool {
        let now = self.now();
        let somebody = || self.peers.others().any(|index| self.is_ready(index, now).is_ok());
        let busy = self.state.reign().is_some_and(Reign::is_busy);
        now < transfer.until && (!self.leaving || busy || somebody())
    }

    fn ask_how_far(&mut self, until: Instant) {
        let next = self.now() + self.config.heartbeat_interval / HANDOVER_POLLS;
        self.timers.set(Timer::Handover, next.min(until));
        self.send_heartbeats();
    }

    /// Whether a transfer is under way for which writes can stop: what the other node lacks is what was written in a moment. If it
    /// has come as far as this node was, but took longer, it is asked again from here.
    fn successor_is_near(&mut self) -> bool {
        let Some(reign) = self.state.reign().filter(|reign| reign.handover().is_none()) else { return false };
        let Some(mut transfer) = reign.transfer() else { return false };
        let (now, progress) = (self.now(), self.data.progress());
        let Some((_, theirs)) = self.successor().filter(|(_, theirs)| *theirs >= transfer.mark.0) else {
            return false;
        };
        let (near, had) = (self.config.election_timeout / NEAR_PARTS, self.has_all(theirs));
        let Some(reign) = self.state.reign_mut() else { return false };
        if !had && now.saturating_since(transfer.mark.1) > near {
            reign.set_transfer(Some(Transfer { mark: (progress, now), ..transfer }));
            return false;
        }
        let since = *transfer.near_since.get_or_insert(now);
        reign.set_transfer(Some(transfer));
        !reign.is_busy() || now >= since + near
    }

    /// The node that the office is meant for, or the best replica, if it is reachable.
    fn successor(&self) -> Option<(usize, Progress)> {
        let meant = self.state.reign().and_then(Reign::transfer).and_then(|transfer| transfer.to);
        self.peers
            .others()
            .filter(|index| meant.is_none_or(|meant| meant == *index))
            .filter(|index| self.peers.could_reign(*index, self.now()))
            .max_by(|a, b| self.preference(*a).cmp(&self.preference(*b)))
            .map(|index| (index, self.peers[index].progress()))
    }

    /// What makes one successor better than another: fit, then as it ranks (H5, R1).
    fn preference(&self, index: usize) -> (bool, std::cmp::Reverse<Place>) {
        let peer = &self.peers[index];
        (peer.is_fit(), std::cmp::Reverse(self.place(index, peer.progress())))
    }

    /// What keeps a member from taking over, if anything.
    fn is_ready(&self, index: usize, now: Instant) -> Result<(), Unready> {
        let peer = &self.peers[index];
        match peer.kind() {
            _ if index == self.peers.me() => Err(Unready::Reigns),
            MemberKind::Witness => Err(Unready::Witness),
            MemberKind::Observer => Err(Unready::Observer),
            MemberKind::Voter if !peer.eligible() => Err(Unready::PriorityZero),
            MemberKind::Voter if !self.peers.reachable(index, now) => Err(Unready::Unreachable),
            MemberKind::Voter if !peer.is_fit() => Err(Unready::Unfit(peer.health())),
            MemberKind::Voter if peer.progress().stream_epoch != self.data.progress().stream_epoch => {
                Err(Unready::OtherHistory(peer.progress()))
            }
            MemberKind::Voter => Ok(()),
        }
    }
}
