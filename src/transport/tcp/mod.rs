//! Links over TCP. Sentences T1 to T24 of `docs/protocol.md`.
//!
//! Between two nodes there are two connections; each node sends on the one that it dialled. What a node
//! receives on costs it no write, so a dying process leaves no unread bytes there: its kernel ends that
//! connection in order, which is the evidence that a fast election after a crash rests on.
//!
//! While [`Transport::run`] is polled, the listening socket and established links stay open. This side
//! ends a link in order only in [`Transport::close`]; a link that has to go because the peer broke the
//! protocol, or linked anew, is reset, so that the peer cannot take it for a dying process.
//!
//! No periodic timer: a link that is idle costs nothing. Timers run while a connection is being made,
//! before a `HELLO`, and between attempts to dial.

mod accept;
mod allowance;
mod dial;
mod greetings;
mod limits;
mod passes;
mod place;
mod shared;
mod spare;
mod stream;
mod timer;
mod watch;

pub use limits::{
    ALLOWANCE_WINDOW, BYTES_PER_WINDOW_MAX, DECISION_FRAMES, FRAMES_PER_WINDOW_MAX, GREETINGS_PER_WINDOW_MAX,
    HELLO_PENDING_MAX,
};
pub use passes::Passes;
pub use watch::SocketWatch;

use super::api::{Directions, SendError, Transport, TransportError, TransportEvent, TransportStats};
use super::links::{Links, STALE_AFTER_DEFAULT};
use super::session::{PlainSessions, Sessions};
use crate::ids::NodeId;
use crate::message::{Hello, Message, Pass};
use crate::time::Duration;
use async_io::Async;
use async_trait::async_trait;
use futures::StreamExt;
use futures::future::{FutureExt, poll_fn, select};
use futures::stream::FuturesUnordered;
use greetings::Greetings;
use limits::CLOSE_FLUSH_MAX;
use shared::{Context, Shared};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use timer::{now, within};
use watch::Watched;

/// A [`Transport`] over TCP.
#[derive(Debug)]
pub struct TcpTransport {
    listen: Mutex<Option<Listen>>,
    /// Those that were peers when it was built.
    peers: Vec<NodeId>,
    seed: u64,
    greetings: u32,
    shared: Shared,
}

#[derive(Debug)]
enum Listen {
    Address(String),
    Bound(TcpListener),
}

/// Collects a [`TcpTransport`].
pub struct TcpTransportBuilder {
    listen: Listen,
    peers: BTreeMap<NodeId, String>,
    stale_after: Duration,
    seed: u64,
    silence: Option<Duration>,
    sessions: Arc<dyn Sessions>,
    watch: Option<Arc<dyn SocketWatch>>,
    passes: Option<Arc<dyn Passes>>,
    greetings: u32,
}

impl fmt::Debug for TcpTransportBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpTransportBuilder").field("peers", &self.peers).finish_non_exhaustive()
    }
}

impl TcpTransport {
    /// A transport that listens on `address` (`host:port`), bound when it runs.
    pub fn listen(address: impl Into<String>) -> TcpTransportBuilder {
        TcpTransportBuilder::new(Listen::Address(address.into()))
    }

    /// A transport that listens on a socket which is bound already.
    pub fn with_listener(listener: TcpListener) -> TcpTransportBuilder {
        TcpTransportBuilder::new(Listen::Bound(listener))
    }

    /// The address at which `peer` was linked last: one that works, also while its name cannot be resolved.
    pub fn address(&self, peer: NodeId) -> Option<SocketAddr> {
        self.shared.links().address(peer)
    }

    /// What the process of `peer` that dialled last gave to this one, if it gave anything.
    pub fn pass(&self, peer: NodeId) -> Option<Pass> {
        self.shared.links().pass(peer)
    }

    /// Opens the listening socket.
    async fn open(&self) -> Result<Option<Watched<Async<TcpListener>>>, TransportError> {
        let listen = self.listen.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (address, bound) = match listen {
            None => return Ok(None),
            Some(Listen::Bound(listener)) => {
                (listener.local_addr().map(|a| a.to_string()).unwrap_or_default(), Ok(listener))
            }
            Some(Listen::Address(address)) => {
                let name = address.clone();
                (address, blocking::unblock(move || TcpListener::bind(&*name)).await)
            }
        };
        let opened =
            bound.and_then(Async::new).map_err(|source| TransportError::Listen { address, source })?;
        let mut listener = Watched::new(opened);
        self.shared.tell_listening(&mut listener);
        Ok(Some(listener))
    }
}

impl TcpTransportBuilder {
    fn new(listen: Listen) -> Self {
        let (peers, sessions) = (BTreeMap::new(), Arc::new(PlainSessions));
        Self {
            listen,
            peers,
            stale_after: STALE_AFTER_DEFAULT,
            seed: 0,
            silence: None,
            sessions,
            watch: None,
            passes: None,
            greetings: GREETINGS_PER_WINDOW_MAX,
        }
    }

    /// Adds a peer and where it listens: `host:port`, resolved at every attempt to dial.
    pub fn peer(mut self, id: NodeId, address: impl Into<String>) -> Self {
        self.peers.insert(id, address.into());
        self
    }

    /// How long a process must have been gone before an older incarnation of its node is linked again.
    pub fn stale_after(mut self, duration: Duration) -> Self {
        self.stale_after = duration;
        self
    }

    /// Seeds the jitter of the pauses between attempts to dial.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How long a linked peer may say nothing before it is dialled beside the link that is there (T25): two or three heartbeats. Looked at
    /// when something is sent, to whomever.
    /// Default: for ever.
    pub fn silence(mut self, duration: Duration) -> Self {
        self.silence = Some(duration);
        self
    }

    /// What lies between frames and the wire, and proves who the other side is. Default: [`PlainSessions`], which prove nothing.
    pub fn sessions(mut self, sessions: Arc<dyn Sessions>) -> Self {
        self.sessions = sessions;
        self
    }

    /// Tells `watch` of each socket by which peers see that this process lives.
    pub fn watch(mut self, watch: Arc<dyn SocketWatch>) -> Self {
        self.watch = Some(watch);
        self
    }

    /// Gives each peer that is dialled something by which it can show that it was reached. Default: nothing.
    pub fn passes(mut self, passes: Arc<dyn Passes>) -> Self {
        self.passes = Some(passes);
        self
    }

    /// How many greetings are heard within [`ALLOWANCE_WINDOW`] from hosts of peers, and as many from all others together (T42). Default:
    /// [`GREETINGS_PER_WINDOW_MAX`].
    pub fn greetings_max(mut self, greetings: u32) -> Self {
        self.greetings = greetings;
        self
    }

    /// The transport. It does nothing until it [runs](Transport::run).
    pub fn build(self) -> TcpTransport {
        let mut links = Links::new(self.peers.keys().copied(), self.stale_after);
        if let Some(silence) = self.silence {
            links = links.patient_for(silence);
        }
        TcpTransport {
            listen: Mutex::new(Some(self.listen)),
            peers: self.peers.keys().copied().collect(),
            seed: self.seed,
            greetings: self.greetings,
            shared: Shared::new(links, self.peers, self.sessions, self.watch, self.passes),
        }
    }
}

/// Forgets the links when `run` ends or is dropped, because their sockets do.
struct Forget<'a>(&'a Shared);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.links().end_run();
    }
}

#[async_trait]
impl Transport for TcpTransport {
    async fn run(&self, hello: Hello) -> Result<(), TransportError> {
        let Some(listener) = self.open().await? else { return Ok(()) };
        if !self.shared.links().begin_run() {
            return Ok(());
        }
        let _forget = Forget(&self.shared);
        let mut work = FuturesUnordered::new();
        let context = Context { shared: &self.shared, hello: &hello };
        work.push(accept::accept_all(context, &listener, Greetings::new(self.greetings, now())).boxed());
        for (number, peer) in (0..).zip(&self.peers) {
            if *peer != hello.node {
                let seed = self.seed.wrapping_add(number);
                work.push(dial::keep_linked(context, *peer, seed).boxed());
            }
        }
        // None of the tasks ends by itself.
        let worked = poll_fn(|cx| {
            for peer in self.shared.take_met(cx.waker()) {
                let seed = self.seed.wrapping_add(self.shared.links().peers() as u64);
                work.push(dial::keep_linked(context, peer, seed).boxed());
            }
            work.poll_next_unpin(cx)
        });
        let closed = poll_fn(|cx| match self.shared.links().is_closed(cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        });
        select(worked, closed).await;
        Ok(())
    }

    fn send(&self, to: NodeId, message: &Message) -> Result<(), SendError> {
        let mut links = self.shared.links();
        links.look_for_silence(now);
        links.send(to, message)
    }

    fn send_all(&self, to: &[NodeId], message: &Message) -> Vec<SendError> {
        let mut links = self.shared.links();
        links.look_for_silence(now);
        links.send_all(to, message)
    }

    async fn recv(&self) -> TransportEvent {
        poll_fn(|cx| self.shared.links().receive(cx.waker()).map_or(Poll::Pending, Poll::Ready)).await
    }

    fn directions(&self, peer: NodeId) -> Option<Directions> {
        self.shared.links().directions(peer)
    }

    fn stats(&self) -> Option<TransportStats> {
        Some(self.shared.links().stats())
    }

    fn proves(&self) -> bool {
        self.shared.sessions.prove()
    }

    fn can_meet(&self) -> bool {
        true
    }

    fn meet(&self, peer: NodeId, address: &str, terms: &str) {
        self.shared.meet(peer, address, terms);
    }

    fn relocate(&self, peer: NodeId, address: &str) {
        self.shared.relocate(peer, address);
    }

    async fn close(&self) {
        self.shared.links().begin_close();
        let flushed = poll_fn(|cx| match self.shared.links().flushed(cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        });
        within(CLOSE_FLUSH_MAX, flushed).await;
        self.shared.links().finish_close();
        let stopped = poll_fn(|cx| match self.shared.links().stopped(cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        });
        within(CLOSE_FLUSH_MAX, stopped).await;
        self.listen.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
