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

mod ack;
mod run;

use crate::continuation::passes::Asker;
use crate::continuation::path::Why;
use crate::follow::addresses::Addresses;
use crate::follow::keys::Credentials;
use crate::follow::stall::{Stall, Waker};
use crate::position::cuts::Place;
use crate::shards::Shards;
use crate::shards::stream::turns;
use kevy_elect_plugin::ids::Epoch;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// Attempts at a link's lock by who must not wait for it: some microseconds, far longer than it is held by who runs.
const TRIES_MAX: usize = 200;

/// Where a stream comes from, and who follows it.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) epoch: Epoch,
    /// Where the primary is.
    pub(crate) addresses: Arc<Addresses>,
    /// What the primary has to prove.
    pub(crate) credentials: Arc<Credentials>,
    /// What is asked of it at its client port.
    pub(crate) asker: Asker,
    /// This node's name and client port.
    pub(crate) node: String,
    pub(crate) client_port: u16,
    /// Who else may have frames: the members that are not this node or the primary, and last this node.
    pub(crate) members: Arc<[Member]>,
}

/// A member: where it is, and what is asked of it there.
pub(crate) type Member = (Arc<Addresses>, Asker);

/// What the links of one fleet share.
pub(crate) struct Shared {
    /// Whether the node holds the primary's history.
    pub(crate) joined: AtomicBool,
    /// Takes what a shard's link tells.
    pub(crate) tell: Box<dyn Fn(usize, News) + Send + Sync>,
}

/// What a link tells its fleet.
pub(crate) enum News {
    /// Its snapshot has landed in its shard.
    Landed,
    /// What its shard holds is not what its primary's does.
    Lost,
    /// It gets a snapshot: what came before is no part of what comes.
    Restarted,
    /// The cut of this number has come in, up to this place.
    Cut(u64, Place),
    /// More of its stream is on disk.
    Synced,
}

/// How a connection ended.
pub(crate) enum End {
    /// In order, or because the link was closed.
    Over,
    /// It could not be made, or broke.
    Broken(String),
    /// What came must not be loaded.
    Refused(String),
}

pub(crate) fn broken(reason: impl Into<String>) -> End {
    End::Broken(reason.into())
}

/// One stream.
pub(crate) struct Link {
    pub(crate) shard: usize,
    pub(crate) origin: Origin,
    pub(crate) shards: Arc<Shards>,
    pub(crate) fleet: Arc<Shared>,
    /// Wakes the reading half: to look for frames that do not come, or to acknowledge.
    pub(crate) waker: Waker,
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
    /// About how many bytes the next one has; 0: nobody said.
    pub(crate) copy_bytes: u64,
}

/// A copy that comes in: since when, how much of it has come, and whether that is all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arriving {
    pub(crate) begun: Instant,
    pub(crate) bytes: u64,
    /// About how many there are; 0: nobody said.
    pub(crate) about: u64,
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
        fleet: Arc<Shared>,
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
            copy_bytes: 0,
            mute: None,
            began_at: None,
            copy: None,
        };
        let waker = Waker::new()?;
        let views = shards.views_of(shard);
        Ok(Self {
            views,
            shard,
            origin,
            shards,
            fleet,
            waker,
            looks: AtomicBool::new(false),
            state: Mutex::new(state),
            closed: Condvar::new(),
        })
    }

    /// Whether this node has a vote. kevy counts whoever acknowledges, so who has none does not.
    fn votes(&self) -> bool {
        self.shards.votes(&self.origin.node)
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
        self.looked(&self.state())
    }

    /// The same for who sends heartbeats, and tells the link whether the primary has more than this node. `None`: the lock is held, by a
    /// thread that may be waiting for a processor, so the next look has to do (C17).
    pub(crate) fn glance(&self, behind: bool) -> Option<Look> {
        let mut state = (0..TRIES_MAX).find_map(|_| {
            std::hint::spin_loop();
            match self.state.try_lock() {
                Ok(state) => Some(state),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            }
        })?;
        self.suspect_in(&mut state, behind);
        Some(self.looked(&state))
    }

    fn looked(&self, state: &State) -> Look {
        Look {
            reached: reached(state),
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
        self.suspect_in(&mut self.state(), behind);
    }

    fn suspect_in(&self, state: &mut State, behind: bool) {
        if state.stall.suspect(Instant::now(), behind) {
            self.looks.store(true, Ordering::Release);
            self.waker.wake();
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
        self.tell(News::Lost);
    }

    /// Whether all that had passed the gate before this began is counted.
    pub(crate) fn has_turned(&self) -> bool {
        self.shards.views_of(self.shard) >= self.views + turns(self.shards.count())
    }

    /// Tells the fleet.
    pub(crate) fn tell(&self, news: News) {
        (self.fleet.tell)(self.shard, news);
    }

    fn joined(&self) -> bool {
        self.fleet.joined.load(Ordering::Acquire)
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
}

pub(crate) fn reached(state: &State) -> Reached {
    Reached { generation: state.generation, next: state.next, flushes: state.flushes, held: state.held }
}
