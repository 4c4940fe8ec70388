//! Acknowledgements belong to a reign, and so does who waits for them (S10 to S12).
//!
//! kevy parks a `WAIT` with an offset of its stream and answers it when enough names have acknowledged that offset, in
//! whatever stream that is by then; a replica's `REPL.WAIT` in the same way. So when the office or the stream is lost, the
//! connections of all clients end if one of them may wait: which one does, kevy tells nobody. A client that is not answered
//! does not take its write for confirmed. Before the same process reigns again the connections of replicas end too.

use crate::confirm::connections::{Listeners, Whose};
use crate::confirm::names::{Name, Row, Why};
use crate::confirm::proof::Proofs;
use crate::confirm::silent::Silent;
use crate::confirm::sink::Sink;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

/// kevy parks nobody for longer, also not one who names no timeout.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Between two lines of the log that say which connections were ended: strangers come as often as they like.
const SAID_INTERVAL: Duration = Duration::from_secs(1);

struct Setup {
    members: RwLock<Members>,
    streams: Listeners,
    clients: Sink,
}

/// Whose connections are known.
struct Members {
    names: Vec<String>,
    /// Where nodes have keys.
    proofs: Option<Proofs>,
}

impl Setup {
    fn members(&self) -> RwLockReadGuard<'_, Members> {
        self.members.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who may be counted, and until when somebody may wait for it.
pub(crate) struct Waits {
    setup: OnceLock<Setup>,
    born: Instant,
    /// Until when somebody may be parked, in milliseconds since `born`.
    until_ms: AtomicU64,
    /// Whether connections are being ended.
    busy: Arc<AtomicBool>,
    /// Whose connections to each shard's stream have said what they want.
    connected: Mutex<BTreeMap<usize, Vec<SocketAddrV4>>>,
    /// When refused connections were last told of, and how many have not been told of since.
    told: Mutex<(Option<Instant>, usize)>,
}

impl Default for Waits {
    fn default() -> Self {
        let (until_ms, busy) = (AtomicU64::default(), Arc::default());
        let (connected, told) = (Mutex::default(), Mutex::default());
        Self { setup: OnceLock::new(), born: Instant::now(), until_ms, busy, connected, told }
    }
}

impl Waits {
    /// Makes known which nodes count, how they prove who they are, where their streams begin, and how clients are got rid of.
    pub(crate) fn set_up(
        &self,
        members: Vec<String>,
        proofs: Option<Proofs>,
        streams: Listeners,
        clients: Sink,
    ) {
        metrics::describe_counter!(
            "kevy_server_streams_refused_total",
            "Connections to the ports of the streams that were ended, by reason."
        );
        for why in Why::ALL {
            metrics::counter!("kevy_server_streams_refused_total", "reason" => why.as_str()).increment(0);
        }
        // A second time would be a mistake of this crate; the first stays.
        let members = RwLock::new(Members { names: members, proofs });
        drop(self.setup.set(Setup { members, streams, clients }));
    }

    /// One more member; all prove who they are by `proofs` from here on.
    pub(crate) fn meet(&self, node: &str, proofs: Option<Proofs>) {
        let Some(setup) = self.setup.get() else { return };
        let mut members = setup.members.write().unwrap_or_else(PoisonError::into_inner);
        members.names.push(node.to_owned());
        members.proofs = proofs;
    }

    /// Whether a connection of this name is one of the member that it names: by its proof, where there are keys.
    pub(crate) fn knows(&self, node: &Name, name: &str) -> bool {
        let Some(setup) = self.setup.get() else { return false };
        let members = setup.members();
        members.names.contains(&node.node)
            && members.proofs.as_ref().is_none_or(|proofs| proofs.prove(&node.node, name))
    }

    /// The connections to a shard's stream that have said what they want.
    pub(crate) fn note_connected(&self, shard: usize, rows: &[Row]) {
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        let known = connected.entry(shard).or_default();
        let same = known.len() == rows.len() && known.iter().zip(rows).all(|(known, row)| *known == row.peer);
        if !same {
            known.clear();
            known.extend(rows.iter().map(|row| row.peer));
        }
    }

    /// Ends connections to the streams that do not say what they want; says whether more of them are to be expected at once.
    pub(crate) fn end_silent(&self, silent: &mut Silent, now: Instant) -> bool {
        let Some(setup) = self.setup.get() else { return false };
        let connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known = |peer: &SocketAddrV4| connected.values().flatten().any(|known| known == peer);
        let ended = silent.look(&setup.streams, known, now);
        self.tell(&ended.iter().map(|peer| (*peer, Why::Silent)).collect::<Vec<_>>());
        !ended.is_empty()
    }

    /// Counts them, and says so once in a while.
    fn tell(&self, ended: &[(SocketAddrV4, Why)]) {
        for (_, why) in ended {
            metrics::counter!("kevy_server_streams_refused_total", "reason" => why.as_str()).increment(1);
        }
        let Some((peer, why)) = ended.first() else { return };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, more) = &mut *told;
        *more += ended.len();
        if last.is_some_and(|last| last.elapsed() < SAID_INTERVAL) {
            return;
        }
        let count = std::mem::take(more);
        *last = Some(Instant::now());
        log::warn!(
            target: "kevy_elect",
            "elect event=replica_refused reason={} peer={peer} count={count} why=\"connections to the ports of the streams that \
             belong to no member, or not to the one that they name, or to an earlier time, are ended\"",
            why.as_str(),
        );
    }

    /// Whether acknowledgements of `node` count.
    pub(crate) fn is_member(&self, node: &str) -> bool {
        self.setup.get().is_some_and(|setup| setup.members().names.iter().any(|member| member == node))
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
    pub(crate) fn end_streams(&self, ended: Vec<(SocketAddrV4, Why)>) {
        if ended.is_empty() || self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        self.tell(&ended);
        let peers: Vec<SocketAddrV4> = ended.into_iter().map(|(peer, _)| peer).collect();
        let streams = self.setup.get().map(|setup| setup.streams.clone()).unwrap_or_default();
        let busy = Arc::clone(&self.busy);
        blocking::unblock(move || {
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
