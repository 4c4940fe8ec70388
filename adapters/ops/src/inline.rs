//! Runs futures on the thread that their events come from.
//!
//! async-io learns of sockets and timers on a thread of its own. A future on another thread costs that thread, and two
//! context switches for every event: async-io's wakes up to wake the other one. A heartbeat every few milliseconds is
//! all that an idle election does, so this doubles its price. Here a wake on async-io's thread polls the future right
//! there. Any other thread rings a bell, which is a socket like the others. So whatever runs here must not block:
//! the heartbeats wait for it.

use async_io::{Async, Timer};
use async_task::Runnable;
use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// What async-io calls its thread. Under another name everything still works; every wake rings the bell then.
const REACTOR: &str = "async-io";
/// How many polls in a row. Then the sockets have their turn.
const POLLS_MAX: usize = 16;
/// The pause after the system would not let us listen for the bell.
const LISTEN_RETRY: Duration = Duration::from_millis(1);

/// One per process, as async-io's thread is.
static QUEUE: OnceLock<Queue> = OnceLock::new();

thread_local! {
    static POLLING: Cell<bool> = const { Cell::new(false) };
}

/// Where futures are given to.
#[derive(Clone, Copy)]
pub struct Inline(&'static Queue);

struct Queue {
    /// What has to be polled. Never more than there are futures: each is due at most once at a time. Whenever
    /// something is in here, the bell has been rung or a thread is at it.
    due: Mutex<VecDeque<Runnable>>,
    /// A byte comes out where one is written in: what makes the reactor look here.
    rings: Arc<Async<UnixStream>>,
    ringer: UnixStream,
}

impl Inline {
    /// The process's. Fails when the first call gets no sockets for the bell.
    pub fn get() -> io::Result<Self> {
        if let Some(queue) = QUEUE.get() {
            return Ok(Self(queue));
        }
        let (ringer, rings) = UnixStream::pair()?;
        ringer.set_nonblocking(true)?;
        let queue = Queue { due: Mutex::default(), rings: Arc::new(Async::new(rings)?), ringer };
        let queue = QUEUE.get_or_init(|| queue);
        // Polled by the reactor itself, wherever it rings. Twice, after a race of two first calls, does no harm.
        let at_once = |runnable: Runnable| {
            runnable.run();
        };
        let (first, listening) = async_task::spawn(queue.listen(), at_once);
        listening.detach();
        first.schedule();
        Ok(Self(queue))
    }

    /// Runs `future` to its end, or until it panics.
    pub fn spawn(self, future: impl Future<Output = ()> + Send + 'static) {
        let (first, task) = async_task::spawn(future, move |runnable| self.0.schedule(runnable));
        task.detach();
        first.schedule();
    }
}

impl Queue {
    fn schedule(&self, runnable: Runnable) {
        let alone = {
            let mut due = self.due();
            due.push_back(runnable);
            due.len() == 1
        };
        if POLLING.get() {
            // Below us on the stack: it goes on with this one when its poll is over.
        } else if std::thread::current().name() == Some(REACTOR) {
            self.work();
        } else if alone {
            self.ring();
        }
    }

    fn work(&self) {
        for _ in 0..POLLS_MAX {
            let Some(runnable) = self.due().pop_front() else { return };
            POLLING.set(true);
            // A panic has been printed. It has ended its own future, and must not keep the others waiting.
            drop(catch_unwind(AssertUnwindSafe(|| runnable.run())));
            POLLING.set(false);
        }
        if !self.due().is_empty() {
            self.ring();
        }
    }

    fn ring(&self) {
        // Full: it is ringing already.
        let _ = (&self.ringer).write(&[0]);
    }

    fn listen(&'static self) -> impl Future<Output = ()> + Send + 'static {
        let rings = Arc::clone(&self.rings);
        async move {
            loop {
                if rings.readable().await.is_err() {
                    Timer::after(LISTEN_RETRY).await;
                }
                // Before the work: who rings from now on is heard again.
                let _ = rings.get_ref().read(&mut [0; 64]);
                self.work();
            }
        }
    }

    fn due(&self) -> MutexGuard<'_, VecDeque<Runnable>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use futures::StreamExt;
    use futures::channel::mpsc::unbounded;
    use futures::future::poll_fn;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
    use std::task::Poll;

    /// Far above what is ever needed, so that only a hang hits it.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Runs a future and gives what it ends with; nothing comes if it panics.
    fn run<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Receiver<T> {
        let (sender, end) = channel();
        Inline::get().unwrap().spawn(async move { drop(sender.send(future.await)) });
        end
    }

    fn thread() -> String {
        std::thread::current().name().unwrap_or_default().to_owned()
    }

    #[test]
    fn all_polls_happen_where_timers_ring() {
        let ran = run(async {
            let first = thread();
            Timer::after(Duration::from_millis(1)).await;
            [first, thread()]
        });
        assert_eq!(ran.recv_timeout(PATIENCE).unwrap(), [REACTOR, REACTOR]);
    }

    #[test]
    fn a_wake_of_another_thread_does_not_make_that_thread_poll() {
        let ran = run(async {
            let mut other = None;
            poll_fn(|cx| {
                if other.is_some() {
                    return Poll::Ready(());
                }
                let waker = cx.waker().clone();
                other = Some(std::thread::spawn(move || waker.wake()));
                Poll::Pending
            })
            .await;
            thread()
        });
        assert_eq!(ran.recv_timeout(PATIENCE).unwrap(), REACTOR);
    }

    #[test]
    fn no_wake_of_many_threads_is_lost() {
        const THREADS: usize = 4;
        const WAKES: usize = 5_000;
        let (sender, receiver) = unbounded();
        for _ in 0..THREADS {
            let sender = sender.clone();
            std::thread::spawn(move || (0..WAKES).for_each(|n| drop(sender.unbounded_send(n))));
        }
        drop(sender);
        assert_eq!(run(receiver.count()).recv_timeout(PATIENCE).unwrap(), THREADS * WAKES);
    }

    #[test]
    fn one_that_wakes_itself_for_ever_does_not_keep_the_others_waiting() {
        let over = Arc::new(AtomicBool::new(false));
        let busy = Arc::clone(&over);
        let polls = run(poll_fn(move |cx| {
            cx.waker().wake_by_ref();
            if busy.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
        }));
        run(async { Timer::after(Duration::from_millis(1)).await }).recv_timeout(PATIENCE).unwrap();
        over.store(true, Ordering::Relaxed);
        polls.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn a_panic_ends_only_its_own_future() {
        let at_once = run(async { panic!("at once") });
        assert_eq!(at_once.recv_timeout(PATIENCE), Err::<(), _>(RecvTimeoutError::Disconnected));
        let later = run(async {
            Timer::after(Duration::from_millis(1)).await;
            panic!("after a timer")
        });
        assert_eq!(later.recv_timeout(PATIENCE), Err::<(), _>(RecvTimeoutError::Disconnected));
        run(async { Timer::after(Duration::from_millis(1)).await }).recv_timeout(PATIENCE).unwrap();
    }
}
