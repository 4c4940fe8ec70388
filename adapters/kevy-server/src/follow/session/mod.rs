//! One connection of a stream: reads what the primary sends, and decides what of it may be applied.

mod copy;
mod fetch;

use crate::follow::catch_up::CatchUp;
use crate::follow::link::{Arriving, End, Link, News, broken, reached};
use crate::follow::trail::Trail;
use crate::position::cuts::{self, Place};
use crate::position::marks;
use crate::shards::inbox::Loading;
use kevy_replicate::replica::{ReplicaClient, ReplicaError, ReplicaEvent};
use kevy_rt::Argv;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_tcp_quickack;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A stream that is so many bytes behind does not come up by itself: kevy gives it 256 KiB in a turn of its shard, and clients may write
/// more. What is on its way is not more than this.
const BEHIND_BYTES: u64 = 8 << 20;
/// Nor more than this part of what the primary keeps: it says only once a second how far it is.
const BEHIND_PART: u64 = 8;
/// A primary says something every second; one that was silent for so long is connected to anew.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// But it is silent while it prepares a snapshot, for as long as the data takes.
const SNAPSHOT_SILENCE_MAX: Duration = Duration::from_secs(120);
/// While frames pour in, one acknowledgement covers those of so long. Every millisecond, two replicas took a twentieth of a
/// busy primary's processor time.
const ACK_INTERVAL: Duration = Duration::from_millis(4);
/// When nothing more has come for so long, what came is acknowledged at once: somebody may wait for it. A busy primary sends
/// more within that time, and is left alone.
const QUIET: Duration = Duration::from_micros(100);
/// But not before so long after the acknowledgement before: many clients that write one by one cost no more than this.
const ACK_PAUSE: Duration = Duration::from_micros(250);
/// Between two times that the kernel is asked not to wait with what it confirms.
const HASTE_INTERVAL: Duration = Duration::from_micros(200);
/// For how long after its beginning a stream of one shard may need that.
const HASTE_MAX: Duration = Duration::from_secs(1);
/// Between two looks for frames that the stream does not bring.
const CATCH_UP_INTERVAL: Duration = Duration::from_millis(5);
/// Frames and bytes that may wait in a shard's inbox before the stream is read on. A promotion waits until
/// they are applied: this many take 2 ms where nothing is stored yet, and 6 in a table of some gigabytes, each of whose places is far away.
pub(crate) const INBOX_FRAMES_MAX: u64 = 2_048;
const INBOX_BYTES_MAX: usize = 64 << 20;

/// Between two times that it is said how much of a copy has come.
const SAID_INTERVAL: Duration = Duration::from_secs(3);

/// One connection's reading half.
pub(crate) struct Session<'a> {
    pub(crate) link: &'a Arc<Link>,
    /// The stream that the primary said it serves.
    pub(crate) generation: u64,
    /// The snapshot that is coming in.
    snapshot: Option<(Vec<u8>, Loading)>,
    /// Whether frames of this connection are ones to apply.
    streaming: bool,
    /// Bytes of frames since the inbox was last seen empty.
    bytes: usize,
    /// How large a frame is here, about.
    frame_bytes: u64,
    /// What fetches frames that the stream does not bring, while it does not.
    catch_up: Option<CatchUp>,
    /// When this began, and when the kernel was last asked not to wait.
    begun: Instant,
    hastened: Option<Instant>,
    /// What was written while a copy came.
    pub(crate) trail: Option<Trail>,
}

impl<'a> Session<'a> {
    /// For the stream `generation`, as the primary said.
    pub(crate) fn new(link: &'a Arc<Link>, generation: u64, trail: Option<Trail>) -> Self {
        let trail = trail.filter(|trail| trail.generation == generation);
        Self {
            link,
            generation,
            snapshot: None,
            streaming: false,
            bytes: 0,
            frame_bytes: 0,
            catch_up: None,
            begun: Instant::now(),
            hastened: None,
            trail,
        }
    }

    pub(crate) fn follow(&mut self, client: &mut ReplicaClient, socket: &TcpStream) -> Result<(), End> {
        let state = reached(&self.link.state());
        // The primary takes this position for its own and sends what comes after it, or a snapshot.
        self.streaming = state.held && state.generation == self.generation;
        // What has come is read to its end; for more it is waited in `rest`.
        socket.set_nonblocking(true).map_err(|error| broken(error.to_string()))?;
        if self.streaming {
            self.link.ack(true);
            self.take_trail_of_copy()?;
        }
        let proves = self.link.origin.credentials.proves();
        self.hasten(socket);
        while let Some(event) = client.next_event() {
            match event {
                Ok(event) => {
                    self.take(event)?;
                    self.hasten(socket);
                }
                Err(ReplicaError::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    self.rest(client, socket)?;
                }
                Err(_) if !self.link.state().open => return Ok(()),
                Err(error) => return Err(broken(error.to_string())),
            }
            if proves {
                self.link.say_due(client)?;
            }
        }
        Ok(())
    }

    /// kevy's socket holds back what it has until the kernel here has confirmed what came before, which it does after 40 ms where
    /// nothing is sent: it is asked not to wait. With one shard that is needed while nothing of a new stream is acknowledged yet,
    /// and with several all the time, for a frame is not acknowledged before the cut behind it.
    fn hasten(&mut self, socket: &TcpStream) {
        let answers = self.link.shards.count() == 1 && self.begun.elapsed() > HASTE_MAX;
        if answers || self.hastened.is_some_and(|last| last.elapsed() < HASTE_INTERVAL) {
            return;
        }
        self.hastened = Some(Instant::now());
        // Only a matter of time.
        let _ = set_tcp_quickack(socket, true);
    }

    /// All that came is read. Acknowledges it if nothing more follows at once, waits for more, and fetches what the stream
    /// does not bring.
    fn rest(&mut self, client: &mut ReplicaClient, socket: &TcpStream) -> Result<(), End> {
        let acked = if self.streaming { self.link.owes() } else { None };
        if let Some(acked) = acked {
            self.hasten(socket);
            let mut more = [PollFd::new(socket, PollFlags::IN)];
            let quiet = QUIET.max(ACK_PAUSE.saturating_sub(acked.elapsed()));
            let quiet = Timespec::try_from(quiet).map_err(|error| broken(error.to_string()))?;
            if poll(&mut more, Some(&quiet)).is_ok_and(|ready| ready > 0) {
                return Ok(());
            }
            self.link.ack(false);
        }
        if self.link.origin.credentials.proves() {
            self.link.say_due(client)?;
        }
        self.fetch(socket)?;
        let patience = match (&self.catch_up, self.streaming) {
            (Some(_), _) => CATCH_UP_INTERVAL,
            (None, true) => SILENCE_MAX,
            (None, false) => SNAPSHOT_SILENCE_MAX,
        };
        let timeout = Timespec::try_from(patience).map_err(|error| broken(error.to_string()))?;
        let mut waits = [PollFd::new(socket, PollFlags::IN), PollFd::new(&self.link.waker, PollFlags::IN)];
        match poll(&mut waits, Some(&timeout)) {
            Ok(0) if self.catch_up.is_none() => Err(broken(format!("silent for {} s", patience.as_secs()))),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(broken(error.to_string())),
        }
    }

    /// Takes one event.
    fn take(&mut self, event: ReplicaEvent) -> Result<(), End> {
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
                let now = Instant::now();
                let mut state = self.link.state();
                let about = state.copy_bytes;
                state.copy = Some(Arriving { begun: now, bytes: 0, about, whole: false, said: now });
            }
            ReplicaEvent::SnapshotChunk(bytes) => {
                let (snapshot, _) =
                    self.snapshot.as_mut().ok_or_else(|| broken("a part of a snapshot that never began"))?;
                snapshot.extend_from_slice(&bytes);
                if let Some(copy) = &mut self.link.state().copy {
                    copy.bytes = snapshot.len() as u64;
                    if copy.said.elapsed() >= SAID_INTERVAL {
                        copy.said = Instant::now();
                        log::info!(
                            "shard {}: {} of about {} MB of a copy have come in {} s",
                            self.link.shard,
                            copy.bytes / 1_000_000,
                            copy.about.max(copy.bytes) / 1_000_000,
                            copy.begun.elapsed().as_secs()
                        );
                    }
                }
            }
            ReplicaEvent::SnapshotEnd { ack_offset } => {
                let (bytes, loading) =
                    self.snapshot.take().ok_or_else(|| broken("the end of a snapshot that never began"))?;
                self.take_snapshot(bytes, ack_offset, loading)?;
                self.take_trail_of_copy()?;
            }
            ReplicaEvent::Frame(frame) if self.streaming => {
                if self.pass(frame.offset, frame.argv)? {
                    // The stream moves: there is nothing to fetch.
                    self.catch_up = None;
                }
                return Ok(());
            }
            ReplicaEvent::Frame(_) => return Err(broken("a frame before the snapshot that it belongs to")),
            ReplicaEvent::Ping(tail) => {
                if tail.generation != 0 && tail.generation != self.generation {
                    return Err(End::Over);
                }
                let next = self.link.state().next;
                self.link.suspect(self.streaming && next < tail.offset);
                self.link.ack(true);
                let behind = tail.offset.saturating_sub(next).saturating_mul(self.frame_bytes);
                if self.streaming && behind > BEHIND_BYTES.min(self.link.shards.buffer() / BEHIND_PART) {
                    self.overtake(next)?;
                }
            }
            _ => {}
        }
        self.link.state().last_heard = Instant::now();
        Ok(())
    }

    /// Passes a frame on, if it is the next one. Says whether it was.
    pub(crate) fn pass(&mut self, offset: u64, argv: Argv) -> Result<bool, End> {
        self.wait_for_room();
        let size = argv.iter().map(<[u8]>::len).sum::<usize>();
        self.bytes += size;
        self.frame_bytes = (self.frame_bytes * 7 + size as u64) / 8;
        let cut = (self.link.shards.count() > 1).then(|| cuts::number(&argv)).flatten();
        let mut state = self.link.state();
        if !state.open {
            return Err(End::Over);
        }
        match offset.cmp(&state.next) {
            // It was fetched.
            std::cmp::Ordering::Less => return Ok(false),
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => {
                return Err(broken(format!("frame {offset} came and {} was due", state.next)));
            }
        }
        let at = marks::Place { epoch: self.link.origin.epoch, flushes: state.flushes, offset };
        self.link.shards.keep(self.link.shard, at, &argv);
        if !self.link.shards.send_frame(self.link.shard, offset, argv) {
            return Err(broken("this server has stopped"));
        }
        let now = Instant::now();
        state.next = offset.saturating_add(1);
        state.last_heard = now;
        state.stall.moved(now);
        let due = now.duration_since(state.last_ack) >= ACK_INTERVAL;
        self.link.report(&state);
        let place = Place { flushes: state.flushes, next: state.next };
        drop(state);
        if let Some(number) = cut {
            self.link.tell(News::Cut(number, place));
        }
        if due {
            self.link.ack(false);
        }
        Ok(true)
    }
    /// Reads no further while the shard is far behind.
    fn wait_for_room(&mut self) {
        const LOOK_INTERVAL: Duration = Duration::from_micros(250);
        let link = self.link;
        let outstanding = || link.shards.outstanding(link.shard);
        if outstanding() == 0 {
            self.bytes = 0;
        }
        // Where it is not for their bytes, the shard is not left without work meanwhile.
        let enough = match (outstanding() < INBOX_FRAMES_MAX, self.bytes < INBOX_BYTES_MAX) {
            (true, true) => return,
            (false, true) => INBOX_FRAMES_MAX / 2,
            (_, false) => 0,
        };
        while link.state().open && outstanding() > enough {
            std::thread::sleep(LOOK_INTERVAL);
        }
        if enough == 0 {
            self.bytes = 0;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
pub(super) mod tests {
    use super::*;
    use crate::follow::addresses::{Addresses, Site};
    use crate::follow::link::{Origin, Reached, Shared};
    use crate::shards::Shards;
    use kevy_elect_plugin::ids::Epoch;
    use std::sync::atomic::AtomicBool;

    /// A link whose shard is played by the test.
    pub(super) fn link(
        tell: impl Fn(usize, News) + Send + Sync + 'static,
    ) -> (Arc<Link>, kevy_rt::ReplicaInboxReceiver) {
        let (sender, inbox) = kevy_rt::replica_inbox_pair();
        let origin = Origin {
            epoch: Epoch(5),
            addresses: Arc::new(Addresses::new(
                Site { host: "127.0.0.1".to_owned(), stream_port: 1, client_port: 1 },
                None,
            )),
            credentials: Arc::new(crate::follow::keys::Credentials::towards_self(None)),
            asker: crate::continuation::passes::tests::asker(),
            node: "n1".to_owned(),
            client_port: 2,
            members: Arc::new([]),
        };
        let fleet = Shared { joined: AtomicBool::new(true), tell: Box::new(tell) };
        let shards = Arc::new(Shards::new(vec![sender]));
        (Arc::new(Link::new(0, origin, Reached::default(), shards, Arc::new(fleet)).unwrap()), inbox)
    }

    /// The election's thread looks at every link, and a thread that holds the lock may wait for a processor.
    #[test]
    fn who_sends_heartbeats_does_not_wait_for_a_link() {
        let (link, _inbox) = link(|_, _| ());
        let held = link.state();
        assert!(link.glance(true).is_none());
        drop(held);
        assert!(link.glance(true).is_some());
    }

    #[test]
    fn only_the_next_frame_passes() {
        let (link, _inbox) = link(|_, _| ());
        let mut session = Session::new(&link, 7, None);
        let frame = || Argv::from(vec![b"DEL".to_vec(), b"k".to_vec()]);
        assert!(matches!(session.pass(0, frame()), Ok(true)));
        assert!(matches!(session.pass(0, frame()), Ok(false)), "it was fetched before it came");
        assert!(matches!(session.pass(2, frame()), Err(End::Broken(_))), "one is missing");
        assert!(matches!(session.pass(1, frame()), Ok(true)));
        link.close();
        assert!(matches!(session.pass(2, frame()), Err(End::Over)));
    }
}
