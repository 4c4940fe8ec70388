//! One connection of a stream: reads what the primary sends, and decides what of it may be applied.

use crate::continuation::path::Why;
use crate::follow::catch_up::CatchUp;
use crate::follow::link::{Arriving, Link, reached};
use crate::follow::stall::COPIED_AFTER;
use crate::follow::trail::{Next, Trail};
use crate::position::cuts::{self, Place};
use crate::position::marks;
use crate::position::tag::Tag;
use crate::position::witness;
use crate::shards::Shards;
use kevy_replicate::replica::{ReplicaClient, ReplicaError, ReplicaEvent};
use kevy_rt::{Argv, SnapshotGate};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_tcp_quickack;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A stream that is so many bytes behind does not come up by itself: kevy gives it 256 KiB in a turn of its shard, and clients may write
/// more. What is on its way is not more than this.
const BEHIND_BYTES: u64 = 8 << 20;
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
/// they are applied: at a million frames a second this many take 8 ms.
pub(crate) const INBOX_FRAMES_MAX: u64 = 8_192;
const INBOX_BYTES_MAX: usize = 64 << 20;

/// Between two times that it is said how much of a copy has come.
const SAID_INTERVAL: Duration = Duration::from_secs(3);

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
    pub(crate) fn new(link: &'a Arc<Link>, client: &ReplicaClient, trail: Option<Trail>) -> Self {
        let generation = client.primary_at_handshake().generation;
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
            self.take_trail()?;
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
        let mut waits = [PollFd::new(socket, PollFlags::IN), PollFd::new(&self.link.bell, PollFlags::IN)];
        match poll(&mut waits, Some(&timeout)) {
            Ok(0) if self.catch_up.is_none() => Err(broken(format!("silent for {} s", patience.as_secs()))),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(broken(error.to_string())),
        }
    }

    /// Fetches, if the stream stands still.
    fn fetch(&mut self, socket: &TcpStream) -> Result<(), End> {
        if !self.streaming {
            return Ok(());
        }
        let looks = self.link.bell.rang() && self.link.looks.swap(false, Ordering::AcqRel);
        if looks && self.catch_up.is_none() {
            self.catch_up = Some(CatchUp::new(self.link, socket).map_err(broken)?);
        }
        let Some(mut catch_up) = self.catch_up.take() else { return Ok(()) };
        let outcome = catch_up.step(self);
        if catch_up.goes_on() {
            self.catch_up = Some(catch_up);
        } else if outcome.is_ok() && catch_up.fetched() {
            // The stream stands where it stood; a new one begins behind what was fetched.
            return Err(End::Over);
        }
        outcome
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
                self.link.state().copy = Some(Arriving { begun: now, bytes: 0, whole: false, said: now });
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
                            "shard {}: {} MB of a copy have come in {} s",
                            self.link.shard,
                            copy.bytes / 1_000_000,
                            copy.begun.elapsed().as_secs()
                        );
                    }
                }
            }
            ReplicaEvent::SnapshotEnd { ack_offset } => {
                let (bytes, loading) =
                    self.snapshot.take().ok_or_else(|| broken("the end of a snapshot that never began"))?;
                self.take_snapshot(bytes, ack_offset, loading)?;
                self.take_trail()?;
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
                if self.streaming
                    && tail.offset.saturating_sub(next).saturating_mul(self.frame_bytes) > BEHIND_BYTES
                {
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
        if let (Some(number), Some(crew)) = (cut, self.link.crew.upgrade()) {
            crew.cut(self.link.shard, number, place);
        }
        if due {
            self.link.ack(false);
        }
        Ok(true)
    }

    /// The stream stands still, and what it lacks cannot be had: after a while a copy is made.
    pub(crate) fn give_up(&self, reason: &str, at_once: bool) -> Result<(), End> {
        let mut state = self.link.state();
        let lasts = state.stall.lasts(Instant::now()).unwrap_or_default();
        if !at_once && lasts < COPIED_AFTER {
            return Ok(());
        }
        state.held = false;
        state.must_copy = Some(Why::Missing);
        Err(End::Refused(format!("{reason}; all of this shard is copied anew")))
    }

    /// Fetches faster than the stream brings it, before the primary has dropped what is missing here.
    fn overtake(&mut self, next: u64) -> Result<(), End> {
        match Trail::start(self.link, Some(next)) {
            Ok(trail) if trail.generation == self.generation => {
                log::info!(
                    "shard {}: the stream is far behind: what is missing is fetched beside it",
                    self.link.shard
                );
                self.trail = Some(trail);
                self.take_trail()
            }
            // The stream may come up all the same.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Takes what was written while the copy came, if that was kept. Then a new connection goes on behind it.
    fn take_trail(&mut self) -> Result<(), End> {
        let Some(mut trail) = self.trail.take() else { return Ok(()) };
        let mut said = Instant::now();
        loop {
            match trail.next() {
                Ok(Next::Frame(offset, argv)) => {
                    self.pass(offset, argv)?;
                    if said.elapsed() >= SAID_INTERVAL {
                        said = Instant::now();
                        let (shard, left) = (self.link.shard, trail.left());
                        log::info!("shard {shard}: {left} frames that were written during the copy are left");
                    }
                }
                Ok(Next::Close) => return Err(End::Over),
                // The stream may have it all the same.
                Err(error) => {
                    return Err(broken(format!("what was written during the copy is not there: {error}")));
                }
            }
        }
    }

    fn take_snapshot(&mut self, bytes: Vec<u8>, next: u64, loading: Loading) -> Result<(), End> {
        let link = self.link;
        let (tag, keys) =
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
        link.shards.expect_keys(link.shard, keys);
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
        // Held until the lock is given back: where the shard has stopped, what it was sent is dropped at once, and the
        // last of these takes the lock when it goes.
        let landed =
            Arc::new(Landed { link: Arc::clone(link), loads: link.shards.loads(link.shard), loading });
        let gate = SnapshotGate::new(Arc::clone(&landed) as _);
        if !link.shards.send_snapshot(link.shard, bytes, next, gate) {
            drop(state);
            return Err(broken("this server has stopped"));
        }
        (state.generation, state.next, state.flushes) = (self.generation, next, tag.flushes);
        (state.held, state.named) = (true, tag.flushes);
        (state.synced, state.must_copy, state.began_at) = (None, None, None);
        if let Some(copy) = &mut state.copy {
            copy.whole = true;
            log::info!(
                "shard {}: a copy of {} bytes has come in {:?}",
                link.shard,
                copy.bytes,
                copy.begun.elapsed()
            );
        }
        link.shards.note_copy(link.shard, state.why);
        state.stall.moved(Instant::now());
        self.streaming = true;
        self.link.report(&state);
        drop(state);
        drop(landed);
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
        self.link.state().copy = None;
        if self.link.shards.loads(shard) == self.loads {
            // Thrown away at shutdown, or refused by kevy although it was whole.
            self.link.shards.note_lost(shard);
            self.link.lost("a snapshot was not loaded");
            return;
        }
        witness::landed(&self.link);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::follow::addresses::Addresses;
    use crate::follow::link::{Crew, Origin, Reached};
    use kevy_elect_plugin::ids::Epoch;
    use kevy_persist::{WithAux, write_snapshot_to};
    use kevy_rt::Store;
    use std::sync::mpsc::channel;
    use std::sync::{Mutex, Weak};

    /// Far above what is ever needed, so that only a hang hits it.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[derive(Default)]
    struct Alone(Mutex<Vec<usize>>);

    impl Crew for Alone {
        fn landed(&self, shard: usize) {
            self.0.lock().unwrap().push(shard);
        }
        fn restarted(&self, _shard: usize) {}
        fn lost(&self, _shard: usize) {}
        fn cut(&self, _shard: usize, _number: u64, _place: Place) {}
        fn synced(&self) {}
        fn joined(&self) -> bool {
            true
        }
    }

    /// A link whose shard is played by the test.
    fn link(crew: &Arc<Alone>) -> (Arc<Link>, kevy_rt::ReplicaInboxReceiver) {
        let (sender, inbox) = kevy_rt::replica_inbox_pair();
        let origin = Origin {
            epoch: Epoch(5),
            addresses: Arc::new(Addresses::new("127.0.0.1", None)),
            port: 1,
            primary_client_port: 1,
            credentials: Arc::new(crate::follow::keys::Credentials::towards_self(None)),
            node: "n1".to_owned(),
            client_port: 2,
            members: Arc::new([]),
        };
        let crew: Weak<dyn Crew> = Arc::downgrade(crew) as _;
        let shards = Arc::new(Shards::new(vec![sender]));
        (Arc::new(Link::new(0, origin, Reached::default(), shards, crew).unwrap()), inbox)
    }

    fn session(link: &Arc<Link>) -> Session<'_> {
        Session {
            link,
            generation: 7,
            snapshot: None,
            streaming: false,
            bytes: 0,
            frame_bytes: 0,
            catch_up: None,
            begun: Instant::now(),
            hastened: None,
            trail: None,
        }
    }

    /// What a primary of epoch 5 ships.
    fn snapshot() -> Vec<u8> {
        let record =
            Argv::from(["CATALOG", "7", "1", "", "", ""].map(|part| part.as_bytes().to_vec()).to_vec());
        let marked = Tag { epoch: Epoch(5), flushes: 0, shards: 1 }.mark(record);
        let mut image = Vec::new();
        write_snapshot_to(&WithAux::new(&Store::new(), Some(&marked)), &mut image).unwrap();
        image
    }

    #[test]
    fn a_snapshot_that_comes_after_its_shard_has_stopped_stops_nothing_else() {
        let crew = Arc::new(Alone::default());
        let (link, inbox) = link(&crew);
        drop(inbox);
        let (done, ended) = channel();
        std::thread::spawn(move || {
            let loading = Loading::new(Arc::clone(&link.shards));
            let end = session(&link).take_snapshot(snapshot(), 40, loading);
            done.send((end.is_err(), link.close().held)).unwrap();
        });
        assert_eq!(ended.recv_timeout(PATIENCE), Ok((true, false)), "it holds nothing, and can be closed");
        assert!(crew.0.lock().unwrap().is_empty(), "nothing has landed");
    }

    #[test]
    fn only_the_next_frame_passes() {
        let crew = Arc::new(Alone::default());
        let (link, _inbox) = link(&crew);
        let mut session = session(&link);
        let frame = || Argv::from(vec![b"DEL".to_vec(), b"k".to_vec()]);
        assert!(matches!(session.pass(0, frame()), Ok(true)));
        assert!(matches!(session.pass(0, frame()), Ok(false)), "it was fetched before it came");
        assert!(matches!(session.pass(2, frame()), Err(End::Broken(_))), "one is missing");
        assert!(matches!(session.pass(1, frame()), Ok(true)));
        link.close();
        assert!(matches!(session.pass(2, frame()), Err(End::Over)));
    }
}
