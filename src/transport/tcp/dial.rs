//! Connections that we dial: we send on them.

use super::allowance::Allowance;
use super::limits::{BESIDE_TIMEOUT, HELLO_TIMEOUT, LINK_STABLE, RETRY_SPACING_MIN, USER_TIMEOUT};
use super::place::Place;
use super::shared::Context;
use super::spare::Spare;
use super::stream::{Stopped, Stream, abort, read_more, read_ready, resets, tune, write_all, write_first};
use super::timer::{now, within};
use super::watch::Watched;
use crate::ids::NodeId;
use crate::message::Hello;
use crate::time::Duration;
use crate::transport::api::RefuseReason;
use crate::transport::greeting::{Channel, Greeting, TurnedAway};
use crate::transport::links::{Beside, Direction, End, LinkId};
use crate::transport::retry::Retry;
use async_io::{Async, Timer};
use futures::future::{Either, poll_fn, select};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

/// A connection that we dialled and on which both ends said `HELLO`.
struct Linked {
    stream: Watched<Stream>,
    channel: Channel,
    id: LinkId,
}

/// Dials `peer` whenever we have no link to it, for ever.
pub(super) async fn keep_linked(context: Context<'_>, peer: NodeId, seed: u64) {
    let mut pause = Retry::new(seed);
    // Whether this attempt was called for by the end of a link.
    let mut urgent = false;
    let (mut place, mut spare) = (Place::default(), Spare::default());
    loop {
        context.shared.room().await;
        let began = now();
        if let Some(first) = dial(context, peer, &mut place, &mut spare, urgent).await {
            let linked = now();
            let address = context.shared.links().address(peer);
            if let Some(address) = address {
                spare.provide(address);
            }
            let (stream, id, stopped) = drive_on(context, peer, first).await;
            let end = match stopped {
                Some(Stopped::Ended(end)) => end,
                Some(Stopped::Violation(reason)) => {
                    abort(stream);
                    context.shared.links().refuse(Some(peer), reason, now());
                    End::Broken
                }
                None => {
                    abort(stream);
                    End::Broken
                }
            };
            place.lost();
            context.shared.links().end(Direction::Out, peer, id, end, now());
            if now().saturating_since(linked) >= LINK_STABLE {
                pause.reset();
                urgent = true;
                continue;
            }
        }
        urgent = wait(context, peer, pause.next()).await;
        if urgent {
            pause.reset();
            let spacing = RETRY_SPACING_MIN.saturating_sub(now().saturating_since(began));
            if !spacing.is_zero() {
                Timer::after(spacing).await;
            }
        }
    }
}

/// Drives a link, and those that take its place, to the end of the last: its stream, and why it ended.
async fn drive_on(
    context: Context<'_>,
    peer: NodeId,
    first: Linked,
) -> (Watched<Stream>, LinkId, Option<Stopped>) {
    let Linked { mut stream, mut channel, mut id } = first;
    loop {
        let outcome = {
            let driven = std::pin::pin!(drive(context, &stream, channel, peer, id));
            // Polled first: once another link has taken the place, the old one only says that it lost it.
            match select(std::pin::pin!(dial_beside(context, peer)), driven).await {
                Either::Left((next, _)) => Ok(next),
                Either::Right((stopped, _)) => Err(stopped),
            }
        };
        match outcome {
            Ok(next) => {
                abort(std::mem::replace(&mut stream, next.stream));
                (channel, id) = (next.channel, next.id);
            }
            Err(stopped) => return (stream, id, stopped),
        }
    }
}

/// Another link to a peer that is linked and says nothing (T25). What comes of an attempt is told to nobody.
async fn dial_beside(context: Context<'_>, peer: NodeId) -> Linked {
    loop {
        // At the next call the task of the link is woken, which is this one.
        let called =
            poll_fn(|_| context.shared.links().beside_called(peer).map_or(Poll::Pending, Poll::Ready));
        let (why, since) = (called.await, now());
        let (heard, address) = {
            let links = context.shared.links();
            (links.heard_so_far(peer), links.address(peer))
        };
        let Some(address) = address else { continue };
        context.shared.room().await;
        let mut patience = 2 * BESIDE_TIMEOUT;
        loop {
            let began = now();
            if let Some(Ok(stream)) = within(BESIDE_TIMEOUT, Async::<TcpStream>::connect(address)).await {
                // The old link may end at any moment, and this attempt with it. The acceptor must not see an orderly end.
                resets(&stream, true);
                match within(patience, introduce(context, stream, peer, address)).await {
                    Some(Some(linked)) => {
                        resets(&linked.stream, false);
                        return linked;
                    }
                    // It does not want to.
                    Some(None) => break,
                    // Cut off again, or the peer's process is stopped: then more connections only wait for it.
                    None => patience = HELLO_TIMEOUT.min(2 * patience),
                }
            }
            let over = match why {
                Beside::Silent => context.shared.links().heard_so_far(peer) != heard,
                // Later the kernel gives the old link up.
                Beside::Answer | Beside::News => now().saturating_since(since) >= USER_TIMEOUT,
            };
            if over {
                break;
            }
            Timer::after(BESIDE_TIMEOUT.saturating_sub(now().saturating_since(began))).await;
        }
    }
}

/// Waits for the time to pass (`false`) or for a reason to dial at once (`true`).
async fn wait(context: Context<'_>, peer: NodeId, time: Duration) -> bool {
    let called = poll_fn(|cx| match context.shared.links().redial_called(peer, cx.waker()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    });
    within(time, called).await.is_some()
}

/// One attempt, at each of the peer's addresses.
async fn dial(
    context: Context<'_>,
    peer: NodeId,
    place: &mut Place,
    spare: &mut Spare,
    urgent: bool,
) -> Option<Linked> {
    let (addresses, timeout) = place.find(context.shared, peer, urgent).await;
    for address in addresses {
        let (attempt, began) = (context.shared.links().attempt(peer), now());
        match within(timeout, spare.connect(address)).await {
            Some(Ok(stream)) => {
                place.connected(now().saturating_since(began));
                if let Some(linked) = introduce(context, stream, peer, address).await {
                    return Some(linked);
                }
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                context.shared.links().connect_refused(peer, attempt, address);
            }
            _ => {}
        }
    }
    None
}

/// Says `HELLO` and hears the answer.
async fn introduce(
    context: Context<'_>,
    stream: Stream,
    peer: NodeId,
    address: SocketAddr,
) -> Option<Linked> {
    // A port that nobody listens on can be the very one that the system gave this connection: then it is
    // connected to itself and keeps the peer from opening its door.
    if stream.get_ref().local_addr().is_ok_and(|local| local == address) {
        return None;
    }
    let shared = context.shared;
    let mut stream = Watched::new(stream);
    tune(&stream);
    let ours = shared.hello_to(peer, context.hello);
    let turned_away = match greet(context, &stream, peer, &ours).await {
        Ok((channel, theirs)) => {
            let up = shared.links().up(Direction::Out, peer, theirs.incarnation, Some(address), now());
            match up {
                Ok(id) => {
                    shared.links().compare(&ours, &theirs);
                    shared.tell_linked(&mut stream);
                    return Some(Linked { stream, channel, id });
                }
                Err(turned_away) => Some(turned_away),
            }
        }
        Err(turned_away) => turned_away,
    };
    // The acceptor may hold this link for established: it must not see it end in order.
    abort(stream);
    if let Some(turned_away) = turned_away {
        shared.links().turn_away(turned_away, now());
    }
    None
}

/// The greeting of the one who dials; `Err(None)`: the connection ended.
async fn greet(
    context: Context<'_>,
    stream: &Stream,
    peer: NodeId,
    ours: &Hello,
) -> Result<(Channel, Hello), Option<TurnedAway>> {
    let mut out = Vec::new();
    let mut greeting = Greeting::dial(ours, peer, context.shared.sessions.dial(peer), &mut out)?;
    let heard = within(HELLO_TIMEOUT, async {
        loop {
            if !out.is_empty() && !write_first(stream, &out) {
                return Err(None);
            }
            out.clear();
            read_more(stream, greeting.channel()).await.map_err(|_| None)?;
            if let Some(theirs) = greeting.hear(&mut out)? {
                return Ok(theirs);
            }
        }
    })
    .await;
    let theirs = heard.unwrap_or_else(|| Err(Some(greeting.timed_out())))?;
    Ok((greeting.admit(&mut out)?, theirs))
}

/// Writes what is queued, and watches for the end; `None`: another link took its place.
async fn drive(
    context: Context<'_>,
    stream: &Stream,
    channel: Channel,
    peer: NodeId,
    id: LinkId,
) -> Option<Stopped> {
    // Both halves below are one task, so neither ever waits for the other's lock.
    let channel = Mutex::new(channel);
    let lock = || -> MutexGuard<'_, Channel> { channel.lock().unwrap_or_else(PoisonError::into_inner) };
    let watch = std::pin::pin!(async {
        let mut allowance = Allowance::new();
        loop {
            // Messages come on the link that the peer dialled: whatever comes here is an error.
            if let Err(reason) = lock().message() {
                return Stopped::Violation(reason);
            }
            if stream.readable().await.is_err() {
                return Stopped::Ended(End::Broken);
            }
            let read = read_ready(stream, &mut lock());
            match read {
                Ok(read) => allowance.take_bytes(read.unwrap_or_default()),
                Err(stopped) => return stopped,
            }
            if let Some(pause) = allowance.spent() {
                context.shared.links().refuse(Some(peer), RefuseReason::Flood, now());
                Timer::after(pause).await;
            }
        }
    });
    let write = std::pin::pin!(async {
        let mut batch = Vec::new();
        loop {
            let held = poll_fn(|cx| {
                let mut links = context.shared.links();
                if !links.holds(Direction::Out, peer, id, cx.waker()) {
                    return Poll::Ready(false);
                }
                if links.take_batch(peer, &mut batch) { Poll::Ready(true) } else { Poll::Pending }
            })
            .await;
            if !held {
                return None;
            }
            if let Err(reason) = lock().seal(&mut batch) {
                return Some(Stopped::Violation(reason));
            }
            // An error here took the socket's error with it: reading would then see an orderly end that
            // was none. So it ends the link at once, and reading comes first below.
            if write_all(stream, &batch).await.is_err() {
                return Some(Stopped::Ended(End::Broken));
            }
            batch.clear();
            context.shared.links().written(peer);
        }
    });
    match select(watch, write).await {
        Either::Left((stopped, _)) => Some(stopped),
        Either::Right((stopped, _)) => stopped,
    }
}
