//! A model of kevy's replication: streams that count from zero at every promotion, snapshots when a replica joins,
//! acknowledgements back to the primary, writes that a quorum has confirmed. Pure: time comes in, [`Act`]s go out, and
//! both worlds carry them out.
//!
//! Without [`Habits`] the server is ideal: its log is exact, one message carries all shards, what comes in is applied and logged at
//! once. With them it has the vices of a real one, and keeps the rules of `docs/protocol.md` in spite of them; a
//! [`ServerMutation`] breaks one.

mod act;
mod continuation;
mod copying;
mod log;
mod parts;
mod ring;
mod stream;
mod wait;

pub(super) use self::log::End;
use self::log::Log;
use super::clock::MS;
use super::data::{Cut, Data, Offsets, Part, Place, SHARDS};
use super::fault::Loss;
use super::habits::{Fsync, Habits};
use super::plan::Plan;
use super::rng::Rng;
use super::server_mutation::ServerMutation;
use crate::config::MemberKind;
use crate::ids::{ClusterId, Epoch};
use crate::position::Position;
pub(super) use act::{Act, Payload};
use parts::{Continuation, Fetching, Inbox, Parked, Ring};

/// Of so many reigns in a thousand there is a time in which clients write more than anybody could copy.
const FLOODS: u64 = 400;

/// How often a server does its own work, at most.
pub(super) const TICK: u64 = 40 * MS;
/// How many writes in a thousand flush all shards.
const FLUSHES: u64 = 3;
/// A replica that is not answered asks again.
const ASK_AGAIN: u64 = 150 * MS;

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
    /// Who votes by a list that was made after its reign: for the next one.
    next_voters: Option<Vec<usize>>,
    /// Who holds data.
    with_data: Vec<bool>,
    /// Draws for the vices alone: an ideal server draws nothing.
    rng: Rng,
    /// Serves the stream of this epoch.
    pub(super) serving: Option<Epoch>,
    /// Per node: attached to the stream with this number of its own, from these offsets on.
    attached: Vec<Option<(u64, Offsets)>>,
    acked: Vec<Offsets>,
    /// What those said who have connected anew since. Nothing counts it, but for a mutation.
    acked_before: Vec<Offsets>,
    confirmed: Offsets,
    /// The newest cuts: a stream that is not as far as the last one may have that before.
    cuts: [Cut; 2],
    /// The cluster whose data this is, as the data says.
    pub(super) cluster: Option<ClusterId>,
    /// Per shard: a frame too large for the stream stands at this offset, and the last one before it at that. Zero: none.
    large: Offsets,
    before_large: Offsets,
    /// What replicas that copy have.
    fetching: Vec<Fetching>,
    /// In this reign clients write more than anybody could copy, while somebody copies.
    floods: bool,
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
    /// It can only copy.
    whole: bool,
    continuation: Continuation,
    ring: Ring,
    /// Per shard: from where on the frames of its own history are still there.
    backlog: Offsets,
    /// The history that it wrote itself last, in this process.
    wrote: Option<Epoch>,
    /// What the vote record said when the process started.
    record: Option<Position>,
    /// Acknowledged last, so that it is not said again.
    told: Option<(Epoch, Offsets)>,
    /// Claimed in place of what is there.
    claim: Option<Position>,
    /// Where the data ended when the elector last had the server let go.
    pub(super) detached: Position,
    /// Where its shards were then, and the time before.
    detached_at: [Place; SHARDS],
    detached_before: [Place; SHARDS],
}

impl Server {
    /// These vote from here on, by a list of this epoch: their acknowledgements count, where they hold data. Whoever lost the office
    /// before that list was made confirms nothing by it: what a quorum held in its reign, a list of another one does not say.
    pub(in crate::sim) fn count_by(&mut self, made_in: Epoch, voters: Vec<usize>) {
        if self.serving.is_some_and(|serving| made_in > serving) {
            self.next_voters = Some(voters);
            return;
        }
        self.next_voters = None;
        self.replicas = voters.len() / 2;
        for (node, counts) in self.counts.iter_mut().enumerate() {
            *counts = voters.contains(&node) && self.with_data[node];
        }
    }

    pub(super) fn new(plan: &Plan, node: usize) -> Self {
        let nodes = plan.setup.members();
        Self {
            data: Data::default(),
            log: Log::default(),
            habits: plan.setup.habits,
            mutation: plan.server_mutation,
            shards: plan.setup.shards,
            replicas: plan.setup.voters() / 2,
            with_data: plan.setup.kinds.iter().map(|kind| *kind != MemberKind::Witness).collect(),
            counts: plan.setup.kinds.iter().map(|kind| *kind == MemberKind::Voter).collect(),
            next_voters: None,
            rng: Rng::new(plan.seed, 200 + node as u64),
            serving: None,
            attached: vec![None; nodes],
            acked: vec![[0; SHARDS]; nodes],
            acked_before: vec![[0; SHARDS]; nodes],
            confirmed: [0; SHARDS],
            cuts: [Cut::default(); 2],
            cluster: None,
            large: [0; SHARDS],
            before_large: [0; SHARDS],
            fetching: vec![Fetching::default(); nodes],
            floods: false,
            parked: Parked::default(),
            target: None,
            turn: 0,
            following: false,
            joined: false,
            asked_at: 0,
            inbox: Inbox::default(),
            whole: false,
            continuation: Continuation::default(),
            ring: Ring::default(),
            backlog: [0; SHARDS],
            wrote: None,
            record: None,
            told: None,
            claim: None,
            detached: Position::NONE,
            detached_at: [Place::default(); SHARDS],
            detached_before: [Place::default(); SHARDS],
        }
    }

    fn wrong(&self, mutation: ServerMutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// A process starts. `record`: what the vote record says of the data. The position is what the log gave back: the record is
    /// synced at other times, and may be ahead of the log or behind it.
    pub(super) fn start(&mut self, record: Option<&Position>) {
        self.claim = record.filter(|_| self.wrong(ServerMutation::ClaimsTheRecord)).cloned();
        self.record = record.filter(|_| self.continues()).cloned();
    }

    /// The process is gone; its data is on the disk, as far as the log has it.
    pub(super) fn stop(&mut self, end: End) {
        (self.serving, self.target, self.wrote) = (None, None, None);
        (self.following, self.joined) = (false, false);
        self.turn += 1;
        self.parked.clear();
        self.inbox = Inbox::default();
        (self.claim, self.told) = (None, None);
        self.continuation = Continuation::default();
        let ends = self.data.lanes.each_ref().map(|lane| lane.end());
        if self.habits.is_some() {
            let shards = self.continues().then_some(self.shards);
            self.log.recover(end, &mut self.data, shards, &mut self.rng);
        }
        self.refill_ring(ends);
    }

    /// What a crash took from the disk beside what the log lost; `keep`: how much of the newest writes an ideal server
    /// keeps, in a thousand. Says whether copies of confirmed writes may be gone.
    pub(super) fn lose(&mut self, loss: Loss, power: bool, keep: u64) -> bool {
        match loss {
            Loss::Tail if self.habits.is_none() => {
                for lane in &mut self.data.lanes {
                    let offset = lane.offset_mut();
                    *offset = *offset * keep / 1000;
                }
            }
            Loss::Disk | Loss::Data => {
                self.data.clear();
                self.cluster = None;
                self.log.clear();
                self.ring = Ring::default();
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
        (self.following, self.joined, self.whole) = (false, false, false);
        self.forget_way();
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
        self.data.begin(epoch, self.points());
        (self.serving, self.wrote) = (Some(epoch), Some(epoch));
        if let Some(voters) = self.next_voters.take() {
            self.count_by(epoch, voters);
        }
        self.attached.fill(None);
        self.fetching.fill(Fetching::default());
        self.floods = self.continues() && self.rng.chance(FLOODS);
        if !self.wrong(ServerMutation::CountsOldReigns) {
            self.acked.fill([0; SHARDS]);
        }
        self.acked_before.fill([0; SHARDS]);
        (self.confirmed, self.large, self.backlog) = ([0; SHARDS], [0; SHARDS], [0; SHARDS]);
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
            self.forget_way();
        }
        self.detached_before = self.detached_at;
        self.detached_at = self.data.lanes.each_ref().map(|lane| lane.end());
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
        let Part { epoch, offsets } = if self.to_the_end() { self.data.last() } else { self.data.last_cut() };
        if self.wrong(ServerMutation::ClaimsByFirstShard) {
            let newest = self.data.lanes.iter().map(|lane| lane.end().epoch).max().unwrap_or_default();
            if newest > epoch {
                return (newest, [0; SHARDS]);
            }
        }
        (epoch, offsets)
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
        let frames = self.has_room(now, frames)?;
        if self.continues() && self.rng.chance(FLUSHES) {
            self.flush();
        }
        let lane = &mut self.data.lanes[shard];
        if self.habits.is_none() {
            let offset = lane.offset_mut();
            *offset += frames;
            return Some((epoch, *offset));
        }
        let before = lane.end();
        let after = before.written(frames);
        *lane.offset_mut() = after.offset;
        self.wish(now, shard, before.written(frames - 1).offset.max(before.offset), after);
        Some((epoch, after.offset))
    }

    /// The server's own work, now and then.
    pub(super) fn tick(&mut self, now: u64, low_memory: bool, out: &mut Vec<Act>) {
        if let Some(habits) = self.habits {
            if let Some(copy) = self.take_copy() {
                self.put_in_place(now, copy, out);
            }
            self.fetch_beside(now, out);
            self.carry_out_orders(out);
            self.go_on(now, out);
            self.apply(now, low_memory, out);
            self.log_turn(now, habits);
            self.acknowledge(false, out);
        }
        if self.serving.is_some() {
            if self.habits.is_some() {
                self.cut();
            }
            self.drop_frames();
            self.push_stream(out);
            if self.habits.is_some() {
                self.count_confirmed(out);
            }
        } else if self.following
            && !self.joined
            && !self.continuation.copying
            && now >= self.asked_at + ASK_AGAIN
        {
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
            Payload::Join { epoch, turn, whole } => {
                if self.serving == Some(epoch) && !whole {
                    self.tell_path(from, turn, epoch, out);
                } else if self.serving == Some(epoch) {
                    if self.habits.is_some() {
                        self.cut();
                    }
                    self.connects(from, turn, self.data.last().offsets);
                    self.copy_begins(now, from);
                    out.push(Act::Send(from, Payload::Snapshot { turn, data: Box::new(self.data.clone()) }));
                }
            }
            Payload::Snapshot { turn, data } => {
                if self.turn == turn
                    && !self.joined
                    && !self.continuation.copying
                    && !self.continuation.copied
                {
                    if self.continues() {
                        self.spool(&data);
                    }
                    out.push(Act::Load { turn, data });
                }
            }
            Payload::Stream { turn, offsets } => {
                if self.turn == turn && self.joined {
                    for (mine, theirs) in self.data.lanes.iter_mut().zip(offsets) {
                        let mine = mine.offset_mut();
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
            Payload::Path(way) => self.on_path(now, *way, out),
            Payload::Fetch { turn, shard, after, upto } => {
                self.on_fetch(from, (turn, shard), after, upto, out)
            }
            Payload::Given { turn, shard, after, given } => {
                self.on_given(now, (turn, shard), after, given, out);
            }
            Payload::Attach { epoch, turn, offsets } => {
                if self.serving == Some(epoch) {
                    self.on_attach(from, turn, offsets, out);
                }
            }
            Payload::Attached { turn, ends, lost } => self.on_attached(now, turn, (ends, lost), out),
            Payload::Lacks { epoch, turn, after } => self.on_lacks(now, from, epoch, (turn, after), out),
            Payload::Written(written) => self.on_written(written),
            Payload::Gone { turn } => self.on_gone(now, turn, out),
        }
    }

    /// A snapshot is loaded.
    pub(super) fn loaded(&mut self, now: u64, turn: u64, data: Box<Data>, out: &mut Vec<Act>) {
        if self.turn != turn || self.joined {
            return;
        }
        if self.continues() {
            // One that is under way is not waited for any more.
            let _ = self.take_copy();
            self.put_in_place(now, data, out);
            return;
        }
        self.data = *data;
        self.join(now, false, out);
    }

    /// It is in the history of its primary.
    fn join(&mut self, now: u64, continued: bool, out: &mut Vec<Act>) {
        self.joined = true;
        self.claim = None;
        self.inbox = Inbox::new(&self.data, now);
        out.extend([Act::Joined { continued }, Act::Moved]);
        self.acknowledge(true, out);
    }

    fn ask_to_join(&mut self, now: u64, out: &mut Vec<Act>) {
        if let Some((epoch, primary)) = self.target
            && self.following
            && !self.joined
        {
            self.asked_at = now;
            let whole = self.whole || !self.continues();
            out.push(Act::Send(primary, Payload::Join { epoch, turn: self.turn, whole }));
        }
    }

    /// Whether a write is there and within what this server says that it holds: what a machine without power wrote behind the last
    /// cut, shard by shard as it liked, it cannot tell of.
    pub(super) fn names(&self, epoch: Epoch, shard: usize, offset: u64) -> bool {
        let (newest, place) = self.place();
        self.data.holds(epoch, shard, offset) && (epoch < newest || epoch == newest && place[shard] >= offset)
    }

    /// Whether everything of this history up to here is there.
    pub(super) fn has(&self, epoch: Epoch, offsets: &Offsets) -> bool {
        let last = self.data.last();
        last.epoch == epoch && last.offsets.iter().zip(offsets).all(|(mine, wanted)| mine >= wanted)
    }
}
