//! A model of kevy's replication: streams that count from zero at every promotion, snapshots when a replica joins,
//! acknowledgements back to the primary, writes that a quorum has confirmed. Pure: time comes in, [`Act`]s go out, and
//! both worlds carry them out.
//!
//! Without [`Habits`] the server is ideal: its log is exact, one message carries all shards, what comes in is applied and logged at
//! once. With them it has the vices of a real one, and keeps the rules of `docs/protocol.md` in spite of them; a
//! [`ServerMutation`] breaks one.

mod habits;
mod log;
mod mutation;
mod stream;
mod wait;

pub(super) use self::log::End;
pub use self::log::Fsync;
pub use habits::Habits;
pub use mutation::ServerMutation;

use self::log::Log;
use super::clock::MS;
use super::data::{Cut, Data, Offsets, SHARDS};
use super::fault::Loss;
use super::plan::Plan;
use super::rng::Rng;
use crate::config::MemberKind;
use crate::ids::Epoch;
use crate::position::Position;
use stream::Inbox;
use wait::Parked;

/// How often a server does its own work, at most.
pub(super) const TICK: u64 = 40 * MS;
/// A replica that is not answered asks again.
const ASK_AGAIN: u64 = 150 * MS;

/// What servers say to each other.
#[derive(Debug, Clone)]
pub(super) enum Payload {
    /// "Send me all you have, then the stream of this epoch."
    Join { epoch: Epoch, turn: u64 },
    /// All there is.
    Snapshot { turn: u64, data: Data },
    /// The stream of all shards up to here.
    Stream { turn: u64, offsets: Offsets },
    /// The stream of one shard.
    Frames(Frames),
    /// A replica holds the stream of this epoch so far.
    Ack { epoch: Epoch, offsets: Offsets },
}

/// What a stream of one shard brings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frames {
    turn: u64,
    shard: usize,
    /// All up to here.
    upto: u64,
    /// When the shard's key with an end ends, there.
    ends: u64,
    /// How far the primary itself is.
    head: u64,
    /// The newest cut that is among them.
    cut: Cut,
}

/// What a server wants done, in this order.
#[derive(Debug)]
pub(super) enum Act {
    Send(usize, Payload),
    /// A snapshot came in: it takes a while to load.
    Load {
        turn: u64,
        data: Data,
    },
    /// It has joined the history of the primary that it was told to follow.
    Joined,
    /// The position may have changed.
    Moved,
    /// A quorum holds the writes of this epoch up to here.
    Confirmed(Epoch, Offsets),
    /// A copy of what it held is gone, and it says so.
    CopyLost,
    /// For the trace.
    Note(String),
}

/// The server of one machine. What is on its disk survives the process.
pub(super) struct Server {
    pub(super) data: Data,
    log: Log,
    habits: Option<Habits>,
    mutation: Option<ServerMutation>,
    shards: usize,
    /// Replicas whose acknowledgements make a quorum with this node.
    replicas: usize,
    /// Whose acknowledgements count: an observer has no vote, so what it holds binds no election.
    counts: Vec<bool>,
    /// Draws for the vices alone: an ideal server draws nothing.
    rng: Rng,
    /// Serves the stream of this epoch.
    pub(super) serving: Option<Epoch>,
    /// Per node: attached to the stream with this number of its own, from these offsets on.
    attached: Vec<Option<(u64, Offsets)>>,
    acked: Vec<Offsets>,
    confirmed: Offsets,
    /// The newest cuts: a stream that is not as far as the last one may have that before.
    cuts: [Cut; 2],
    /// Per shard: a frame too large for the stream stands at this offset. Zero: none.
    large: Offsets,
    parked: Parked,
    /// What this server was told to follow.
    pub(super) target: Option<(Epoch, usize)>,
    /// Numbers the retargets, copies and promotions of this machine: answers to an older one are too late.
    pub(super) turn: u64,
    /// It began to follow; it loaded what the primary had.
    pub(super) following: bool,
    pub(super) joined: bool,
    asked_at: u64,
    inbox: Inbox,
    /// Acknowledged last, so that it is not said again.
    told: Option<(Epoch, Offsets)>,
    /// Claimed in place of what is there.
    claim: Option<Position>,
    /// Where the data ended when the elector last had the server let go.
    pub(super) detached: Position,
}

impl Server {
    pub(super) fn new(plan: &Plan, node: usize) -> Self {
        let nodes = plan.setup.members();
        Self {
            data: Data::default(),
            log: Log::default(),
            habits: plan.setup.habits,
            mutation: plan.server_mutation,
            shards: plan.setup.shards,
            replicas: plan.setup.voters() / 2,
            counts: plan.setup.kinds.iter().map(|kind| *kind == MemberKind::Voter).collect(),
            rng: Rng::new(plan.seed, 200 + node as u64),
            serving: None,
            attached: vec![None; nodes],
            acked: vec![[0; SHARDS]; nodes],
            confirmed: [0; SHARDS],
            cuts: [Cut::default(); 2],
            large: [0; SHARDS],
            parked: Parked::default(),
            target: None,
            turn: 0,
            following: false,
            joined: false,
            asked_at: 0,
            inbox: Inbox::default(),
            told: None,
            claim: None,
            detached: Position::NONE,
        }
    }

    fn wrong(&self, mutation: ServerMutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// A process starts. `record`: what the vote record says of the data. The position is what the log gave back: the record is
    /// synced at other times, and may be ahead of the log or behind it.
    pub(super) fn start(&mut self, record: Option<&Position>) {
        self.claim = record.filter(|_| self.wrong(ServerMutation::ClaimsTheRecord)).cloned();
    }

    /// The process is gone; its data is on the disk, as far as the log has it.
    pub(super) fn stop(&mut self, end: End) {
        (self.serving, self.target) = (None, None);
        (self.following, self.joined) = (false, false);
        self.turn += 1;
        self.parked.clear();
        self.inbox = Inbox::default();
        (self.claim, self.told) = (None, None);
        if self.habits.is_some() {
            self.log.recover(end, &mut self.data, &mut self.rng);
        }
    }

    /// What a crash took from the disk beside what the log lost; `keep`: how much of the newest writes an ideal server
    /// keeps, in a thousand. Says whether copies of confirmed writes may be gone.
    pub(super) fn lose(&mut self, loss: Loss, power: bool, keep: u64) -> bool {
        match loss {
            Loss::Tail if self.habits.is_none() => {
                for offset in &mut self.data.last_mut().offsets {
                    *offset = *offset * keep / 1000;
                }
            }
            Loss::Disk | Loss::Data => {
                self.data.clear();
                self.log.clear();
            }
            _ => {}
        }
        // Under `always` a machine that loses power loses nothing that was confirmed.
        let tail = match self.habits {
            None => loss == Loss::Tail,
            Some(habits) => (power || loss == Loss::Tail) && habits.fsync != Fsync::Always,
        };
        tail || matches!(loss, Loss::Disk | Loss::Data)
    }

    /// Told to be something else: what it was is over, what it will be has not begun.
    pub(super) fn turn_to(&mut self, target: Option<(Epoch, usize)>) {
        self.turn += 1;
        self.target = target;
        (self.following, self.joined) = (false, false);
        if target.is_some() {
            self.serving = None;
            self.end_reign();
        }
    }

    fn end_reign(&mut self) {
        if !self.wrong(ServerMutation::WaitOutlivesReign) {
            self.parked.clear();
        }
    }

    /// It serves the stream of this epoch, and its log names it.
    pub(super) fn promote(&mut self, epoch: Epoch) {
        self.end_reign();
        self.claim = None;
        self.data.begin(epoch);
        self.serving = Some(epoch);
        self.attached.fill(None);
        if !self.wrong(ServerMutation::CountsOldReigns) {
            self.acked.fill([0; SHARDS]);
        }
        (self.confirmed, self.large) = ([0; SHARDS], [0; SHARDS]);
        self.cuts = [Cut::default(); 2];
        if let Some(habits) = self.habits
            && !self.wrong(ServerMutation::AcknowledgesUnnamed)
        {
            self.log.write_all(&self.data, habits.fsync);
        }
    }

    /// It has let the old primary go, and begins to follow.
    pub(super) fn follow(&mut self, now: u64, out: &mut Vec<Act>) {
        self.following = true;
        self.ask_to_join(now, out);
    }

    /// Lets go of the old primary: from here on nothing is acknowledged, and what was not applied is not held.
    pub(super) fn detach(&mut self, omitted: bool, promoting: bool) -> Position {
        if !omitted && !promoting {
            self.turn += 1;
            (self.target, self.following, self.joined) = (None, false, false);
            self.inbox = Inbox::default();
        }
        self.detached = self.position();
        self.detached.clone()
    }

    /// What it says that it holds.
    pub(super) fn position(&self) -> Position {
        if let Some(claim) = &self.claim {
            return claim.clone();
        }
        let (epoch, offsets) = self.place();
        Position::new(epoch, &offsets[..self.shards]).unwrap_or_default()
    }

    /// How far the data goes: a primary's to the end, a replica's of several shards to the last cut that is there on all of them.
    fn place(&self) -> (Epoch, Offsets) {
        let last = self.data.last();
        (last.epoch, if self.to_the_end() { last.offsets } else { self.data.cut.1 })
    }

    fn to_the_end(&self) -> bool {
        self.habits.is_none()
            || self.shards == 1
            || self.serving.is_some()
            || self.wrong(ServerMutation::CountsBehindCuts)
    }

    /// The same in short, and one number per shard.
    pub(super) fn claimed(&self) -> (Epoch, Offsets) {
        let Some(claim) = &self.claim else {
            return self.place();
        };
        let mut offsets = [0; SHARDS];
        offsets.iter_mut().zip(claim.offsets()).for_each(|(to, from)| *to = *from);
        (claim.stream_epoch(), offsets)
    }

    /// A write passed the gate: `frames` more in a shard. Gives the offset to which it goes.
    pub(super) fn write(&mut self, now: u64, shard: usize, frames: u64) -> Option<(Epoch, u64)> {
        let epoch = self.serving?;
        let last = self.data.last_mut();
        last.offsets[shard] += frames;
        let offset = last.offsets[shard];
        if self.habits.is_some() {
            self.wish(now, epoch, shard, offset);
        }
        Some((epoch, offset))
    }

    /// The server's own work, now and then.
    pub(super) fn tick(&mut self, now: u64, low_memory: bool, out: &mut Vec<Act>) {
        if let Some(habits) = self.habits {
            self.apply(now, low_memory, out);
            self.log_turn(now, habits);
            self.acknowledge(false, out);
        }
        if self.serving.is_some() {
            if self.habits.is_some() {
                self.cut();
            }
            self.push_stream(out);
            if self.habits.is_some() {
                self.count_confirmed(out);
            }
        } else if self.following && !self.joined && now >= self.asked_at + ASK_AGAIN {
            self.ask_to_join(now, out);
        }
    }

    /// The history that was just begun is not written down by the wrong server, until the next promotion or copy.
    fn log_turn(&mut self, now: u64, habits: Habits) {
        let unnamed = self.log.covers(&self.data, Fsync::No, false).is_none();
        if unnamed && self.wrong(ServerMutation::AcknowledgesUnnamed) && !self.rng.chance(30) {
            return;
        }
        self.log.turn(now, &self.data, habits.fsync);
    }

    pub(super) fn on_data(&mut self, now: u64, from: usize, payload: Payload, out: &mut Vec<Act>) {
        match payload {
            Payload::Join { epoch, turn } => {
                if self.serving == Some(epoch) {
                    if self.habits.is_some() {
                        self.cut();
                    }
                    self.attached[from] = Some((turn, self.data.last().offsets));
                    out.push(Act::Send(from, Payload::Snapshot { turn, data: self.data.clone() }));
                }
            }
            Payload::Snapshot { turn, data } => {
                if self.turn == turn && !self.joined {
                    out.push(Act::Load { turn, data });
                }
            }
            Payload::Stream { turn, offsets } => {
                if self.turn == turn && self.joined {
                    let part = self.data.last_mut();
                    for (mine, theirs) in part.offsets.iter_mut().zip(offsets) {
                        *mine = (*mine).max(theirs);
                    }
                    self.acknowledge(true, out);
                }
            }
            Payload::Frames(frames) => {
                if self.turn == frames.turn && self.joined {
                    self.receive(now, frames, out);
                }
            }
            Payload::Ack { epoch, offsets } => self.on_ack(from, epoch, offsets, out),
        }
    }

    /// A snapshot is loaded.
    pub(super) fn loaded(&mut self, now: u64, turn: u64, data: Data, out: &mut Vec<Act>) {
        if self.turn != turn || self.joined {
            return;
        }
        self.joined = true;
        self.data = data;
        self.claim = None;
        self.inbox = Inbox::new(&self.data, now);
        out.extend([Act::Joined, Act::Moved]);
        self.acknowledge(true, out);
    }

    fn ask_to_join(&mut self, now: u64, out: &mut Vec<Act>) {
        if let Some((epoch, primary)) = self.target
            && self.following
            && !self.joined
        {
            self.asked_at = now;
            out.push(Act::Send(primary, Payload::Join { epoch, turn: self.turn }));
        }
    }

    /// Whether a write is there and within what this server says that it holds: what a machine without power wrote behind the last
    /// cut, shard by shard as it liked, it cannot tell of.
    pub(super) fn names(&self, epoch: Epoch, shard: usize, offset: u64) -> bool {
        let (newest, place) = self.place();
        self.data.holds(epoch, shard, offset) && (epoch != newest || place[shard] >= offset)
    }

    /// Whether everything of this history up to here is there.
    pub(super) fn has(&self, epoch: Epoch, offsets: &Offsets) -> bool {
        let last = self.data.last();
        last.epoch == epoch && last.offsets.iter().zip(offsets).all(|(mine, wanted)| mine >= wanted)
    }
}
