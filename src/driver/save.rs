//! Saves: of each kind one at a time, and only the newest of those that wait. A vote waits for nothing but an earlier save
//! of the vote record; positions have their own queue, and nobody waits for them.

use crate::clock::Clock;
use crate::elector::PersistSeq;
use crate::position::Position;
use crate::state::HardState;
use crate::store::{StoreError, VoteStore, decode_position, decode_vote, encode_position, encode_vote};
use crate::time::{Duration, Instant};
use futures::future::{BoxFuture, FutureExt};
use std::sync::Arc;
use std::task::{Context, Poll};

/// What a restart finds.
pub(super) async fn load(store: &dyn VoteStore) -> Result<Option<HardState>, StoreError> {
    let damaged = |reason: String| StoreError::Corrupt { path: store.place(), reason };
    let Some(record) = store.load().await? else { return Ok(None) };
    let mut state = decode_vote(&record).map_err(|error| damaged(error.to_string()))?;
    let position = match store.load_position().await {
        Ok(Some(record)) => decode_position(&record).map_err(|error| error.to_string()),
        Ok(None) => {
            // A record of an older release kept it. Its next save does not.
            if state.position != Position::NONE {
                let record = encode_position(&state.position);
                let record = record.map_err(|error| unstorable(store, error.to_string()))?;
                store.save_position(&record).await?;
            }
            Ok(state.position.clone())
        }
        Err(error) => Err(error.to_string()),
    };
    state.position = position.unwrap_or_else(|error| {
        // Less than the truth costs at most an election; more would win one with data that is not there.
        log::error!(target: "kevy_elect", "elect event=position_lost error={error:?}");
        Position::NONE
    });
    Ok(Some(state))
}

fn unstorable(store: &dyn VoteStore, reason: String) -> StoreError {
    StoreError::Unstorable { path: store.place(), reason }
}

pub(super) struct Saves {
    store: Arc<dyn VoteStore>,
    clock: Arc<dyn Clock>,
    running: Option<Running>,
    waiting: Option<(PersistSeq, Vec<u8>)>,
    /// The record that is known to be durable.
    durable: Option<Vec<u8>>,
    positions: Positions,
}

/// A save under way: what it saves, since when, and the work itself.
struct Running {
    seq: PersistSeq,
    record: Vec<u8>,
    since: Instant,
    work: BoxFuture<'static, Result<(), StoreError>>,
}

/// A save that ended.
pub(super) struct Saved {
    pub(super) seq: PersistSeq,
    pub(super) took: Duration,
    pub(super) result: Result<(), StoreError>,
}

/// What became of a state that is to be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queued {
    /// [`Saves::poll`] tells when it is durable.
    Waits,
    /// All that anybody waits for is durable already: only the position is new.
    Durable,
}

impl Saves {
    pub(super) fn new(store: Arc<dyn VoteStore>, clock: Arc<dyn Clock>) -> Self {
        let positions = Positions::new(store.clone());
        Self { store, clock, running: None, waiting: None, durable: None, positions }
    }

    /// A later state holds everything an earlier one does, so the earlier need not be written.
    pub(super) fn queue(&mut self, seq: PersistSeq, state: &HardState) -> Result<Queued, StoreError> {
        let unstorable = |reason: String| unstorable(&*self.store, reason);
        let record = encode_vote(state).map_err(|error| unstorable(error.to_string()))?;
        self.positions.queue(&state.position);
        if !self.busy() && self.durable.as_ref() == Some(&record) {
            return Ok(Queued::Durable);
        }
        self.waiting = Some((seq, record));
        self.start();
        Ok(Queued::Waits)
    }

    /// Whether a vote is being saved.
    fn busy(&self) -> bool {
        self.running.is_some()
    }

    /// Whether nothing is being saved.
    pub(super) fn idle(&self) -> bool {
        !self.busy() && self.positions.running.is_none()
    }

    fn start(&mut self) {
        if self.running.is_some() {
            return;
        }
        if let Some((seq, record)) = self.waiting.take() {
            let (store, bytes) = (self.store.clone(), record.clone());
            let work = async move { store.save(&bytes).await }.boxed();
            // Whatever comes of it, what was durable before may be replaced.
            self.durable = None;
            self.running = Some(Running { seq, record, since: self.clock.now(), work });
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Saved> {
        self.positions.poll(cx);
        let Some(running) = &mut self.running else { return Poll::Pending };
        let Poll::Ready(result) = running.work.poll_unpin(cx) else { return Poll::Pending };
        let took = self.clock.now().saturating_since(running.since);
        let saved = Saved { seq: running.seq, took, result };
        self.durable = self.running.take().map(|running| running.record).filter(|_| saved.result.is_ok());
        self.start();
        Poll::Ready(saved)
    }
}

/// Saves of the position.
struct Positions {
    store: Arc<dyn VoteStore>,
    running: Option<BoxFuture<'static, Result<(), StoreError>>>,
    waiting: Option<Position>,
    /// What was saved last, or is being saved.
    newest: Option<Position>,
    failing: bool,
}

impl Positions {
    fn new(store: Arc<dyn VoteStore>) -> Self {
        Self { store, running: None, waiting: None, newest: None, failing: false }
    }

    fn queue(&mut self, position: &Position) {
        if self.newest.as_ref() != Some(position) {
            self.waiting = Some(position.clone());
            self.start();
        }
    }

    fn start(&mut self) {
        if self.running.is_some() {
            return;
        }
        let Some(position) = self.waiting.take() else { return };
        if let Ok(record) = encode_position(&position) {
            let store = self.store.clone();
            self.newest = Some(position);
            self.running = Some(async move { store.save_position(&record).await }.boxed());
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        while let Some(work) = &mut self.running
            && let Poll::Ready(result) = work.poll_unpin(cx)
        {
            self.running = None;
            if let Err(error) = &result {
                self.newest = None;
                // Once: it is tried again with every position that is to be saved, which is every second.
                if !self.failing {
                    log::warn!(target: "kevy_elect", "elect event=position_save_failed error={:?}", error.to_string());
                }
            }
            self.failing = result.is_err();
            self.start();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::ids::{Epoch, Incarnation};
    use crate::message::Standing;
    use crate::store::{Hang, MemoryVoteStore};
    use async_trait::async_trait;
    use std::task::Waker;

    fn state(epoch: u64, offset: u64) -> HardState {
        HardState {
            epoch: Epoch(epoch),
            voted_for: None,
            standing: Standing::Member,
            incarnation: Incarnation(1),
            identity: None,
            members: None,
            pause: None,
            floor: crate::position::Progress::NONE,
            position: Position::single(Epoch(1), offset),
        }
    }

    /// A disk on which the save of a position never ends.
    struct Stuck(MemoryVoteStore);

    #[async_trait]
    impl VoteStore for Stuck {
        async fn load(&self) -> Result<Option<Vec<u8>>, StoreError> {
            self.0.load().await
        }
        async fn save(&self, record: &[u8]) -> Result<(), StoreError> {
            self.0.save(record).await
        }
        async fn save_position(&self, _: &[u8]) -> Result<(), StoreError> {
            std::future::pending().await
        }
    }

    fn polled(saves: &mut Saves) -> Option<PersistSeq> {
        match saves.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(saved) => saved.result.is_ok().then_some(saved.seq),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_vote_is_saved_while_a_save_of_a_position_hangs() {
        let mut saves = Saves::new(Arc::new(Stuck(MemoryVoteStore::new())), Arc::new(ManualClock::new()));
        for n in 1..10 {
            assert_eq!(saves.queue(PersistSeq(n), &state(n, n)).unwrap(), Queued::Waits);
            assert_eq!(polled(&mut saves), Some(PersistSeq(n)));
        }
    }

    #[test]
    fn a_position_alone_waits_for_nothing_and_rewrites_no_vote() {
        let store = MemoryVoteStore::new();
        let mut saves = Saves::new(Arc::new(store.clone()), Arc::new(ManualClock::new()));
        saves.queue(PersistSeq(1), &state(1, 1)).unwrap();
        assert_eq!(polled(&mut saves), Some(PersistSeq(1)));
        assert_eq!(saves.queue(PersistSeq(2), &state(1, 2)).unwrap(), Queued::Durable);
        assert_eq!((polled(&mut saves), store.saves()), (None, 1));
        let found = futures::executor::block_on(load(&store)).unwrap();
        assert_eq!(found, Some(state(1, 2)), "the position of the second, the vote of the first");
    }

    /// What is said to be durable is: not while a save is under way, nor after one that failed.
    #[test]
    fn nothing_counts_as_durable_after_a_save_that_failed_or_is_under_way() {
        let store = MemoryVoteStore::new();
        let mut saves = Saves::new(Arc::new(store.clone()), Arc::new(ManualClock::new()));
        saves.queue(PersistSeq(1), &state(1, 1)).unwrap();
        assert_eq!(polled(&mut saves), Some(PersistSeq(1)));
        store.fail_next(1);
        saves.queue(PersistSeq(2), &state(2, 1)).unwrap();
        assert_eq!(polled(&mut saves), None);
        for seq in [3, 4] {
            store.hang(Hang::After);
            assert_eq!(saves.queue(PersistSeq(seq), &state(2, 1)).unwrap(), Queued::Waits);
            assert_eq!(polled(&mut saves), None);
        }
        store.release();
        assert_eq!(polled(&mut saves), Some(PersistSeq(3)));
        assert_eq!(polled(&mut saves), Some(PersistSeq(4)));
    }

    #[test]
    fn a_damaged_position_is_less_than_the_truth_and_stops_nobody() {
        let store = MemoryVoteStore::new();
        let save = async {
            store.save(&encode_vote(&state(3, 0)).unwrap()).await.unwrap();
            store.save_position(b"rubbish").await.unwrap();
            load(&store).await
        };
        let found = futures::executor::block_on(save).unwrap().unwrap();
        assert_eq!((found.epoch, found.position), (Epoch(3), Position::NONE));
    }
}
