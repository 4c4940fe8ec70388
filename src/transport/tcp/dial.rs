//! Connections that we dial: we send on them.

use super::super::RefuseReason;
use super::super::handshake;
use super::super::links::{Direction, End, LinkId};
use super::super::retry::Retry;
use super::stream::{Frames, Stopped, Stream, abort, tune, write_all, write_first};
use super::watch::Watched;
use super::{
    ADDRESSES_MAX, CONNECT_AFTER_LOSS_TIMEOUT, CONNECT_TIMEOUT, HELLO_TIMEOUT, LINK_STABLE, LOOK_BACK,
    RESOLVE_TIMEOUT, RETRY_SPACING_MIN, TcpTransport, now, resolve, within,
};
use crate::ids::NodeId;
use crate::message::Hello;
use crate::time::{Duration, Instant};
use crate::wire::encode_hello;
use async_io::{Async, Timer};
use futures::future::{BoxFuture, Either, FutureExt, poll_fn, select};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::task::Poll;

/// Dials `peer` whenever we have no link to it, for ever.
pub(super) async fn keep_linked(
    transport: &TcpTransport,
    peer: NodeId,
    address: &str,
    hello: &Hello,
    seed: u64,
) {
    let mut pause = Retry::new(seed);
    // Whether this attempt was called for by the end of a link.
    let mut urgent = false;
    let mut place = Place { address, looking: None, lost: None };
    loop {
        poll_fn(|cx| match transport.links().has_room(cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        let began = now();
        if let Some((stream, mut frames, id)) = dial(transport, peer, &mut place, hello, urgent).await {
            let linked = now();
            let stopped = drive(transport, &stream, &mut frames, peer, id).await;
            let end = match stopped {
                Some(Stopped::Ended(end)) => end,
                Some(Stopped::Violation(reason)) => {
                    abort(stream);
                    transport.links().refuse(Some(peer), reason, now());
                    End::Broken
                }
                None => {
                    abort(stream);
                    End::Broken
                }
            };
            place.lost = Some(now());
            transport.links().end(Direction::Out, peer, id, end, now());
            if now().saturating_since(linked) >= LINK_STABLE {
                pause.reset();
                urgent = true;
                continue;
            }
        }
        urgent = wait(transport, peer, pause.next()).await;
        if urgent {
            pause.reset();
            let spacing = RETRY_SPACING_MIN.saturating_sub(now().saturating_since(began));
            if !spacing.is_zero() {
                Timer::after(spacing).await;
            }
        }
    }
}

/// Waits for the time to pass (`false`) or for a reason to dial at once (`true`).
async fn wait(transport: &TcpTransport, peer: NodeId, time: Duration) -> bool {
    let called = poll_fn(|cx| match transport.links().redial_called(peer, cx.waker()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    });
    within(time, called).await.is_some()
}

/// Where a peer is.
struct Place<'a> {
    /// `host:port`.
    address: &'a str,
    /// A look-up under way. The next attempt waits for the same one.
    looking: Option<BoxFuture<'a, Vec<SocketAddr>>>,
    /// When the last link ended.
    lost: Option<Instant>,
}

impl Place<'_> {
    /// The addresses to try now, and for how long each.
    async fn find(
        &mut self,
        transport: &TcpTransport,
        peer: NodeId,
        urgent: bool,
    ) -> (Vec<SocketAddr>, Duration) {
        // What has just been lost is looked for where it was, without asking a name server that may be gone
        // with it: its refusal is what the peers wait for.
        let recent = self.lost.is_some_and(|lost| now().saturating_since(lost) < LOOK_BACK);
        if let Some(lost) = transport.links().lost_address(peer).filter(|_| urgent || recent) {
            return (vec![lost], if urgent { CONNECT_AFTER_LOSS_TIMEOUT } else { CONNECT_TIMEOUT });
        }
        let looking = self.looking.take().unwrap_or_else(|| resolve(self.address).boxed());
        let found = match select(looking, Timer::after(RESOLVE_TIMEOUT)).await {
            Either::Left((found, _)) => found,
            Either::Right((_, looking)) => {
                self.looking = Some(looking);
                Vec::new()
            }
        };
        // A server that hangs or is gone keeps nobody from going where the peer was.
        let known = if found.is_empty() { transport.links().address(peer) } else { None };
        (found.into_iter().take(ADDRESSES_MAX).chain(known).collect(), CONNECT_TIMEOUT)
    }
}

/// One attempt, at each of the peer's addresses.
async fn dial(
    transport: &TcpTransport,
    peer: NodeId,
    place: &mut Place<'_>,
    hello: &Hello,
    urgent: bool,
) -> Option<(Watched<Stream>, Frames, LinkId)> {
    let (addresses, timeout) = place.find(transport, peer, urgent).await;
    for address in addresses {
        let attempt = transport.links().attempt(peer);
        match within(timeout, Async::<TcpStream>::connect(address)).await {
            Some(Ok(stream)) => {
                if let Some(linked) = introduce(transport, stream, peer, address, hello).await {
                    return Some(linked);
                }
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                transport.links().connect_refused(peer, attempt, address);
            }
            _ => {}
        }
    }
    None
}

/// Says `HELLO` and hears the answer.
async fn introduce(
    transport: &TcpTransport,
    stream: Stream,
    peer: NodeId,
    address: SocketAddr,
    hello: &Hello,
) -> Option<(Watched<Stream>, Frames, LinkId)> {
    // A port that nobody listens on can be the very one that the system gave this connection: then it is
    // connected to itself and keeps the peer from opening its door.
    if stream.get_ref().local_addr().is_ok_and(|local| local == address) {
        return None;
    }
    let mut stream = Watched::new(stream);
    tune(&stream);
    let mut frame = Vec::new();
    encode_hello(hello, &mut frame);
    if !write_first(&stream, &frame) {
        return None;
    }
    let mut frames = Frames::new();
    let refused = match within(HELLO_TIMEOUT, frames.next(&stream)).await {
        Some(Ok(answer)) => {
            let linked = handshake::judge_acceptor(hello, peer, answer).and_then(|theirs| {
                transport.links().up(Direction::Out, peer, theirs.incarnation, Some(address), now())
            });
            match linked {
                Ok(id) => {
                    transport.tell_linked(&mut stream);
                    return Some((stream, frames, id));
                }
                Err(reason) => Some(reason),
            }
        }
        Some(Err(Stopped::Violation(reason))) => Some(reason),
        Some(Err(Stopped::Ended(_))) => None,
        None => Some(RefuseReason::HelloTimeout),
    };
    // The acceptor may hold this link for established: it must not see it end in order.
    abort(stream);
    if let Some(reason) = refused {
        transport.links().refuse(Some(peer), reason, now());
    }
    None
}

/// Writes what is queued, and watches for the end; `None`: another link took its place.
async fn drive(
    transport: &TcpTransport,
    stream: &Stream,
    frames: &mut Frames,
    peer: NodeId,
    id: LinkId,
) -> Option<Stopped> {
    let watch = std::pin::pin!(async {
        match frames.next(stream).await {
            // Messages come on the link that the peer dialled.
            Ok(_) => Stopped::Violation(RefuseReason::Garbage),
            Err(stopped) => stopped,
        }
    });
    let write = std::pin::pin!(async {
        let mut batch = Vec::new();
        loop {
            let held = poll_fn(|cx| {
                let mut links = transport.links();
                if !links.holds(Direction::Out, peer, id, cx.waker()) {
                    return Poll::Ready(false);
                }
                if links.take_batch(peer, &mut batch) { Poll::Ready(true) } else { Poll::Pending }
            })
            .await;
            if !held {
                return None;
            }
            // An error here took the socket's error with it: reading would then see an orderly end that
            // was none. So it ends the link at once, and reading comes first below.
            if write_all(stream, &batch).await.is_err() {
                return Some(Stopped::Ended(End::Broken));
            }
            batch.clear();
            transport.links().written(peer);
        }
    });
    match select(watch, write).await {
        Either::Left((stopped, _)) => Some(stopped),
        Either::Right((stopped, _)) => stopped,
    }
}
