//! One stream from the primary: a connection, a thread, and the lock that decides what still counts.
//!
//! kevy's own replica runners cannot withhold acknowledgements, take up to seconds to stop, and may follow
//! whatever comes back under the old address. This follower can be detached between two instructions.
//!
//! Invariants of [`State`], all under its lock: (1) once `open` is false no frame and no acknowledgement
//! passes any more, and it never becomes true again; (2) an acknowledged offset is at most `next`;
//! (3) everything below `next` is in the shard's inbox or applied; (4) nothing is acknowledged before the
//! whole node holds the primary's history, because until then its position does not say so; (5) with several
//! shards nothing is acknowledged that lies behind the last whole cut.

use crate::confirm::names::Name;
use crate::continuation::path::Why;
use crate::continuation::resume::{Outcome, resume};
use crate::follow::addresses::Addresses;
use crate::follow::keys::Credentials;
use crate::follow::session::{End, Session};
use crate::follow::stall::{Bell, Stall};
use crate::follow::trail::Trail;
use crate::host;
use crate::position::cuts::Place;
use crate::position::witness;
use crate::shards::Shards;
use kevy_elect_plugin::ids::Epoch;
use kevy_replicate::feed::FeedPosition;
use kevy_replicate::replica::{ConnectOptions, ReplicaClient};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Longest wait for a connection and for the answer to its first line.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// First and longest pause between two attempts.
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_millis(250);
/// Longest pause after a snapshot that was not loaded: each one costs its sender as much as a good one.
const RETRY_REFUSED_MAX: Duration = Duration::from_secs(2);
/// Where a stream comes from, and who follows it.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) epoch: Epoch,
    /// Where the primary's host is.
    pub(crate) addresses: Arc<Addresses>,
    /// The port of the first shard's stream.
    pub(crate) port: u16,
    /// The port for clients.
    pub(crate) primary_client_port: u16,
    /// What the primary has to prove.
    pub(crate) credentials: Arc<Credentials>,
    /// This node's name and client port.
    pub(crate) node: String,
    pub(crate) client_port: u16,
    /// Who else may have frames: the members that are not this node or the primary, and last this node.
    pub(crate) members: Arc<[Member]>,
}

/// A member: where its host is, and its port for clients.
pub(crate) type Member = (Arc<Addresses>, u16);

/// What the links of one fleet share.
pub(crate) trait Crew: Send + Sync + 'static {
    /// A link's snapshot has landed in its shard.
    fn landed(&self, shard: usize);
    /// What a link's shard holds is not what its primary's does.
    fn lost(&self, shard: usize);
    /// A link gets a snapshot: what came before it is no part of what comes.
    fn restarted(&self, shard: usize);
    /// A cut has come in on a link.
    fn cut(&self, shard: usize, number: u64, place: Place);
    /// More of a link's stream is on disk.
    fn synced(&self);
    /// Whether the node holds the primary's history.
    fn joined(&self) -> bool;
}

/// One stream.
pub(crate) struct Link {
    pub(crate) shard: usize,
    pub(crate) origin: Origin,
    pub(crate) shards: Arc<Shards>,
    pub(crate) crew: Weak<dyn Crew>,
    /// Wakes the reading half: to look for frames that do not come, or to acknowledge.
    pub(crate) bell: Bell,
    pub(crate) looks: AtomicBool,
    /// How often the shard had told of its own stream when this began: by then the gate was shut.
    views: u64,
    state: Mutex<State>,
    /// Notified when it is closed, and when there is something for the witness.
    pub(crate) closed: Condvar,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) open: bool,
    socket: Option<TcpStream>,
    /// The connection that fetches what the stream does not bring.
    pub(crate) feed: Option<TcpStream>,
    /// The stream's identity in kevy; 0: none of it is held yet.
    pub(crate) generation: u64,
    pub(crate) next: u64,
    pub(crate) flushes: u64,
    /// Whether `generation`, `next` and `flushes` say where to go on; else a snapshot is needed.
    pub(crate) held: bool,
    /// The number of flushes in this replica's name.
    pub(crate) named: u64,
    /// The newest whole cut: nothing behind it is acknowledged. With one shard it means nothing.
    whole: Option<Place>,
    /// The newest cut that is on this node's disk on all shards, where acknowledgements wait for that.
    durable: Option<Place>,
    acked: Option<u64>,
    /// Whether the reading half has to acknowledge, where only it can: a sealed stream has one writer.
    due: bool,
    /// How far this node's disk holds the stream, where acknowledgements wait for that.
    pub(crate) synced: Option<u64>,
    /// Who looks after that, and the number of the newest who ever did. 0: nobody.
    pub(crate) witness: u64,
    pub(crate) newest_witness: u64,
    pub(crate) last_ack: Instant,
    pub(crate) last_heard: Instant,
    /// Whether the primary has more than this and nothing comes.
    pub(crate) stall: Stall,
    /// Why the last attempt failed.
    trouble: Option<String>,
    /// Why what was held is held no more.
    lost: Option<String>,
    /// A copy is needed, whatever place the data is at.
    pub(crate) must_copy: Option<Why>,
    /// Why the copy that is made now is made.
    pub(crate) why: Option<Why>,
    /// Since when the primary cannot be asked for its history.
    pub(crate) mute: Option<Instant>,
    /// How many frames the shard had applied when the stream went on at its first frame. kevy cannot be told that
    /// none of it is applied yet, so until one is, nobody waits for what a token says.
    pub(crate) began_at: Option<u64>,
    /// The copy that comes in.
    pub(crate) copy: Option<Arriving>,
}

/// A copy that comes in: since when, how much of it has come, and whether that is all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arriving {
    pub(crate) begun: Instant,
    pub(crate) bytes: u64,
    pub(crate) whole: bool,
    /// When that was said last.
    pub(crate) said: Instant,
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
    /// Whether kevy knows how much of the stream is applied.
    pub(crate) readable: bool,
    /// The copy that comes in.
    pub(crate) copy: Option<Arriving>,
    pub(crate) up: bool,
    /// For how long the primary has been silent.
    pub(crate) silence: Duration,
    /// For how long the primary has had more than this while nothing came.
    pub(crate) stalled: Option<Duration>,
    /// Why the last attempt to connect failed.
    pub(crate) trouble: Option<String>,
}

impl Reached {
    /// How far it came.
    pub(crate) fn place(&self) -> Place {
        Place { flushes: self.flushes, next: self.next }
    }
}

impl Link {
    pub(crate) fn new(
        shard: usize,
        origin: Origin,
        from: Reached,
        shards: Arc<Shards>,
        crew: Weak<dyn Crew>,
    ) -> std::io::Result<Self> {
        let now = Instant::now();
        let state = State {
            open: true,
            socket: None,
            feed: None,
            generation: from.generation,
            next: from.next,
            flushes: from.flushes,
            held: from.held,
            named: from.flushes,
            whole: None,
            durable: None,
            acked: None,
            due: false,
            synced: None,
            witness: 0,
            newest_witness: 0,
            last_ack: now,
            last_heard: now,
            stall: Stall::new(now),
            trouble: None,
            lost: None,
            must_copy: None,
            why: None,
            mute: None,
            began_at: None,
            copy: None,
        };
        let bell = Bell::new()?;
        let views = shards.views_of(shard);
        Ok(Self {
            views,
            shard,
            origin,
            shards,
            crew,
            bell,
            looks: AtomicBool::new(false),
            state: Mutex::new(state),
            closed: Condvar::new(),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on nothing passes. Says how far the link came. Waits for nobody but the holder of the
    /// lock, who holds it for one send to a channel or one non-blocking write.
    pub(crate) fn close(&self) -> Reached {
        let mut state = self.state();
        state.open = false;
        for socket in [state.socket.take(), state.feed.take()].into_iter().flatten() {
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
            copy: state.copy,
            readable: state.began_at.is_none_or(|began| self.shards.applied(self.shard) > began),
            up: state.socket.is_some(),
            silence: state.last_heard.elapsed(),
            stalled: state.stall.lasts(Instant::now()),
            trouble: state.trouble.clone(),
        }
    }

    /// Says why a connection that is up does not bring all; once, not with every attempt.
    pub(crate) fn complain(&self, reason: &str) {
        let mut state = self.state();
        if state.trouble.as_deref() != Some(reason) {
            eprintln!("kevy-server: shard {}: {reason}; trying again", self.shard);
            state.trouble = Some(reason.to_owned());
        }
    }

    /// The primary is known to have more than this node, or not. Where nothing comes, it is fetched.
    pub(crate) fn suspect(&self, behind: bool) {
        let looks = self.state().stall.suspect(Instant::now(), behind);
        if looks {
            self.looks.store(true, Ordering::Release);
            self.bell.ring();
        }
    }

    /// The shard could not load or apply what it was sent: it needs a snapshot, and the node holds nothing until then.
    pub(crate) fn lost(&self, reason: &str) {
        let mut state = self.state();
        (state.held, state.must_copy) = (false, Some(Why::Broken));
        state.lost = Some(reason.to_owned());
        if let Some(socket) = &state.socket {
            drop(socket.shutdown(Shutdown::Both));
        }
        drop(state);
        if let Some(crew) = self.crew.upgrade() {
            crew.lost(self.shard);
        }
    }

    /// Whether all that had passed the gate before this began is counted.
    pub(crate) fn has_turned(&self) -> bool {
        self.shards.views_of(self.shard) >= self.views + host::turns(self.shards.count())
    }

    fn joined(&self) -> bool {
        self.crew.upgrade().is_some_and(|crew| crew.joined())
    }

    /// Tells the election how far this shard is. Under the lock, so that nothing of this stream is told
    /// once the link is closed and the node may hold another history. With several shards the fleet tells of cuts.
    pub(crate) fn report(&self, state: &State) {
        if self.shards.count() == 1
            && state.open
            && state.held
            && self.joined()
            && let Some(office) = self.shards.office()
        {
            office.on_offset(self.shard, reached(state).place().position_offset());
        }
    }

    /// Tells the election and the primary how far this shard is, now that the node has joined.
    pub(crate) fn announce(self: &Arc<Self>) {
        self.report(&self.state());
        self.ack(true);
    }

    /// A cut is whole: what lies before it may be acknowledged.
    pub(crate) fn allow(self: &Arc<Self>, place: Place) {
        self.state().whole = Some(place);
        self.ack(false);
    }

    /// A cut is on disk on all shards.
    pub(crate) fn allow_durable(self: &Arc<Self>, place: Place) {
        self.state().durable = Some(place);
        self.ack(false);
    }

    /// Whether this shard's part of a cut is on disk.
    pub(crate) fn has_synced(&self, place: Place) -> bool {
        let state = self.state();
        state.flushes == place.flushes && state.synced.is_some_and(|synced| synced >= place.next)
    }

    /// Up to where this shard may acknowledge.
    fn ackable(&self, state: &State) -> Option<u64> {
        let synced = self.shards.acks_after_sync();
        if self.shards.count() == 1 {
            return if synced { state.synced } else { Some(state.next) };
        }
        let whole = if synced { state.durable } else { state.whole };
        let whole = whole.filter(|place| place.flushes == state.flushes)?;
        Some(whole.next.min(state.next))
    }

    /// If something has come that is not acknowledged: when something was.
    pub(crate) fn owes(&self) -> Option<Instant> {
        let state = self.state();
        (state.acked != Some(state.next)).then_some(state.last_ack)
    }

    /// Tells the primary what is held, if the node holds the primary's history and there is news.
    pub(crate) fn ack(self: &Arc<Self>, repeat: bool) {
        if !self.joined() {
            return;
        }
        let mut state = self.state();
        if !state.open || !state.held {
            return;
        }
        if self.shards.acks_after_sync() {
            witness::ask(self, &mut state);
        }
        let Some(ackable) = self.ackable(&state) else { return };
        if state.acked == Some(ackable) && !repeat {
            return;
        }
        if self.origin.credentials.proves() {
            state.due = true;
            drop(state);
            return self.bell.ring();
        }
        let Some(socket) = &state.socket else { return };
        let line = kevy_replicate::wire::encode_replconf_ack(ackable);
        let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
        match rustix::net::send(socket, &line, flags) {
            Ok(sent) if sent == line.len() => {
                state.acked = Some(ackable);
                state.last_ack = Instant::now();
            }
            // The primary does not read: the next acknowledgement covers this one.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            // Half a line would make the next one unreadable; and a broken socket is of no use.
            Ok(_) | Err(_) => drop(socket.shutdown(Shutdown::Both)),
        }
    }

    /// Says what is due through `client`, under the lock: once the link is closed nothing is acknowledged any more.
    pub(crate) fn say_due(&self, client: &mut ReplicaClient) -> Result<(), End> {
        let mut state = self.state();
        if !std::mem::take(&mut state.due) {
            return Ok(());
        }
        if !state.open {
            return Err(End::Over);
        }
        // What may be said now, not what it was when it fell due.
        let Some(ackable) = self.ackable(&state).filter(|_| state.held) else { return Ok(()) };
        // It may not wait, and where the primary does not read, half of a sealed line would spoil what follows.
        client.send_ack(ackable).map_err(|error| End::Broken(format!("cannot acknowledge: {error}")))?;
        state.acked = Some(ackable);
        state.last_ack = Instant::now();
        Ok(())
    }

    /// The body of the link's thread: follows until closed.
    pub(crate) fn run(self: &Arc<Self>) {
        let (mut pause, mut trail) = (RETRY_MIN, None);
        self.shards.set_link(self.shard, Arc::downgrade(self));
        loop {
            let end = self.session(&mut trail);
            let mut state = self.state();
            let end = state.lost.take().map_or(end, End::Broken);
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
                let (host, port) = (self.origin.addresses.host(), self.port());
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
    ///
    /// `trail`: what is written while a copy comes, also across connections.
    fn session(self: &Arc<Self>, trail: &mut Option<Trail>) -> End {
        if !self.state().held {
            *trail = None;
            match resume(self) {
                Ok(Outcome::Continues) => {}
                Ok(Outcome::Copies(why)) => {
                    self.copies(why);
                    *trail = self.begin_trail();
                }
                Err(end) => return end,
            }
        }
        let (mut client, socket) = match self.dial() {
            Ok(Some(dialled)) => dialled,
            Ok(None) => return End::Over,
            Err(reason) => return End::Broken(reason),
        };
        log::debug!("shard {}: connected to the stream of epoch {}", self.shard, self.origin.epoch);
        let mut session = Session::new(self, &client, trail.take());
        let end = session.follow(&mut client, &socket);
        *trail = session.trail.take();
        let mut state = self.state();
        (state.socket, state.copy) = (None, None);
        drop(state);
        end.err().unwrap_or(End::Over)
    }

    /// Keeps what is written while a copy comes. Without it the primary has to.
    fn begin_trail(self: &Arc<Self>) -> Option<Trail> {
        let begun = Trail::start(self, None);
        begun
            .inspect_err(|error| {
                log::warn!("shard {}: cannot keep what is written during a copy: {error}", self.shard)
            })
            .ok()
    }

    /// Says why a copy is made; once, not with every attempt.
    fn copies(&self, why: Why) {
        if self.state().why.replace(why) != Some(why) {
            eprintln!("shard {}: copies the data of epoch {}: {why}", self.shard, self.origin.epoch);
        }
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
        // One name for one connection: see `names.rs`.
        let name = Name {
            node: self.origin.node.clone(),
            epoch: self.origin.epoch,
            flushes: named,
            dialled: Name::now(),
        };
        let options = ConnectOptions::new(name.spell(self.origin.client_port, self.shard))
            .with_from(resume)
            .with_timeout(CONNECT_TIMEOUT);
        let (client, ip) = self
            .origin
            .addresses
            .try_each(|ip| self.origin.credentials.connect(SocketAddr::new(ip, port), &options))?;
        self.origin.addresses.worked(ip);
        let socket = client.socket_handle().map_err(|error| error.to_string())?;
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        let for_others = socket.try_clone().map_err(|error| error.to_string())?;
        let mut state = self.state();
        if !state.open {
            return Ok(None);
        }
        state.socket = Some(for_others);
        state.last_heard = Instant::now();
        (state.acked, state.due) = (None, false);
        Ok(Some((client, socket)))
    }
}

pub(crate) fn reached(state: &State) -> Reached {
    Reached { generation: state.generation, next: state.next, flushes: state.flushes, held: state.held }
}
