//! One stream from the primary: a connection, a thread, and the lock that decides what still counts.
//!
//! kevy's own replica runners cannot withhold acknowledgements, take up to seconds to stop, and may follow
//! whatever comes back under the old address. This follower can be detached between two instructions.
//!
//! Invariants of [`State`], all under its lock: (1) once `open` is false no frame and no acknowledgement
//! passes any more, and it never becomes true again; (2) an acknowledged offset is at most `next`;
//! (3) everything below `next` is in the shard's inbox or applied; (4) nothing is acknowledged before the
//! whole node holds the primary's history, because until then its position does not say so.

use crate::shards::Shards;
use crate::tag::{Tag, position_offset};
use kevy_elect_plugin::ids::Epoch;
use kevy_replicate::feed::FeedPosition;
use kevy_replicate::replica::{ConnectOptions, ReplicaClient, ReplicaError, ReplicaEvent};
use kevy_rt::SnapshotGate;
use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Longest wait for a connection and for the answer to its first line.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// First and longest pause between two attempts.
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_millis(250);
/// Longest pause after a snapshot that was not loaded: each one costs its sender as much as a good one.
const RETRY_REFUSED_MAX: Duration = Duration::from_secs(2);
/// A primary says something every second; one that was silent for so long is connected to anew.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// While frames pour in, one acknowledgement covers those of so long.
const ACK_INTERVAL: Duration = Duration::from_millis(1);
/// Frames and bytes that may wait in a shard's inbox before the stream is read on. A promotion waits until
/// they are applied: at a million frames a second this many take 8 ms.
const INBOX_FRAMES_MAX: u64 = 8_192;
const INBOX_BYTES_MAX: usize = 64 << 20;

/// Where a stream comes from, and who follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) epoch: Epoch,
    pub(crate) host: String,
    /// The port of the first shard's stream.
    pub(crate) port: u16,
    /// This node's name and client port.
    pub(crate) node: String,
    pub(crate) client_port: u16,
}

/// How this node is called in kevy's table of replicas.
///
/// One name for a node's lifetime in one epoch, so that a connection that died unnoticed and its successor
/// count as one replica. Another name in another epoch or after a `FLUSHALL`, because kevy keeps the
/// highest offset that a name ever acknowledged, and a new stream starts at 0. kevy sums up the streams of
/// names that are equal before `#`, and takes what follows the last `-` for the client port.
fn replica_id(origin: &Origin, flushes: u64, shard: usize) -> String {
    format!("kevy-replica-{}.{}.{flushes}-{}#{shard}", origin.node, origin.epoch, origin.client_port)
}

/// After how many flushes a replica of this name began; `None` if it is no name of ours.
pub(crate) fn flushes_in_id(id: &str) -> Option<u64> {
    let (name, _) = id.strip_prefix("kevy-replica-")?.split_once('#')?;
    let (name, _) = name.rsplit_once('-')?;
    let mut numbers = name.rsplit('.');
    let flushes = numbers.next()?.parse().ok()?;
    numbers.next()?.parse::<u64>().ok()?;
    Some(flushes)
}

/// What the links of one fleet share.
pub(crate) trait Crew: Send + Sync + 'static {
    /// A link's snapshot has landed in its shard.
    fn landed(&self, shard: usize);
    /// Whether the node holds the primary's history.
    fn joined(&self) -> bool;
}

/// One stream.
pub(crate) struct Link {
    shard: usize,
    origin: Origin,
    shards: Arc<Shards>,
    crew: Weak<dyn Crew>,
    state: Mutex<State>,
    closed: Condvar,
}

/// See the head of this file.
#[derive(Debug)]
struct State {
    open: bool,
    socket: Option<TcpStream>,
    /// The stream's identity in kevy; 0: none of it is held yet.
    generation: u64,
    next: u64,
    flushes: u64,
    /// Whether `generation`, `next` and `flushes` say where to go on; else a snapshot is needed.
    held: bool,
    /// The number of flushes in this replica's name.
    named: u64,
    acked: Option<u64>,
    last_ack: Instant,
    last_heard: Instant,
    /// Why the last attempt failed.
    trouble: Option<String>,
}

/// How far a link came; enough to go on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reached {
    pub(crate) generation: u64,
    pub(crate) next: u64,
    pub(crate) flushes: u64,
    pub(crate) held: bool,
}

/// How a link is doing.
pub(crate) struct Look {
    pub(crate) reached: Reached,
    pub(crate) up: bool,
    /// For how long the primary has been silent.
    pub(crate) silence: Duration,
    /// Why the last attempt to connect failed.
    pub(crate) trouble: Option<String>,
}

impl Reached {
    pub(crate) fn position_offset(&self) -> u64 {
        position_offset(self.flushes, self.next)
    }
}

impl Link {
    pub(crate) fn new(
        shard: usize,
        origin: Origin,
        from: Reached,
        shards: Arc<Shards>,
        crew: Weak<dyn Crew>,
    ) -> Self {
        let now = Instant::now();
        let state = State {
            open: true,
            socket: None,
            generation: from.generation,
            next: from.next,
            flushes: from.flushes,
            held: from.held,
            named: from.flushes,
            acked: None,
            last_ack: now,
            last_heard: now,
            trouble: None,
        };
        Self { shard, origin, shards, crew, state: Mutex::new(state), closed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on nothing passes. Says how far the link came. Waits for nobody but the holder of the
    /// lock, who holds it for one send to a channel or one non-blocking write.
    pub(crate) fn close(&self) -> Reached {
        let mut state = self.state();
        state.open = false;
        if let Some(socket) = state.socket.take() {
            // It may have ended already.
            drop(socket.shutdown(Shutdown::Both));
        }
        self.closed.notify_all();
        reached(&state)
    }

    /// How the link is doing.
    pub(crate) fn look(&self) -> Look {
        let state = self.state();
        Look {
            reached: reached(&state),
            up: state.socket.is_some(),
            silence: state.last_heard.elapsed(),
            trouble: state.trouble.clone(),
        }
    }

    /// The shard could not load what it was sent: it is empty now and needs a snapshot.
    fn lost(&self) {
        let mut state = self.state();
        state.held = false;
        if let Some(socket) = &state.socket {
            drop(socket.shutdown(Shutdown::Both));
        }
    }

    fn joined(&self) -> bool {
        self.crew.upgrade().is_some_and(|crew| crew.joined())
    }

    /// Tells the election how far this shard is. Under the lock, so that nothing of this stream is told
    /// once the link is closed and the node may hold another history.
    fn report(&self, state: &State) {
        if state.open
            && state.held
            && self.joined()
            && let Some(office) = self.shards.office()
        {
            office.on_offset(self.shard, reached(state).position_offset());
        }
    }

    /// Tells the election and the primary how far this shard is, now that the node has joined.
    pub(crate) fn announce(&self) {
        self.report(&self.state());
        self.ack(true);
    }

    /// Tells the primary what is held, if the node holds the primary's history and there is news.
    pub(crate) fn ack(&self, repeat: bool) {
        if !self.joined() {
            return;
        }
        let mut state = self.state();
        if !state.open || !state.held || (state.acked == Some(state.next) && !repeat) {
            return;
        }
        let Some(socket) = &state.socket else { return };
        let line = kevy_replicate::wire::encode_replconf_ack(state.next);
        let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
        match rustix::net::send(socket, &line, flags) {
            Ok(sent) if sent == line.len() => {
                state.acked = Some(state.next);
                state.last_ack = Instant::now();
            }
            // The primary does not read: the next acknowledgement covers this one.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            // Half a line would make the next one unreadable; and a broken socket is of no use.
            Ok(_) | Err(_) => drop(socket.shutdown(Shutdown::Both)),
        }
    }

    /// The body of the link's thread: follows until closed.
    pub(crate) fn run(self: &Arc<Self>) {
        let mut pause = RETRY_MIN;
        loop {
            let end = self.session();
            let mut state = self.state();
            if !state.open {
                return;
            }
            let (trouble, pause_max) = match end {
                // The stream was good until it ended: the next one may be so at once.
                End::Over => (None, RETRY_MIN),
                End::Broken(reason) => (Some(reason), RETRY_MAX),
                End::Refused(reason) => (Some(reason), RETRY_REFUSED_MAX),
            };
            // Told once, not with every attempt.
            if let Some(reason) = trouble.as_ref().filter(|_| trouble != state.trouble) {
                let (host, port) = (&self.origin.host, self.port());
                eprintln!(
                    "kevy-server: shard {}: stream of {host}:{port}: {reason}; trying again",
                    self.shard
                );
            }
            state.trouble = trouble;
            drop(self.closed.wait_timeout_while(state, pause.min(pause_max), |state| state.open));
            pause = (pause * 2).min(pause_max);
        }
    }

    fn port(&self) -> u32 {
        u32::from(self.origin.port) + self.shard as u32
    }

    /// One connection, from dialling to its end.
    fn session(self: &Arc<Self>) -> End {
        let (mut client, socket) = match self.dial() {
            Ok(Some(dialled)) => dialled,
            Ok(None) => return End::Over,
            Err(reason) => return End::Broken(reason),
        };
        let mut session = Session {
            link: self,
            generation: client.primary_at_handshake().generation,
            snapshot: None,
            streaming: false,
            bytes: 0,
        };
        let end = session.follow(&mut client, &socket);
        self.state().socket = None;
        end.err().unwrap_or(End::Over)
    }

    /// A connection to the primary; `None`: closed meanwhile.
    fn dial(&self) -> Result<Option<(ReplicaClient, TcpStream)>, String> {
        let (from, named) = {
            let state = self.state();
            (reached(&state), state.named)
        };
        let port = u16::try_from(self.port()).map_err(|_| "the port is above 65535".to_owned())?;
        let resume =
            if from.held { FeedPosition::new(from.generation, from.next) } else { FeedPosition::new(0, 0) };
        let options = ConnectOptions::new(replica_id(&self.origin, named, self.shard))
            .with_from(resume)
            .with_timeout(CONNECT_TIMEOUT);
        let client = ReplicaClient::connect_with((self.origin.host.as_str(), port), &options)
            .map_err(|e| e.to_string())?;
        let socket = client.socket_handle().map_err(|error| error.to_string())?;
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        let for_others = socket.try_clone().map_err(|error| error.to_string())?;
        let mut state = self.state();
        if !state.open {
            return Ok(None);
        }
        state.socket = Some(for_others);
        state.last_heard = Instant::now();
        state.acked = None;
        Ok(Some((client, socket)))
    }
}

/// How a connection ended.
enum End {
    /// In order, or because the link was closed.
    Over,
    /// It could not be made, or broke.
    Broken(String),
    /// What came must not be loaded.
    Refused(String),
}

fn broken(reason: impl Into<String>) -> End {
    End::Broken(reason.into())
}

fn reached(state: &State) -> Reached {
    Reached { generation: state.generation, next: state.next, flushes: state.flushes, held: state.held }
}

/// One connection's reading half.
struct Session<'a> {
    link: &'a Arc<Link>,
    /// The stream that the primary said it serves.
    generation: u64,
    /// The snapshot that is coming in.
    snapshot: Option<(Vec<u8>, Loading)>,
    /// Whether frames of this connection are ones to apply.
    streaming: bool,
    /// Bytes of frames since the inbox was last seen empty.
    bytes: usize,
}

impl Session<'_> {
    fn follow(&mut self, client: &mut ReplicaClient, socket: &TcpStream) -> Result<(), End> {
        let state = reached(&self.link.state());
        // The primary takes this position for its own and sends what comes after it, or a snapshot.
        self.streaming = state.held && state.generation == self.generation;
        let timeout = |short: bool| {
            let wait = if short { ACK_INTERVAL } else { SILENCE_MAX };
            socket.set_read_timeout(Some(wait)).map_err(|error| broken(error.to_string()))
        };
        let mut short = false;
        timeout(short)?;
        if self.streaming {
            self.link.ack(true);
        }
        while let Some(event) = client.next_event() {
            let mut owes_ack = false;
            match event {
                Ok(event) => owes_ack = self.take(event)?,
                Err(ReplicaError::Io(error))
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if !short {
                        return Err(broken(format!("silent for {} s", SILENCE_MAX.as_secs())));
                    }
                    self.link.ack(false);
                }
                Err(_) if !self.link.state().open => return Ok(()),
                Err(error) => return Err(broken(error.to_string())),
            }
            if owes_ack != short {
                short = owes_ack;
                timeout(short)?;
            }
        }
        Ok(())
    }

    /// Takes one event. Says whether an acknowledgement is still owed.
    fn take(&mut self, event: ReplicaEvent) -> Result<bool, End> {
        match event {
            ReplicaEvent::SnapshotBegin if self.streaming => {
                // FLUSHALL, most likely: then this node must follow the new stream under another name.
                let mut state = self.link.state();
                state.held = false;
                state.named = state.flushes.saturating_add(1);
                return Err(End::Over);
            }
            ReplicaEvent::SnapshotBegin => {
                self.snapshot = Some((Vec::new(), Loading::new(Arc::clone(&self.link.shards))));
            }
            ReplicaEvent::SnapshotChunk(bytes) => {
                let (snapshot, _) =
                    self.snapshot.as_mut().ok_or_else(|| broken("a part of a snapshot that never began"))?;
                snapshot.extend_from_slice(&bytes);
            }
            ReplicaEvent::SnapshotEnd { ack_offset } => {
                let (bytes, loading) =
                    self.snapshot.take().ok_or_else(|| broken("the end of a snapshot that never began"))?;
                self.take_snapshot(bytes, ack_offset, loading)?;
            }
            ReplicaEvent::Frame(frame) if self.streaming => {
                self.wait_for_room();
                let size = frame.argv.iter().map(<[u8]>::len).sum::<usize>();
                self.bytes += size;
                let mut state = self.link.state();
                if !state.open {
                    return Err(End::Over);
                }
                if !self.link.shards.send_frame(self.link.shard, frame.offset, frame.argv) {
                    return Err(broken("this server has stopped"));
                }
                let now = Instant::now();
                state.next = frame.offset.saturating_add(1);
                state.last_heard = now;
                let due = now.duration_since(state.last_ack) >= ACK_INTERVAL;
                self.link.report(&state);
                drop(state);
                if due {
                    self.link.ack(false);
                }
                return Ok(!due);
            }
            ReplicaEvent::Frame(_) => return Err(broken("a frame before the snapshot that it belongs to")),
            ReplicaEvent::Ping(tail) => {
                self.link.state().last_heard = Instant::now();
                if tail.generation != 0 && tail.generation != self.generation {
                    return Err(End::Over);
                }
                self.link.ack(true);
            }
            _ => {}
        }
        self.link.state().last_heard = Instant::now();
        Ok(false)
    }

    fn take_snapshot(&mut self, bytes: Vec<u8>, next: u64, loading: Loading) -> Result<(), End> {
        let link = self.link;
        let tag =
            Tag::of_snapshot(&bytes).map_err(|error| End::Refused(format!("a damaged snapshot: {error}")))?;
        let tag = tag.ok_or_else(|| {
            End::Refused("the server there takes no part in elections; its data is not loaded".to_owned())
        })?;
        if tag.epoch != link.origin.epoch {
            return Err(End::Refused(format!(
                "the server there is not (or not yet) the primary of epoch {}, its data is of epoch {} and is not loaded",
                link.origin.epoch, tag.epoch
            )));
        }
        if tag.shards != link.shards.count() {
            return Err(End::Refused(format!(
                "the primary has {} shards and this node has {}; set [server] threads to the same number on all nodes",
                tag.shards,
                link.shards.count()
            )));
        }
        let mut state = link.state();
        if !state.open {
            return Err(End::Over);
        }
        let renamed = state.named != tag.flushes;
        let landed = Landed { link: Arc::clone(link), loads: link.shards.loads(link.shard), loading };
        if !link.shards.send_snapshot(link.shard, bytes, next, SnapshotGate::new(Arc::new(landed))) {
            return Err(broken("this server has stopped"));
        }
        (state.generation, state.next, state.flushes) = (self.generation, next, tag.flushes);
        (state.held, state.named) = (true, tag.flushes);
        self.streaming = true;
        self.link.report(&state);
        if renamed {
            // Acknowledgements under this name could be taken for ones of a stream before a FLUSHALL.
            return Err(End::Over);
        }
        Ok(())
    }

    /// Reads no further while the shard is far behind.
    fn wait_for_room(&mut self) {
        const LOOK_INTERVAL: Duration = Duration::from_micros(500);
        let link = self.link;
        let outstanding = link.shards.outstanding(link.shard);
        if outstanding == 0 {
            self.bytes = 0;
        }
        if outstanding < INBOX_FRAMES_MAX && self.bytes < INBOX_BYTES_MAX {
            return;
        }
        while link.state().open && link.shards.outstanding(link.shard) > 0 {
            std::thread::sleep(LOOK_INTERVAL);
        }
        self.bytes = 0;
    }
}

/// Reads answer `-LOADING` while one of these lives.
struct Loading(Arc<Shards>);

impl Loading {
    fn new(shards: Arc<Shards>) -> Self {
        shards.loading().fetch_add(1, Ordering::AcqRel);
        Self(shards)
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.0.loading().fetch_sub(1, Ordering::AcqRel);
    }
}

/// Dropped by kevy once the shard has done what it could with a snapshot.
struct Landed {
    link: Arc<Link>,
    /// How many snapshots the shard had loaded before.
    loads: u64,
    #[allow(dead_code, reason = "its drop is what matters")]
    loading: Loading,
}

impl Drop for Landed {
    fn drop(&mut self) {
        let shard = self.link.shard;
        if self.link.shards.loads(shard) == self.loads {
            // Thrown away at shutdown, or refused by kevy although it was whole.
            self.link.lost();
            return;
        }
        if let Some(crew) = self.link.crew.upgrade() {
            crew.landed(shard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { epoch: Epoch(5), host: "h".into(), port: 1, node: "db-1.example".into(), client_port: 6004 }
    }

    #[test]
    fn kevy_finds_port_and_process_in_a_replicas_name_and_we_the_flushes() {
        let id = replica_id(&origin(), 3, 1);
        assert_eq!(id, "kevy-replica-db-1.example.5.3-6004#1");
        let process = id.split('#').next().unwrap();
        assert_eq!(process.rsplit('-').next(), Some("6004"), "what kevy takes for the client port");
        assert_eq!(flushes_in_id(&id), Some(3));
        assert_eq!(flushes_in_id("kevy-replica-6004#1"), None, "kevy's own");
        assert_eq!(flushes_in_id("someone"), None);
    }
}
