//! A copy that a stream brings: whether it may be loaded, and what has come once it is.

use super::Session;
use crate::follow::link::{End, Link, News, broken};
use crate::position::marks;
use crate::position::tag::Tag;
use crate::position::witness;
use crate::shards::inbox::Loading;
use kevy_rt::SnapshotGate;
use std::sync::Arc;
use std::time::Instant;

impl Session<'_> {
    pub(super) fn take_snapshot(&mut self, bytes: Vec<u8>, next: u64, loading: Loading) -> Result<(), End> {
        let link = self.link;
        let (tag, keys) =
            Tag::of_snapshot(&bytes).map_err(|error| End::Refused(format!("a damaged snapshot: {error}")))?;
        let tag = tag.ok_or_else(|| {
            End::Refused("the server there takes no part in elections; its data is not loaded".to_owned())
        })?;
        if tag.epoch != link.origin.epoch {
            return Err(End::Refused(format!(
                "the server there is not (or not yet) the primary of epoch {}, its data is of epoch {} and is not loaded",
                link.origin.epoch, tag.epoch
            )));
        }
        if tag.shards != link.shards.count() {
            return Err(End::Refused(format!(
                "the primary has {} shards and this node has {}; set [server] threads to the same number on all nodes",
                tag.shards,
                link.shards.count()
            )));
        }
        let at = marks::Place { epoch: tag.epoch, flushes: tag.flushes, offset: next };
        link.shards.expect_keys(link.shard, keys);
        if !witness::announce(link, at) {
            return Err(End::Over);
        }
        link.tell(News::Restarted);
        let mut state = link.state();
        if !state.open {
            return Err(End::Over);
        }
        let renamed = state.named != tag.flushes;
        // Held until the lock is given back: where the shard has stopped, what it was sent is dropped at once, and the
        // last of these takes the lock when it goes.
        let landed =
            Arc::new(Landed { link: Arc::clone(link), loads: link.shards.loads(link.shard), loading });
        let gate = SnapshotGate::new(Arc::clone(&landed) as _);
        if !link.shards.send_snapshot(link.shard, bytes, next, gate) {
            drop(state);
            return Err(broken("this server has stopped"));
        }
        (state.generation, state.next, state.flushes) = (self.generation, next, tag.flushes);
        (state.held, state.named) = (true, tag.flushes);
        (state.synced, state.must_copy, state.began_at) = (None, None, None);
        if let Some(copy) = &mut state.copy {
            copy.whole = true;
            log::info!(
                "shard {}: a copy of {} bytes has come in {:?}",
                link.shard,
                copy.bytes,
                copy.begun.elapsed()
            );
        }
        link.shards.note_copy(link.shard, state.why);
        state.stall.moved(Instant::now());
        self.streaming = true;
        self.link.report(&state);
        drop(state);
        drop(landed);
        if renamed {
            // Acknowledgements under this name could be taken for ones of a stream before a FLUSHALL.
            return Err(End::Over);
        }
        Ok(())
    }
}

/// Dropped by kevy once the shard has done what it could with a snapshot.
struct Landed {
    link: Arc<Link>,
    /// How many snapshots the shard had loaded before.
    loads: u64,
    #[allow(dead_code, reason = "its drop is what matters")]
    loading: Loading,
}

impl Drop for Landed {
    fn drop(&mut self) {
        let shard = self.link.shard;
        self.link.state().copy = None;
        if self.link.shards.loads(shard) == self.loads {
            // Thrown away at shutdown, or refused by kevy although it was whole.
            self.link.shards.note_lost(shard);
            self.link.lost("a snapshot was not loaded");
            return;
        }
        witness::landed(&self.link);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::follow::session::tests::link;
    use kevy_elect_plugin::ids::Epoch;
    use kevy_persist::{WithAux, write_snapshot_to};
    use kevy_rt::{Argv, Store};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    /// Far above what is ever needed, so that only a hang hits it.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// What a primary of epoch 5 ships.
    fn snapshot() -> Vec<u8> {
        let record =
            Argv::from(["CATALOG", "7", "1", "", "", ""].map(|part| part.as_bytes().to_vec()).to_vec());
        let marked = Tag { epoch: Epoch(5), flushes: 0, shards: 1 }.mark(record);
        let mut image = Vec::new();
        write_snapshot_to(&WithAux::new(&Store::new(), Some(&marked)), &mut image).unwrap();
        image
    }

    #[test]
    fn a_snapshot_that_comes_after_its_shard_has_stopped_stops_nothing_else() {
        let landed = Arc::new(AtomicBool::new(false));
        let note = Arc::clone(&landed);
        let (link, inbox) = link(move |_, news| note.store(matches!(news, News::Landed), Ordering::SeqCst));
        drop(inbox);
        let (done, ended) = channel();
        std::thread::spawn(move || {
            let loading = Loading::new(Arc::clone(&link.shards));
            let end = Session::new(&link, 7, None).take_snapshot(snapshot(), 40, loading);
            done.send((end.is_err(), link.close().held)).unwrap();
        });
        assert_eq!(ended.recv_timeout(PATIENCE), Ok((true, false)), "it holds nothing, and can be closed");
        assert!(!landed.load(Ordering::SeqCst), "nothing has landed");
    }
}
