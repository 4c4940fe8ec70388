//! Acknowledgements belong to a reign, and so does who waits for them (S10 to S12).
//!
//! kevy parks a `WAIT` with an offset of its stream and answers it when enough names have acknowledged that offset, in
//! whatever stream that is by then; a replica's `REPL.WAIT` in the same way. So when the office or the stream is lost, the
//! connections of all clients end if one of them may wait: which one does, kevy tells nobody. A client that is not answered
//! does not take its write for confirmed. Before the same process reigns again the connections of replicas end too.

use crate::confirm::connections::{Doors, Whose};
use crate::confirm::sink::Sink;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// kevy parks nobody for longer, also not one who names no timeout.
const WAIT_MAX: Duration = Duration::from_secs(60);

struct Setup {
    members: Vec<String>,
    streams: Doors,
    clients: Sink,
}

/// Who may be counted, and until when somebody may wait for it.
pub(crate) struct Waits {
    setup: OnceLock<Setup>,
    born: Instant,
    /// Until when somebody may be parked, in milliseconds since `born`.
    until_ms: AtomicU64,
    /// Whether connections are being ended.
    busy: Arc<AtomicBool>,
}

impl Default for Waits {
    fn default() -> Self {
        let (until_ms, busy) = (AtomicU64::default(), Arc::default());
        Self { setup: OnceLock::new(), born: Instant::now(), until_ms, busy }
    }
}

impl Waits {
    /// Makes known which nodes count, where their streams begin, and how clients are got rid of.
    pub(crate) fn set_up(&self, members: Vec<String>, streams: Doors, clients: Sink) {
        // A second time would be a mistake of this crate; the first stays.
        drop(self.setup.set(Setup { members, streams, clients }));
    }

    /// Whether acknowledgements of `node` count.
    pub(crate) fn is_member(&self, node: &str) -> bool {
        self.setup.get().is_some_and(|setup| setup.members.iter().any(|member| member == node))
    }

    /// How clients are got rid of.
    pub(crate) fn clients(&self) -> Option<&Sink> {
        self.setup.get().map(|setup| &setup.clients)
    }

    /// A client waits, for `timeout_ms` at most; zero: for as long as kevy lets it.
    pub(crate) fn park(&self, timeout_ms: u64) {
        let most = u64::try_from(WAIT_MAX.as_millis()).unwrap_or(u64::MAX);
        let timeout_ms = if timeout_ms == 0 { most } else { timeout_ms.min(most) };
        self.until_ms.fetch_max(self.now_ms().saturating_add(timeout_ms), Ordering::AcqRel);
    }

    /// Whether somebody may wait.
    pub(crate) fn may_wait(&self) -> bool {
        self.until_ms.load(Ordering::Acquire) > self.now_ms()
    }

    /// What clients wait for will not come any more: ends their connections. Looks at every descriptor of the process.
    pub(crate) fn end(&self) {
        if self.may_wait() {
            self.end_clients(
                "one may have waited for what an office, or a stream, that is over was to bring",
            );
        }
    }

    /// Ends the connections of all clients, as Redis does: who stays with a node that lost the office, blocked or subscribed, would
    /// never hear of the next one.
    pub(crate) fn end_clients(&self, why: &str) {
        let Some(clients) = self.clients() else { return };
        self.until_ms.store(0, Ordering::Release);
        match clients.swallow_or_end() {
            Ok(ended) => log::info!("{ended} clients' connections ended: {why}"),
            Err(error) => log::error!("cannot end clients' connections ({why}): {error}"),
        }
    }

    /// Ends what belongs to an earlier reign of this process: its waits, and the connections of its replicas.
    pub(crate) fn end_reign(&self) {
        self.end_all_streams();
        self.end();
    }

    /// Ends the connections of all replicas.
    pub(crate) fn end_all_streams(&self) {
        let Some(setup) = self.setup.get() else { return };
        if let Err(error) = setup.streams.end(Whose::All) {
            log::error!(
                "cannot end the streams of an office that has ended: {error}; WAIT answers 0 while they are there"
            );
        }
    }

    /// Ends connections of replicas that must not be counted. Not on the thread that finds them.
    pub(crate) fn end_streams(&self, peers: Vec<SocketAddrV4>) {
        if peers.is_empty() || self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let streams = self.setup.get().map(|setup| setup.streams.clone()).unwrap_or_default();
        let busy = Arc::clone(&self.busy);
        blocking::unblock(move || {
            log::warn!(
                "connections to the replication port end, from {peers:?}: of no node, or of an earlier time"
            );
            if let Err(error) = streams.end(Whose::Of(&peers)) {
                log::error!("cannot end them: {error}; WAIT answers 0 while they are there");
            }
            busy.store(false, Ordering::Release);
        })
        .detach();
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
