//! What comes in: each input moves time on, and goes to the rule that it is for.

use crate::config::Config;
use crate::elector::io::{Command, HostReport, PersistSeq};
use crate::elector::machine::Elector;
use crate::elector::timers::Timer;
use crate::event::EventKind;
use crate::ids::NodeId;
use crate::link::LinkEvent;
use crate::message::Message;
use crate::state::HardState;
use crate::time::Instant;

/// Inputs.
impl Elector {
    /// A node that starts at `now`, with what its vote record holds (`None` only if there never was one).
    ///
    /// `incarnation_floor` is a number that grows from start to start even if the record is lost: the wall
    /// clock in milliseconds serves. It keeps peers from taking a node with an empty disk for an older
    /// process of itself; a clock that went back costs that node time, never safety. `seed` spreads retries.
    pub fn new(
        config: Config,
        restored: Option<HardState>,
        incarnation_floor: u64,
        seed: u64,
        now: Instant,
    ) -> Self {
        let (mut elector, unsaved) = Self::assemble(config, restored, incarnation_floor, seed, now);
        // The new incarnation is durable before anybody hears of it; the position is kept, so a second
        // restart before the first save loses nothing.
        elector.persist_before_speaking(unsaved);
        elector.timers.set(Timer::Heartbeat, now);
        elector.admit_if_known();
        elector.schedule_campaign(elector.promises.booting_until().unwrap_or(now));
        elector
    }

    /// A message came in from `from`, as the link proved. Messages from strangers are ignored.
    pub fn handle_message(&mut self, now: Instant, from: NodeId, message: Message) {
        self.catch_up(now);
        let Some(from) = self.peers.index(from) else { return };
        if from == self.peers.me() || self.peers[from].is_dead() {
            return;
        }
        if let Message::Heartbeat(heartbeat) = &message
            && heartbeat.identity != self.peers[from].identity()
        {
            self.on_identity(from, heartbeat.identity);
        }
        if self.ignores(from) {
            return;
        }
        if !self.reaches(from, &message) {
            return;
        }
        match message {
            Message::Heartbeat(heartbeat) => self.on_heartbeat(from, &heartbeat),
            Message::Echo(echo) => self.on_echo(from, &echo),
            Message::PreOffer(offer) => self.on_pre_offer(from, offer),
            Message::PreAccept(grant) => self.on_pre_accept(from, grant),
            Message::Offer(offer) => self.on_offer(from, offer),
            Message::Accept(grant) => self.on_accept(from, grant),
            Message::Reject(reject) => self.on_reject(from, &reject),
            Message::Announce(announce) => self.on_announce(from, announce.epoch),
            Message::Resign(resign) => self.on_resign(from, resign),
            Message::Rank(seniority) => self.on_rank(from, seniority),
            Message::Members(members) => self.on_members(from, members),
            Message::Held(generation) => self.on_held(from, generation),
        }
    }

    /// Time has passed. Fires every timer that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.catch_up(now);
        for timer in Timer::IN_ORDER {
            if !timer.before_messages() && self.timers.take_due(timer, self.now()) {
                self.fire(timer);
            }
        }
    }

    /// A link to `peer` changed.
    pub fn handle_link(&mut self, now: Instant, peer: NodeId, event: LinkEvent) {
        self.catch_up(now);
        if let Some(peer) = self.peers.index(peer)
            && peer != self.peers.me()
        {
            self.on_link(peer, event);
        }
    }

    /// The host says something.
    pub fn handle_host(&mut self, now: Instant, report: HostReport<'_>) {
        self.catch_up(now);
        match report {
            HostReport::Position { stream_epoch, offsets } => {
                if let Some(error) = self.data.tell(stream_epoch, offsets) {
                    self.abandon_campaign();
                    self.event(EventKind::PositionRefused { error });
                }
                if stream_epoch > self.record.epoch() {
                    self.enter_epoch_of_data(stream_epoch);
                }
            }
            HostReport::Fenced => self.on_fenced(),
            HostReport::Detached(seq, position) => self.on_detached(seq, position),
            HostReport::Promoted(epoch) => self.on_promoted(epoch),
            HostReport::PromoteFailed(epoch, error) => self.on_promote_failed(epoch, error),
            HostReport::Followed(epoch) => self.on_followed(epoch),
            HostReport::FollowFailed(epoch, error) => self.on_follow_failed(epoch, error),
            HostReport::Health(health) => self.on_health(health),
            HostReport::Answers(answers) => self.on_answers(answers),
            HostReport::Belongs(cluster) => self.belong_by_data(cluster),
            HostReport::Busy(busy) => self.on_busy(busy),
            HostReport::Work(work) => self.ranks.worked(work),
        }
    }

    /// An operator, or the machine, wants something.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        self.catch_up(now);
        match command {
            Command::Transfer { to, patience } => self.transfer(to, patience),
            Command::Shutdown => self.leave(),
            Command::Members { change, patience } => self.begin_change(change, patience),
            Command::Meet(member) => self.meet(member),
            Command::Pause(pause) => self.on_pause(pause),
            Command::ClockJumped => self.on_clock_jump(),
            Command::Force => self.force(),
            Command::Admit(cluster) => {
                self.admission.wish_for(cluster);
                self.admit_if_known();
            }
        }
    }

    /// The state numbered `seq`, and all before it, are durable.
    pub fn handle_persisted(&mut self, now: Instant, seq: PersistSeq) {
        self.catch_up(now);
        self.on_persisted(seq);
    }

    /// The state numbered `seq` could not be saved. What waited for it is not sent; it is tried again.
    pub fn handle_persist_failed(&mut self, now: Instant, seq: PersistSeq, error: &str) {
        self.catch_up(now);
        self.on_persist_failed(seq, error);
    }
}

impl Elector {
    /// Moves time on and applies the deadlines that no message may overtake.
    fn catch_up(&mut self, now: Instant) {
        self.move_on_to(now);
        for timer in Timer::IN_ORDER {
            if timer.before_messages() && self.timers.take_due(timer, self.now()) {
                self.fire(timer);
            }
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Heartbeat => self.on_heartbeat_due(),
            Timer::Campaign => self.on_campaign_due(),
            Timer::Round => self.on_round_over(),
            Timer::Waiting => self.answer_waiting(),
            Timer::Lease => self.on_lease_over(),
            Timer::Promotion => {
                let epoch = self.record.epoch();
                self.on_promote_failed(epoch, "the host did not answer in time");
            }
            Timer::Handover => self.on_handover_due(),
            Timer::Members => self.on_members_due(),
            Timer::Follow => {
                // If the primary is not known right now, its next heartbeat asks again.
                self.following.end();
                self.follow_primary();
            }
        }
    }
}
