//! Replicas that copy from this node: whose turn it is, and whether writers wait for one.

use super::Shards;
use super::throttle::{Follower, HURRY};
use crate::confirm::names::Row;
use crate::continuation::passes::Passes;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

impl Shards {
    /// What kevy keeps of each stream, in bytes.
    pub(crate) fn set_buffer(&self, bytes: u64) {
        self.buffer.store(bytes, Ordering::Relaxed);
    }

    /// The same here, and so on its primary: all nodes have one setting.
    pub(crate) fn buffer(&self) -> u64 {
        self.buffer.load(Ordering::Relaxed)
    }

    /// A replica has all of this shard's stream before `next`, and fetches the rest.
    pub(crate) fn note_follower(self: &Arc<Self>, shard: usize, next: u64, frame_bytes: u64) {
        let mut follower =
            self.shards[shard].throttle.follower.lock().unwrap_or_else(PoisonError::into_inner);
        *follower = Some(Follower { next, frame_bytes, heard: Instant::now() });
        drop(follower);
        self.hurry(HURRY);
    }

    /// The stream is at `offset`. Told at every tick, by the shard's thread.
    pub(super) fn throttle(&self, shard: usize, offset: u64) {
        let throttle = &self.shards[shard].throttle;
        let follower = *throttle.follower.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(follower) = follower else { return };
        let rest = follower.rest(offset, self.buffer.load(Ordering::Relaxed), Instant::now());
        if !rest.is_zero() {
            std::thread::sleep(rest);
            // Else the next tick is a tenth of a second away, and writers have that for themselves.
            self.prolong(HURRY);
            let ms = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
            if throttle.rested_ms.fetch_add(ms, Ordering::Relaxed) == 0 {
                log::warn!(
                    "shard {shard}: writers wait for a replica that copies, which cannot keep up with them"
                );
            }
            metrics::counter!("kevy_server_writes_slowed_total").increment(1);
        }
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

    /// Whether `node` may copy from this primary now. Then it is its turn until it has joined, or given up.
    pub(crate) fn may_copy(&self, node: &str) -> bool {
        self.waits.is_member(node) && self.turns.take(node, Instant::now())
    }

    /// The connections to a shard's stream are these.
    pub(super) fn look_at_turn(&self, rows: &[Row]) {
        self.turns.look(rows, Instant::now());
    }
}
