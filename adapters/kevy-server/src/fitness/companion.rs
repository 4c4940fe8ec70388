//! This server's companion, which says that this process is dead before the kernel has taken its memory apart
//! (`docs/protocol.md`, B1 to B8).
//!
//! Who holds a lock: every shard, because only shards answer clients; the thread that runs the server, which lives
//! as long as the process, so that shards that end alone are no death; and the thread of the election, so that nothing is linked
//! anew between the end of the links and that of the thread.

use async_io::{Async, Timer};
use event_listener::{Event, listener};
use kevy_elect_ops::inline::Inline;
use kevy_elect_plugin::transport::tcp::SocketWatch;
use kevy_elect_watchdog::companion::{Companion, Lives, News, Program};
use std::collections::BTreeMap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The pause before another companion is started; doubles up to the second.
const RESTART_FIRST: Duration = Duration::from_millis(100);
const RESTART_MAX: Duration = Duration::from_secs(60);
/// One that lived so long was well, and the pause begins anew.
const STABLE: Duration = Duration::from_secs(60);

/// The process's. Its locks are for ever, as its threads are its own.
static SUPERVISOR: OnceLock<Arc<Supervisor>> = OnceLock::new();

/// Sees to it that there is a companion, and that it has the sockets.
pub(crate) struct Supervisor {
    lives: Lives,
    preferred: bool,
    /// A lock got its thread.
    held: Event,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Duplicates of what the transport has open, for the next companion.
    sockets: BTreeMap<u64, OwnedFd>,
    next: u64,
    companion: Option<Companion>,
}

/// Begins, on the thread that runs the server. The first companion is started when all shards have begun.
/// `preferred`: companions run before all ordinary threads, as the election's does.
pub(crate) fn begin(
    program: &Program,
    shards: usize,
    preferred: bool,
    inline: Inline,
) -> io::Result<Arc<dyn SocketWatch>> {
    let (main, election) = (shards, shards + 1);
    let lives = Lives::new(shards + 2)?;
    lives.hold(main)?;
    metrics::describe_gauge!("kevy_server_companion", "1 while a companion process stands by.");
    metrics::describe_counter!(
        "kevy_server_companion_ends_total",
        "Companion processes that ended before the server."
    );
    metrics::gauge!("kevy_server_companion").set(0.0);
    metrics::counter!("kevy_server_companion_ends_total").increment(0);
    let supervisor = Arc::new(Supervisor { lives, preferred, held: Event::new(), state: Mutex::default() });
    if SUPERVISOR.set(Arc::clone(&supervisor)).is_err() {
        return Err(io::Error::other("this process has one already"));
    }
    let (sitting, program) = (Arc::clone(&supervisor), program.clone());
    inline.spawn(async move {
        sitting.hold(election);
        sitting.sit(program).await;
    });
    Ok(Arc::new(Watch(supervisor)))
}

/// The calling thread is that of `shard`, and is about to answer clients.
pub(crate) fn shard_begins(shard: usize) {
    if let Some(supervisor) = SUPERVISOR.get() {
        supervisor.hold(shard);
    }
}

impl Supervisor {
    fn hold(&self, thread: usize) {
        match self.lives.hold(thread) {
            Ok(()) => drop(self.held.notify(usize::MAX)),
            Err(error) => complain(&format!("no lock for thread {thread}: {error}")),
        }
    }

    async fn sit(self: Arc<Self>, program: Program) {
        while !self.lives.are_held() {
            listener!(self.held => listener);
            if self.lives.are_held() {
                break;
            }
            listener.await;
        }
        let (mut pause, mut failed) = (RESTART_FIRST, false);
        loop {
            let began = Instant::now();
            match self.one(program.clone()).await {
                Ok(status) => {
                    failed = false;
                    metrics::counter!("kevy_server_companion_ends_total").increment(1);
                    log::warn!(
                        target: "kevy_elect",
                        "elect event=companion_ended status=\"{status}\" why=\"another one is started; this server is well\""
                    );
                }
                Err(error) if !failed => {
                    failed = true;
                    complain(&error.to_string());
                }
                Err(_) => {}
            }
            if began.elapsed() >= STABLE {
                pause = RESTART_FIRST;
            }
            Timer::after(pause).await;
            pause = (2 * pause).min(RESTART_MAX);
        }
    }

    /// Starts one and waits for its end.
    async fn one(&self, program: Program) -> io::Result<ExitStatus> {
        let (lives, preferred) = (self.lives.clone(), self.preferred);
        let companion = blocking::unblock(move || Companion::start(&program, &lives, preferred)).await?;
        let socket = Async::new(companion.socket().try_clone_to_owned()?)?;
        self.install(companion);
        loop {
            match self.hear() {
                News::Gone => break,
                News::Nothing => {
                    if socket.readable().await.is_err() {
                        break;
                    }
                }
                News::Ready => {
                    metrics::gauge!("kevy_server_companion").set(1.0);
                    log::info!("a companion process stands by");
                }
            }
        }
        metrics::gauge!("kevy_server_companion").set(0.0);
        let companion = self.state().companion.take();
        match companion {
            Some(companion) => blocking::unblock(move || companion.end()).await,
            None => Err(io::Error::other("the companion is not there")),
        }
    }

    /// Gives it all that there is.
    fn install(&self, mut companion: Companion) {
        let mut state = self.state();
        if state.sockets.iter().any(|(key, socket)| companion.hand_over(*key, socket).is_err()) {
            // Its end is noticed.
            drop(companion.kill());
        }
        state.companion = Some(companion);
    }

    fn hear(&self) -> News {
        self.state().companion.as_ref().map_or(News::Gone, Companion::hear)
    }

    /// Keeps a duplicate, here and in the companion, until what is returned is dropped.
    fn keep(self: &Arc<Self>, socket: impl AsFd) -> Box<dyn Send> {
        // Without one, this socket ends when the kernel comes to it.
        let Ok(socket) = socket.as_fd().try_clone_to_owned() else { return Box::new(()) };
        let mut state = self.state();
        let key = state.next;
        state.next += 1;
        state.tell(|companion| companion.hand_over(key, &socket));
        state.sockets.insert(key, socket);
        drop(state);
        Box::new(Kept { supervisor: Arc::clone(self), key })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// One that does not listen is no use. Its end is noticed, and another one follows.
    fn tell(&mut self, tell: impl FnOnce(&Companion) -> io::Result<()>) {
        if let Some(companion) = &mut self.companion
            && tell(companion).is_err()
        {
            drop(companion.kill());
        }
    }
}

/// Everything works without one; a crash is only seen later.
pub(crate) fn complain(what: &str) {
    log::warn!(
        target: "kevy_elect",
        "elect event=no_companion error={what:?} why=\"a crash of this server is seen when the kernel has taken its memory \
         apart\""
    );
}

/// What the transport tells.
struct Watch(Arc<Supervisor>);

impl SocketWatch for Watch {
    fn listening(&self, socket: &TcpListener) -> Box<dyn Send> {
        self.0.keep(socket)
    }

    fn linked(&self, socket: &TcpStream) -> Box<dyn Send> {
        self.0.keep(socket)
    }
}

/// A socket that the transport has open.
struct Kept {
    supervisor: Arc<Supervisor>,
    key: u64,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut state = self.supervisor.state();
        state.sockets.remove(&self.key);
        state.tell(|companion| companion.take_back(self.key));
    }
}
