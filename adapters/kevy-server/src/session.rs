//! One connection of a stream: reads what the primary sends, and decides what of it may be applied.

use crate::cuts::{self, Place};
use crate::link::{Link, reached};
use crate::marks;
use crate::shards::Shards;
use crate::tag::Tag;
use crate::witness;
use kevy_replicate::replica::{ReplicaClient, ReplicaError, ReplicaEvent};
use kevy_rt::SnapshotGate;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A primary says something every second; one that was silent for so long is connected to anew.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// But it is silent while it prepares a snapshot, for as long as the data takes.
const SNAPSHOT_SILENCE_MAX: Duration = Duration::from_secs(120);
/// While frames pour in, one acknowledgement covers those of so long. The first after a pause goes out at once. Every
/// millisecond, two replicas took a twentieth of a busy primary's processor time.
const ACK_INTERVAL: Duration = Duration::from_millis(4);
/// Frames and bytes that may wait in a shard's inbox before the stream is read on. A promotion waits until
/// they are applied: at a million frames a second this many take 8 ms.
const INBOX_FRAMES_MAX: u64 = 8_192;
const INBOX_BYTES_MAX: usize = 64 << 20;

/// How a connection ended.
pub(crate) enum End {
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

/// One connection's reading half.
pub(crate) struct Session<'a> {
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

impl<'a> Session<'a> {
    pub(crate) fn new(link: &'a Arc<Link>, client: &ReplicaClient) -> Self {
        let generation = client.primary_at_handshake().generation;
        Self { link, generation, snapshot: None, streaming: false, bytes: 0 }
    }

    pub(crate) fn follow(&mut self, client: &mut ReplicaClient, socket: &TcpStream) -> Result<(), End> {
        let state = reached(&self.link.state());
        // The primary takes this position for its own and sends what comes after it, or a snapshot.
        self.streaming = state.held && state.generation == self.generation;
        let mut patience = self.patience(false);
        let set =
            |patience| socket.set_read_timeout(Some(patience)).map_err(|error| broken(error.to_string()));
        set(patience)?;
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
                    if patience != ACK_INTERVAL {
                        return Err(broken(format!("silent for {} s", patience.as_secs())));
                    }
                    self.link.ack(false);
                }
                Err(_) if !self.link.state().open => return Ok(()),
                Err(error) => return Err(broken(error.to_string())),
            }
            let now = self.patience(owes_ack);
            if now != patience {
                patience = now;
                set(patience)?;
            }
        }
        Ok(())
    }

    /// How long to wait for the next event.
    fn patience(&self, owes_ack: bool) -> Duration {
        match (owes_ack, self.streaming) {
            (true, _) => ACK_INTERVAL,
            (false, true) => SILENCE_MAX,
            (false, false) => SNAPSHOT_SILENCE_MAX,
        }
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
                let cut = (self.link.shards.count() > 1).then(|| cuts::number(&frame.argv)).flatten();
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
                let place = Place { flushes: state.flushes, next: state.next };
                drop(state);
                if let (Some(number), Some(crew)) = (cut, self.link.crew.upgrade()) {
                    crew.cut(self.link.shard, number, place);
                }
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
        let at = marks::Place { epoch: tag.epoch, flushes: tag.flushes, offset: next };
        if !witness::announce(link, at) {
            return Err(End::Over);
        }
        if let Some(crew) = link.crew.upgrade() {
            crew.restarted(link.shard);
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
        state.synced = None;
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
            self.link.shards.note_lost(shard);
            self.link.lost("a snapshot was not loaded");
            return;
        }
        witness::landed(&self.link);
    }
}
