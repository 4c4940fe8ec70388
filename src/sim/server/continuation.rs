//! How a replica goes on in the history of another primary without a copy: section "Continuation" of `docs/protocol.md`.

use super::Server;
use super::act::{Act, Payload, Way};
use super::parts::{Continuation, Next, Order};
use crate::ids::Epoch;
use crate::sim::clock::MS;
use crate::sim::data::{Beginning, Data, Offsets, Part, Place, SHARDS};
use crate::sim::server_mutation::ServerMutation;

/// What was asked for and has not come is asked for again.
const AGAIN: u64 = 100 * MS;
/// How often frames are asked for, of each node, before all is copied.
const TRIES: usize = 2;
/// How often in a thousand a peer is asked before the primary.
const PEER_FIRST: u64 = 300;
/// How often in a thousand turns a shard of several does not get to an order.
const LATE: u64 = 700;

impl Server {
    pub(super) fn continues(&self) -> bool {
        self.habits.is_some_and(|habits| habits.continues.is_some())
    }

    /// What was asked before the last order to follow is of no use; what is on its way to a shard arrives all the same.
    pub(super) fn forget_way(&mut self) {
        let orders = std::mem::take(&mut self.continuation.orders);
        self.continuation = Continuation { orders, ..Continuation::default() };
    }

    /// Where a history begins that starts now: at what every shard holds, also behind the last cut (C1).
    pub(super) fn points(&self) -> [Place; SHARDS] {
        if self.wrong(ServerMutation::PointOfAnotherEpoch) {
            return self.detached_before;
        }
        if self.wrong(ServerMutation::PointIsCut) && self.shards > 1 {
            let Part { epoch, offsets } = self.data.last_cut();
            return offsets.map(|offset| Place { epoch, offset });
        }
        self.data.lanes.each_ref().map(|lane| lane.end())
    }

    /// Tells of its path whoever wants to follow it in this epoch.
    pub(super) fn tell_path(&self, to: usize, turn: u64, epoch: Epoch, out: &mut Vec<Act>) {
        let mut paths = self.data.lanes.each_ref().map(|lane| lane.path.clone());
        if self.wrong(ServerMutation::PathForgets) {
            for path in paths.iter_mut().filter(|path| path.len() > 1) {
                let (epoch, _) = path.remove(path.len() - 1);
                let last = path.len() - 1;
                path[last].0 = epoch;
            }
        }
        let ends = self.data.lanes.each_ref().map(|lane| lane.end());
        out.push(Act::Send(to, Payload::Path(Box::new(Way { turn, epoch, ends, paths }))));
    }

    pub(super) fn on_path(&mut self, now: u64, way: Way, out: &mut Vec<Act>) {
        if self.turn == way.turn && !self.joined && !self.whole {
            self.continuation.way.get_or_insert(way);
            self.go_on(now, out);
        }
    }

    /// Where a shard's data is: what it holds, and nothing else.
    fn place_of(&self, shard: usize) -> Place {
        let end = self.data.lanes[shard].end();
        if self.wrong(ServerMutation::ContinuesByRecord)
            && let Some(record) = self.record.as_ref().filter(|record| record.stream_epoch() == end.epoch)
        {
            return Place { offset: record.offsets().get(shard).copied().unwrap_or(end.offset), ..end };
        }
        if self.wrong(ServerMutation::ContinuesUnapplied) && self.inbox.of == end.epoch {
            return Place { offset: self.inbox.upto[shard].max(end.offset), ..end };
        }
        end
    }

    /// C3 and C5.
    fn next(&self, shard: usize, way: &Way) -> (Place, Next) {
        let (end, path) = (way.ends[shard], &way.paths[shard]);
        let mut at = self.place_of(shard);
        let ahead = self.wrong(ServerMutation::ContinuesAhead);
        if at.epoch == Epoch::ZERO {
            return (at, Next::Copy("of no history"));
        }
        if self.wrong(ServerMutation::OffsetAlone)
            && at.epoch != end.epoch
            && let Some((_, begun)) = path.last()
        {
            at.epoch = begun.epoch;
        }
        let next = path.iter().find(|(_, begun)| begun.epoch == at.epoch);
        let limit = next.map_or(end, |(_, begun)| *begun);
        if self.wrong(ServerMutation::FlushesIgnored) && limit.epoch == at.epoch {
            at = at.unflushed(limit);
        }
        let next = match next {
            _ if end.reaches(at) => Next::Nothing,
            None if at.epoch == end.epoch => Next::Copy("ahead, or before a flush"),
            Some((epoch, begun)) if *begun == at || ahead && begun.offset < at.offset => Next::Pass(*epoch),
            Some((_, begun)) if begun.reaches(at) => Next::Fetch(begun.offset),
            _ => self.back(shard, at, path).map_or(Next::Copy("a fork"), Next::Pass),
        };
        (at, next)
    }

    /// Which history of the path it may enter because only cuts are behind the place at which that one began (C15).
    fn back(&self, shard: usize, mut at: Place, path: &[Beginning]) -> Option<Epoch> {
        loop {
            if let Some((epoch, begun)) = path.iter().find(|(_, begun)| begun.epoch == at.epoch) {
                let ahead = at.reaches(*begun);
                return (ahead && self.only_cuts(shard, *begun, at)).then_some(*epoch);
            }
            // It leads back over all of a history that is not on the path. A flush is no cut.
            if at.last_flush() > 0 || !self.only_cuts(shard, Place::first(at.epoch), at) {
                return None;
            }
            let known = self.data.lanes[shard].path.iter().rev().find(|(epoch, _)| *epoch == at.epoch);
            at = known.filter(|(epoch, begun)| begun.epoch < *epoch)?.1;
        }
    }

    /// Whether each frame behind `from`, up to `to`, is there to be looked at, and is a cut.
    fn only_cuts(&self, shard: usize, from: Place, to: Place) -> bool {
        let cuts = to.without_cuts().offset <= from.offset || self.wrong(ServerMutation::WritesAreCuts);
        from == to || cuts && self.sees(shard, from, to)
    }

    /// Takes every shard a step further on the way of the primary, and attaches to its stream once all are there.
    pub(super) fn go_on(&mut self, now: u64, out: &mut Vec<Act>) {
        if !self.following || self.joined {
            return;
        }
        let Some(way) = self.continuation.way.take() else { return };
        let mut there = 0;
        let mut offsets = [0; SHARDS];
        for (shard, offset) in offsets.iter_mut().enumerate() {
            // What is on its way arrives first (C7).
            if self.continuation.orders[shard].is_some() {
                continue;
            }
            let (at, next) = self.next(shard, &way);
            match next {
                Next::Nothing => {
                    *offset = at.offset;
                    there += 1;
                }
                Next::Pass(epoch) => {
                    let known = way.paths[shard].iter().take_while(|(begun, _)| *begun <= epoch);
                    let order = Order {
                        joins: way.epoch,
                        meant: at,
                        to: Place::first(epoch),
                        path: known.copied().collect(),
                        lost: 0,
                        unchecked: self.is_unchecked(shard, at),
                    };
                    self.continuation.orders[shard] = Some(order);
                }
                Next::Fetch(upto) => {
                    if !self.fetch(now, shard, at, upto, out) {
                        return self.copy(now, "frames that nobody has", out);
                    }
                }
                Next::Copy(why) => return self.copy(now, why, out),
            }
        }
        if there == SHARDS && now >= self.continuation.attach_at + AGAIN {
            self.attach(now, &way, offsets, out);
        }
        self.continuation.way = Some(way);
    }

    /// Only a wrong server gives an order that is meant for another place than that of the data.
    fn is_unchecked(&self, shard: usize, meant: Place) -> bool {
        self.wrong(ServerMutation::OrdersUnchecked)
            || self.mutation.is_some_and(ServerMutation::mistakes_places)
                && meant != self.data.lanes[shard].end()
    }

    fn attach(&mut self, now: u64, way: &Way, offsets: Offsets, out: &mut Vec<Act>) {
        let Some((epoch, primary)) = self.target else { return };
        self.continuation.attach_at = now;
        out.push(Act::Send(primary, Payload::Attach { epoch, turn: way.turn, offsets }));
    }

    fn copy(&mut self, now: u64, why: &'static str, out: &mut Vec<Act>) {
        out.push(Act::Note(format!("cannot continue: {why}")));
        (self.whole, self.continuation.copied) = (true, false);
        self.ask_to_join(now, out);
    }

    /// Asks for what a shard lacks, one node after the other; `false`: all were asked.
    fn fetch(&mut self, now: u64, shard: usize, after: Place, upto: u64, out: &mut Vec<Act>) -> bool {
        if now < self.continuation.asked_at[shard] + AGAIN {
            return true;
        }
        let Some((_, primary)) = self.target else { return true };
        let nodes = self.acked.len();
        if self.continuation.tries[shard] == 0 && self.rng.chance(PEER_FIRST) {
            self.continuation.tries[shard] = 1;
        }
        let tried = self.continuation.tries[shard];
        self.continuation.tries[shard] += 1;
        self.continuation.asked_at[shard] = now;
        let whom = (primary + tried) % nodes;
        out.push(Act::Send(whom, Payload::Fetch { turn: self.turn, shard, after, upto }));
        tried < TRIES * nodes
    }

    pub(super) fn on_fetch(
        &self,
        from: usize,
        (turn, shard): (u64, usize),
        after: Place,
        upto: u64,
        out: &mut Vec<Act>,
    ) {
        let given = self.give(shard, after, upto);
        out.push(Act::Send(from, Payload::Given { turn, shard, after, given }));
    }

    /// Frames came; `None`: that node does not have them.
    pub(super) fn on_given(
        &mut self,
        now: u64,
        (turn, shard): (u64, usize),
        after: Place,
        given: Option<(u64, u64)>,
        out: &mut Vec<Act>,
    ) {
        if self.turn != turn || self.joined || self.continuation.orders[shard].is_some() {
            return;
        }
        self.continuation.asked_at[shard] = 0;
        if let (Some((upto, lost)), Some(way)) = (given, &self.continuation.way) {
            let to = Place { offset: upto, ..after };
            let unchecked = self.is_unchecked(shard, after) && self.next(shard, way).0 == after;
            let order = Order { joins: way.epoch, meant: after, to, path: Vec::new(), lost, unchecked };
            self.continuation.orders[shard] = Some(order);
            self.continuation.tries[shard] = 0;
        }
        self.go_on(now, out);
    }

    /// Every shard of its own carries out what came in for it, if its data is where the order is meant for.
    pub(super) fn carry_out_orders(&mut self, out: &mut Vec<Act>) {
        for shard in 0..SHARDS {
            let several = self.shards > 1 && shard < self.shards;
            if self.continuation.orders[shard].is_none() || several && self.rng.chance(LATE) {
                continue;
            }
            let Some(order) = self.continuation.orders[shard].take() else { continue };
            let lane = &mut self.data.lanes[shard];
            if lane.end() != order.meant {
                if !order.unchecked {
                    out.push(Act::Note(format!("shard {shard} is not at {:?} any more", order.meant)));
                    continue;
                }
                lane.pretend(order.meant);
            }
            lane.miss(order.lost);
            if lane.end().epoch == order.to.epoch {
                *lane.offset_mut() = order.to.offset;
            } else {
                lane.begin(order.to.epoch, order.meant);
                lane.path = order.path;
            }
            out.push(Act::Note(format!("shard {shard} is now at {:?}", order.to)));
            out.extend([Act::Continues(order.joins, shard), Act::Moved]);
        }
    }

    /// A copy is there; every shard puts its own in place when it gets to it.
    pub(super) fn put_in_place(&mut self, now: u64, copy: Box<Data>, out: &mut Vec<Act>) {
        let mut all = true;
        for shard in 0..SHARDS {
            let several = self.shards > 1 && shard < self.shards;
            // Those that are done stay behind what they were copied from.
            let done = self.data.lanes[shard] == copy.lanes[shard];
            if !done && several && self.rng.chance(LATE) {
                all = false;
            } else {
                self.data.lanes[shard].clone_from(&copy.lanes[shard]);
            }
        }
        if all {
            self.data = *copy;
            self.copied(now, out);
        } else {
            out.push(Act::Moved);
            self.continuation.copy = Some(copy);
        }
    }

    pub(super) fn take_copy(&mut self) -> Option<Box<Data>> {
        self.continuation.copy.take()
    }

    /// A replica says from where on it wants the stream.
    pub(super) fn on_attach(&mut self, from: usize, turn: u64, offsets: Offsets, out: &mut Vec<Act>) {
        self.cut();
        let mut lost = [0; SHARDS];
        for ((lost, lane), (at, kept)) in
            lost.iter_mut().zip(&self.data.lanes).zip(offsets.into_iter().zip(self.backlog))
        {
            let reaches = lane.end().reaches(Place { offset: at, ..lane.end() });
            let blind = self.wrong(ServerMutation::AttachesBlindly);
            if !(reaches && at >= kept || blind) {
                out.push(Act::Send(from, Payload::Gone { turn }));
                return;
            }
            *lost = kept.saturating_sub(at);
        }
        self.connects(from, turn, offsets);
        let ends = self.data.lanes.each_ref().map(|lane| lane.ends);
        out.push(Act::Send(from, Payload::Attached { turn, ends, lost }));
    }

    /// The primary has the frames that are missing, and sends them.
    pub(super) fn on_attached(
        &mut self,
        now: u64,
        turn: u64,
        (ends, lost): ([u64; SHARDS], Offsets),
        out: &mut Vec<Act>,
    ) {
        let there = self.continuation.orders.iter().all(Option::is_none);
        if self.turn != turn || self.joined || self.whole || !there {
            return;
        }
        for (lane, (ends, lost)) in self.data.lanes.iter_mut().zip(ends.into_iter().zip(lost)) {
            lane.miss(lost);
            // What ends when is of the frames: how a recovered log comes to it again is not modelled.
            lane.ends = ends;
        }
        if let Some((epoch, _)) = self.target {
            out.extend((0..SHARDS).map(|shard| Act::Continues(epoch, shard)));
        }
        self.join(now, !self.continuation.copied, out);
    }

    /// The primary does not have them any more.
    pub(super) fn on_gone(&mut self, now: u64, turn: u64, out: &mut Vec<Act>) {
        if self.turn != turn || self.joined {
            return;
        }
        if self.whole || self.continuation.copied {
            out.push(Act::Note("the copy came too late for what was written meanwhile".to_owned()));
            self.copy_again(now, true, out);
        } else {
            self.copy(now, "frames that the primary does not have any more", out);
        }
    }
}
