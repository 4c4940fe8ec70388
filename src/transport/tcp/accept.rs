//! Connections that peers dialled: we receive on them.

use super::super::RefuseReason;
use super::super::handshake::{self, Incoming, TurnedAway};
use super::super::links::{Direction, End, LinkId};
use super::stream::{Frames, Stopped, Stream, abort, tune, write_first};
use super::watch::Watched;
use super::{ACCEPT_RETRY, HELLO_PENDING_MAX, HELLO_TIMEOUT, LATE_END_WAIT, TcpTransport, now, within};
use crate::ids::NodeId;
use crate::message::{Hello, Message};
use crate::wire::{encode_hello, encode_refuse};
use async_io::{Async, Timer};
use futures::StreamExt;
use futures::future::{BoxFuture, Either, FutureExt, pending, poll_fn, select};
use futures::stream::FuturesUnordered;
use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};

/// Takes connections in for ever. The listening socket stays open whatever happens to them: a closed one
/// tells the peers that this process is gone.
pub(super) async fn accept_all(transport: &TcpTransport, listener: &Async<TcpListener>, hello: &Hello) {
    let waiting = Waiting::default();
    let mut connections: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
    // Keeps the set from being empty, which would end the stream.
    connections.push(pending().boxed());
    let connections_max = HELLO_PENDING_MAX + 2 * transport.links().peers() + 1;
    let mut number = 0;
    loop {
        let mut acceptable = std::pin::pin!(listener.readable());
        let ready = loop {
            match select(acceptable.as_mut(), connections.next()).await {
                Either::Left((ready, _)) => break ready,
                Either::Right(_) => {}
            }
        };
        let accepted = ready.and_then(|()| listener.get_ref().accept()).and_then(|(s, _)| Async::new(s));
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => continue,
            Err(_) => {
                let pause = std::pin::pin!(Timer::after(ACCEPT_RETRY));
                let mut pause = pause;
                while let Either::Right(_) = select(pause.as_mut(), connections.next()).await {}
                continue;
            }
        };
        number += 1;
        if waiting.enter(number) || connections.len() > connections_max {
            transport.links().refuse(None, RefuseReason::TooMany, now());
        }
        if connections.len() > connections_max {
            waiting.leave(number);
            continue;
        }
        connections.push(serve(transport, stream, hello, &waiting, number).boxed());
    }
}

/// Connections that have not said `HELLO`, oldest first.
#[derive(Default)]
struct Waiting(Mutex<VecDeque<Waiter>>);

/// A connection by its number, and its task once it was polled.
type Waiter = (u64, Option<Waker>);

impl Waiting {
    /// Adds a connection; `true`: the oldest had to go for it.
    fn enter(&self, number: u64) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push_back((number, None));
        let over = all.len() > HELLO_PENDING_MAX;
        if over && let Some((_, Some(task))) = all.pop_front() {
            task.wake();
        }
        over
    }

    fn leave(&self, number: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(other, _)| *other != number);
    }

    /// Completes when the connection has to go.
    async fn removed(&self, number: u64) {
        poll_fn(|cx| {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match all.iter_mut().find(|(other, _)| *other == number) {
                Some((_, task)) => {
                    *task = Some(cx.waker().clone());
                    Poll::Pending
                }
                None => Poll::Ready(()),
            }
        })
        .await;
    }
}

async fn serve(transport: &TcpTransport, stream: Stream, hello: &Hello, waiting: &Waiting, number: u64) {
    let mut stream = Watched::new(stream);
    tune(&stream);
    let mut frames = Frames::new();
    let first = {
        let greeted = std::pin::pin!(within(HELLO_TIMEOUT, greet(transport, &mut frames, &stream)));
        let removed = std::pin::pin!(waiting.removed(number));
        match select(greeted, removed).await {
            Either::Left((first, _)) => first,
            // Counted as one too many by whoever came last.
            Either::Right(_) => return,
        }
    };
    waiting.leave(number);
    let theirs = match first {
        Some(Ok(first)) => handshake::judge_dialler(hello, first),
        Some(Err(Stopped::Violation(reason))) => Err(TurnedAway { claimed: None, reason }),
        // Port scanners and health checks connect and leave; there is nothing to tell.
        Some(Err(Stopped::Ended(_))) => return,
        None => Err(TurnedAway { claimed: None, reason: RefuseReason::HelloTimeout }),
    };
    let linked = theirs.and_then(|theirs| {
        let up = transport.links().up(Direction::In, theirs.node, theirs.incarnation, None, now());
        let turned_away = |reason| TurnedAway { claimed: Some(theirs.node), reason };
        up.map(|id| (theirs.node, id)).map_err(turned_away)
    });
    let (peer, id) = match linked {
        Ok(linked) => linked,
        Err(TurnedAway { claimed, reason }) => return turn_away(transport, &stream, claimed, reason, hello),
    };
    transport.tell_linked(&mut stream);
    let mut answer = Vec::new();
    encode_hello(hello, &mut answer);
    let stopped = if write_first(&stream, &answer) {
        receive(transport, &stream, &mut frames, peer, id).await
    } else {
        Some(Stopped::Ended(End::Broken))
    };
    match stopped {
        None => {
            abort(stream);
            transport.links().end(Direction::In, peer, id, End::Broken, now());
        }
        Some(Stopped::Ended(end)) => transport.links().end(Direction::In, peer, id, end, now()),
        Some(Stopped::Violation(reason)) => {
            abort(stream);
            let mut links = transport.links();
            links.refuse(Some(peer), reason, now());
            links.end(Direction::In, peer, id, End::Broken, now());
        }
    }
}

/// The first frame, and then room for what will be told of the link.
async fn greet(transport: &TcpTransport, frames: &mut Frames, stream: &Stream) -> Result<Incoming, Stopped> {
    let first = frames.next(stream).await?;
    poll_fn(|cx| match transport.links().has_room(cx.waker()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
    Ok(first)
}

/// Hands messages up until the link ends; `None`: a newer one took its place, and no end came soon after.
async fn receive(
    transport: &TcpTransport,
    stream: &Stream,
    frames: &mut Frames,
    peer: NodeId,
    id: LinkId,
) -> Option<Stopped> {
    let replaced = std::pin::pin!(poll_fn(|cx| {
        match transport.links().holds(Direction::In, peer, id, cx.waker()) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }));
    let messages = std::pin::pin!(async {
        loop {
            match frames.next(stream).await {
                Ok(Incoming::Message(message)) => {
                    if !hand_up(transport, peer, id, message).await {
                        return None;
                    }
                }
                Ok(_) => return Some(Stopped::Violation(RefuseReason::Garbage)),
                Err(stopped) => return Some(stopped),
            }
        }
    });
    let messages = match select(replaced, messages).await {
        Either::Left(((), messages)) => messages,
        Either::Right((stopped, _)) => return stopped,
    };
    // A process that died a moment ago may have been replaced before its end was read here. That end frees the voters
    // from what they promised to it.
    let over = std::pin::pin!(poll_fn(|cx| match transport.links().leaves(peer, id, cx.waker()) {
        true => Poll::Pending,
        false => Poll::Ready(()),
    }));
    match select(over, std::pin::pin!(within(LATE_END_WAIT, messages))).await {
        Either::Left(_) => None,
        Either::Right((stopped, _)) => stopped.flatten(),
    }
}

/// Waits for room, and so leaves the socket unread until there is some.
async fn hand_up(transport: &TcpTransport, peer: NodeId, id: LinkId, message: Message) -> bool {
    let mut message = Some(message);
    poll_fn(|cx| {
        let Some(taken) = message.take() else { return Poll::Ready(true) };
        match transport.links().deliver(peer, id, taken, cx.waker()) {
            Ok(()) => Poll::Ready(true),
            Err(None) => Poll::Ready(false),
            Err(Some(back)) => {
                message = Some(back);
                Poll::Pending
            }
        }
    })
    .await
}

fn turn_away(
    transport: &TcpTransport,
    stream: &Stream,
    claimed: Option<NodeId>,
    reason: RefuseReason,
    hello: &Hello,
) {
    let mut refusal = Vec::new();
    let text = format!("by node {} of cluster {}", hello.node, hello.cluster);
    encode_refuse(reason.as_str(), &text, &mut refusal);
    write_first(stream, &refusal);
    transport.links().refuse(claimed, reason, now());
}
