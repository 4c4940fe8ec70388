//! Acknowledgements belong to a reign, and so does who waits for them (S10 to S12).
//!
//! kevy parks a `WAIT` with an offset of its stream and answers it when enough names have acknowledged that offset, in
//! whatever stream that is by then. So when a reign ends, the connections of replicas end, and those of clients if one
//! of them may still wait: a client that is not answered does not take its write for confirmed.

use crate::connections::{self, Which};
use crate::sink::{Sink, Whose};
use kevy_config::Config;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// kevy parks no `WAIT` for longer, also not one without a timeout.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Where this node takes connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ports {
    clients: Vec<u16>,
    replicas: Vec<u16>,
    /// For clients on the same machine.
    path: Option<PathBuf>,
}

impl Ports {
    /// As `kevy` is configured.
    pub(crate) fn of(kevy: &Config, replication_port: u16, shards: usize) -> Self {
        let per_shard = |base: u16| (0..shards).filter_map(move |n| base.checked_add(u16::try_from(n).ok()?));
        let mut clients = vec![kevy.server.port];
        if kevy.cluster.enabled {
            let base = match kevy.cluster.port_base {
                0 => kevy.server.port.saturating_add(1),
                base => base,
            };
            clients.extend(per_shard(base));
        }
        let path = std::env::var_os("KEVY_UNIX_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from);
        Self { clients, replicas: per_shard(replication_port).collect(), path }
    }
}

/// Who may be counted, and until when somebody may wait for it.
pub(crate) struct Waits {
    setup: OnceLock<(Vec<String>, Ports)>,
    born: Instant,
    /// Until when a `WAIT` may be parked, in milliseconds since `born`.
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
    /// Makes known which nodes count, and where connections come in.
    pub(crate) fn set_up(&self, members: Vec<String>, ports: Ports) {
        // A second time would be a mistake of this crate; the first stays.
        drop(self.setup.set((members, ports)));
    }

    /// Whether acknowledgements of `node` count.
    pub(crate) fn is_member(&self, node: &str) -> bool {
        self.setup.get().is_some_and(|(members, _)| members.iter().any(|member| member == node))
    }

    /// A client waits for acknowledgements, for `timeout_ms` at most; zero: for as long as kevy lets it.
    pub(crate) fn park(&self, timeout_ms: u64) {
        let most = u64::try_from(WAIT_MAX.as_millis()).unwrap_or(u64::MAX);
        let timeout_ms = if timeout_ms == 0 { most } else { timeout_ms.min(most) };
        self.until_ms.fetch_max(self.now_ms().saturating_add(timeout_ms), Ordering::AcqRel);
    }

    /// A reign has ended: ends what belongs to it. Looks at every descriptor of the process. Clients go into `sink`: kevy may
    /// owe them an answer, and tries for ever to write one to a connection that is merely shut down.
    pub(crate) fn end_reign(&self, sink: Option<&Sink>) {
        let Some((_, ports)) = self.setup.get() else { return };
        let ended = connections::end(&Which::On { ports: &ports.replicas, path: None });
        if let Err(error) = ended {
            log::error!(
                "cannot end the streams of an office that has ended: {error}; WAIT answers 0 while they are there"
            );
        }
        if self.until_ms.swap(0, Ordering::AcqRel) <= self.now_ms() {
            return;
        }
        let swallowed = sink.map(|sink| sink.swallow(Whose::All));
        let ended = match swallowed {
            Some(Ok(ended)) => Ok(ended),
            // Where the system does not allow it, or clients come in over a path.
            _ => connections::end(&Which::On { ports: &ports.clients, path: ports.path.as_deref() }),
        };
        match ended {
            Ok(ended) => log::info!(
                "{ended} clients' connections ended: one may have waited for acknowledgements of an office that has ended"
            ),
            Err(error) => log::error!("cannot end the waits of an office that has ended: {error}"),
        }
    }

    /// Ends connections of replicas that must not be counted. Not on the thread that finds them.
    pub(crate) fn end_streams(&self, peers: Vec<SocketAddrV4>) {
        if peers.is_empty() || self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let ports = self.setup.get().map(|(_, ports)| ports.replicas.clone()).unwrap_or_default();
        let busy = Arc::clone(&self.busy);
        blocking::unblock(move || {
            log::warn!(
                "connections to the replication port end, from {peers:?}: of no node, or of an earlier time"
            );
            if let Err(error) = connections::end(&Which::From { ports: &ports, peers: &peers }) {
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
