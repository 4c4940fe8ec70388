//! A member that lies: beside what its elector says, it says anything in its own name, to whom it likes.

use super::World;
use super::event::Event;
use crate::config::MemberKind;
use crate::fence::Health;
use crate::ids::{EPOCH_MAX, EPOCH_NEAR, EPOCH_STEP_MAX, Epoch, NodeId, Round};
use crate::message::{
    Announce, Echo, Grant, Heartbeat, Message, Offer, OfferKind, Reject, RejectReason, Resign, Role,
    Standing, Verb,
};
use crate::position::{Position, Progress};
use crate::rank::Seniority;
use crate::sim::clock::MS;
use crate::sim::fault::FaultKind;
use crate::time::{Duration, nanos};

impl World {
    pub(super) fn on_lie(&mut self, index: usize) {
        let FaultKind::Lie { to, .. } = self.run.plan.faults[index].kind else { return };
        if !self.acts(index) {
            return;
        }
        let liar = self.run.active[index].node;
        let nodes = self.machines.len();
        for node in 0..nodes {
            // Observers count for nothing in the protocol, so they may all lie with it.
            let lies = node == liar || self.run.plan.setup.kinds[node] == MemberKind::Observer;
            for peer in (0..nodes).filter(|peer| lies && *peer != node && *peer != liar) {
                if to >> peer & 1 == 1 && self.run.rng.chance(700) {
                    let message = self.lie_for(node, peer);
                    self.forge(node, peer, message);
                }
            }
        }
        let pause = self.run.rng.between(MS / 2, nanos(self.run.plan.setup.timeout) / 6);
        self.push(self.run.now + pause, Event::Lie(index));
    }

    /// Says something in a node's name, on its own link.
    pub(in crate::sim) fn forge(&mut self, from: usize, to: usize, message: Message) {
        if self.machines[from].runs() {
            self.note_sent(from, to, &message);
            self.send_message(from, to, message);
        }
    }

    fn lie_for(&mut self, liar: usize, peer: usize) -> Message {
        let theirs = self.machines[peer].process.as_ref().map_or(Epoch::ZERO, |p| p.elector.epoch()).0;
        let somebody = self.run.ids[self.run.rng.below(self.machines.len() as u64) as usize];
        let (me, rng) = (self.run.ids[liar], &mut self.run.rng);
        let epoch = match rng.below(9) {
            0 => theirs,
            1 => theirs + 1,
            2 => theirs + rng.below(2 * EPOCH_NEAR),
            3 => theirs.saturating_sub(rng.below(3)),
            4 => theirs + rng.below(2 * EPOCH_STEP_MAX),
            5 => theirs + (1 << 32),
            6 => 1 << 60,
            _ => EPOCH_MAX.0,
        };
        let epoch = Epoch(epoch.min(EPOCH_MAX.0));
        let round = Round(rng.between(1, 200));
        let standing = rng.pick(&[Standing::Member, Standing::Member, Standing::New]);
        let history = rng.pick(&[Epoch(0), Epoch(1), Epoch(theirs), EPOCH_MAX]);
        let offset = rng.below(1000);
        let progress = Progress { stream_epoch: history, offset };
        let named: Option<NodeId> = rng.pick(&[None, Some(me), Some(somebody)]);
        let kind = rng.pick(&[OfferKind::PreVote, OfferKind::Vote]);
        let reason = rng.pick(RejectReason::ALL);
        // Every second one is a heartbeat.
        match Verb::ALL[2..].get(rng.below(16) as usize) {
            Some(Verb::Echo) => {
                Message::Echo(Echo { epoch, round, primary: Some(somebody), standing, progress })
            }
            Some(Verb::PreOffer) => {
                Message::PreOffer(Offer { epoch, round, position: Position::single(history, offset) })
            }
            Some(Verb::Offer) => {
                Message::Offer(Offer { epoch, round, position: Position::single(history, offset) })
            }
            Some(Verb::PreAccept) => {
                Message::PreAccept(Grant { epoch, round: Round(round.0 % 8), identity: None })
            }
            Some(Verb::Accept) => Message::Accept(Grant { epoch, round: Round(round.0 % 8), identity: None }),
            Some(Verb::Reject) => {
                Message::Reject(Reject { epoch, round: Round(round.0 % 8), kind, reason, progress })
            }
            Some(Verb::Announce) => Message::Announce(Announce { epoch }),
            Some(Verb::Resign) => Message::Resign(Resign { epoch, successor: named }),
            Some(Verb::Rank) => {
                Message::Rank(Seniority { up: Duration::from_secs(rng.between(0, 1 << 40)), work: offset })
            }
            // A list of its own would be taken: that is a limit.
            Some(Verb::Hello | Verb::Hb | Verb::Members | Verb::Held) | None => {
                Message::Heartbeat(Heartbeat {
                    identity: None,
                    pause: None,
                    epoch,
                    round,
                    role: rng.pick(Role::ALL),
                    standing,
                    progress,
                    primary: named,
                    promise: Duration::ZERO,
                    lease: Duration::from_millis(rng.pick(&[0, 300, 900, 90_000])),
                    health: rng.pick(Health::ALL),
                })
            }
        }
    }
}
