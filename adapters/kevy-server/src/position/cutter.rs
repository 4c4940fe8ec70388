//! Puts cuts ([`cuts`](crate::position::cuts)) into the streams of a primary.

use crate::clients::loopback::Loopback;
use crate::position::cuts::CUT;
use kevy_persist::Routing;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two cuts while clients wait for them: what they cost a primary has a bound.
const PAUSE: Duration = Duration::from_micros(250);
/// Between two cuts where replicas lack nothing but the last one: it comes again for whoever missed it.
const AGAIN: Duration = Duration::from_millis(5);
/// How long the server's own shards may take to answer. Then the connection is made anew.
const PATIENCE: Duration = Duration::from_secs(5);

/// Puts cuts into the streams of a primary: a client of the server itself, so that a cut passes the gate, the log and the
/// stream as any write does.
pub(crate) struct Cutter {
    wish: Arc<Wish>,
}

#[derive(Default)]
struct Wish {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    wanted: bool,
    over: bool,
    /// When the last one was wanted.
    last: Option<Instant>,
}

impl Wish {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a cut is wanted. False: never again.
    fn next(&self) -> bool {
        let waiting = |state: &mut State| !state.wanted && !state.over;
        let mut state =
            self.changed.wait_while(self.state(), waiting).unwrap_or_else(PoisonError::into_inner);
        state.wanted = false;
        state.last = Some(Instant::now());
        !state.over
    }
}

impl Cutter {
    /// One for the server with so many `shards` whose clients connect to `address`. `begin` says the number of a cut that begins
    /// now; `None`: there is nothing to cut any more.
    pub(crate) fn start(
        shards: usize,
        address: SocketAddr,
        routing: Routing,
        begin: impl Fn() -> Option<u64> + Send + 'static,
    ) -> io::Result<Self> {
        let wish = Arc::new(Wish::default());
        let work = Work {
            wish: Arc::clone(&wish),
            begin,
            keys: keys(shards, routing),
            server: Loopback::new(address, PATIENCE),
        };
        std::thread::Builder::new().name("cuts".to_owned()).spawn(move || work.run())?;
        Ok(Self { wish })
    }

    /// A replica is behind. Where no cut is `due`, because it lacks nothing but the last one, the next one has time. Told by shards, on every
    /// tick: costs a lock that nobody holds for long.
    pub(crate) fn want(&self, due: bool) {
        let mut state = self.wish.state();
        if !state.wanted && (due || state.last.is_none_or(|last| last.elapsed() >= AGAIN)) {
            state.wanted = true;
            self.wish.changed.notify_one();
        }
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.wish.state().over = true;
        self.wish.changed.notify_one();
    }
}

/// A key of every shard.
pub(crate) fn keys(shards: usize, routing: Routing) -> Vec<Vec<u8>> {
    let on = |shard| {
        let candidates = (0_u64..).map(|i| format!("elect:cut:{i}").into_bytes());
        candidates.into_iter().find(|key| kevy_rt::shard_of_key(key, shards, routing) == shard)
    };
    (0..shards).filter_map(on).collect()
}

struct Work<F> {
    wish: Arc<Wish>,
    begin: F,
    keys: Vec<Vec<u8>>,
    server: Loopback,
}

impl<F: Fn() -> Option<u64>> Work<F> {
    fn run(mut self) {
        while self.wish.next() {
            let Some(number) = (self.begin)() else { return };
            if let Err(error) = self.cut(number) {
                // The server may just be ending, or have no room for a client; the next tick asks again.
                log::debug!(target: "kevy_elect", "elect event=cut_failed error={error:?}");
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Cuts every stream, and waits until all have answered: the next cut must not overtake this one.
    fn cut(&mut self, number: u64) -> io::Result<()> {
        let number = number.to_string();
        let cuts: Vec<[&[u8]; 3]> = self.keys.iter().map(|key| [CUT, key, number.as_bytes()]).collect();
        self.server.ask(&cuts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_has_a_key() {
        for shards in [2, 3, 4, 7, 16] {
            for routing in [Routing::KevyHash, Routing::Slots] {
                let keys = keys(shards, routing);
                let owners: Vec<_> =
                    keys.iter().map(|key| kevy_rt::shard_of_key(key, shards, routing)).collect();
                assert_eq!(owners, (0..shards).collect::<Vec<_>>());
            }
        }
    }
}
