//! Runs one future on the thread that its events come from.
//!
//! async-io learns of sockets and timers on a thread of its own. A future on another thread costs two context
//! switches for every event: that thread wakes up to wake the other one. A heartbeat every few milliseconds is all
//! that an idle election does, so this doubles its price. Here a wake on async-io's thread polls the future
//! right there; any other wake, and whatever would keep that thread from its sockets for long, is left to the
//! thread that called [`block_on`].

use async_task::Runnable;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::sync::mpsc::{Sender, channel};

/// What async-io calls its thread. Under another name everything still works, on two threads.
const REACTOR: &str = "async-io";
/// How often in a row the future is polled there because it woke itself. Then the sockets have their turn.
const REPEATS_MAX: usize = 16;

thread_local! {
    /// Whether this thread is polling, and what became due meanwhile.
    static POLLING: Cell<bool> = const { Cell::new(false) };
    static DUE: RefCell<Option<Runnable>> = const { RefCell::new(None) };
}

enum News<T> {
    Due(Runnable),
    /// `None`: it panicked.
    Ended(Option<T>),
}

/// Runs `future` to its end. `None` if it panicked; it has been dropped then.
pub(crate) fn block_on<F>(future: F) -> Option<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (sender, news) = channel();
    let end = End(Some(sender.clone()));
    let told = async move {
        let mut end = end;
        let output = future.await;
        end.tell(Some(output));
    };
    // Bounded: there is one future, and it is due at most once at a time.
    let schedule = move |runnable| {
        // Nobody receives any more once it has ended.
        if let Some(runnable) = here(runnable) {
            drop(sender.send(News::Due(runnable)));
        }
    };
    let (first, task) = async_task::spawn(told, schedule);
    task.detach();
    first.schedule();
    loop {
        match news.recv() {
            Ok(News::Due(runnable)) => {
                // A panic is told by `End`; it has been printed.
                drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runnable.run())));
            }
            Ok(News::Ended(output)) => return output,
            Err(_) => return None,
        }
    }
}

/// Polls here if this is async-io's thread; gives back what has to be polled elsewhere.
fn here(runnable: Runnable) -> Option<Runnable> {
    if std::thread::current().name() != Some(REACTOR) {
        return Some(runnable);
    }
    if POLLING.get() {
        // Below us on the stack: it polls again when this poll is over.
        return DUE.replace(Some(runnable));
    }
    let mut next = Some(runnable);
    for _ in 0..REPEATS_MAX {
        let runnable = next?;
        let polling = Polling::begin();
        runnable.run();
        drop(polling);
        next = DUE.take();
    }
    next
}

/// This thread polls, until dropped, also by a panic.
struct Polling;

impl Polling {
    fn begin() -> Self {
        POLLING.set(true);
        Self
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        POLLING.set(false);
    }
}

/// Tells how the future ended, whatever happens.
struct End<T>(Option<Sender<News<T>>>);

impl<T> End<T> {
    fn tell(&mut self, output: Option<T>) {
        if let Some(sender) = self.0.take() {
            // Nobody waits any more: the process is ending.
            drop(sender.send(News::Ended(output)));
        }
    }
}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        self.tell(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_io::Timer;
    use futures::future::poll_fn;
    use std::sync::{Arc, Mutex};
    use std::task::Poll;
    use std::time::Duration;

    fn thread() -> String {
        std::thread::current().name().unwrap_or_default().to_owned()
    }

    #[test]
    fn after_a_timer_the_future_runs_where_the_timer_rang() {
        let ran = block_on(async {
            Timer::after(Duration::from_millis(1)).await;
            thread()
        });
        assert_eq!(ran.as_deref(), Some(REACTOR));
    }

    #[test]
    fn a_wake_of_another_thread_does_not_make_that_thread_poll() {
        let caller = thread();
        let ran = block_on(async {
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
        assert_eq!(ran, Some(caller));
    }

    #[test]
    fn one_that_wakes_itself_for_ever_leaves_the_reactor() {
        let threads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&threads);
        block_on(async move {
            Timer::after(Duration::from_millis(1)).await;
            let mut polls = 0;
            poll_fn(move |cx| {
                seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(thread());
                polls += 1;
                cx.waker().wake_by_ref();
                if polls > 3 * REPEATS_MAX { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        });
        let threads = threads.lock().unwrap();
        let there = threads.iter().filter(|name| *name == REACTOR).count();
        assert!((1..=REPEATS_MAX).contains(&there), "{there} of {} polls there", threads.len());
    }

    #[test]
    fn a_panic_ends_it_wherever_it_happens() {
        assert_eq!(block_on(async { panic!("at once") }), None::<()>);
        let later = block_on(async {
            Timer::after(Duration::from_millis(1)).await;
            panic!("on the reactor's thread")
        });
        assert_eq!(later, None::<()>);
        assert_eq!(block_on(async { Timer::after(Duration::from_millis(1)).await }).map(drop), Some(()));
    }
}
