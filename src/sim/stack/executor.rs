//! A single-threaded executor whose order comes from the seed.

use crate::error::ElectError;
use crate::sim::impairments::Life;
use crate::sim::rng::Rng;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// What a task is, and so what its end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The driver's future: the node runs as long as it does.
    Driver,
    /// Something beside it.
    Helper,
}

pub(super) type Work = BoxFuture<'static, Result<(), ElectError>>;

struct Task {
    node: usize,
    life: Life,
    kind: Kind,
    work: Work,
    flag: Arc<Flag>,
}

/// A task that was polled.
pub(super) struct Polled {
    pub(super) node: usize,
    pub(super) life: Life,
    pub(super) kind: Kind,
    /// How it ended, if it did.
    pub(super) ended: Option<Result<(), ElectError>>,
}

/// Wakes a task by putting it into the queue, once.
struct Flag {
    task: u64,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

#[derive(Default)]
struct Ready(Mutex<Vec<u64>>);

impl Ready {
    fn lock(&self) -> MutexGuard<'_, Vec<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.lock().push(self.task);
        }
    }
}

/// Runs the tasks of all nodes, one poll at a time. Which of those that are ready comes next is drawn.
#[derive(Default)]
pub(super) struct Executor {
    tasks: BTreeMap<u64, Task>,
    ready: Arc<Ready>,
    spawned: u64,
}

impl Executor {
    pub(super) fn spawn(&mut self, node: usize, life: Life, kind: Kind, work: Work) {
        self.spawned += 1;
        let flag =
            Arc::new(Flag { task: self.spawned, queued: AtomicBool::new(false), ready: self.ready.clone() });
        Waker::from(flag.clone()).wake();
        self.tasks.insert(self.spawned, Task { node, life, kind, work, flag });
    }

    /// Drops all tasks of a node, as the end of its process does.
    pub(super) fn kill(&mut self, node: usize) {
        let of_node: Vec<_> =
            self.tasks.iter().filter(|(_, task)| task.node == node).map(|(id, _)| *id).collect();
        for id in of_node {
            self.tasks.remove(&id);
        }
    }

    /// Wakes all tasks of a node: after a stop everything has to be looked at again.
    pub(super) fn wake(&self, node: usize) {
        self.tasks.values().filter(|task| task.node == node).for_each(|task| task.flag.wake_by_ref());
    }

    /// Polls one task that is ready and whose node runs.
    pub(super) fn poll(&mut self, rng: &mut Rng, runs: impl Fn(usize) -> bool) -> Option<Polled> {
        let id = {
            let mut ready = self.ready.lock();
            ready.retain(|id| self.tasks.contains_key(id));
            let may: Vec<_> = (0..ready.len())
                .filter(|at| self.tasks.get(&ready[*at]).is_some_and(|task| runs(task.node)))
                .collect();
            if may.is_empty() {
                return None;
            }
            ready.remove(rng.pick(&may))
        };
        let task = self.tasks.get_mut(&id)?;
        task.flag.queued.store(false, Ordering::Relaxed);
        let waker = Waker::from(task.flag.clone());
        let ended = match task.work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        };
        let polled = Polled { node: task.node, life: task.life, kind: task.kind, ended };
        if polled.ended.is_some() {
            self.tasks.remove(&id);
        }
        Some(polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::{FutureExt, poll_fn};

    fn count(polls: Arc<Mutex<u32>>) -> Work {
        poll_fn(move |cx| {
            *polls.lock().unwrap() += 1;
            cx.waker().wake_by_ref();
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .boxed()
    }

    #[test]
    fn a_stopped_nodes_tasks_wait_and_a_dead_ones_are_gone() {
        let (mut executor, mut rng) = (Executor::default(), Rng::new(1, 1));
        let polls = [Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0))];
        for (node, polls) in polls.iter().enumerate() {
            executor.spawn(node, 0, Kind::Helper, count(polls.clone()));
        }
        for _ in 0..10 {
            assert_eq!(executor.poll(&mut rng, |node| node == 1).unwrap().node, 1);
        }
        assert_eq!((*polls[0].lock().unwrap(), *polls[1].lock().unwrap()), (0, 10));
        executor.kill(1);
        assert_eq!(executor.poll(&mut rng, |_| true).unwrap().node, 0);
        executor.kill(0);
        assert!(executor.poll(&mut rng, |_| true).is_none());
    }
}
