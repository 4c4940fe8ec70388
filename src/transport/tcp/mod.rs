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
mod dial;
mod stream;
mod watch;

use super::links::Links;
pub use super::retry::{RETRY_FIRST, RETRY_MAX};
use super::wakes::Locked;
use super::{Directions, SendError, Transport, TransportError, TransportEvent, TransportStats};
use crate::clock::{Clock, SystemClock};
use crate::ids::NodeId;
use crate::message::{Hello, Message};
use crate::time::{Duration, Instant};
use async_io::{Async, Timer};
use async_trait::async_trait;
use futures::StreamExt;
use futures::future::{Either, FutureExt, poll_fn, select};
use futures::stream::FuturesUnordered;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use stream::Stream;
pub use watch::SocketWatch;
use watch::Watched;

/// How long a connection may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the first attempt after a loss may take. A connection request that reaches a socket which is
/// just being closed gets no answer at all, and the kernel repeats it only a second later: the next attempt
/// is refused at once.
pub const CONNECT_AFTER_LOSS_TIMEOUT: Duration = Duration::from_millis(25);
/// For how long after a loss the peer is looked for only where it was.
pub const LOOK_BACK: Duration = Duration::from_secs(1);
/// How long an attempt waits for a name server before it goes where the peer was last. The look-up goes on.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long either end waits for the other's `HELLO`.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(2);
/// How long written bytes may go unconfirmed before the link counts as broken. Short, because after a
/// partition a new connection carries messages sooner than an old one, whose retries come ever later.
pub const USER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a link may be silent before the kernel asks whether the peer is there, and between questions.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// How many such questions may go unanswered.
pub const KEEPALIVE_PROBES_MAX: u32 = 2;
/// The shortest time between two attempts, also when there is a reason to try at once.
pub const RETRY_SPACING_MIN: Duration = Duration::from_millis(1);
/// A link that lived shorter than this does not reset the pause: two ends that agree to connect and then
/// to hang up must not do so in a tight loop.
pub const LINK_STABLE: Duration = Duration::from_millis(100);
/// The most addresses of one host name that are tried in one attempt.
pub const ADDRESSES_MAX: usize = 8;
/// The most connections that have not said `HELLO`. One more, and the oldest of them is closed: an honest
/// peer says it within a round trip, so strangers cannot keep it out by just holding connections.
pub const HELLO_PENDING_MAX: usize = 32;
/// The pause after the system would not give us a connection (it is out of file descriptors, mostly).
pub const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// How long [`Transport::close`] waits for queued messages to be written.
pub const CLOSE_FLUSH_MAX: Duration = Duration::from_millis(200);
/// How long the end of an earlier process's link is waited for after a later process has said `HELLO`. A lost packet is
/// sent again within that time.
pub const LATE_END_WAIT: Duration = Duration::from_secs(1);
/// How long a process must have been gone before an older incarnation of its node is linked again, unless
/// [`TcpTransportBuilder::stale_after`] says otherwise.
pub const STALE_AFTER_DEFAULT: Duration = Duration::from_secs(2);

/// A [`Transport`] over TCP.
#[derive(Debug)]
pub struct TcpTransport {
    door: Mutex<Option<Door>>,
    peers: BTreeMap<NodeId, String>,
    seed: u64,
    links: Mutex<Links>,
    watch: Option<Watch>,
}

struct Watch(Arc<dyn SocketWatch>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SocketWatch")
    }
}

#[derive(Debug)]
enum Door {
    Address(String),
    Bound(TcpListener),
}

/// Collects a [`TcpTransport`].
#[derive(Debug)]
pub struct TcpTransportBuilder {
    door: Door,
    peers: BTreeMap<NodeId, String>,
    stale_after: Duration,
    seed: u64,
    watch: Option<Watch>,
}

impl TcpTransport {
    /// A transport that listens on `address` (`host:port`), bound when it runs.
    pub fn listen(address: impl Into<String>) -> TcpTransportBuilder {
        TcpTransportBuilder::new(Door::Address(address.into()))
    }

    /// A transport that listens on a socket which is bound already.
    pub fn with_listener(listener: TcpListener) -> TcpTransportBuilder {
        TcpTransportBuilder::new(Door::Bound(listener))
    }

    /// The address at which `peer` was linked last: one that works, also while its name cannot be resolved.
    pub fn address(&self, peer: NodeId) -> Option<SocketAddr> {
        self.links().address(peer)
    }

    fn links(&self) -> Locked<'_, Links> {
        Locked::new(&self.links)
    }

    /// Opens the listening socket.
    async fn open(&self) -> Result<Option<Watched<Async<TcpListener>>>, TransportError> {
        let door = self.door.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (address, bound) = match door {
            None => return Ok(None),
            Some(Door::Bound(listener)) => {
                (listener.local_addr().map(|a| a.to_string()).unwrap_or_default(), Ok(listener))
            }
            Some(Door::Address(address)) => {
                let name = address.clone();
                (address, blocking::unblock(move || TcpListener::bind(&*name)).await)
            }
        };
        let opened =
            bound.and_then(Async::new).map_err(|source| TransportError::Listen { address, source })?;
        let mut listener = Watched::new(opened);
        listener.tell(|socket| Some(self.watch.as_ref()?.0.listening(socket.get_ref())));
        Ok(Some(listener))
    }

    /// Both ends said `HELLO` on this connection.
    fn tell_linked(&self, stream: &mut Watched<Stream>) {
        stream.tell(|socket| Some(self.watch.as_ref()?.0.linked(socket.get_ref())));
    }
}

impl TcpTransportBuilder {
    fn new(door: Door) -> Self {
        Self { door, peers: BTreeMap::new(), stale_after: STALE_AFTER_DEFAULT, seed: 0, watch: None }
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

    /// Tells `watch` of each socket by which peers see that this process lives.
    pub fn watch(mut self, watch: Arc<dyn SocketWatch>) -> Self {
        self.watch = Some(Watch(watch));
        self
    }

    /// The transport. It does nothing until it [runs](Transport::run).
    pub fn build(self) -> TcpTransport {
        let links = Links::new(self.peers.keys().copied(), self.stale_after);
        TcpTransport {
            door: Mutex::new(Some(self.door)),
            peers: self.peers,
            seed: self.seed,
            links: Mutex::new(links),
            watch: self.watch,
        }
    }
}

/// Forgets the links when `run` ends or is dropped, because their sockets do.
struct Forget<'a>(&'a TcpTransport);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.links().end_run();
    }
}

#[async_trait]
impl Transport for TcpTransport {
    async fn run(&self, hello: Hello) -> Result<(), TransportError> {
        let Some(listener) = self.open().await? else { return Ok(()) };
        if !self.links().begin_run() {
            return Ok(());
        }
        let _forget = Forget(self);
        let mut work = FuturesUnordered::new();
        work.push(accept::accept_all(self, &listener, &hello).boxed());
        for (number, (peer, address)) in (0..).zip(&self.peers) {
            if *peer != hello.node {
                let seed = self.seed.wrapping_add(number);
                work.push(dial::keep_linked(self, *peer, address, &hello, seed).boxed());
            }
        }
        let closed = poll_fn(|cx| match self.links().is_closed(cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        });
        // None of the tasks ends by itself.
        select(work.next(), closed).await;
        Ok(())
    }

    fn send(&self, to: NodeId, message: &Message) -> Result<(), SendError> {
        self.links().send(to, message)
    }

    async fn recv(&self) -> TransportEvent {
        poll_fn(|cx| self.links().receive(cx.waker()).map_or(Poll::Pending, Poll::Ready)).await
    }

    fn directions(&self, peer: NodeId) -> Option<Directions> {
        self.links().directions(peer)
    }

    fn stats(&self) -> Option<TransportStats> {
        let links = self.links();
        Some(TransportStats { refused: links.refused(), dropped: links.dropped })
    }

    async fn close(&self) {
        self.links().begin_close();
        let flushed = poll_fn(|cx| match self.links().flushed(cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        });
        within(CLOSE_FLUSH_MAX, flushed).await;
        self.links().finish_close();
        let stopped = poll_fn(|cx| match self.links().stopped(cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        });
        within(CLOSE_FLUSH_MAX, stopped).await;
        self.door.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn now() -> Instant {
    SystemClock.now()
}

/// `None`: the time is up.
async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    match select(std::pin::pin!(future), Timer::after(limit)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

/// The addresses behind `host:port`. Names are looked up on a thread of their own: that can take seconds.
async fn resolve(address: &str) -> Vec<SocketAddr> {
    if let Ok(address) = address.parse() {
        return vec![address];
    }
    let address = address.to_owned();
    blocking::unblock(move || {
        address.to_socket_addrs().map(|found| found.take(ADDRESSES_MAX).collect()).unwrap_or_default()
    })
    .await
}
