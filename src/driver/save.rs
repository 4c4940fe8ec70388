//! Saves: one at a time, and only the newest of those that wait.

use crate::clock::Clock;
use crate::elector::PersistSeq;
use crate::state::HardState;
use crate::store::{StoreError, VoteStore};
use crate::time::{Duration, Instant};
use futures::future::{BoxFuture, FutureExt};
use std::sync::Arc;
use std::task::{Context, Poll};

pub(super) struct Saves {
    store: Arc<dyn VoteStore>,
    clock: Arc<dyn Clock>,
    running: Option<Running>,
    waiting: Option<(PersistSeq, HardState)>,
}

/// A save under way: what it saves, since when, and the work itself.
type Running = (PersistSeq, Instant, BoxFuture<'static, Result<(), StoreError>>);

/// A save that ended.
pub(super) struct Saved {
    pub(super) seq: PersistSeq,
    pub(super) took: Duration,
    pub(super) result: Result<(), StoreError>,
}

impl Saves {
    pub(super) fn new(store: Arc<dyn VoteStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, running: None, waiting: None }
    }

    /// A later state holds everything an earlier one does, so the earlier need not be written.
    pub(super) fn queue(&mut self, seq: PersistSeq, state: HardState) {
        self.waiting = Some((seq, state));
        self.start();
    }

    pub(super) fn busy(&self) -> bool {
        self.running.is_some()
    }

    fn start(&mut self) {
        if self.running.is_some() {
            return;
        }
        if let Some((seq, state)) = self.waiting.take() {
            let store = self.store.clone();
            let save = async move { store.save(&state).await }.boxed();
            self.running = Some((seq, self.clock.now(), save));
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Saved> {
        let Some((seq, since, save)) = &mut self.running else { return Poll::Pending };
        let Poll::Ready(result) = save.poll_unpin(cx) else { return Poll::Pending };
        let saved = Saved { seq: *seq, took: self.clock.now().saturating_since(*since), result };
        self.running = None;
        self.start();
        Poll::Ready(saved)
    }
}
