//! The end of the process. It begins once, whoever asks for it, on a thread that is started for it.
//!
//! A signal is heard on the thread of the election ([`crate::inline`]). Were it the only one, an election that hangs
//! would make a process that cannot be ended in order; so every shard looks too, at every tick.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// What is done to end; given whether a snapshot is wished for.
type End = Arc<dyn Fn(bool) + Send + Sync>;

/// Whether the process shall end, and how.
#[derive(Default)]
pub struct Ending {
    wished: Arc<AtomicBool>,
    save: AtomicBool,
    begun: AtomicBool,
    /// Whether it was said already that no thread could be started.
    complained: AtomicBool,
    end: OnceLock<End>,
}

impl Ending {
    /// Makes known how to end. Wishes before that wait for it.
    pub fn set(&self, end: impl Fn(bool) + Send + Sync + 'static) {
        // A second way would be a mistake of this crate; the first stays.
        drop(self.end.set(Arc::new(end)));
    }

    /// For a signal's handler, which can do no more than set it.
    pub fn wished(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.wished)
    }

    /// One wish to end is enough; more of them change nothing.
    pub fn wish(&self, save: bool) {
        self.save.fetch_or(save, Ordering::AcqRel);
        self.wished.store(true, Ordering::Release);
        self.look();
    }

    /// Begins the end if somebody has asked for it.
    pub fn look(&self) {
        if !self.wished.load(Ordering::Acquire) {
            return;
        }
        let Some(end) = self.end.get().map(Arc::clone) else { return };
        if self.begun.swap(true, Ordering::AcqRel) {
            return;
        }
        let save = self.save.load(Ordering::Acquire);
        let thread = std::thread::Builder::new().name("stop".to_owned());
        if let Err(error) = thread.spawn(move || end(save)) {
            if !self.complained.swap(true, Ordering::Relaxed) {
                log::error!("cannot start thread stop: {error}; tried again at the next look");
            }
            self.begun.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::inline::Inline;
    use crate::signals;
    use rustix::process::{Signal, getpid, kill_process};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    fn ending() -> (Arc<Ending>, Receiver<(String, bool)>) {
        let ending = Arc::new(Ending::default());
        let (sender, ended) = channel();
        ending.set(move |save| {
            let thread = std::thread::current().name().unwrap_or_default().to_owned();
            drop(sender.send((thread, save)));
        });
        (ending, ended)
    }

    #[test]
    fn it_begins_once_on_a_thread_of_its_own() {
        let (ending, ended) = ending();
        ending.look();
        assert!(ended.try_recv().is_err(), "nobody wishes so");
        ending.wish(true);
        ending.wish(false);
        ending.look();
        assert_eq!(ended.recv().unwrap(), ("stop".to_owned(), true));
        drop(ending);
        assert!(ended.recv().is_err(), "once");
    }

    #[test]
    fn a_wish_that_came_before_the_way_to_end_is_kept() {
        let ending = Ending::default();
        ending.wish(true);
        let (sender, ended) = channel();
        ending.set(move |save| {
            let _ = sender.send(save);
        });
        ending.look();
        assert!(ended.recv().unwrap());
    }

    /// The handlers stay for the life of the test process, so this is the only test with signals.
    #[test]
    fn a_signal_is_heard_also_while_the_election_hangs() {
        let (ending, ended) = ending();
        signals::listen(&ending, Inline::get().unwrap()).unwrap();
        let (release, hangs) = channel::<()>();
        let (hanging, begun) = channel();
        Inline::get().unwrap().spawn(async move {
            let _ = hanging.send(());
            // What no future may do.
            let _ = hangs.recv();
        });
        begun.recv().unwrap();
        kill_process(getpid(), Signal::TERM).unwrap();
        while !ending.wished.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        // As a thread of the server does that comes by every so often.
        ending.look();
        assert_eq!(ended.recv_timeout(Duration::from_secs(20)).unwrap(), ("stop".to_owned(), false));
        drop(release);
    }
}
