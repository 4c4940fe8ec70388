//! Replicas that copy from this node: whose turn it is, and whether writers wait for one.

use super::Shards;
use super::throttle::{HURRY, Looked, Reached};
use crate::confirm::names::{Judged, Name, Row};
use crate::continuation::passes::Passes;
use kevy_elect_plugin::ids::Epoch;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// How far the members are whose connections to a stream stay.
pub(super) fn of_members(rows: &[Row], judged: &Judged, office: (Epoch, u64)) -> Vec<Reached> {
    let stays = |row: &&Row| judged.end.iter().all(|(peer, _)| *peer != row.peer);
    let of_this_stream = |row: &Row| {
        let name = Name::read(&row.name).filter(|name| (name.epoch, name.flushes) == office)?;
        Some(Reached { node: name.node, has: row.has, sent: row.sent })
    };
    rows.iter().filter(stays).filter_map(of_this_stream).collect()
}

impl Shards {
    /// What kevy keeps of each stream, in bytes.
    pub(crate) fn set_buffer(&self, bytes: u64) {
        self.buffer.store(bytes, Ordering::Relaxed);
    }

    /// The same here, and so on its primary: all nodes have one setting.
    pub(crate) fn buffer(&self) -> u64 {
        self.buffer.load(Ordering::Relaxed)
    }

    /// A member has all of this shard's stream before `next`, and fetches the rest; `None`: it fetches no more.
    pub(crate) fn note_follower(
        self: &Arc<Self>,
        shard: usize,
        node: &str,
        next: Option<u64>,
        frame_bytes: u64,
    ) {
        self.shards[shard].throttle.replicas().note(node, next, frame_bytes, Instant::now());
        self.hurry(HURRY);
    }

    /// The stream, of a reign and so many flushes in it, is at `offset`, and the members' connections to it are at `rows`. Told at
    /// every tick, by the shard's thread.
    pub(super) fn throttle(&self, shard: usize, stream: (u64, u64), offset: u64, rows: &[Reached]) {
        let throttle = &self.shards[shard].throttle;
        let (bytes, buffer) = (throttle.weight.mean(), self.buffer.load(Ordering::Relaxed));
        let Looked { rest, lags } =
            throttle.replicas().look(stream, offset, rows, bytes, buffer, Instant::now());
        throttle.weight.on.store(lags, Ordering::Relaxed);
        if lags {
            // Else the next tick is a tenth of a second away, and writers have that for themselves.
            self.prolong(HURRY);
        }
        if !rest.is_zero() {
            std::thread::sleep(rest);
            self.prolong(HURRY);
            let ms = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
            if throttle.rested_ms.fetch_add(ms, Ordering::Relaxed) == 0 {
                log::warn!("shard {shard}: writers wait for a replica that cannot keep up with them");
            }
            metrics::counter!("kevy_server_writes_slowed_total").increment(1);
        }
    }

    /// Whether frames that this shard writes are to be weighed.
    pub(crate) fn weighs(&self, shard: usize) -> bool {
        self.shards[shard].throttle.weight.on.load(Ordering::Relaxed)
    }

    /// It wrote so many frames, of so many words and bytes in all.
    pub(crate) fn weigh(&self, shard: usize, frames: u64, words: usize, bytes: usize) {
        self.shards[shard].throttle.weight.add(frames, words, bytes);
    }

    /// For how long shards have rested so that a replica could keep up, in milliseconds.
    pub(crate) fn rested_ms(&self) -> u64 {
        self.shards.iter().map(|shard| shard.throttle.rested_ms.load(Ordering::Relaxed)).sum()
    }

    /// Makes known how members prove who they are where they ask. Before that, nobody is answered.
    pub(crate) fn set_passes(&self, passes: Arc<Passes>) {
        drop(self.passes.set(passes));
    }

    pub(crate) fn member_passes(&self) -> Option<&Arc<Passes>> {
        self.passes.get()
    }

    /// The members have changed who votes.
    pub(crate) fn change_voters(self: &Arc<Self>, voters: Vec<String>) {
        if self.set_voters(voters) {
            self.hurry(HURRY);
        }
    }

    /// Makes known who has a vote. Before that, everybody counts as much. Says whether a vote was taken.
    pub(crate) fn set_voters(&self, voters: Vec<String>) -> bool {
        let taken = self.turns.set_voters(voters);
        if taken {
            // Until each shard has looked at who is connected: kevy counts what that node has acknowledged (S11).
            for shard in &self.shards {
                shard.stale_replicas.store(usize::MAX, Ordering::SeqCst);
            }
        }
        taken
    }

    /// Whether `node` has a vote, as far as that is known.
    pub(crate) fn votes(&self, node: &str) -> bool {
        self.turns.votes(node)
    }

    /// Whether nobody but one node has a vote. `false` where that is not known.
    pub(crate) fn has_one_voter(&self) -> bool {
        self.turns.has_one_voter()
    }

    /// Whether `node` may copy from this primary now. Then it is its turn until it has joined, or given up.
    pub(crate) fn may_copy(&self, node: &str) -> bool {
        self.waits.is_member(node) && self.turns.take(node, Instant::now())
    }

    /// The connections to a shard's stream are these.
    pub(super) fn look_at_turn(&self, rows: &[Row]) {
        self.turns.look(rows, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::super::played::{apply, order, restore, shards};
    use super::*;
    use kevy_elect_plugin::position::Position;
    use std::net::{Ipv4Addr, SocketAddrV4};

    /// A primary's shard whose buffer holds a thousand frames.
    fn primary() -> Arc<Shards> {
        let (shards, _inboxes) = shards(1);
        restore(&shards);
        shards.waits().set_up(vec!["n2".to_owned()], None, Default::default(), Default::default());
        shards.set_buffer(1_000 << 10);
        shards.begin_reign(Epoch(7), &Position::NONE);
        assert!(apply(&shards, 0, &order(7)));
        shards.tick(0);
        Arc::new(shards)
    }

    /// A connection of that node, for the stream after so many flushes.
    fn row(node: &str, flushes: u64, next: u64) -> Row {
        Row {
            name: format!("kevy-replica-{node}.7.{flushes}-6004#0.1"),
            peer: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1),
            acknowledged: false,
            beyond: false,
            has: next,
            sent: next,
        }
    }

    /// The shard writes up to `offset`, frames of a kibibyte, and ticks.
    fn tick(shards: &Shards, offset: u64, rows: &[Row]) {
        if shards.weighs(0) {
            shards.weigh(0, 100, 0, 100 << 10);
        }
        shards.note_stream(0, offset, rows);
    }

    #[test]
    fn c18_a_replica_that_was_accepted_just_now_is_waited_for_before_it_has_said_anything() {
        let shards = primary();
        tick(&shards, 5_000, &[]);
        tick(&shards, 5_500, &[row("n2", 0, 5_000)]);
        assert!(
            !shards.is_urgent() && !shards.weighs(0),
            "it has all that was there when the shard looked last"
        );
        tick(&shards, 5_600, &[row("n2", 0, 5_000)]);
        assert!(shards.is_urgent() && shards.weighs(0), "it does not keep up");
        assert_eq!(shards.rested_ms(), 0, "nobody knows how large that is");
        tick(&shards, 5_600, &[row("n2", 0, 5_000)]);
        assert!(shards.rested_ms() > 0);
    }

    #[test]
    fn c18_no_stranger_is_waited_for_nor_who_follows_another_stream() {
        let shards = primary();
        for offset in 0..5 {
            tick(&shards, 5_000 + offset * 200, &[row("n9", 0, 5_000), row("n2", 1, 5_000)]);
        }
        assert!(shards.rested_ms() == 0 && !shards.weighs(0));
    }
}
