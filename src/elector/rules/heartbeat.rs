//! Heartbeats and their echoes: who is there, who reigns, and for how long still.

use super::HOST_TIMEOUTS;
use crate::elector::io::{HostAction, Output, Receivers};
use crate::elector::machine::Elector;
use crate::elector::reign::Reign;
use crate::elector::state::State;
use crate::elector::timers::Timer;
use crate::event::{EventKind, Outcome, Reason};
use crate::ids::{Epoch, NodeId, Round};
use crate::message::{Echo, Heartbeat, Message, Role, Standing};
use crate::time::Duration;

impl Elector {
    pub(super) fn on_heartbeat_due(&mut self) {
        self.timers.set(Timer::Heartbeat, self.now() + self.pause_between_rounds());
        self.retry_failed_save();
        self.look_after_fitness();
        if let Some(delay) = self.config.failback {
            self.look_for_failback(delay);
        }
        self.send_round_to_all(true);
        self.look_after_peers();
        self.persist_position();
        self.renew_lease();
        self.settle_if_held();
    }

    /// A voter that hears its primary waits a quarter longer than others: the primary's next heartbeat comes before that, and with its echo
    /// goes the round (L9). A witness, to which that primary may speak in every second round only, waits as much longer (L11).
    fn pause_between_rounds(&self) -> Duration {
        let interval = self.config.heartbeat_interval;
        match self.hears_primary() && self.peers.my_vote().is_some() {
            true if self.speaks_half_as_often() => interval * 2 + interval / 4,
            true => interval + interval / 4,
            false => interval,
        }
    }

    /// Whether it was heard within an interval.
    pub(super) fn hears_primary(&self) -> bool {
        let heard = self.primary.index().and_then(|primary| self.peers[primary].heard());
        heard.is_some_and(|at| self.now() < at + self.config.heartbeat_interval)
    }

    /// The round goes right behind an echo where it is due soon anyway. As a timer that is due now: the host is asked how it is before, as
    /// before every round (H1).
    fn speak_behind_echo(&mut self) {
        self.timers.bring_forward(Timer::Heartbeat, self.now(), self.config.heartbeat_interval / 2);
    }

    /// One round of heartbeats: voters to all voters, a primary to everybody once its gate has been open (F25), an observer to its primary.
    /// So the cost per observer does not grow with the number of observers.
    pub(super) fn send_heartbeats(&mut self) {
        self.send_round_to_all(false);
    }

    /// `due`: only because it is time, so that witnesses may wait for the next one (L10, L11).
    fn send_round_to_all(&mut self, due: bool) {
        let opened = self.state.reign().is_some_and(Reign::opened);
        let to = match self.primary.index() {
            Some(primary) if self.peers.my_vote().is_none() => Receivers::One(self.id(primary)),
            _ if opened => self.peers.to_partners(),
            _ => self.peers.to_voters(),
        };
        match self.peers.without_witnesses(opened) {
            Some(fewer) => self.send_round_near_witnesses([to, fewer], due),
            None => self.send_round(to),
        }
    }

    /// One round to these alone.
    pub(super) fn send_round(&mut self, to: Receivers) {
        if let Some(heartbeat) = self.next_heartbeat() {
            self.output(Output::Send(to, Message::Heartbeat(heartbeat)));
        }
    }

    #[inline(always)]
    pub(super) fn next_heartbeat(&mut self) -> Option<Heartbeat> {
        // Speaking of an epoch that is not durable could make it go back in the eyes of others.
        if self.record.pending() {
            return None;
        }
        self.tell_rank();
        let round = self.lease.next_round(self.now());
        let reigning = self.state.reign().is_some();
        Some(Heartbeat {
            epoch: self.record.epoch(),
            round,
            role: self.role(),
            standing: self.record.standing(),
            progress: self.data.progress(),
            primary: self.primary(),
            promise: if reigning { self.promises.length.said.promise } else { Duration::ZERO },
            lease: if reigning { self.promises.length.said.lease } else { Duration::ZERO },
            health: self.health(),
            identity: self.record.identity(),
            pause: self.record.pause(),
        })
    }

    /// Tells of peers that came and went.
    fn look_after_peers(&mut self) {
        for number in 0..self.peers.partners().len() {
            let index = self.peers.partners()[number];
            if let Some(up) = self.peers.news(index, self.now()) {
                let peer = self.id(index);
                self.event(if up { EventKind::PeerUp { peer } } else { EventKind::PeerDown { peer } });
            }
        }
    }

    pub(super) fn on_heartbeat(&mut self, from: usize, heartbeat: &Heartbeat) {
        self.hear(from, heartbeat);
        if heartbeat.epoch > self.record.epoch() {
            self.adopt_epoch(heartbeat.epoch, Reason::HigherEpoch);
        }
        match heartbeat.role {
            Role::Primary | Role::Promoting => self.on_primary_heartbeat(from, heartbeat),
            // A node without a record learns from this what it may have forgotten.
            Role::Candidate | Role::Replica
                if heartbeat.standing == Standing::New && self.peers[from].voter().is_some() =>
            {
                self.echo(from, heartbeat.round, self.named_without_promise());
            }
            Role::Candidate | Role::Replica if heartbeat.standing == Standing::New => self.tell_new(from),
            Role::Candidate | Role::Replica => {}
        }
        self.admit_if_known();
        self.hand_over_if_caught_up();
    }

    #[inline]
    fn hear(&mut self, from: usize, heartbeat: &Heartbeat) {
        let now = self.now();
        let peer = self.peers.get_mut(from);
        let first = peer.heard().is_none();
        peer.note(now, heartbeat);
        if peer.is_news(true) {
            let peer = self.id(from);
            self.event(EventKind::PeerUp { peer });
        }
        if heartbeat.pause > self.record.pause()
            && let Some(pause) = heartbeat.pause
        {
            self.on_pause(pause);
        }
        if first {
            // It is known now that it belongs to this cluster.
            self.answer_waiting();
        }
    }

    /// A member whose epoch is out of reach is there all the same, and may need an answer to be admitted.
    pub(super) fn on_heartbeat_ahead(&mut self, from: usize, heartbeat: &Heartbeat) {
        self.hear(from, heartbeat);
        if heartbeat.standing == Standing::New && self.peers[from].voter().is_some() {
            self.echo(from, heartbeat.round, self.named_without_promise());
        }
        self.admit_if_known();
    }

    /// Answers a heartbeat; `primary` is to whom this node has just promised (L4).
    fn echo(&mut self, to: usize, round: Round, primary: Option<NodeId>) {
        let (epoch, standing) = (self.record.epoch(), self.record.standing());
        let progress = self.data.progress();
        let echo = Echo { epoch, round, primary, standing, progress };
        self.send(to, Message::Echo(echo));
    }

    fn on_primary_heartbeat(&mut self, from: usize, heartbeat: &Heartbeat) {
        if heartbeat.epoch < self.record.epoch() || !self.peers[from].eligible() {
            // It does not know yet that its reign is over: the echo's epoch tells it. Or this node counts by a list in which it cannot
            // reign, and does not know yet of the one in which it does.
            self.note_two_primaries(from, heartbeat.epoch);
            self.echo(from, heartbeat.round, self.named_without_promise());
            self.ask_for_later_list(from, heartbeat.epoch);
            return;
        }
        if heartbeat.identity != self.record.identity() && !self.goes_on_with(from, heartbeat.identity) {
            return;
        }
        match &self.state {
            State::Replica => {}
            State::Campaigning(_) => self.end_campaign(Outcome::Overtaken, Reason::OtherPrimary),
            // Two primaries of one epoch cannot be, unless a vote was forgotten. Writing must stop, here too.
            State::Reigning(_) if self.defies() => return,
            State::Reigning(_) => {
                self.note_two_primaries(from, heartbeat.epoch);
                self.depose(Reason::OtherPrimary);
            }
        }
        if !self.primary.is(from) {
            self.note_two_primaries(from, heartbeat.epoch);
            self.set_primary(Some(from));
        }
        if heartbeat.role == Role::Primary {
            self.end_plan();
        }
        self.judging.close();

        let mut silence = self.config.election_timeout;
        // Only voters promise, and only what outlasts the primary's lease.
        if self.peers.my_vote().is_some() {
            if let Some(length) = self.promised_length(heartbeat) {
                // Nobody is asked for votes before.
                silence = length;
                self.peers.get_mut(from).lease_mismatch(None);
                self.promise_to(from, length);
                // An earlier process of ours can have promised something to this primary, whom we now promise
                // the same and more, or to an older one, whose lease was over when this one was elected. To a
                // newer candidate it cannot: that vote would be in our record.
                if self.record.is_complete() {
                    self.promises.end_boot();
                }
                self.echo(from, heartbeat.round, self.primary());
                self.speak_behind_echo();
            } else if self.peers.get_mut(from).lease_mismatch(Some(heartbeat.lease)) {
                let (peer, lease) = (self.id(from), heartbeat.lease);
                let lease_max = self.promises.length.lease_max();
                self.event(EventKind::LeaseMismatch { peer, lease, lease_max });
            }
        }
        if heartbeat.role == Role::Primary && !self.following.is(self.record.epoch(), from) {
            self.follow_primary();
        }
        self.schedule_campaign(self.now() + silence);
    }

    pub(super) fn on_echo(&mut self, from: usize, echo: &Echo) {
        if let Some(voter) = self.supporter(from, echo) {
            self.lease.echo(voter, echo.round);
            self.renew_lease();
            self.peers.get_mut(from).echoed(echo.progress);
            self.hand_over_if_caught_up();
            return;
        }
        if echo.epoch > self.record.epoch() {
            self.adopt_epoch(echo.epoch, Reason::HigherEpoch);
        }
        self.note_admission_echo(from, echo);
    }

    /// An announcement is a heartbeat that cannot be echoed: it tells whom to follow and nothing else.
    pub(super) fn on_announce(&mut self, from: usize, epoch: Epoch) {
        // The heartbeat that comes with it says to which cluster it belongs.
        if self.may_reign_elsewhere(from) {
            return;
        }
        if epoch > self.record.epoch() {
            self.adopt_epoch(epoch, Reason::HigherEpoch);
        }
        if epoch < self.record.epoch() || !self.peers[from].eligible() || self.state.reign().is_some() {
            return;
        }
        if self.state.campaign().is_some() {
            self.end_campaign(Outcome::Overtaken, Reason::OtherPrimary);
        }
        self.set_primary(Some(from));
        self.end_plan();
        if !self.following.is(epoch, from) {
            self.follow_primary();
        }
        self.schedule_campaign(self.now() + self.config.election_timeout);
    }

    /// Points the host at the primary.
    pub(super) fn follow_primary(&mut self) {
        let Some(primary) = self.primary.index().filter(|primary| *primary != self.peers.me()) else {
            return;
        };
        if self.peers[self.peers.me()].is_witness() || self.state.reign().is_some() || !self.may_follow() {
            return;
        }
        // From here on the host may acknowledge more than it has said.
        self.judging.close();
        // A host that does not answer is asked again.
        self.timers.set(Timer::Follow, self.now() + self.config.election_timeout * HOST_TIMEOUTS);
        self.following.begin(self.record.epoch(), primary, self.now());
        self.host(HostAction::Follow(self.record.epoch(), self.id(primary)));
    }

    pub(super) fn on_followed(&mut self, epoch: Epoch) {
        self.data.settled();
        if let Some(primary) = self.following.of(epoch) {
            self.timers.clear(Timer::Follow);
            let took = self.following.took(self.now());
            let primary = self.id(primary);
            self.event(EventKind::Following { primary, took });
        }
    }

    pub(super) fn on_follow_failed(&mut self, epoch: Epoch, error: &str) {
        if let Some(primary) = self.following.of(epoch) {
            let primary = self.id(primary);
            self.event(EventKind::FollowFailed { primary, error: error.to_owned() });
            // Tried again after half a timeout, not at every heartbeat: a retarget costs a full resync.
            self.timers.set(Timer::Follow, self.now() + self.config.election_timeout / 2);
        }
    }
}
